"""Runs that are killed, stopped or moved go on as if nothing had happened; checkpoints that do not fit are refused."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.training.test_run import NARROW, ROOT, TINY, metrics, run, run_here
from tests.videos import dark_and_bright

# everything that draws or remembers: augmentation, mixing, dropout, the running average, warm-up
OPTIONS = [
    *TINY,
    *"--epochs 3 --checkpoint-minutes 0 --dropout 0.5 --mix cutmix --ema 0.9 --no-tensorboard".split(),
]
EXACT = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Ten training videos, so that an epoch has three steps; two to validate."""
    return dark_and_bright(tmp_path_factory.mktemp("resume"), train=(5, 5), val=(1, 1))


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    run_here("--data", videos, *OPTIONS, "--workers", 0, "--out", out)
    return out


def start(*arguments, command=(sys.executable, *NARROW)) -> subprocess.Popen:
    command = [*command, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for_checkpoints(process: subprocess.Popen, out: Path, count: int) -> None:
    """Until so many more were written."""
    path = out / "last.pt"
    seen = {path.stat().st_mtime_ns} if path.exists() else set()
    count, end = count + len(seen), time.monotonic() + 300  # on a machine with other work
    while len(seen) < count:
        if process.poll() is not None or time.monotonic() > end:
            process.terminate()  # or its output would last as long as itself
            pytest.fail(f"{len(seen)} of {count} checkpoints: {process.communicate(timeout=60)[0][-2000:]}")
        with suppress(FileNotFoundError):  # just being replaced
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.005)


def all_ended(process: subprocess.Popen) -> bool:
    """No process of its session lives."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        alive = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if session == str(process.pid) and state != "Z":
                alive.append(folder.name)
        if not alive:
            return True
        time.sleep(0.2)
    return False


def left_in_shared_memory() -> set[str]:
    """Files that no process uses: those who made them ended and left them."""
    files = set()
    for path in Path("/dev/shm").iterdir():
        with suppress(OSError):  # just taken away
            files |= {path.name} if path.stat().st_uid == os.getuid() else set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            files -= set(re.findall(r"/dev/shm/(\S+)", path.read_text()))
    return files


def nothing_left(before: set[str]) -> bool:
    """In shared memory; a file may be about to be used, or to be taken away."""
    end = time.monotonic() + 20
    while (left := left_in_shared_memory() - before) and time.monotonic() < end:
        time.sleep(0.2)
    return not left


def same_result(a: Path, b: Path) -> None:
    rows = [[[row[name] for name in EXACT] for row in metrics(out)] for out in (a, b)]
    assert rows[0] == rows[1]
    for name, keys in (("last.pt", ("model", "ema")), ("best.pt", ("model",))):
        ours, theirs = (torch.load(out / name, weights_only=True) for out in (a, b))
        for key in keys:
            assert ours[key].keys() == theirs[key].keys()
            assert all(torch.equal(value, theirs[key][weight]) for weight, value in ours[key].items()), (name, key)


def test_a_killed_run_goes_on_bit_by_bit(videos, whole, tmp_path):
    """SIGTERM within the first epoch, SIGKILL later; other numbers of workers."""
    before = left_in_shared_memory()
    for number, checkpoints in ((signal.SIGTERM, 1), (signal.SIGKILL, 2)):
        workers = 2 if number == signal.SIGTERM else 1
        process = start("--data", videos, *OPTIONS, "--workers", workers, "--out", tmp_path, "--resume", "auto")
        wait_for_checkpoints(process, tmp_path, checkpoints)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output[-2000:]
        assert all_ended(process)
    assert nothing_left(before)
    result = run("--resume", "--data", videos, *OPTIONS, "--workers", 0, "--out", tmp_path, program=NARROW)
    assert f"Resuming from {tmp_path / 'last.pt'}: " in result.stdout
    same_result(whole, tmp_path)
    starts = json.loads((tmp_path / "environment.json").read_text())
    assert len(starts) == 3 and "--resume" in starts[-1]["command"]
    again = run_here("--resume", "--out", tmp_path)  # settings are the checkpoint's; nothing is left to do
    assert "3 epochs and 0 steps are done" in again.stdout and "best validation" in again.stdout


def test_a_run_stopped_by_ctrl_c_ends_cleanly(videos, tmp_path):
    """The signal reaches the decoding processes too, as does that of torchrun or Slurm (test_processes.py)."""
    before = left_in_shared_memory()
    options = [*OPTIONS, "--checkpoint-minutes", 1000, "--epochs", 500, "--workers", 2]
    process = start("--data", videos, *options, "--out", tmp_path)
    wait_for_checkpoints(process, tmp_path, 1)  # the first epoch's
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGINT and "stopped by SIGINT" in output
    assert "Traceback" not in output, output[-3000:]
    assert all_ended(process) and nothing_left(before)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    rows = len(metrics(tmp_path))
    assert state["epoch"] == rows == len(state["metrics"]) and (tmp_path / "previous.pt").exists()


def test_stopped_while_evaluating(videos, tmp_path):
    """The epoch's training is not lost, and its evaluation is made up for."""
    long = "--checkpoint-minutes 1000 --epochs 1 --eval-clips 200".split()
    options = ["--data", videos, *OPTIONS, *long, "--out", tmp_path]
    command = [sys.executable, *NARROW, *map(str, options)]
    terminal, side = pty.openpty()  # only there are short evaluations seen to begin
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=side, stderr=side, env=os.environ | {"TERM": "xterm"}, start_new_session=True
    )
    os.close(side)
    end, output = time.monotonic() + 120, b""
    while b"evaluating:" not in output:
        assert process.poll() is None and time.monotonic() < end, output[-2000:]
        output += os.read(terminal, 10**6) if select.select([terminal], [], [], 1.0)[0] else b""
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    os.close(terminal)
    assert process.returncode == 143
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (0, 3) and state["metrics"] == []
    run_here("--resume", "--workers", 0, "--out", tmp_path)
    (row,) = metrics(tmp_path)
    assert float(row["train_loss"]) > 0 and row["val_top1"] != ""


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def refused(*arguments) -> str:
    result = run_here(*arguments, expect=2)
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return error


def test_a_checkpoint_that_does_not_fit_is_refused(videos, copy, tmp_path):
    last, files = copy / "last.pt", sorted(path.name for path in copy.iterdir())
    assert refused("--resume", "--lr", "0.5", "--epochs", 4, "--out", copy) == (
        f"error: {last}: was trained with --lr 0.001, not 0.5, --epochs 3, not 4; to resume, leave these options out; "
        "to start a new run, choose another --out; to train a new run from its weights, give its options and --init "
        f"{last} --epochs 4 --out OTHER"
    )
    assert "was trained with --short-videos slow_down, not pad;" in refused(
        "--resume", "--short-videos", "pad", "--out", copy
    )
    assert refused("--resume", "--lr", "0.5", "--out", copy).endswith("to start a new run, choose another --out")
    moved = Path(shutil.copytree(videos, tmp_path / "moved"))
    (moved / "train" / "dark" / "3.avi").rename(moved / "train" / "dark" / "7.avi")
    assert (
        f"{last}: was trained on 10 videos, with dark/3.avi (21 frames) as video 8, but now there are 10 videos, "
        "with dark/4.avi" in refused("--resume", "--data", moved, "--out", copy)
    )
    data = last.read_bytes()
    for broken in (
        data[: len(data) // 2],
        data[:0],
        data[: len(data) // 3] + bytes(1000) + data[len(data) // 3 + 1000 :],
    ):
        last.write_bytes(broken)
        error = refused("--resume", "--out", copy)
        assert (
            f"{last}: is cut off, damaged or not a checkpoint" in error
            and f"another checkpoint is {copy / 'previous.pt'}" in error
        )
    assert sorted(path.name for path in copy.iterdir()) == files  # nothing was moved or overwritten
    assert "no such file, so there is no run to resume" in refused("--resume", "--out", tmp_path / "new")
    assert f"{copy / 'best.pt'}: contains only weights; resume from last.pt, or start a new run" in refused(
        "--resume", copy / "best.pt"
    )
    state = torch.load(copy / "previous.pt", weights_only=True)
    torch.save({name: value for name, value in state.items() if name not in ("sums", "val_videos")}, last)
    assert (
        f"error: {last}: was written by another version of this program and lacks sums, val_videos; "
        "start a new run from its weights" in refused("--resume", "--out", copy)
    )
    torch.save({"a": 1}, last)
    assert "is not a checkpoint of train/run.py" in refused("--resume", "--out", copy)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_longer_training_starts_from_a_checkpoint_as_the_refusal_says(videos, whole, tmp_path, name):
    error = refused("--resume", "--epochs", 4, "--out", whole)
    words = re.search(r"(--init \S+ --epochs 4) --out OTHER$", error)[1].replace("last.pt", name).split()
    options = ["--data", videos, *OPTIONS, "--workers", 0, "--max-steps", 1, "--out", tmp_path]
    result = run_here(*options, *words)
    assert f"Started from {whole / name} (weights of this program)" in result.stdout
    assert "the classifier for 2 classes is loaded as well" in result.stdout and len(metrics(tmp_path)) == 1


def test_the_previous_checkpoint_is_as_good(whole, copy):
    """A kill between the two renamings leaves no last.pt; and a damaged one can be named by hand."""
    (copy / "last.pt").unlink()
    (copy / "metrics.csv").unlink()
    result = run_here("--resume", "auto", "--workers", 0, "--out", copy)
    assert f"Resuming from {copy / 'previous.pt'}: 2 epochs and 2 steps are done" in result.stdout
    same_result(whole, copy)


def test_a_run_may_go_on_elsewhere(whole, copy, tmp_path):
    """What is in the other folder is set aside; the best epoch so far goes along."""
    other = shutil.copytree(copy, tmp_path / "other")
    (other / "last.pt").write_text("an earlier run's")
    result = run_here("--resume", copy / "previous.pt", "--workers", 0, "--out", other)
    assert f"Moved the earlier run in {other} to {other / 'earlier-1'}." in result.stdout
    assert (other / "earlier-1" / "last.pt").read_text() == "an earlier run's"
    same_result(whole, other)
    (copy / "last.pt").unlink()
    run_here(
        "--resume", copy / "previous.pt"
    )  # without --out it goes on where the checkpoint is, not where that was made
    same_result(whole, copy)
    assert "The training is already complete." in run_here("--resume", copy / "last.pt").stdout


def test_auto_starts_anew_where_there_is_nothing(videos, tmp_path):
    result = run_here(
        "--data", videos, *OPTIONS, "--workers", 0, "--max-steps", 1, "--out", tmp_path, "--resume", "auto"
    )
    assert "Resuming" not in result.stdout and len(metrics(tmp_path)) == 1
