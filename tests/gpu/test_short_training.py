"""Trainings on a GPU give the losses of the same training on the CPU, step by step, also where they go on from a
checkpoint."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.videos import write_lossless
from train.config.options import Config
from train.data.loaders import make_loaders
from train.data.videos import load_manifests
from train.engine.logbook import Logbook
from train.engine.loop import train_step
from train.engine.network import make_network
from train.engine.training import Training
from train.run import main
from train.runtime.processes import Processes

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
# 3 full steps an epoch. Without what a device draws or rounds by itself: dropout, operations that magnify a grey level
SETTINGS = {
    "num_frames": 32,
    "crop_px": 64,
    "batch_size": 4,
    "epochs": 2,
    "eval_clips": 1,
    "dropout": 0.0,
    "aug": "none",
}
# of a step's loss, which falls from 0.7 to 0.15. On the CPU, noise of a grey level moves it by up to 0.007, bfloat16 by
# up to 0.004; a step that leaves the weights as they were by 0.07
MOST_APART = {"fp32": 0.015, "bf16": 0.03, "fp16": 0.03}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two classes, dark and bright ones."""
    root = tmp_path_factory.mktemp("dark and bright")
    for split, count in (("train", 6), ("val", 2)):
        for label, length in (("dark", 18), ("bright", 70)):
            for number in range(count):
                path = root / split / label / f"{number}.mp4"
                write_lossless(path, length + number, (192, 256), codec="libx264", qp=4)
    return root


def make_training(videos, out, device, precision):
    out.mkdir(exist_ok=True)
    config = Config(
        data=str(videos),
        out=str(out),
        device=device,
        precision=precision,
        workers=0,
        decoder="cpu",
        tf32=False,
        **SETTINGS,
    )
    train_videos, val_videos, _ = load_manifests(config)
    loaders = make_loaders(config, train_videos, val_videos, Processes())
    torch.manual_seed(0)
    network = make_network(config, len(train_videos.classes)).to(device)
    training = Training(config, Processes(), network, *loaders, Logbook(None))
    # the search for the fastest kernels takes longer than all steps; the program below has it
    torch.backends.cudnn.benchmark = False
    if precision == "fp16":  # no step is skipped while it finds out how far it can go
        training.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**8)
    training.parallel.train()
    return training


def losses_of(videos, out, device, precision="fp32", goes_on_anew=False):
    """Each step's loss per clip; with ``goes_on_anew`` the second epoch is that of another training, which is given the
    first one's state."""
    training, losses = make_training(videos, out, device, precision), []
    for epoch in range(SETTINGS["epochs"]):
        if epoch and goes_on_anew:
            state = training.state_dict() | {"epoch": epoch}
            training.close()
            training = make_training(videos, out, device, precision)
            training.load_state_dict(state)
        for batch in training.train_loader:
            losses.append(train_step(training, batch, len(losses))[0].item() / len(batch))
    training.close()
    return losses


@pytest.fixture(scope="module")
def losses_on_cpu(videos, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        losses = losses_of(videos, tmp_path_factory.mktemp("cpu"), "cpu")
    finally:
        torch.set_num_threads(threads)
    assert len(losses) == 6 and losses[0] > 0.5 and max(losses[-2:]) < 0.3
    return losses


@pytest.mark.parametrize("precision", list(MOST_APART))
def test_losses_are_those_of_the_cpu(videos, losses_on_cpu, tmp_path, precision):
    losses = losses_of(videos, tmp_path, "cuda", precision, goes_on_anew=True)
    assert losses == pytest.approx(losses_on_cpu, rel=0, abs=MOST_APART[precision])


def test_a_short_training(videos, losses_on_cpu, tmp_path, capsys):
    """The program, with NVDEC, in the precision that it chooses; then it finds that nothing is left to do."""
    out = tmp_path / "out"
    options = [f"--{name.replace('_', '-')} {value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "train/run.py", "--data", str(videos), "--out", str(out), *" ".join(options).split()]
    command += "--device cuda --decoder gpu --workers 2".split()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "decoding on gpu" in result.stdout
    with open(out / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    means = [sum(losses_on_cpu[first : first + 3]) / 3 for first in (0, 3)]
    assert [float(row["train_loss"]) for row in rows] == pytest.approx(means, rel=0, abs=MOST_APART["bf16"])
    assert main(["--resume", "--out", str(out)]) == 0
    assert "2 epochs and 0 steps are done" in capsys.readouterr().out
