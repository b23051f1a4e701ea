"""Training while files break and disks fill up."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.test_run import ROOT, TINY, metrics, run
from tests.videos import write_lossless


@pytest.fixture
def breaking(tmp_path) -> Path:
    """Twelve videos of two classes, of which one breaks once it was checked: the size and time of change stay."""
    for label, length in (("dark", 18), ("bright", 70)):
        for number in range(6):
            write_lossless(tmp_path / "data" / label / f"{number}.avi", length + number, (48, 64))
    options = ["--data", tmp_path / "data", *TINY, "--max-steps", 1, "--out", tmp_path / "first"]
    run(*options)
    path = tmp_path / "data" / "dark" / "3.avi"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return tmp_path


def test_a_video_that_breaks_stops_the_run(breaking):
    result = run("--data", breaking / "data", *TINY, "--epochs", 1, "--out", breaking / "out", expect=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "dark/3.avi: cannot be read as video" in errors[0]


def test_skip_replaces_counts_and_names_it(breaking):
    options = ["--data", breaking / "data", *TINY, "--epochs", 2, "--on-bad-video", "skip", "--out", breaking / "out"]
    result = run(*options, "--max-bad-percent", 10)
    assert result.stderr.count("dark/3.avi: cannot be read as video") == 2  # in training and in evaluation, once each
    assert "another of its class is shown" in result.stderr and "it is left out" in result.stderr
    assert "1 bad videos left out so far" in result.stdout
    assert [row["bad_videos"] for row in metrics(breaking / "out")] == ["1", "1"]
    stopped = run(*options, expect=2)
    assert "1 of 12 videos can no longer be read, more than max_bad_percent = 1 allows; the last: " in stopped.stderr


def test_a_full_disk_keeps_the_earlier_checkpoint(breaking):
    """A limit on the size of files stands in for the disk's end."""
    (breaking / "data" / "dark" / "3.avi").unlink()
    out = breaking / "first"
    before = torch.load(out / "last.pt", weights_only=True)
    code = (
        "import sys; from pathlib import Path; from train.checkpoint import save_checkpoint; import torch;"
        "save_checkpoint(Path(sys.argv[1]), model=torch.zeros(10**6))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(out / "last.pt")], capture_output=True, text=True, cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
    )  # fmt: skip
    assert f"InputError: {out / 'last.pt'}: cannot be written (File too large)" in result.stderr
    assert not [path for path in out.iterdir() if "draft" in path.name]
    after = torch.load(out / "last.pt", weights_only=True)
    assert after["epoch"] == before["epoch"] and after["config"] == before["config"]
