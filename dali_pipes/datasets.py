"""From what a user has on disk to (path, class name) pairs: folders of classes, and CSV files."""

import csv
import os
from pathlib import Path

from .errors import InputError

VIDEO_EXTENSIONS = tuple(".avi .mp4 .mov .mkv .webm .mpg .mpeg .m4v .wmv .flv .ts .3gp .ogv".split())
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "validation", "valid", "test")}


def find_videos(source: str | os.PathLike) -> list[tuple[str, str]]:
    """(path, class name) of every video in a folder of class folders, or in a CSV with columns ``path,label``.

    Args:
        source: a folder ``<class>/.../<video>``, or a .csv whose relative paths start at the CSV's own folder.

    Returns:
        Pairs sorted by path.

    Raises:
        InputError: the source is missing or holds no videos.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(f"{source}: no such folder or file; expected a folder of class folders or a .csv file")
    pairs = _read_csv(source) if source.is_file() else _walk_class_folders(source)
    if not pairs:
        raise InputError(
            f"{source}: holds no videos; expected <class>/<video> with one of {' '.join(VIDEO_EXTENSIONS)}"
        )
    return sorted(pairs)


def find_splits(source: str | os.PathLike) -> dict[str, Path]:
    """The folders of a source that is split on disk, ``{"train": ..., "val": ...}``; empty if it is not."""
    found = {}
    for split, names in SPLIT_NAMES.items():
        folders = [Path(source) / name for name in names if (Path(source) / name).is_dir()]
        if folders:
            found[split] = folders[0]
    return found if len(found) == len(SPLIT_NAMES) else {}


def _walk_class_folders(root: Path) -> list[tuple[str, str]]:
    def fail(error: OSError):
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    pairs = []
    for folder, _, names in os.walk(root, onerror=fail):
        parts = Path(folder).relative_to(root).parts
        videos = [os.path.join(folder, name) for name in names if name.lower().endswith(VIDEO_EXTENSIONS)]
        if videos and not parts:
            raise InputError(f"{videos[0]}: lies outside any class folder; expected {root}/<class>/<video>")
        pairs += [(video, parts[0]) for video in videos]
    return pairs


def _read_csv(path: Path) -> list[tuple[str, str]]:
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: is neither a folder nor a .csv file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if not {"path", "label"} <= set(columns):
                raise InputError(f"{path}: needs the columns path,label in its first line, it has {','.join(columns)}")
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise InputError(f"{path}: is not a CSV file ({error})") from error
    for number, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise InputError(f"{path}, line {number}: needs a path and a label")
        if "\0" in row["path"]:
            raise InputError(f"{path}, line {number}: has a NUL byte in its path")
        if None in row:
            raise InputError(f"{path}, line {number}: has more than {len(columns)} fields; quote a path with commas")
    return [(str(path.parent / row["path"]), row["label"]) for row in rows]
