"""The training loop: epochs of steps, evaluation over whole videos, checkpoints and curves after each epoch."""

import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from dali_pipes import VideoLoader
from dali_pipes.errors import InputError

from .checkpoint import save_checkpoint
from .config import Config
from .data import FAST_STRIDE
from .metrics import VideoScores, draw_curves, top1_credit, write_csv
from .mixing import build_mix, one_hot
from .slowfast import frame_weights


def learning_rate(config: Config, step: int, total_steps: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero (paper section 4.1). ``step`` counts from 0."""
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        return config.lr * (step + 1) / warmup_steps
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps)))


def make_mix(config: Config, num_classes: int):
    """``mix(clips_BCTHW, labels_B, generator=...) -> clips, targets_BK``; changes nothing if ``--mix`` is none."""
    if config.mix == "none":
        return lambda clips_BCTHW, labels_B, *, generator: (clips_BCTHW, one_hot(labels_B, num_classes))
    seen = frame_weights(config.frames // FAST_STRIDE, fast_stride=1) if config.mix_labels == "seen_frames" else None
    return build_mix(config.mix, num_classes, config.mix_alpha, config.mix_prob, per_sample=config.mix_draw == "clip",
                     frame_weights_T=seen, overwrite=True)  # fmt: skip


def mix_generator(config: Config, step: int) -> np.random.Generator:
    """Of its own for each step, so that a run that is resumed draws what an uninterrupted one does."""
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(step,)))


class _Bar:
    """A progress bar that also measures the share of time spent waiting for data."""

    def __init__(self, loader: VideoLoader, title: str, steps: int):
        self.loader, self.steps, self.wait_s, self.clips, self.start = loader, steps, 0.0, 0, time.perf_counter()
        self.bar = tqdm(total=steps, desc=title, unit="step", leave=False, mininterval=1)

    def __iter__(self):
        batches = iter(self.loader)
        with self.bar:
            for _ in range(self.steps):
                before = time.perf_counter()
                batch = next(batches)
                self.wait_s += time.perf_counter() - before
                self.clips += len(batch)
                yield batch
                self.bar.update()

    def rates(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.start
        return {"clips_per_s": self.clips / seconds, "data_wait_fraction": self.wait_s / seconds, "epoch_s": seconds}


def train_epoch(model, optimizer, mix, loader: VideoLoader, config: Config, epoch: int, total_steps: int) -> dict:
    """One pass over the training videos; returns the row of metrics. Under a mix the loss is that of soft targets, and top-1
    the share of the targets that was hit, of what could be (:func:`train.metrics.top1_credit`)."""
    model.train()
    loss_sum, credit, seen = 0.0, torch.zeros(2, dtype=torch.float64), 0
    first_step = epoch * len(loader)
    progress = _Bar(loader, f"epoch {epoch + 1}/{config.epochs}", min(len(loader), total_steps - first_step))
    for step, batch in enumerate(progress, start=first_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, total_steps)
        clips_BCTHW, targets_BK = mix(batch.clips_BCTHW, batch.labels_B, generator=mix_generator(config, step))
        logits_BK = model(clips_BCTHW)
        loss = cross_entropy(logits_BK, targets_BK)
        loss_value = loss.item()
        if not math.isfinite(loss_value):
            names = ", ".join(loader.manifest.videos[video].path for video in batch.videos_B.tolist())
            raise InputError(f"the loss became {loss_value} in epoch {epoch + 1}; lower --lr. The batch held {names}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss_value * len(batch)
        credit += top1_credit(logits_BK.detach(), targets_BK).cpu()
        top1 = 100 * float(credit[0] / credit[1])
        seen += len(batch)
        rates = progress.rates()
        progress.bar.set_postfix_str(
            f"loss {loss_sum / seen:.3f}, top-1 {top1:.1f} %, {rates['clips_per_s']:.1f} clips/s, "
            f"waiting for data {100 * rates['data_wait_fraction']:.0f} %"
        )
    learning = {
        "train_loss": loss_sum / seen,
        "train_top1": top1,
        "lr": optimizer.param_groups[0]["lr"],
    }
    return {"epoch": epoch + 1, **learning, **progress.rates()}


@torch.no_grad()
def evaluate(model, loader: VideoLoader) -> dict[str, float]:
    """Softmax averaged over the clips of each video; loss, top-1 and top-5 over all videos (paper section 4.1)."""
    model.eval()
    scores = VideoScores(len(loader.manifest), len(loader.manifest.classes))
    for batch in _Bar(loader, "evaluating", len(loader)):
        if len(batch):  # a bad video may leave none
            scores.add(model(batch.clips_BCTHW), batch.labels_B, batch.videos_B)
    return scores.summary()


def fit(model, train_loader: VideoLoader, val_loader: VideoLoader, config: Config) -> list[dict]:
    """Train, evaluate and save; returns one row of metrics per epoch."""
    out = Path(config.out)
    steps = config.epochs * len(train_loader)
    total_steps = min(steps, config.max_steps) if config.max_steps else steps
    epochs = -(-total_steps // len(train_loader))
    on_gpu = train_loader.device.type == "cuda"
    optimizer = torch.optim.Adam(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=on_gpu)
    mix = make_mix(config, len(train_loader.manifest.classes))
    rows, best = [], -1.0
    for epoch in range(epochs):
        row = train_epoch(model, optimizer, mix, train_loader, config, epoch, total_steps)
        if (epoch + 1) % config.eval_every == 0 or epoch + 1 == epochs:
            row |= evaluate(model, val_loader)
        row["bad_videos"] = len(_bad_paths(train_loader) | _bad_paths(val_loader))
        rows.append(row)
        print(_line(row, config), flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1,
                 "config": asdict(config), "classes": train_loader.manifest.classes, "metrics": rows}  # fmt: skip
        save_checkpoint(out / "last.pt", **state)
        if row.get("val_top1", -1.0) > best:
            best = row["val_top1"]
            save_checkpoint(out / "best.pt", **state)
        write_csv(out / "metrics.csv", rows)
        draw_curves(out / "curves.png", rows)
    return rows


def _bad_paths(loader: VideoLoader) -> set[str]:
    return {loader.manifest.videos[video].path for video in loader.bad_videos}


def _line(row: dict, config: Config) -> str:
    shown = (
        f"epoch {row['epoch']:3}/{config.epochs}  loss {row['train_loss']:.4f}  train top-1 {row['train_top1']:5.1f} %"
    )
    if "val_top1" in row:
        shown += f"  val top-1 {row['val_top1']:5.1f} %  top-5 {row['val_top5']:5.1f} %"
    shown += f"  {row['clips_per_s']:.1f} clips/s  waiting for data {100 * row['data_wait_fraction']:.0f} %"
    return shown + (f"  {row['bad_videos']} bad videos left out so far" if row["bad_videos"] else "")
