"""Fixtures: small videos, two networks trained on them, the app, the report."""

import os
from pathlib import Path

import pytest

from tests.training.evaluated import CLASSES, HERE, NETWORK, Said, write_pattern
from tests.training.narrow import narrow_network
from tests.training.report_pages import Page
from train.report import page as report
from train.run import main


@pytest.fixture(scope="module")
def narrow():
    """``--model slowfast50`` is a small network."""
    with narrow_network():
        yield


@pytest.fixture(scope="session")
def split_videos(tmp_path_factory) -> Path:
    """Two videos of each of three classes to train on, and two to validate."""
    root = tmp_path_factory.mktemp("split")
    for split in ("train", "val"):
        for label in CLASSES:
            for number, size in enumerate([(48, 80), (72, 48)]):
                seed = len(list(root.rglob("*.avi")))
                write_pattern(root / split / label / f"{number}.avi", label, 8 + 2 * seed, size, seed)
    return root


@pytest.fixture(scope="session")
def networks(split_videos, tmp_path_factory) -> Path:
    """a/ and b/: two short trainings with different seeds, the second with averaged weights."""
    root = tmp_path_factory.mktemp("networks")
    options = ["--data", split_videos, *NETWORK, *HERE, "--aug", "none", "--max-steps", 2, "--no-tensorboard"]
    for name, own in (("a", []), ("b", ["--seed", 1, "--ema", 0.5])):
        with narrow_network():
            assert main([str(word) for word in (*options, *own, "--out", root / name)]) == 0
    return root


@pytest.fixture
def app(capsys):
    """Call the app as from the command line."""

    def call(*arguments, expect=0) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in (*arguments, *HERE)])
        said = Said(*capsys.readouterr())
        assert code == expect, said.err
        return said

    return call


@pytest.fixture
def reported(tmp_path, capsys):
    """Make a report as from the command line, and read it."""

    def call(*runs) -> Page:
        out = tmp_path / "out of the way" / "page.html"
        out.parent.mkdir(exist_ok=True)
        assert report.main([*map(str, runs), "-o", str(out)]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out == f"{out}\n" and os.listdir(out.parent) == [out.name]
        return Page(out)

    return call
