"""What a training consists of, and its state: what a checkpoint holds.

All chance of a step comes from the seed and the step's number, so what a checkpoint must hold besides weights and the
optimizer's state is how far the run is.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dali_pipes import VideoLoader
from dali_pipes.errors import InputError

from ..config.options import Config
from ..mixing.apply import build_mix, one_hot
from ..models.zoo import frame_weights_of
from ..runtime.processes import Processes
from ..runtime.run_files import LAST, PREVIOUS
from ..weights.checkpoint import save_checkpoint, video_names
from .logbook import Logbook
from .precision import prepare, scaler_for


def make_mix(config: Config, num_classes: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """``mix(clips_BCTHW, labels_B, generator=...) -> clips, targets_BK``; changes nothing if ``--mix`` is none."""
    if config.mix == "none":
        return lambda clips_BCTHW, labels_B, *, generator: (clips_BCTHW, one_hot(labels_B, num_classes))
    seen = frame_weights_of(config.model, config.frames) if config.mix_labels == "seen_frames" else None
    return build_mix(config.mix, num_classes, config.mix_alpha, config.mix_prob, per_sample=config.mix_draw == "clip",
                     frame_weights_T=seen, overwrite=True)  # fmt: skip


@dataclass
class Sums:
    """What the metrics of an epoch are made of, so far; over all processes, but for the times, which are the first one's."""

    loss: float = 0.0
    credit: float = 0.0
    most_credit: float = 0.0
    clips: float = 0.0
    wait_s: float = 0.0
    seconds: float = 0.0


@dataclass
class Training:
    """What a training consists of, and how far it is."""

    config: Config
    processes: Processes
    model: torch.nn.Module
    train_loader: VideoLoader
    val_loader: VideoLoader
    logbook: Logbook
    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done of the epoch in progress."""
    sums: Sums = field(default_factory=Sums)
    """Of the epoch in progress."""
    rows: list[dict] = field(default_factory=list)
    """Metrics of the epochs done."""
    bad_paths: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        config, device = self.config, self.train_loader.device
        prepare(self.model, config, device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, weight_decay=config.weight_decay,
                                          fused=config.fused_adam and device.type == "cuda" or None)  # fmt: skip
        self.scaler = scaler_for(config)
        self.ema = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        if self.ema and config.compile:
            self.ema.module.compile()  # a copy is not compiled
        self.parallel = self.processes.parallel(self.model)
        self.mix = make_mix(config, len(self.classes))
        steps = config.epochs * len(self.train_loader)
        self.total_steps = min(steps, config.max_steps) if config.max_steps else steps
        self.epochs = -(-self.total_steps // len(self.train_loader))
        self.saved_at = time.monotonic()

    @property
    def classes(self) -> list[str]:
        return self.train_loader.manifest.classes

    @property
    def loaders(self) -> tuple[VideoLoader, VideoLoader]:
        return self.train_loader, self.val_loader

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network whose accuracy counts."""
        return self.ema.module if self.ema else self.model

    @property
    def steps_of_epoch(self) -> int:
        return min(len(self.train_loader), self.total_steps - self.epoch * len(self.train_loader))

    def state(self) -> dict:
        """All that :meth:`restore` needs."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": asdict(self.sums),
            "metrics": self.rows,
            "bad_paths": sorted(self.bad_paths.union(*map(_bad_paths, self.loaders))),
            "config": asdict(self.config),
            "classes": self.classes,
            "videos": video_names(self.train_loader.manifest),
            "val_videos": video_names(self.val_loader.manifest),
        }

    def restore(self, state: dict) -> None:
        """Continue where :meth:`state` was, perhaps on another device or in another precision."""
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        fused = self.optimizer.param_groups[0]["fused"]
        # this run's choice, not the checkpoint's; said before loading, which puts the steps where a fused kernel looks for them
        groups = [group | {"fused": fused} for group in state["optimizer"]["param_groups"]]
        self.optimizer.load_state_dict(state["optimizer"] | {"param_groups": groups})
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                moments = self.optimizer.state[parameter]
                for name in (
                    "exp_avg",
                    "exp_avg_sq",
                ):  # fused kernels take it that they lie in memory as the weights do
                    if name in moments:
                        moments[name] = torch.empty_like(parameter).copy_(moments[name])
        if state["scaler"]:  # only fp16 has any
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.rows = state["epoch"], state["step"], state["metrics"]
        self.sums, self.bad_paths = Sums(**state["sums"]), set(state["bad_paths"])
        for loader in self.loaders:
            places = {video.path: place for place, video in enumerate(loader.manifest.videos)}
            known = self.bad_paths & set(places)
            loader.bad_videos |= {
                places[path]: f"{path}: could not be read before the run was resumed" for path in known
            }
        self.train_loader.seek(self.epoch, self.step)

    def close(self) -> None:
        """End the decoding processes and the log."""
        for loader in self.loaders:
            loader.close()
        self.logbook.close()

    def save(self) -> None:
        """Write the last checkpoint, and keep the one before.

        Raises:
            InputError: the weights are no longer numbers; the checkpoints stay as they are.
        """
        self.saved_at = time.monotonic()
        if self.processes.is_first:
            if not torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()]).all():
                raise InputError("the weights are no longer numbers, so no checkpoint is written; lower --lr")
            out = Path(self.config.out)
            save_checkpoint(out / LAST, keep_as=out / PREVIOUS, **self.state())
            self.logbook.flush()


def _bad_paths(loader: VideoLoader) -> set[str]:
    return {loader.manifest.videos[video].path for video in loader.bad_videos}
