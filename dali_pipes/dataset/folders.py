"""Folders of videos: the files in them, the classes that their names say, and the parts of a split."""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .class_names import class_name

VIDEO_EXTENSIONS = tuple(
    ".3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 "
    ".mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
TRANSCODED = ".mp4"
"""Suffix of the files that :mod:`dali_pipes.dataset.transcode` writes."""
LIST_EXTENSIONS = (".csv", ".tsv", ".txt", ".lst", ".list")
NO_CLASSES = ("#recycle", "$recycle.bin", "@eadir", "__macosx", "lost+found", "system volume information")
"""Folders that storage devices and other systems leave, in lower case; they are passed over, as hidden ones are."""
WRITTEN_BY_US = ("transcode.csv",)
"""The report of :mod:`dali_pipes.dataset.transcode`, which lies beside its copies."""

SPLIT_WORDS = {
    "train": ("train", "training", "trainval", "train_val"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
"""Split -> words for it; :func:`split_of` knows them in any case, with what is often written beside them."""
_BESIDE = r"(?:videos?|clips?|rgb|frames?|sets?|data|datasets?|splits?|lists?|files?|[\d\W_])*"
_SPLIT_PATTERNS = {
    split: re.compile(_BESIDE + f"(?:{'|'.join(words)})" + _BESIDE) for split, words in SPLIT_WORDS.items()
}


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, ``train``, ``val`` or ``test``; None if it is no such name.

    Example: ``Train``, ``training``, ``videos_train`` and ``trainset`` are all ``train``; ``train_station`` is None.
    """
    return next((split for split, pattern in _SPLIT_PATTERNS.items() if pattern.fullmatch(name.lower().strip())), None)


def walk_videos(root: str | os.PathLike) -> Iterator[str]:
    """Yield the video files below a folder, by their extensions, in order of their names; hidden ones are left out.

    Links are followed; a folder that was read already, such as by a link to a folder above, is named in a warning and
    not read again. Other files are counted in a warning.

    Raises:
        InputError: a folder cannot be read.
    """
    seen: dict[tuple[int, int], str] = {}
    others: dict[str, list[str]] = {}

    def walk(folder: str) -> Iterator[str]:
        try:
            stat = os.stat(folder)
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
        first = seen.setdefault((stat.st_dev, stat.st_ino), folder)
        if first != folder:
            warnings.warn(f"{folder}: is the same folder as {first}, so it is not read again", stacklevel=1)
            return
        paths = [os.path.join(folder, name) for name in names if not is_ignored(name)]
        # links to folders come last, so that a folder is read by its own name
        for path in sorted(paths, key=lambda path: os.path.islink(path) and os.path.isdir(path)):
            name = os.path.basename(path)
            if os.path.isdir(path):
                yield from walk(path)
            elif name.lower().endswith(VIDEO_EXTENSIONS):
                yield path
            elif not os.path.exists(path):
                others.setdefault("broken links", []).append(path)
            elif not (folder == os.fspath(root) and name.lower().endswith(LIST_EXTENSIONS)):  # those are told apart
                others.setdefault(os.path.splitext(name)[1].lower() or "without any", []).append(path)

    yield from walk(os.fspath(root))
    if others:
        kinds = ", ".join(f"{len(paths):,} {extension}" for extension, paths in others.items())
        example = next(iter(others.values()))[0]
        warnings.warn(
            f"{root}: these files are skipped, because they do not have a video extension or are broken links: "
            f"{kinds}; for example {example}",
            stacklevel=1,
        )


def is_ignored(name: str) -> bool:
    """Return whether a file or folder is hidden, or left there by a storage device or another system."""
    return name.startswith(".") or name.lower() in NO_CLASSES


def walk_class_folders(root: Path, check_levels: bool) -> list[tuple[str, str]]:
    """Return (path, class name) of every video in a folder of class folders, sorted by path.

    Raises:
        InputError: a video lies outside any class folder; or, with ``check_levels``, the topmost folders all hold the
            same folders, so that either of the two levels may be the classes.
    """
    pairs, parts_of_videos = [], []
    for path in walk_videos(root):
        parts = Path(path).relative_to(root).parts
        if len(parts) == 1:
            raise InputError(f"{path}: is not in a class folder; move it to {root}/<class>/<video>")
        pairs.append((path, class_name(parts[0])))
        parts_of_videos.append(parts)
    if check_levels:
        _check_levels(root, parts_of_videos)
    return sorted(pairs)


def _check_levels(root: Path, parts_of_videos: list[tuple[str, ...]]) -> None:
    """Stop where the topmost folders may be the parts of a split, and the folders in them the classes."""
    below: dict[str, set[str]] = {}
    for parts in parts_of_videos:
        below.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    upper, all_lower = sorted(below), sorted(set().union(*below.values()))
    meant = f"if {_some(upper)} are the classes, give dataset='folder' (class_folders=True in find_videos)"
    if upper and all(map(split_of, upper)):
        raise InputError(
            f"{root}: the folder names {_some(upper)} look like names of parts of a split; "
            f"give one part, such as {root / upper[0]}; {meant}"
        )
    if len(upper) < 2 or "" in all_lower:
        return
    if all(map(split_of, all_lower)):
        raise InputError(
            f"{root}: its folders {_some(upper)} contain {_some(all_lower)}, which look like the parts of a split; "
            f"move the parts to the top level, as {root}/{all_lower[0]}/{upper[0]}, or give a list with the "
            f"columns path,label,split; {meant}"
        )
    shared = sorted(set.intersection(*below.values()))
    if len(shared) >= 2 and 2 * len(shared) >= max(map(len, below.values())):
        raise InputError(
            f"{root}: each of its folders {_some(upper)} contains the folders {_some(shared)}, which may be "
            "the classes; "
            f"{meant}; otherwise give one folder for training with data=... and one for validation with val_data=..."
        )
    repeated = sorted(name for name in all_lower if sum(name in names for names in below.values()) > 1)
    if repeated:
        warnings.warn(
            f"{root}: its top-level folders are used as the classes ({_some(upper)}), although several of them "
            f"contain folders of the same name: {_some(repeated)}",
            stacklevel=1,
        )


def _some(names: list[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def split_entries(root: Path, lists: bool) -> dict[str, Path]:
    """Return the folders or ``lists`` in ``root`` that are named as ``train``, ``val`` and ``test``.

    The result is empty unless there are both ``train`` and ``val``.

    Where nothing is named as validation, ``val`` is what is named as test.

    Raises:
        InputError: two folders are named as the same part.
    """
    found: dict[str, list[Path]] = {}
    # a class may be called so: a part holds folders of classes
    folders = [folder for folder in subfolders(root) if split_of(folder.name) and subfolders(folder)]
    for path in list_files(root) if lists else folders:
        if split := split_of(path.stem if lists else path.name):
            found.setdefault(split, []).append(path)
    if "val" not in found and "test" in found:
        found["val"] = found.pop("test")
    if not {"train", "val"} <= set(found) or (lists and any(len(paths) > 1 for paths in found.values())):
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths[:2])
            raise InputError(
                f"{root}: {names} both look like the part {split}; give the folders to use with data=... "
                "and val_data=..."
            )
    return {split: found[split][0] for split in SPLIT_WORDS if split in found}


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, without those that are passed over, in order of their names.

    Raises:
        InputError: it cannot be read.
    """
    return [path for path in _entries(root) if path.is_dir()]


def loose_videos(root: Path) -> list[Path]:
    """Return the video files that lie on top in a folder, in no folder of a class, in order of their names.

    Raises:
        InputError: it cannot be read.
    """
    return [path for path in _entries(root) if path.name.lower().endswith(VIDEO_EXTENSIONS) and not path.is_dir()]


def list_files(root: Path) -> list[Path]:
    """Return the files in a folder that are lists of videos by their extension, in order of their names.

    Raises:
        InputError: it cannot be read.
    """
    return [
        path
        for path in _entries(root)
        if path.is_file() and path.name.lower().endswith(LIST_EXTENSIONS) and path.name not in WRITTEN_BY_US
    ]


def _entries(root: Path) -> list[Path]:
    try:
        return [path for path in sorted(root.iterdir()) if not is_ignored(path.name)]
    except OSError as error:
        raise InputError(f"{root}: cannot be read ({error.strerror})") from error
