"""Training and evaluating while files break and disks fill up."""

import csv
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

from dali_pipes import InputError
from tests.training.evaluated import CLASSES, predictions, scores_of
from tests.training.test_run import HERE, NARROW, TINY, metrics, run, run_here
from tests.videos import write_lossless
from train.engine.logbook import Logbook
from train.weights.checkpoint import save_checkpoint


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
    assert "another video of its class is used instead" in result.stderr and "it is left out" in result.stderr
    assert "unreadable videos so far: 1" in result.stdout
    assert [row["bad_videos"] for row in metrics(breaking / "out")] == ["1", "1"]
    stopped = run_here(*options, "--workers", 0, expect=2)
    assert (
        "1 of 12 videos can no longer be read, which is more than --max-bad-percent 1 allows; the last one is "
        in stopped.stderr
    )


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
        with pytest.raises(InputError, match="tensorboard: cannot be written .File too large.; use --no-tensorboard"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
            Logbook(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == (
        f"{tmp_path / 'tensorboard'}: cannot be written (File too large); "
        "use --no-tensorboard to train without TensorBoard"
    )
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("narrow")
def test_a_class_whose_only_videos_are_bad_is_left_out(app, networks, split_videos, tmp_path):
    """The rest is scored as ever; the class has no videos in the tables, and its videos no scores."""
    data, last = shutil.copytree(split_videos / "val", tmp_path / "val"), networks / "a" / "last.pt"
    (data / "dark" / "1.avi").unlink()
    options = ["--eval-only", last, "--data", data, "--predict", "--out", tmp_path / "out"]
    expected = app(*options) and scores_of(tmp_path / "out")
    path = data / "dark" / "0.avi"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    said = app(*options, "--on-bad-video", "skip", "--max-bad-percent", 20)
    assert (
        f"Videos that could no longer be read and have no scores: 1, for example {path}" in said.out
        and "4 videos" in said.out
    )
    rows = predictions(tmp_path / "out")
    assert [row["label"] for row in rows] == ["bright", "bright", "dark", "striped", "striped"]
    assert rows[2]["path"] == str(path) and not rows[2]["class_1"]
    known = torch.tensor([0, 1, 3, 4])
    found = [{row[f"class_{n}"]: float(row[f"probability_{n}"]) for n in (1, 2, 3)} for row in rows if row["class_1"]]
    found_VK = torch.tensor([[scores[name] for name in CLASSES] for scores in found], dtype=torch.float64)
    torch.testing.assert_close(found_VK, expected[known], rtol=0, atol=2e-6)
    right = (expected[known].argmax(1) == torch.tensor([0, 0, 2, 2])).double().mean()
    assert said.accuracy(last)["top1"] == pytest.approx(100 * float(right), abs=0.006)
    with open(tmp_path / "out" / "val_classes.csv") as file:
        assert [(row["class"], row["videos"]) for row in csv.DictReader(file)] == [
            ("bright", "2"),
            ("dark", "0"),
            ("striped", "2"),
        ]
    assert (
        "1 of 5 videos can no longer be read"
        in app(*options, "--on-bad-video", "skip", "--max-bad-percent", 19, expect=2).error
    )
