"""The training loop: epochs of steps, evaluation over whole videos, checkpoints and curves after each epoch."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from dali_pipes import ClipBatch, VideoLoader
from dali_pipes.errors import InputError

from ..config.options import Config
from ..runtime.loader_progress import LoaderProgress
from ..runtime.processes import Processes
from ..runtime.run_files import BEST, CURVES, METRICS
from ..runtime.stop import Stopped, StopRequest
from ..weights.checkpoint import save_checkpoint
from .evaluation import evaluate, labels_of, write_classes
from .logbook import write_samples
from .metrics import draw_curves, summarise, top1_credit, write_csv
from .precision import autocast
from .to_host import HostCopy
from .training import Sums, Training, update_average

STEP_SUMS = ("loss", "credit", "most_credit")
"""Names in :class:`Sums` of the values that :func:`train_step` returns."""


def learning_rate(config: Config, step: int, total_steps: int) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then a cosine to zero (paper section 4.1).

    The warm-up takes the share ``config.warmup`` of all steps; the paper's is a tenth.
    """
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        return config.lr * (step + 1) / warmup_steps
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps)))


def _seeds(config: Config, step: int, rank: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(config.seed, spawn_key=(step, rank) if rank else (step,))


def mix_generator(config: Config, step: int, rank: int = 0) -> np.random.Generator:
    """Return a step's own random generator, so that a resumed run draws what an uninterrupted one does."""
    return np.random.default_rng(_seeds(config, step, rank))


def train_step(training: Training, batch: ClipBatch, step: int) -> torch.Tensor:
    """Take one step of the optimizer. ``step`` counts over all epochs.

    Returns:
        (3,) float64 on the device, as in :data:`STEP_SUMS`: summed loss of this process's clips, and their
        :func:`train.engine.metrics.top1_credit`.
    """
    config, processes, loader = training.config, training.processes, training.train_loader
    for group in training.optimizer.param_groups:
        group["lr"] = learning_rate(config, step, training.total_steps)
    torch.manual_seed(int(_seeds(config, step, processes.rank).generate_state(1, np.uint64)[0]) >> 1)  # for dropout
    generator = mix_generator(config, step, processes.rank)
    if len(batch):
        clips_BCTHW, targets_BK = training.mix(batch.clips_BCTHW, batch.labels_B, generator=generator)
    else:  # fewer clips than processes: a grey one that counts nothing, as the others wait for this process's gradients
        clips_BCTHW = batch.clips_BCTHW.new_zeros(1, *batch.clips_BCTHW.shape[1:])
        targets_BK = clips_BCTHW.new_zeros(1, len(training.classes))
    if step == 0 and processes.is_main_process:
        write_samples(Path(config.out), training.logbook, clips_BCTHW, targets_BK, training.classes)
    # DistributedDataParallel averages over the processes, whose shares may differ by one clip
    scale = processes.world_size / loader.videos_in_step(training.step) if len(batch) else 0.0
    training.optimizer.zero_grad(set_to_none=True)
    numbers = torch.zeros(len(STEP_SUMS), dtype=torch.float64, device=clips_BCTHW.device)
    # the parts of a small last step may be fewer, also than another process's: gradients are awaited in the last alone
    clips, targets = (tensor.chunk(config.accumulate) for tensor in (clips_BCTHW, targets_BK))
    for part, (clips_part, targets_part) in enumerate(zip(clips, targets, strict=True), 1):
        network = training.parallel
        waits = part < len(clips)
        with network.no_sync() if waits and isinstance(network, DistributedDataParallel) else nullcontext():
            with autocast(config, loader.device), _explaining_batch_norm(config):
                logits = network(clips_part)
            loss = cross_entropy(logits.float(), targets_part, reduction="sum", label_smoothing=config.label_smoothing)
            training.scaler.scale(loss * scale).backward()
        if len(batch):
            numbers += torch.cat([loss.detach()[None].double(), top1_credit(logits.detach(), targets_part).double()])
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.ema:
        update_average(training.ema, training.model)
    return numbers


@contextmanager
def _explaining_batch_norm(config: Config) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"Invalid --num-frames {config.num_frames} with --crop-px {config.crop_px}: "
            "a batch of one such clip gives batch norm a single value per channel, but it needs more; "
            "choose larger clips, --even-steps or another --batch-size"
        ) from error


def _finish_step(
    training: Training, numbers: HostCopy, videos_B: torch.Tensor, stop: StopRequest, step: int
) -> tuple[int, bool]:
    """Add up a step's numbers over all processes; returns the signal that any of them was sent, and whether to save."""
    due = time.monotonic() - training.saved_at >= 60 * training.config.checkpoint_minutes
    save = 1 if due and training.processes.is_main_process else 0
    # waits for the step on a GPU, which by then has the next one to do
    own = dict(zip(STEP_SUMS, numbers.wait().tolist(), strict=True)) | {"clips": len(videos_B)}
    summed = training.processes.sum_by_name(own | {"stop": stop.number, "save": save})
    if not math.isfinite(summed["loss"]):
        raise _not_finite(training, own["loss"], videos_B, step)
    training.sums.add(**{name: summed[name] for name in own})
    lr = learning_rate(training.config, step, training.total_steps)
    training.logbook.scalars(step, {"train/loss_of_step": summed["loss"] / summed["clips"], "train/lr": lr})
    return (stop.number or signal.SIGTERM) if summed["stop"] else 0, bool(summed["save"])


def _not_finite(training: Training, own_loss: float, videos_B: torch.Tensor, step: int) -> InputError:
    if math.isfinite(own_loss):
        return InputError(
            "Cannot continue: the loss of another process is not finite; the message of that process names the videos"
        )
    names = ", ".join(training.train_loader.manifest.videos[video].path for video in videos_B.tolist())
    step_of_epoch = step - training.epoch * len(training.train_loader)
    where = f"epoch {training.epoch + 1}, step {step_of_epoch + 1}"
    return InputError(f"Cannot continue: the loss became {own_loss} in {where}, with the videos {names}; lower --lr")


def train_epoch(training: Training, stop: StopRequest) -> dict:
    """Train for the rest of an epoch and return its row of metrics.

    Under a mix the loss is that of soft targets. Top-1 is the share of the targets that was hit, of what could be
    (:func:`train.engine.metrics.top1_credit`).

    Raises:
        Stopped: it was asked for, and a checkpoint is written.
    """
    training.parallel.train()
    first, sums, pending = training.epoch * len(training.train_loader), training.sums, None
    title = f"epoch {training.epoch + 1}/{training.config.epochs}"
    bar = LoaderProgress(training.train_loader, title, training.steps_of_epoch, training.step)
    waited_s, took_s = sums.wait_s, sums.seconds
    for batch in bar:
        numbers = HostCopy(train_step(training, batch, first + training.step))
        number, due = _finish_step(training, *pending, stop, first + training.step - 1) if pending else (0, False)
        training.step, pending = training.step + 1, (numbers, batch.videos_B)
        sums.wait_s, sums.seconds = waited_s + bar.wait_s, took_s + bar.seconds
        if number or due:
            _finish_step(training, *pending, stop, first + training.step - 1)
            pending = None
            training.save()
            if number:
                raise Stopped(number)
        bar.note(_note(sums))
    if pending:
        number, _ = _finish_step(training, *pending, stop, first + training.step - 1)
        if number:
            training.save()
            raise Stopped(number)
    learning = {
        "train_loss": sums.loss / sums.clips,
        "train_top1": 100 * sums.credit / sums.most_credit,
        "lr": learning_rate(training.config, first + training.step - 1, training.total_steps),
    }
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
        f"loss {sums.loss / sums.clips:.3f}, top-1 {100 * sums.credit / sums.most_credit:.1f} %, "
        f"{rates['clips_per_s']:.1f} clips/s, waiting for data {100 * rates['data_wait_fraction']:.0f} %"
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
        if not processes.is_main_process:
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


def bad_paths_of_all(loader: VideoLoader, config: Config, processes: Processes) -> set[str]:
    """Return the bad videos that any process met; each process's loader only knows its own."""
    met_V = torch.zeros(len(loader.manifest))
    met_V[list(loader.bad_videos)] = 1
    bad = processes.sum(met_V).nonzero().flatten().tolist()
    if 100 * len(bad) > config.max_bad_percent * len(loader.manifest):
        raise InputError(
            f"Cannot continue: {len(bad)} of {len(loader.manifest)} videos can no longer be read, which is more than "
            f"--max-bad-percent {config.max_bad_percent:g} allows; the last one is "
            f"{loader.manifest.videos[bad[-1]].path}"
        )
    return {loader.manifest.videos[video].path for video in bad}


def _line(row: dict, config: Config) -> str:
    shown = (
        f"epoch {row['epoch']:3}/{config.epochs}  loss {row['train_loss']:.4f}  train top-1 {row['train_top1']:5.1f} %"
    )
    if "val_top1" in row:
        shown += f"  val top-1 {row['val_top1']:5.1f} %  top-5 {row['val_top5']:5.1f} %"
    shown += f"  {row['clips_per_s']:.1f} clips/s  waiting for data {100 * row['data_wait_fraction']:.0f} %"
    return shown + (f"  unreadable videos so far: {row['bad_videos']}" if row["bad_videos"] else "")
