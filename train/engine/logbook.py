"""Records of a run beside its results: TensorBoard scalars, sample clips, and the environment it ran in."""

import json
import platform
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dali_pipes.errors import InputError
from dali_pipes.pictures import SheetRow, draw_sheet, write_picture
from dali_pipes.system import replacing

from ..data.pictures import pictures_of
from ..runtime.run_files import SAMPLES, TENSORBOARD

SAMPLE_CLIPS, SAMPLE_FRAMES = 8, 8
PACKAGES = ("torch", "torchvision", "nvidia-dali", "numpy", "av", "opencv-python-headless")


class Logbook:
    """Writer of TensorBoard's files in ``out/tensorboard``; writes nothing if ``out`` is None.

    A file that cannot be written, such as on a full disk, is an :class:`InputError`.
    """

    def __init__(self, out: Path | None, first_step: int = 0):
        """Open the files; what an earlier, interrupted start logged from ``first_step`` on no longer counts."""
        self._writer: Any = None
        self._hook = threading.excepthook
        if out is not None:
            from torch.utils.tensorboard import SummaryWriter

            threading.excepthook = self._pass_over_full_disks
            self._folder = out / TENSORBOARD
            try:
                self._writer = self._write(lambda: SummaryWriter(str(self._folder), purge_step=first_step or None))
            except InputError:
                threading.excepthook = self._hook
                raise

    def _write(self, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except OSError as error:
            self._writer = None  # it would fail again
            raise InputError(
                f"{self._folder}: cannot be written ({error.strerror}); "
                "use --no-tensorboard to train without TensorBoard"
            ) from error

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A number each, by names such as train/loss."""
        if writer := self._writer:
            for name, value in values.items():
                self._write(lambda: writer.add_scalar(name, value, step))  # noqa: B023 - called at once

    def text(self, name: str, value: str) -> None:
        """Log a text, shown verbatim."""
        if writer := self._writer:
            self._write(lambda: writer.add_text(name, f"```\n{value}\n```"))

    def picture(self, name: str, image_HWC: np.ndarray, step: int) -> None:
        """Log an (H, W, C) image at a step."""
        if writer := self._writer:
            self._write(lambda: writer.add_image(name, image_HWC, step, dataformats="HWC"))

    def flush(self) -> None:
        """Write to disk what was logged so far."""
        if writer := self._writer:
            self._write(writer.flush)

    def close(self) -> None:
        """Write what is left; the training has ended, so that a failure is only a warning."""
        if self._writer:
            try:
                self._write(self._writer.close)
            except InputError as error:
                warnings.warn(str(error), stacklevel=2)
        threading.excepthook = self._hook

    def _pass_over_full_disks(self, failed: threading.ExceptHookArgs) -> None:
        """Silence the failure of TensorBoard's thread: the next write fails too, and there it is one sentence."""
        if not (isinstance(failed.exc_value, OSError) and type(failed.thread).__module__.startswith("tensorboard.")):
            self._hook(failed)


def sample_sheet(clips_BCTHW: torch.Tensor, targets_BK: torch.Tensor, classes: Sequence[str]) -> np.ndarray:
    """(H, W, 3) uint8: the first clips of a batch as the network sees them, a row each, with their targets."""
    rows = []
    for clip_CTHW, target_K in zip(clips_BCTHW[:SAMPLE_CLIPS].detach(), targets_BK[:SAMPLE_CLIPS].cpu(), strict=True):
        frames_FHWC = pictures_of(clip_CTHW)
        shares = [
            (f"{classes[k]} {target_K[k]:.2f}", None) for k in target_K.argsort(descending=True)[:3] if target_K[k] > 0
        ]
        rows.append(SheetRow(frames_FHWC, [f"frame {number}" for number in range(len(frames_FHWC))], shares))
    shown = (
        np.linspace(0, len(rows[0].frames_FHWC) - 1, min(SAMPLE_FRAMES, len(rows[0].frames_FHWC))).round().astype(int)
    )
    return draw_sheet(rows, shown)


def write_samples(
    out: Path, logbook: Logbook, clips_BCTHW: torch.Tensor, targets_BK: torch.Tensor, classes: Sequence[str]
) -> None:
    """The picture of :func:`sample_sheet` as ``samples.png`` and for TensorBoard."""
    image = sample_sheet(clips_BCTHW, targets_BK, classes)
    write_picture(out / SAMPLES, image)
    logbook.picture("samples", image, 0)


def record_start(path: Path, device: torch.device, processes: int) -> dict:
    """Add this start to a JSON list: when, what command, which code, on what machine. Returns the entry."""
    entry = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "processes": processes,
        "machine": platform.platform(),
    }
    try:
        earlier = json.loads(path.read_text())
    except (OSError, ValueError):
        earlier = []
    with replacing(path) as draft:
        draft.write_text(json.dumps([*earlier, entry], indent=2) + "\n")
    return entry


def git_state() -> dict[str, object] | None:
    """The commit of this code and the files that differ from it; None if it is not in a repository of its own."""
    this_file = Path(__file__).resolve()
    root = this_file.parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    try:
        if not git("ls-files", str(this_file.relative_to(root))):
            return None
        changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": changed}
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    names = [package] if package != "nvidia-dali" else [f"nvidia-dali-cuda{cuda}" for cuda in (110, 120, 130)]
    for name in names:
        try:
            return f"{metadata.version(name)} ({name})" if name != package else metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
