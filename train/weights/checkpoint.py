"""Checkpoints: written atomically, and the one before is kept."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from dali_pipes import Manifest, VideoInfo
from dali_pipes.errors import InputError
from dali_pipes.system import replacing

from ..config.command_line import RESUME_LAST, RESUME_WORDS
from ..config.options import Config, from_saved, with_todays_names
from ..runtime.run_files import BEST, BEST_FILES, LAST, PREVIOUS
from .weights_file import outline

NOT_A_CHECKPOINT = (
    "is not a checkpoint of train/run.py; load weights of other programs with --init FILE, "
    "and evaluate them with --init FILE --eval-only (without a value)"
)


def save_checkpoint(path: Path, keep_as: Path | None = None, **state: Any) -> None:
    """Write ``state`` to ``path``; the file that was there stays until the new one is complete, then as ``keep_as``."""
    with replacing(path) as draft:
        with open(draft, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's way to say that writing failed, such as on a full disk
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        if keep_as is not None and path.exists():
            os.replace(path, keep_as)


def load_checkpoint(path: str | os.PathLike) -> dict:
    """Load a checkpoint that :func:`save_checkpoint` wrote, on the CPU.

    Raises:
        InputError: there is no such file, it is cut off or damaged, or it is not a checkpoint of this program.
    """
    path = Path(path)
    refuse_folder(path, (BEST, LAST, PREVIOUS))
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        if damaged:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        found = outline(path)
        if found and found.foreign:
            raise InputError(f"{path}: {NOT_A_CHECKPOINT}") from None
        others = [other for other in (path.parent / LAST, path.parent / PREVIOUS) if other != path and other.exists()]
        hint = f"; another checkpoint is {others[0]}" if others else ""
        raise InputError(f"{path}: is cut off, damaged or not a checkpoint ({_first_line(error)}){hint}") from error
    if not isinstance(state, dict) or not {"model", "config", "classes"} <= set(state):
        raise InputError(f"{path}: {NOT_A_CHECKPOINT}")
    return state


def refuse_folder(path: Path, names: Sequence[str]) -> None:
    """Raise :class:`InputError` that says which file is meant, if ``path`` is a folder."""
    if path.is_dir():
        found = next((path / name for name in names if (path / name).exists()), None)
        hint = (
            f"the folder of a run; give a checkpoint, such as {found}"
            if found
            else f"a folder; give a checkpoint file such as {names[0]}"
        )
        raise InputError(f"{path}: is {hint}")


def load_resumable(path: str | os.PathLike) -> dict:
    """A checkpoint that a run can be resumed from.

    Raises:
        InputError: it cannot be read, or holds the weights alone.
    """
    refuse_folder(Path(path), (LAST, PREVIOUS))
    state = load_checkpoint(path)
    if "optimizer" not in state:
        raise InputError(
            f"{path}: contains only weights; resume from {LAST}, or start a new run from these weights with --init"
        )
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def saved_config(state: dict, path: str | os.PathLike) -> Config:
    """The settings in a checkpoint.

    Raises:
        InputError: another version of this program wrote it, with settings that are not known.
    """
    settings = with_todays_names(state["config"])
    unknown = set(settings) - {item.name for item in fields(Config)}
    if unknown:
        raise InputError(
            f"{path}: was written by another version of this program, with the unknown settings "
            f"{', '.join(sorted(unknown))}; use that version"
        )
    return from_saved(settings)


def find_checkpoint(resume: str, out: str) -> Path | None:
    """The file that ``--resume`` means; None if it is ``auto`` and there is none.

    A kill in the moment in which a checkpoint takes the last one's place leaves only the previous one.

    Raises:
        InputError: there is no checkpoint.
    """
    if resume not in RESUME_WORDS:
        return Path(resume)
    found = next((Path(out) / name for name in (LAST, PREVIOUS) if (Path(out) / name).exists()), None)
    if found is None and resume == RESUME_LAST:
        raise InputError(
            f"{Path(out) / LAST}: no such file, so there is no run to resume; use --resume auto to start a new run"
        )
    return found


def video_names(manifest: Manifest) -> list[str]:
    """Return what a manifest holds, wherever its files lie: class, name and frames of each video or segment."""

    def frames(video: VideoInfo) -> str:
        used = video.used_frames
        return f"frames {used.start} to {used.stop}" if video.end_frame else f"{video.num_frames} frames"

    return [f"{manifest.classes[video.label]}/{Path(video.path).name} ({frames(video)})" for video in manifest.videos]


def check_same_videos(saved: list[str], manifest: Manifest, path: str | os.PathLike, what: str) -> None:
    """Raise :class:`InputError` that names a difference between a checkpoint's videos and these."""
    now = video_names(manifest)
    if saved == now:
        return
    where, (theirs, ours) = next(
        (place, pair)
        for place, pair in enumerate(zip([*saved, "none"], [*now, "none"], strict=False))
        if pair[0] != pair[1]
    )
    raise InputError(
        f"{path}: was {what} {len(saved)} videos, with {theirs} as video {where}, but now there are {len(now)} "
        f"videos, with {ours} as video {where}; resume with the same videos"
    )


def copy_best(folder: Path, out: Path) -> None:
    """Copy the best epoch so far to the new folder of a resumed run: it may stay the best."""
    for name in BEST_FILES:
        if (folder / name).exists():
            with replacing(out / name) as draft:
                shutil.copyfile(folder / name, draft)


def weights_of(state: dict) -> dict[str, torch.Tensor]:
    """A checkpoint's weights that count: the averaged ones if it has any, as torch's AveragedModel keeps them."""
    if not state.get("ema"):
        return state["model"]
    prefix = "module."
    return {name[len(prefix) :]: value for name, value in state["ema"].items() if name.startswith(prefix)}
