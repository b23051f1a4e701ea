"""A run that an earlier version left, see tests/saved/README.md: it goes on, is evaluated, started from and reported.

All by the command line, so that these tests hold wherever the modules are.
"""

import io
import re
import shutil
import zlib
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.saved.files import SAVED, read_json, read_rows, run_module, write_videos
from tests.saved.tiny import tiny
from tests.training.evaluated import HERE
from tests.training.narrow import narrow_network, narrow_slowfast
from tests.training.report_pages import Page
from train.config.options import with_todays_names
from train.models.slowfast import BLOCKS
from train.run import main

TOLERANCE = 1e-4
"""Of what is computed again, perhaps by another torch."""
ONE_STEP = "--aug none --num-frames 16 --crop-px 48 --max-steps 1 --eval-clips 1 --no-tensorboard".split()
OF_SPEED = {"clips_per_s", "data_wait_fraction", "epoch_s"}
SINCE_OLDER = "time_limit_s reader init lateral compile fused_adam channels_last randaug_scale randaug_ranges".split()
"""Options that runs before them lack, and that are at their defaults, or may change, in the saved run."""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with the saved run's videos, where it was made."""
    return write_videos(tmp_path_factory.mktemp("saved"))


@pytest.fixture(autouse=True)
def there(world, monkeypatch):
    monkeypatch.chdir(world)


@pytest.fixture
def run(tmp_path) -> Path:
    """A copy of the saved run's folder."""
    return Path(shutil.copytree(SAVED / "run", tmp_path / "run"))


def app(*arguments, network=tiny) -> str:
    out, err = io.StringIO(), io.StringIO()
    with narrow_network(network), redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in (*arguments, *HERE)])
    assert code == 0, err.getvalue()
    return out.getvalue()


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def changed(path: Path, **changes) -> Path:
    """A checkpoint with other values, in place."""
    torch.save(load(path) | changes, path)
    return path


def assert_close(rows: list[dict[str, str]], expected: list[dict[str, str]], but=frozenset()) -> None:
    """The same texts, and numbers that differ by rounding alone."""
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, saved in zip(rows, expected, strict=True):
        for name in saved.keys() - but:
            try:
                assert float(row[name]) == pytest.approx(float(saved[name]), abs=TOLERANCE), (name, saved)
            except ValueError:
                assert row[name] == saved[name], (name, saved)


def assert_same_weights(path: Path, expected: Path, *parts: str) -> None:
    ours, theirs = load(path), load(expected)
    for part in parts:
        assert ours[part].keys() == theirs[part].keys()
        for name, value in theirs[part].items():
            torch.testing.assert_close(ours[part][name], value, atol=TOLERANCE, rtol=TOLERANCE, msg=f"{part}.{name}")


@pytest.mark.parametrize("older", [False, True], ids=["as it is", "without later options"])
def test_a_checkpoint_of_within_an_epoch_is_trained_to_the_end(run, older):
    for name in ("last.pt", "best.pt", "metrics.csv", "val_predictions.csv", "val_classes.csv"):
        (run / name).unlink()
    config = load(run / "previous.pt")["config"]
    if older:
        changed(
            run / "previous.pt",
            config={k: v for k, v in with_todays_names(config).items() if k not in SINCE_OLDER},
        )
    said = app("--resume", "auto", "--out", run)
    assert f"Resuming from {run / 'previous.pt'}: 2 epochs and 2 steps are done." in said
    assert_close(read_rows(run / "metrics.csv"), read_rows(SAVED / "run" / "metrics.csv"), but=OF_SPEED)
    assert_close(read_rows(run / "val_predictions.csv"), read_rows(SAVED / "run" / "val_predictions.csv"))
    assert (run / "val_classes.csv").read_bytes() == (SAVED / "run" / "val_classes.csv").read_bytes()
    assert_same_weights(run / "last.pt", SAVED / "run" / "last.pt", "model", "ema")
    assert_same_weights(run / "best.pt", SAVED / "run" / "best.pt", "model")
    ours, theirs = (load(folder / "last.pt") for folder in (run, SAVED / "run"))
    # the broken file of the saved run is whole here: its name comes from the checkpoint
    assert ours["bad_paths"] == theirs["bad_paths"] == ["videos/train/dark/4.avi"]
    assert (ours["videos"], ours["val_videos"]) == (theirs["videos"], theirs["val_videos"])
    now, saved = read_json(run / "config.json"), read_json(SAVED / "run" / "config.json")
    own = {"out": str(run), "time_limit_s": 120.0} if older else {"out": str(run)}
    saved = with_todays_names(saved)
    assert {name: now[name] for name in saved} == saved | own
    assert [len(read_json(folder / "environment.json")) for folder in (run, SAVED / "run")] == [2, 1]


def test_a_finished_run_is_known_to_be(run):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    said = app("--resume", "--out", run)
    assert (
        f"Resuming from {run / 'last.pt'}: 3 epochs and 0 steps are done." in said
        and "The training is already complete." in said
    )
    assert "best validation top-1 85.7 %, top-5 100.0 % in epoch 3" in said
    for name in ("last.pt", "best.pt", "metrics.csv", "val_predictions.csv"):
        assert (run / name).read_bytes() == before[name]


def test_a_new_run_sets_the_saved_one_aside(run):
    files = {path.name for path in run.iterdir()}
    said = app("--data", "videos.csv", *ONE_STEP, "--out", run)
    assert f"Moved the earlier run in {run} to {run / 'earlier-1'}." in said
    assert {path.name for path in (run / "earlier-1").iterdir()} == files


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_checkpoint_is_evaluated_as_it_was(run, name, tmp_path):
    """The last epoch is the best one, and its averaged weights are those of best.pt."""
    said = app("--eval-only", run / name, "--out", tmp_path / "evaluation")
    assert "top-1 85.71 %, top-5 100.00 %" in said and "loss 0.5137; 7 videos, 2 x 3 views" in said
    ours, theirs = (folder / "val_predictions.csv" for folder in (tmp_path / "evaluation", SAVED / "run"))
    assert_close(read_rows(ours), read_rows(theirs))


@pytest.mark.parametrize("name", ["every_option", "older"])
def test_settings_of_a_checkpoint_hold_in_its_evaluation(run, name, tmp_path):
    """Whatever options it has, or lacks, of which the paths and the devices are another machine's."""
    config = read_json(SAVED / f"{name}.json") | {"model": "slowfast50"}
    checkpoint = changed(run / "best.pt", config=config)
    said = app("--eval-only", checkpoint, "--data", "videos.csv", "--no-compile", "--out", tmp_path)
    assert ("3 x 3 views" if name == "every_option" else "3 x 1 views") in said
    assert_close(read_rows(tmp_path / "val_predictions.csv"), read_rows(SAVED / "expected" / "other_settings.csv"))


def drawn(name: str, shape: list[int]) -> torch.Tensor:
    """Weights that are the same wherever a network has a name for them, and sizes that let signals through."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    numbers = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if len(shape) > 1 and name.endswith("weight"):
        numbers *= (2 / np.prod(shape[1:])) ** 0.5
    elif name.endswith("weight"):  # a norm's, so that no sum of residuals grows large
        numbers = 0.4 + 0.2 * np.abs(numbers)
    elif name.endswith(("running_var", "input_scale")):
        numbers = 1 + 0.2 * np.abs(numbers)
    return torch.from_numpy(numbers).float()


def test_the_weights_of_slowfast_have_their_names_and_places(run, tmp_path):
    """With an eighth of the channels."""
    shapes = {row["name"]: [int(size) for size in row["shape"].split()] for row in read_rows(SAVED / "slowfast50.csv")}
    changed(run / "best.pt", model={name: drawn(name, shape) for name, shape in shapes.items()})
    app("--eval-only", run / "best.pt", "--out", tmp_path, network=partial(narrow_slowfast, blocks=BLOCKS))
    assert_close(read_rows(tmp_path / "val_predictions.csv"), read_rows(SAVED / "expected" / "slowfast50.csv"))


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_new_run_starts_from_a_checkpoint(run, name, tmp_path):
    """At a learning rate of 0 the weights stay what they were."""
    still = "--lr 0 --weight-decay 0".split()
    said = app("--init", run / name, "--data", "videos.csv", *ONE_STEP, *still, "--out", tmp_path / "new")
    assert (
        f"Started from {run / name} (weights of this program)" in said
        and "the classifier for 2 classes is loaded as well" in said
    )
    ours, theirs = load(tmp_path / "new" / "last.pt")["model"], load(SAVED / "run" / "best.pt")["model"]
    weights = [weight for weight in theirs if not re.search("running_|num_batches", weight)]
    assert len(weights) == 7 and all(torch.equal(ours[weight], theirs[weight]) for weight in weights)


def texts(page: Page, first_title: str) -> list[list[str]]:
    return [[text for text, _ in row] for row in page.table(first_title)]


def settings_of(page: Page) -> dict[str, str]:
    """As the run had them, not what their defaults are by now."""
    tables = [table for table in page.tables if table[0][0][0] == "setting"]
    return {name: value for table in tables for (name, _), (value, _), _ in table[1:]}


def test_the_report_on_a_saved_run_is_what_it_was(run, tmp_path):
    run_module("train.report", run, "-o", tmp_path / "report.html")
    page, expected = Page(tmp_path / "report.html"), read_json(SAVED / "expected" / "report.json")
    assert texts(page, "run") == expected["runs"] and texts(page, "") == expected["confusion"]
    settings = settings_of(page)
    assert {name: settings.get(name) for name in expected["settings"]} == expected["settings"]
    for sentence in expected["sentences"]:
        assert sentence in page.text, sentence


UNUSED = "--schedule mix, not temporal+ (vipriors/baseline, vipriors/cutout); "
"""The augmentation of these runs draws no schedule, so what they hold is no difference; the version that saved them
called it one."""


def test_the_tables_know_the_settings_of_saved_runs(tmp_path):
    """With every option, as the report says in what they are not the recipe's."""
    for recipe, config in (("baseline", "every_option"), ("cutout", "older"), ("framecutout", "run/config")):
        folder = tmp_path / "vipriors" / recipe / "seed-0"
        folder.mkdir(parents=True)
        shutil.copy(SAVED / f"{config}.json", folder / "config.json")
        shutil.copy(SAVED / "run" / "metrics.csv", folder)
    said = run_module("train.tables", "report", "table3", "--out", tmp_path)
    for name in ("table3.md", "table3.csv"):
        assert (tmp_path / name).read_text() == (SAVED / "expected" / name).read_text().replace(UNUSED, "")
    assert (tmp_path / "table3.md").read_text() in said
