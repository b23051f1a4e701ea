"""A training of a linear model, without batch norm: the same whatever the number of processes, but for rounding.

``python -m tests.training.linear_run DATA OUT EPOCHS STOP_AFTER``, or by torchrun; it resumes where OUT/last.pt is.
Prints what it trains on: the videos of each step.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from train.config.options import small
from train.data.loaders import make_loaders
from train.data.videos import load_manifests
from train.engine.logbook import Logbook
from train.engine.loop import fit
from train.engine.training import Training
from train.runtime.processes import Processes, join_processes
from train.runtime.stop import Stopped, StopRequest
from train.weights.checkpoint import load_checkpoint


class Linear(torch.nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 16, classes)

    def forward(self, clips_BCTHW):
        return self.layer(torch.nn.functional.adaptive_avg_pool3d(clips_BCTHW, (1, 4, 4)).flatten(1))


def make_training(data: str, out: str, processes: Processes = Processes(), **changes) -> Training:  # noqa: B008
    """A training of :class:`Linear` in this process."""
    chosen = {"device": "cpu", "precision": "fp32", "lr": 0.05, "tensorboard": False} | changes
    config = replace(small(), data=data, out=out, num_frames=16, crop_px=48, batch_size=4, workers=0, **chosen)
    with processes.local_main_process_first():
        train_videos, val_videos, _ = load_manifests(config)
    Path(out).mkdir(exist_ok=True)
    loaders = make_loaders(config, train_videos, val_videos, processes)
    torch.manual_seed(0)
    return Training(config, processes, Linear(2).to(loaders[0].device), *loaders, Logbook(None))


def main(data: str, out: str, epochs: int, stop_after: int) -> None:
    torch.set_num_threads(1)
    with join_processes() as processes, StopRequest() as stop:
        training = make_training(data, out, processes, epochs=epochs, accumulate=2, label_smoothing=0.1)
        loader = training.train_loader
        if (Path(out) / "last.pt").exists():
            training.load_state_dict(load_checkpoint(Path(out) / "last.pt"))

        def note(module, inputs):
            nonlocal stop_after
            stop_after -= 1
            if stop_after == 0 and processes.rank == processes.world_size - 1:
                stop.number = signal.SIGTERM  # one of them is asked to end: all must

        loader.clip_sampler.__dict__["plan"] = _noting(loader.clip_sampler, processes)
        training.model.register_forward_pre_hook(
            lambda module, inputs: note(module, inputs) if module.training else None
        )
        try:
            fit(training, stop)
        except Stopped:
            os.write(1, f"stopped {training.epoch} {training.step}\n".encode())


def _noting(sampler, processes):
    """Writes each training sample that this process asks for."""

    def plan(epoch, sample, video=None):
        os.write(
            1, f"sample {epoch} {sample} of process {processes.rank}\n".encode()
        )  # whole lines, whoever else writes
        return type(sampler).plan(sampler, epoch, sample, video)

    return plan


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
