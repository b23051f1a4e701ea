"""Training while files break and disks fill up."""

import os
import resource
from pathlib import Path

import pytest
import torch

from dali_pipes import InputError
from tests.training.test_run import HERE, NARROW, TINY, metrics, run, run_here
from tests.videos import write_lossless
from train.checkpoint import save_checkpoint
from train.logbook import Logbook


@pytest.fixture
def breaking(tmp_path) -> Path:
    """Twelve videos of two classes, of which one breaks once it was checked: the size and time of change stay."""
    for label, length in (("dark", 18), ("bright", 70)):
        for number in range(6):
            write_lossless(tmp_path / "data" / label / f"{number}.avi", length + number, (48, 64))
    options = ["--data", tmp_path / "data", *HERE, "--aug", "none", "--max-steps", 1, "--out", tmp_path / "first"]
    run_here(*options)
    path = tmp_path / "data" / "dark" / "3.avi"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return tmp_path


def test_a_video_that_breaks_stops_the_run(breaking):
    options = ["--data", breaking / "data", *HERE, "--epochs", 1, "--out", breaking / "out"]
    result = run_here(*options, expect=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "dark/3.avi: cannot be read as video" in errors[0]


def test_skip_replaces_counts_and_names_it(breaking):
    options = ["--data", breaking / "data", *TINY, "--epochs", 2, "--on-bad-video", "skip", "--out", breaking / "out"]
    result = run(*options, "--max-bad-percent", 10, program=NARROW)  # pytest would take its log
    assert result.stderr.count("dark/3.avi: cannot be read as video") == 2  # in training and in evaluation, once each
    assert "another of its class is shown" in result.stderr and "it is left out" in result.stderr
    assert "1 bad videos left out so far" in result.stdout
    assert [row["bad_videos"] for row in metrics(breaking / "out")] == ["1", "1"]
    stopped = run_here(*options, "--workers", 0, expect=2)
    assert "1 of 12 videos can no longer be read, more than max_bad_percent = 1 allows; the last: " in stopped.stderr


def test_a_full_disk_keeps_the_earlier_checkpoint(breaking):
    """A limit on the size of files stands in for the disk's end."""
    (breaking / "data" / "dark" / "3.avi").unlink()
    out = breaking / "first"
    before = torch.load(out / "last.pt", weights_only=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        with pytest.raises(InputError) as error:
            save_checkpoint(out / "last.pt", model=torch.zeros(10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == f"{out / 'last.pt'}: cannot be written (File too large)"
    assert not [path for path in out.iterdir() if "draft" in path.name]
    after = torch.load(out / "last.pt", weights_only=True)
    assert after["epoch"] == before["epoch"] and after["config"] == before["config"]


def test_a_full_disk_under_tensorboard_is_one_sentence(tmp_path, capsys):
    """It writes in a thread of its own, which fails first."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    logbook = Logbook(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(InputError) as error:
            for step in range(10):
                logbook.scalars(step, {f"number {number}": number for number in range(100)})
                logbook.flush()
        logbook.close()
        with pytest.raises(InputError, match="tensorboard: cannot be written .File too large.; --no-tensorboard"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
            Logbook(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == (
        f"{tmp_path / 'tensorboard'}: cannot be written (File too large); --no-tensorboard trains without it"
    )
    assert capsys.readouterr() == ("", "")
