"""The training loop: epochs of steps, evaluation over whole videos, checkpoints and curves after each epoch.

All chance of a step comes from the seed and the step's number, so what a checkpoint must hold besides weights and the
optimizer's state is how far the run is.
"""

import math
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dali_pipes import ClipBatch, VideoLoader
from dali_pipes.errors import InputError

from ..config.options import Config
from ..mixing.apply import build_mix, one_hot
from ..models.zoo import frame_weights_of
from ..runtime.processes import Processes
from ..runtime.progress import Bar
from ..runtime.run_files import BEST, CURVES, LAST, METRICS, PREVIOUS
from ..runtime.stop import Stopped, StopRequest
from ..weights.checkpoint import save_checkpoint, video_names
from .evaluation import evaluate, labels_of, write_classes
from .logbook import Logbook, write_samples
from .metrics import draw_curves, summarise, top1_credit, write_csv
from .precision import autocast, prepare, scaler_for


def learning_rate(config: Config, step: int, total_steps: int) -> float:
    """Linear warm-up over the first ``config.warmup`` (the paper's is a tenth), then a cosine to zero (paper section 4.1). ``step`` counts from 0."""
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        return config.lr * (step + 1) / warmup_steps
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps)))


def make_mix(config: Config, num_classes: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """``mix(clips_BCTHW, labels_B, generator=...) -> clips, targets_BK``; changes nothing if ``--mix`` is none."""
    if config.mix == "none":
        return lambda clips_BCTHW, labels_B, *, generator: (clips_BCTHW, one_hot(labels_B, num_classes))
    seen = frame_weights_of(config.model, config.frames) if config.mix_labels == "seen_frames" else None
    return build_mix(config.mix, num_classes, config.mix_alpha, config.mix_prob, per_sample=config.mix_draw == "clip",
                     frame_weights_T=seen, overwrite=True)  # fmt: skip


def _seeds(config: Config, step: int, rank: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(config.seed, spawn_key=(step, rank) if rank else (step,))


def mix_generator(config: Config, step: int, rank: int = 0) -> np.random.Generator:
    """Of its own for each step, so that a run that is resumed draws what an uninterrupted one does."""
    return np.random.default_rng(_seeds(config, step, rank))


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


def train_step(training: Training, batch: ClipBatch, step: int) -> torch.Tensor:
    """One step of the optimizer. ``step`` counts over all epochs.

    Returns:
        (3,) float64 on the device: summed loss of this process's clips, and their :func:`train.engine.metrics.top1_credit`.
    """
    config, processes, loader = training.config, training.processes, training.train_loader
    for group in training.optimizer.param_groups:
        group["lr"] = learning_rate(config, step, training.total_steps)
    torch.manual_seed(int(_seeds(config, step, processes.rank).generate_state(1, np.uint64)[0]) >> 1)  # for dropout
    generator = mix_generator(config, step, processes.rank)
    clips_BCTHW, targets_BK = batch.clips_BCTHW, one_hot(batch.labels_B, len(training.classes))
    if len(batch):
        clips_BCTHW, targets_BK = training.mix(clips_BCTHW, batch.labels_B, generator=generator)
    else:  # fewer clips than processes: a grey one that counts nothing, as the others wait for this process's gradients
        clips_BCTHW, targets_BK = (
            clips_BCTHW.new_zeros(1, *clips_BCTHW.shape[1:]),
            targets_BK.new_zeros(1, len(training.classes)),
        )
    if step == 0 and processes.is_first:
        write_samples(Path(config.out), training.logbook, clips_BCTHW, targets_BK, training.classes)
    # DistributedDataParallel averages over the processes, whose shares may differ by one clip
    scale = processes.world_size / loader.videos_in_step(training.step) if len(batch) else 0.0
    training.optimizer.zero_grad(set_to_none=True)
    numbers = torch.zeros(3, dtype=torch.float64, device=clips_BCTHW.device)
    clips, targets = (tensor.chunk(config.accumulate) for tensor in (clips_BCTHW, targets_BK))
    for part, (clips_part, targets_part) in enumerate(zip(clips, targets, strict=True), 1):
        network = training.parallel
        waits = part < len(clips)
        with network.no_sync() if waits and isinstance(network, DistributedDataParallel) else nullcontext():
            with autocast(config, loader.device):
                logits = network(clips_part)
            loss = cross_entropy(logits.float(), targets_part, reduction="sum", label_smoothing=config.label_smoothing)
            training.scaler.scale(loss * scale).backward()
        if len(batch):
            numbers += torch.cat([loss.detach()[None].double(), top1_credit(logits.detach(), targets_part).double()])
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.ema:
        training.ema.update_parameters(training.model)
    return numbers


def _settle(
    training: Training, numbers: torch.Tensor, videos_B: torch.Tensor, stop: StopRequest, step: int
) -> tuple[int, bool]:
    """Add up a step's numbers over all processes; returns the signal that any of them was sent, and whether to save."""
    due = time.monotonic() - training.saved_at >= 60 * training.config.checkpoint_minutes
    own = numbers.tolist()  # waits for the step on a GPU; by then the next one is on its way
    flags = [stop.number, float(due and training.processes.is_first)]
    summed = training.processes.sum(torch.tensor([*own, len(videos_B), *flags], dtype=torch.float64)).tolist()
    loss, _, _, clips, stopped, due = summed
    if not math.isfinite(loss):
        raise _not_finite(training, own[0], videos_B, step)
    sums = training.sums
    sums.loss, sums.credit, sums.most_credit, sums.clips = (
        total + value for total, value in zip(list(asdict(sums).values())[:4], summed[:4], strict=True)
    )
    training.logbook.scalars(
        step,
        {"train/loss_of_step": loss / clips, "train/lr": learning_rate(training.config, step, training.total_steps)},
    )
    return (stop.number or signal.SIGTERM) if stopped else 0, bool(due)


def _not_finite(training: Training, own_loss: float, videos_B: torch.Tensor, step: int) -> InputError:
    where = f"the loss became {own_loss} in epoch {training.epoch + 1}, step {step - training.epoch * len(training.train_loader) + 1}"
    if math.isfinite(own_loss):
        return InputError("another process's loss is not a number; it names the videos")
    names = ", ".join(training.train_loader.manifest.videos[video].path for video in videos_B.tolist())
    return InputError(f"{where}; lower --lr. The batch held {names}")


def train_epoch(training: Training, stop: StopRequest) -> dict:
    """The rest of a pass over the training videos; returns the row of metrics. Under a mix the loss is that of soft targets, and
    top-1 the share of the targets that was hit, of what could be (:func:`train.engine.metrics.top1_credit`).

    Raises:
        Stopped: it was asked for, and a checkpoint is written.
    """
    training.parallel.train()
    first, sums, pending = training.epoch * len(training.train_loader), training.sums, None
    title = f"epoch {training.epoch + 1}/{training.config.epochs}"
    bar = Bar(training.train_loader, title, training.steps_of_epoch, training.step)
    waited_s, took_s = sums.wait_s, sums.seconds
    for batch in bar:
        numbers = train_step(training, batch, first + training.step)
        number, due = _settle(training, *pending, stop, first + training.step - 1) if pending else (0, False)
        training.step, pending = training.step + 1, (numbers, batch.videos_B)
        sums.wait_s, sums.seconds = waited_s + bar.wait_s, took_s + bar.seconds
        if number or due:
            _settle(training, *pending, stop, first + training.step - 1)
            pending = None
            training.save()
            if number:
                raise Stopped(number)
        bar.note(_note(sums))
    if pending:
        number, _ = _settle(training, *pending, stop, first + training.step - 1)
        if number:
            training.save()
            raise Stopped(number)
    learning = {"train_loss": sums.loss / sums.clips, "train_top1": 100 * sums.credit / sums.most_credit,
                "lr": learning_rate(training.config, first + training.step - 1, training.total_steps)}  # fmt: skip
    return {"epoch": training.epoch + 1, **learning, **_rates(sums)}


def _rates(sums: Sums) -> dict[str, float]:
    return {
        "clips_per_s": sums.clips / sums.seconds,
        "data_wait_fraction": sums.wait_s / sums.seconds,
        "epoch_s": sums.seconds,
    }


def _note(sums: Sums) -> str:
    if not sums.clips:
        return ""
    rates = _rates(sums)
    return (
        f"loss {sums.loss / sums.clips:.3f}, top-1 {100 * sums.credit / sums.most_credit:.1f} %, {rates['clips_per_s']:.1f} clips/s, "
        f"waiting for data {100 * rates['data_wait_fraction']:.0f} %"
    )


def fit(training: Training, stop: StopRequest) -> list[dict]:
    """Train, evaluate and save from where the training stands to its end; returns one row of metrics per epoch.

    Raises:
        Stopped: it was asked for, and a checkpoint is written.
    """
    config, processes, out = training.config, training.processes, Path(training.config.out)
    while training.epoch < training.epochs:
        row = train_epoch(training, stop)
        scores = None
        if (training.epoch + 1) % config.eval_every == 0 or training.epoch + 1 == training.epochs:
            processes.share_buffers(training.evaluated)
            try:
                scores = evaluate(training.evaluated, training.val_loader, config, processes, stop)
            except Stopped:
                training.save()
                raise
            row |= summarise(scores, labels_of(training.val_loader.manifest))
        for loader in training.loaders:
            training.bad_paths |= bad_paths_of_all(loader, config, processes)
        row["bad_videos"] = len(training.bad_paths)
        is_best = row.get("val_top1", -1.0) > max(
            (earlier.get("val_top1", -1.0) for earlier in training.rows), default=-1.0
        )
        training.rows.append(row)
        training.epoch, training.step, training.sums = training.epoch + 1, 0, Sums()
        if not processes.is_first:
            continue
        print(_line(row, config), flush=True)
        training.logbook.scalars(
            training.epoch * len(training.train_loader) - 1,
            {f"epoch/{name}": value for name, value in row.items() if name != "epoch"},
        )
        # the last checkpoint last: after a kill in between, the epoch is done again
        if is_best and scores is not None:
            best: dict[str, Any] = {
                "model": training.evaluated.state_dict(),
                "config": asdict(config),
                "classes": training.classes,
            }
            save_checkpoint(out / BEST, **best, epoch=training.epoch, metrics=training.rows)
            write_classes(out, scores, training.val_loader.manifest)
        write_csv(out / METRICS, training.rows)
        draw_curves(out / CURVES, training.rows)
        training.save()
    return training.rows


def _bad_paths(loader: VideoLoader) -> set[str]:
    return {loader.manifest.videos[video].path for video in loader.bad_videos}


def bad_paths_of_all(loader: VideoLoader, config: Config, processes: Processes) -> set[str]:
    """Those that any process met; each process's loader only knows its own."""
    met_V = torch.zeros(len(loader.manifest))
    met_V[list(loader.bad_videos)] = 1
    bad = processes.sum(met_V).nonzero().flatten().tolist()
    if 100 * len(bad) > config.max_bad_percent * len(loader.manifest):
        raise InputError(
            f"{len(bad)} of {len(loader.manifest)} videos can no longer be read, more than max_bad_percent = "
            f"{config.max_bad_percent:g} allows; the last: {loader.manifest.videos[bad[-1]].path}"
        )
    return {loader.manifest.videos[video].path for video in bad}


def _line(row: dict, config: Config) -> str:
    shown = (
        f"epoch {row['epoch']:3}/{config.epochs}  loss {row['train_loss']:.4f}  train top-1 {row['train_top1']:5.1f} %"
    )
    if "val_top1" in row:
        shown += f"  val top-1 {row['val_top1']:5.1f} %  top-5 {row['val_top5']:5.1f} %"
    shown += f"  {row['clips_per_s']:.1f} clips/s  waiting for data {100 * row['data_wait_fraction']:.0f} %"
    return shown + (f"  {row['bad_videos']} bad videos left out so far" if row["bad_videos"] else "")
