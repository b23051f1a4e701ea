"""Readers of what a user has on disk, class folders, splits and lists, as (path, class name) pairs."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .folders import SPLIT_WORDS, VIDEO_EXTENSIONS, split_entries, split_of, walk_class_folders, walk_videos
from .lists import Segment, is_list, read_list

FOLDER_DATA = "folder"
"""Name given instead of a data set's: the folder holds class folders, whatever else lies there."""

Item = tuple[str, str | int | None] | tuple[str, str | int | None, Segment]
"""(path, label), and a third where the list names a segment of the file."""


@dataclass(frozen=True)
class Part:
    """The location of the videos of one part of a split."""

    path: Path
    """A folder of class folders, or a list."""
    split: str | None = None
    """The value in the column ``split`` of this part's rows; None is all rows."""

    @property
    def is_test(self) -> bool:
        """Whether the part is named as test videos."""
        return (self.split or split_of(self.path.stem if self.path.is_file() else self.path.name)) == "test"

    def __str__(self) -> str:
        return f"{self.path}, split {self.split}" if self.split else str(self.path)


def find_videos(source: str | os.PathLike, split: str | None = None, *, class_folders: bool = False) -> list[Item]:
    """Return (path, class name) of every video in a folder of class folders or in a list; a list may add a segment.

    Args:
        source: a folder ``<class>/.../<video>``, or a list: a CSV with the columns ``path,label`` or lines ``path id``,
            see docs/datasets.md. A saved ``Manifest`` is one. Relative paths start at the list's own folder.
        split: ``train``, ``val`` or ``test``, where the source is split, see :func:`find_splits`.
        class_folders: the topmost folders are the classes, however alike they are inside, and lists beside them are not
            read; two that are named as the parts of a split still are that.

    Returns:
        (path, class name), or (path, class name, Segment), of each video. Those of a folder are sorted by path; those
        of a list are its rows in order, each a sample of its own.

    Raises:
        InputError: the source is missing, holds no videos or is split in another way;
            or it cannot be told which folders are the classes.
    """
    parts = find_splits(source, class_folders=class_folders)
    if parts and split is None:
        held = " and ".join(f"{name} ({part})" for name, part in parts.items())
        raise InputError(f"{source}: is split into {held}; give one of them, such as split={next(iter(parts))!r}")
    if split is not None and split not in parts:
        held = f"it only has {', '.join(parts)}" if parts else "it is not split"
        raise InputError(f"{source}: has no videos for {split}, because {held}")
    part = parts[split] if split else Part(Path(source))
    if part.path.is_file():
        rows = _rows(part)
        if not rows:
            raise InputError(f"{part}: has no rows below its first line; expected one video per row")
        return rows
    found = walk_class_folders(part.path, check_levels=not class_folders)
    if not found:
        raise InputError(
            f"{part}: contains no videos; expected <class>/<video>, with an extension such as .mp4 or .avi"
        )
    return [*found]


def find_splits(source: str | os.PathLike, *, class_folders: bool = False) -> dict[str, Part]:
    """Return the parts of a source that is split, by name: ``train`` and ``val``, also ``test``; empty if it is not.

    Args:
        source: a folder that holds two folders named so, in any case and spelling (``train`` and ``val``, ``Training``
            and ``Testing``, ``videos_train`` and ``videos_val``), or else two lists named so, such as ``train.csv`` and
            ``val.csv``; or a list with a column ``split``. Where only test videos are set apart, these are ``val``.
        class_folders: lists in a folder are not read.

    Returns:
        Name -> part, whose ``path`` and ``split`` say where its videos are; for :func:`find_videos` the name is enough.

    Raises:
        InputError: the source is missing, or two folders are named as the same part.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(
            f"{source}: no such folder or file; expected a folder of class folders or a list such as a .csv file"
        )
    if source.is_dir():
        found = split_entries(source, lists=False)
        if not found and not class_folders:
            lists = split_entries(source, lists=True)
            found = lists if all(map(is_list, lists.values())) else {}
        return {split: Part(path) for split, path in found.items()}
    splits = {row.split for row in read_list(source, with_labels=False) if row.split}
    parts = {split: Part(source, split) for split in SPLIT_WORDS if split in splits}
    return {"val" if split == "test" and "val" not in parts else split: part for split, part in parts.items()}


def find_unlabelled(source: str | os.PathLike) -> list[Item]:
    """Return (path, None) of every video in a folder and its subfolders, of one video, or of each row of a list.

    A list may add a segment.

    Raises:
        InputError: the source is missing or holds no videos.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(
            f"{source}: no such folder or file; expected a folder of videos, a video, or a list such as a .csv file"
        )
    found: list[Item]
    if source.is_dir():
        found = [(path, None) for path in walk_videos(source)]
    elif source.name.lower().endswith(VIDEO_EXTENSIONS):
        found = [(str(source), None)]
    else:
        found = _rows(Part(source), with_labels=False)
    if not found:
        raise InputError(f"{source}: contains no videos; expected files with an extension such as .mp4 or .avi")
    return found


def _rows(part: Part, with_labels: bool = True) -> list[Item]:
    rows = [row for row in read_list(part.path, with_labels) if part.split in (None, row.split)]
    labels = [row.label if with_labels else None for row in rows]
    return [
        (row.path, label, row.segment) if row.segment else (row.path, label)
        for row, label in zip(rows, labels, strict=True)
    ]
