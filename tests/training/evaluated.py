"""What the tests of evaluated networks share: patterned videos, what the app says, and scores computed by hand."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dali_pipes import VideoLoader, scan_videos
from tests.videos import write_video
from train.models.zoo import build_model

CLASSES = ["bright", "dark", "striped"]
NETWORK = "--num-frames 16 --crop-px 40 --batch-size 4 --eval-clips 2 --lr 5e-3".split()
HERE = "--device cpu --workers 0".split()  # decoding processes would import pytest's main module again


def write_pattern(path: Path, label: str, length: int, size_hw, seed: int, **options) -> Path:
    """Every frame and every part of it differs, so that clips and crops do."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    base = {"bright": 150, "dark": 30, "striped": 90}[label] + x + (60 * (x // 6 % 2) if label == "striped" else 0)

    def frames():
        for index in range(length):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = np.clip(base + 3 * index - y / 2 + rng.normal(0, 12, size_hw), 16, 235)
            yield planes

    return write_video(path, frames(), size_hw, **options)


class Said(NamedTuple):
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        errors = [line for line in re.split("[\r\n]", self.err) if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in self.err, self.err
        return errors[0]

    def accuracy(self, name) -> dict[str, float]:
        """The numbers that stand after the name of a checkpoint, or of an ensemble."""
        line = next(line for line in self.out.splitlines() if line.startswith(f"{name}: top-1"))
        words = {"top1": "top-1", "top5": "top-5", "by_class": "mean class accuracy", "loss": "loss"}
        return {key: float(re.search(rf"{word} ([\d.]+)", line)[1]) for key, word in words.items()}


def predictions(folder: Path) -> list[dict]:
    with open(folder / "predictions.csv", newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def scores_of(folder: Path, classes=CLASSES) -> torch.Tensor:
    """(V, K), of a predictions.csv that has all classes."""
    rows = []
    for line in predictions(folder):
        found = {line[f"class_{n}"]: float(line[f"probability_{n}"]) for n in range(1, len(classes) + 1)}
        rows.append([found[name] for name in classes])
    return torch.tensor(rows, dtype=torch.float64)


def with_changes(checkpoint: Path, path: Path, **changes) -> Path:
    """A copy of a checkpoint with other values, as small as best.pt."""
    state = torch.load(checkpoint, weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: state[name] for name in ("model", "config", "classes")} | changes, path)
    return path


def assert_same_accuracy(said: dict[str, float], row: dict[str, str]) -> None:
    for name, digits in (("top1", 2), ("top5", 2), ("loss", 4)):
        assert said[name] == pytest.approx(float(row[f"val_{name}"]), abs=0.51 * 10**-digits), name


def scores_by_hand(checkpoint: Path, videos: Path, clips: int, crops: int) -> torch.Tensor:
    state = torch.load(checkpoint, weights_only=True)
    model = build_model("slowfast50", len(CLASSES), num_frames=16, crop_px=40).eval()
    model.load_state_dict(state["model"])
    items = sorted((str(path), path.parent.name) for path in videos.rglob("*.avi"))
    manifest = scan_videos(items, classes=CLASSES, workers=1)
    loader = VideoLoader(
        manifest,
        batch_size=1,
        crop_px=40,
        device="cpu",
        workers=0,
        num_frames=16,
        keep_every=2,
        clips_per_video=clips,
        crops_per_video=crops,
        training=False,
    )
    views = {video: [] for video in range(len(items))}
    with torch.no_grad():
        for batch in loader:
            for clip_CTHW, video in zip(batch.clips_BCTHW, batch.videos_B.tolist(), strict=True):
                views[video].append(model(clip_CTHW[None])[0].double().softmax(0))
    loader.close()
    assert all(len(scores) == clips * crops for scores in views.values())
    return torch.stack([torch.stack(scores).mean(0) for scores in views.values()])
