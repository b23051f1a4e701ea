"""Parts of a training, and its state: the content of a checkpoint.

All chance of a step comes from the seed and the step's number, so what a checkpoint must hold besides weights and the
optimizer's state is how far the run is.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

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
from .precision import compile_if_chosen, prepare, scaler_for


def make_mix(config: Config, num_classes: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Return ``mix(clips_BCTHW, labels_B, generator=...) -> clips, targets_BK``; it mixes nothing without ``--mix``."""
    if config.mix == "none":
        return lambda clips_BCTHW, labels_B, *, generator: (clips_BCTHW, one_hot(labels_B, num_classes))
    seen = frame_weights_of(config.model, config.num_frames) if config.mix_labels == "seen_frames" else None
    return build_mix(
        config.mix,
        num_classes,
        config.mix_alpha,
        config.mix_prob,
        per_sample=config.mix_draw == "clip",
        frame_weights_T=seen,
        overwrite=True,
    )


@dataclass
class Sums:
    """Running sums for the metrics of an epoch, over all processes; the times are those of the first process."""

    loss: float = 0.0
    credit: float = 0.0
    most_credit: float = 0.0
    clips: float = 0.0
    wait_s: float = 0.0
    seconds: float = 0.0

    def add(self, **numbers: float) -> None:
        """Add numbers to the sums of the same names."""
        for name, number in numbers.items():
            setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True)
class StateEntry:
    """One entry of a checkpoint: how it is taken from a training, and how a training takes it back."""

    save: Callable[["Training"], Any]
    load: Callable[["Training", Any], None] | None = None
    """None for what is read before there is a training, to build it and to check that it is the same."""


def _stateful(name: str, load: Callable[[Any, Any], None] | None = None) -> StateEntry:
    """An attribute with a state of its own, or None. ``load(attribute, state)`` takes its load_state_dict's place."""

    def save_it(training: "Training") -> Any:
        own = getattr(training, name)
        return None if own is None else own.state_dict()

    def load_it(training: "Training", state: Any) -> None:
        own = getattr(training, name)
        if own is None or state == {}:  # a scaler has nothing to keep but in fp16
            return
        if load:
            load(own, state)
        else:
            own.load_state_dict(state)

    return StateEntry(save_it, load_it)


def _attribute(name: str) -> StateEntry:
    """An attribute that is kept as it is."""
    return StateEntry(lambda training: getattr(training, name), lambda training, value: setattr(training, name, value))


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load an optimizer's state, but for what depends on the device."""
    fused = optimizer.param_groups[0]["fused"]
    # said before loading, which puts the steps where a fused kernel looks for them
    groups = [group | {"fused": fused} for group in state["param_groups"]]
    optimizer.load_state_dict(state | {"param_groups": groups})
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            moments = optimizer.state[parameter]
            # fused kernels take it that they lie in memory as the weights do
            for name in {"exp_avg", "exp_avg_sq"} & set(moments):
                moments[name] = torch.empty_like(parameter).copy_(moments[name])


def _load_sums(training: "Training", sums: dict[str, float]) -> None:
    training.sums = Sums(**sums)


def _save_bad_paths(training: "Training") -> list[str]:
    met = ({loader.manifest.videos[video].path for video in loader.bad_videos} for loader in training.loaders)
    return sorted(training.bad_paths.union(*met))


def _load_bad_paths(training: "Training", paths: list[str]) -> None:
    training.bad_paths = set(paths)
    for loader in training.loaders:
        for place, video in enumerate(loader.manifest.videos):  # a file may be several, its segments
            if video.path in training.bad_paths:
                loader.bad_videos[place] = (
                    f"{video.path}: could not be read in the part of the run before it was resumed"
                )


STATE = {
    "model": _stateful("model"),
    "ema": _stateful("ema"),
    "optimizer": _stateful("optimizer", _load_optimizer),
    "scaler": _stateful("scaler"),
    "epoch": _attribute("epoch"),
    "step": _attribute("step"),
    "sums": StateEntry(lambda training: asdict(training.sums), _load_sums),
    "metrics": _attribute("rows"),
    "bad_paths": StateEntry(_save_bad_paths, _load_bad_paths),
    "config": StateEntry(lambda training: asdict(training.config)),
    "classes": StateEntry(lambda training: training.classes),
    "videos": StateEntry(lambda training: video_names(training.train_loader.manifest)),
    "val_videos": StateEntry(lambda training: video_names(training.val_loader.manifest)),
}
"""The parts of a checkpoint. Their names are the same in all versions, so older and newer programs can load it."""


def check_complete(state: dict[str, Any], path: Path) -> None:
    """Raise :class:`InputError` if a checkpoint lacks something that a run needs to go on."""
    missing = [name for name in STATE if name not in state]
    if missing:
        raise InputError(
            f"{path}: was written by another version of this program and lacks {', '.join(missing)}; "
            "start a new run from its weights with --init"
        )


@torch.no_grad()
def update_average(ema: AveragedModel, model: torch.nn.Module) -> None:
    """Do what ``ema.update_parameters(model)`` does, without its wait for a GPU to take a counter that is not used."""
    if not ema.n_averaged or ema.multi_avg_fn is None:  # the first one is a plain copy
        ema.update_parameters(model)
        return
    averages, weights = (chain(each.parameters(), each.buffers()) for each in (ema.module, model))
    of_dtype: dict[torch.dtype, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for average, weight in zip(averages, weights, strict=True):
        of_dtype.setdefault(average.dtype, []).append((average, weight))
    for pairs in of_dtype.values():
        ema.multi_avg_fn([average for average, _ in pairs], [weight for _, weight in pairs], ema.n_averaged)
    ema.n_averaged += 1


@dataclass
class Training:
    """The parts of a training, and how far it is."""

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
    """Sums of the epoch in progress."""
    rows: list[dict] = field(default_factory=list)
    """Metrics of the epochs done."""
    bad_paths: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        config, device = self.config, self.train_loader.device
        prepare(self.model, config, device)
        fused = True if config.fused_adam and device.type == "cuda" else None
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), config.lr, weight_decay=config.weight_decay, fused=fused
        )
        self.scaler = scaler_for(config)
        self.ema = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        if self.ema:
            compile_if_chosen(self.ema.module, config)  # a copy is not compiled
        self.parallel = self.processes.parallel(self.model)
        self.mix = make_mix(config, len(self.classes))
        steps = config.epochs * len(self.train_loader)
        self.total_steps = min(steps, config.max_steps) if config.max_steps else steps
        self.epochs = -(-self.total_steps // len(self.train_loader))
        self.saved_at = time.monotonic()

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is an index into them."""
        return self.train_loader.manifest.classes

    @property
    def loaders(self) -> tuple[VideoLoader, VideoLoader]:
        """The loaders of training and of validation videos."""
        return self.train_loader, self.val_loader

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network whose accuracy counts."""
        return self.ema.module if self.ema else self.model

    @property
    def steps_of_epoch(self) -> int:
        """The number of steps of this epoch, which may end early at the last step of the training."""
        return min(len(self.train_loader), self.total_steps - self.epoch * len(self.train_loader))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds, by the names in :data:`STATE`."""
        return {name: part.save(self) for name, part in STATE.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken, perhaps on another device or in another precision."""
        for name, part in STATE.items():
            if part.load:
                part.load(self, state[name])
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
        if self.processes.is_main_process:
            if not torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()]).all():
                raise InputError("Cannot save a checkpoint: the weights are no longer finite numbers; lower --lr")
            out = Path(self.config.out)
            save_checkpoint(out / LAST, keep_as=out / PREVIOUS, **self.state_dict())
            self.logbook.flush()
