"""Several processes by torchrun, on the CPU: the same plan as one, exact gradients, metrics and evaluation."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dali_pipes import InputError
from tests.training.engine.test_resume import (
    all_ended,
    left_in_shared_memory,
    nothing_left,
    start,
    wait_for_checkpoints,
)
from tests.training.linear_run import main as linear_run
from tests.training.test_run import NARROW, ROOT, TINY, metrics, run_here
from tests.videos import dark_and_bright
from train.runtime.processes import Processes


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Eleven and five videos: no number of processes divides them."""
    return dark_and_bright(tmp_path_factory.mktemp("processes"), train=(6, 5), val=(3, 2))


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
TORCHRUN_2 = [*TORCHRUN, "--nproc-per-node=2", *NARROW]


def torchrun(processes: int, *arguments, expect=0) -> subprocess.CompletedProcess:
    command = [*TORCHRUN, f"--nproc-per-node={processes}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert result.returncode == expect, result.stderr[-3000:]
    return result


def linear(processes: int, videos: Path, out: Path, stop_after: int = 0) -> str:
    return torchrun(processes, "-m", "tests.training.linear_run", videos, out, 3, stop_after).stdout


def linear_alone(videos: Path, out: Path) -> None:
    threads = torch.get_num_threads()
    linear_run(str(videos), str(out), 3, 0)
    torch.set_num_threads(threads)


def samples(output: str) -> set[tuple[int, int]]:
    found = re.findall(r"sample (\d+) (\d+) of process \d+", output)
    return {(int(epoch), int(sample)) for epoch, sample in found}


@pytest.fixture(scope="module")
def alone(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    linear_alone(videos, out)
    return out


def same(a: Path, b: Path) -> None:
    """Losses, accuracies and weights, but for the order of sums."""
    for row, other in zip(metrics(a), metrics(b), strict=True):
        for name in ("train_loss", "train_top1", "val_loss", "val_top1", "lr"):
            assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-5), name
    ours, theirs = (torch.load(out / "last.pt", weights_only=True)["model"] for out in (a, b))
    assert all(torch.allclose(value, theirs[name], rtol=1e-4, atol=1e-6) for name, value in ours.items())


def test_training_is_the_same_whatever_the_processes(videos, alone, tmp_path):
    """Eleven videos are steps of 4, 4 and 3: in the last, one process of four has no clip."""
    output = linear(4, videos, tmp_path / "out")
    assert samples(output) >= {(epoch, sample) for epoch in range(3) for sample in range(11)}
    assert len({line.split()[-1] for line in output.splitlines() if line.startswith("sample")}) == 4
    same(alone, tmp_path / "out")


def test_resuming_with_another_number_of_processes(videos, alone, tmp_path):
    """One of two processes is asked to end in the middle of the second epoch; a single one goes on.

    In the last step of the first epoch, one of the two has fewer parts.
    """
    out = tmp_path / "out"
    output = linear(2, videos, out, stop_after=8)
    assert samples(output) >= {(0, sample) for sample in range(11)}
    places = re.findall(r"stopped (\d) (\d)", output)
    assert len(places) == 2 and len(set(places)) == 1 and places[0][1] != "0"
    linear_alone(videos, out)
    same(alone, out)


def test_the_whole_app_with_two_processes(videos, tmp_path):
    """Its evaluation is what a single process finds for the same weights, each video counted once."""
    options = ["--data", videos, *TINY, "--epochs", 1, "--eval-clips", 1, "--no-tensorboard", "--out", tmp_path / "out"]
    result = torchrun(2, *NARROW, *options)
    assert result.stdout.count("training on cpu in fp32 in 2 processes") == 1
    assert result.stdout.count("best validation top-1") == 1
    (row,) = metrics(tmp_path / "out")
    alone = run_here("--eval-only", tmp_path / "out" / "last.pt", "--workers", 0)
    found = re.search(r"top-1 ([\d.]+) %.*loss ([\d.]+); 5 videos", alone.stdout)
    assert float(found[1]) == pytest.approx(float(row["val_top1"]), abs=0.01)
    assert float(found[2]) == pytest.approx(float(row["val_loss"]), abs=1e-4)
    both = torchrun(2, *NARROW, "--eval-only", tmp_path / "out" / "last.pt", "--workers", 0)
    assert found[0] in both.stdout


WAITING = """
import sys, time
from datetime import timedelta
from train.runtime import processes
processes.PATIENCE = timedelta(seconds=1)
with processes.join_processes() as own:
    with own.local_main_process_first():
        time.sleep(0 if own.local_rank else 3)
        sys.stdout.write(f"process {own.rank} reads\\n")
        sys.stdout.flush()
    # at once: print writes a piece at a time, which may mix with others
    sys.stdout.write(f"agreed {own.all_equal(1)}\\n")
    sys.stdout.flush()
"""


def test_processes_wait_as_long_as_the_first_one_checks_videos():
    """Three times longer than they wait for each other in a step."""
    output = torchrun(2, "--no-python", sys.executable, "-c", WAITING).stdout
    assert output.splitlines() == ["process 0 reads", "process 1 reads", "agreed True", "agreed True"]


def test_torchrun_that_is_asked_to_end(videos, tmp_path):
    """It passes SIGTERM on to the groups of its processes, so that their decoding processes get it too."""
    before = left_in_shared_memory()
    lasting = "--epochs 500 --eval-clips 1 --no-tensorboard --checkpoint-minutes 1000".split()
    options = ["--data", videos, *TINY, *lasting]
    process = start(*options, "--out", tmp_path, command=TORCHRUN_2)
    wait_for_checkpoints(process, tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert output.count("stopped by SIGTERM") == 2 and "error: " not in output, output[-3000:]
    assert all_ended(process) and nothing_left(before)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["epoch"] == len(metrics(tmp_path)) and (tmp_path / "previous.pt").exists()
    result = run_here("--resume", "--out", tmp_path, "--max-steps", 3, expect=2)
    assert "was trained with --max-steps 0, not 3" in result.stderr


def test_processes_that_cannot_be(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Processes(1, 2, 1, 2).device("auto") == "cuda:1" and Processes().device("auto") == "auto"
    assert Processes(1, 4, 1, 4).device("cpu") == "cpu"
    with pytest.raises(
        InputError,
        match="Cannot start 4 processes on a machine with 2 GPUs: .*; start torchrun with --nproc-per-node=2",
    ):
        Processes(1, 4, 1, 4).device("auto")
    with pytest.raises(
        InputError,
        match="Invalid --device cuda:0: is one GPU, but there are 2 processes; choose cuda, which gives each",
    ):
        Processes(1, 2, 1, 2).device("cuda:0")


@pytest.mark.parametrize("others, agree", [([7, 7], True), ([7, 8], False), ([6, 8], False)])
def test_processes_agree(monkeypatch, others, agree):
    """Also on numbers whose squares no float holds."""
    for number in (7, 150_000_007):
        far = [number - 7 + other for other in others]

        def all_reduce(numbers, far=far):  # what the other two processes hand in
            numbers += torch.tensor([0.0, *far], dtype=torch.float64)

        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        assert Processes(rank=0, world_size=3).all_equal(number) == agree


def test_what_is_wrong_is_said(videos):
    options = ["--data", videos, *TINY, "--batch-size", 3]
    result = torchrun(2, "train/run.py", *options, expect=1)
    assert "error: Invalid --batch-size 3: must be a multiple of the number of processes, 2" in result.stderr
