"""The official lists of UCF-101, HMDB-51 and the VIPriors challenge, as their archives unpack.

Nothing is downloaded.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .folders import TRANSCODED

IN_CLASS_FOLDERS = ("*/*.avi", f"*/*{TRANSCODED}")


@dataclass(frozen=True)
class OfficialLists:
    """The lists of an official split: its classes and its videos."""

    classes: list[str]
    """Class names in order; a label is an index into this list."""
    parts: dict[str, list[tuple[str, str | None]]]
    """``train``, ``val`` and for VIPriors ``test``: (path, class name) as listed, whether the file is there or not; the
    class is None where the list gives none."""


def read_ucf101(root: str | os.PathLike, split: str = "1") -> OfficialLists:
    """Read a split of UCF-101.

    The videos are ``UCF-101/<class>/*.avi``, the lists ``ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt`` in
    ``root``.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    both = (
        "the folder that contains UCF-101/ (from UCF101.rar) and ucfTrainTestlist/ "
        "(from UCF101TrainTestSplits-RecognitionTask.zip)"
    )
    lists = _folder(root, ("ucfTrainTestlist", ""), ("classInd.txt",), both)
    videos = _folder(root, ("UCF-101", ""), IN_CLASS_FOLDERS, both)
    classes, entries = _read_classes(lists / "classInd.txt"), []
    for part, name in (("train", f"trainlist0{split}.txt"), ("val", f"testlist0{split}.txt")):
        for where, line in _lines(lists / name):
            path, number = _path_and_number(where, line, with_number=part == "train")
            label, _, file = path.partition("/")
            if not file or "/" in file:
                raise InputError(f"{where}: {path!r} must have the form <class>/<video>; unpack the lists again")
            if label not in classes:
                raise InputError(
                    f"{where}: the class {label!r} of {path} is not in {lists / 'classInd.txt'}; unpack the lists again"
                )
            if number not in (None, classes.index(label) + 1):
                right = f"but {label} has the number {classes.index(label) + 1} in {lists / 'classInd.txt'}"
                raise InputError(f"{where}: {path} has the class number {number}, {right}")
            entries.append((part, where, videos / path, label))
    return _checked_lists(classes, entries, ("train", "val"), lists)


HMDB_PARTS = {"0": None, "1": "train", "2": "val"}  # 0: in neither


def read_hmdb51(root: str | os.PathLike, split: str = "1") -> OfficialLists:
    """Read a split of HMDB-51.

    The videos are ``<class>/*.avi`` (or ``hmdb51_org/<class>/*.avi``), the lists
    ``testTrainMulti_7030_splits/<class>_test_splitN.txt``.

    The lists name no order of the classes: it is alphabetical.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    both = (
        "the folder that contains testTrainMulti_7030_splits/ (from test_train_splits.rar) and "
        "hmdb51_org/<class>/*.avi (from hmdb51_org.rar and the archives of the classes in it)"
    )
    names = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits", "test_train_splits", "")
    lists = _folder(root, names, ("*_test_split1.txt",), both)
    videos = _folder(root, ("hmdb51_org", ""), IN_CLASS_FOLDERS, both)
    with_lists = {file.name[: -len("_test_split1.txt")] for file in lists.glob("[!.]*_test_split[123].txt")}
    with_videos = {file.parent.name for pattern in IN_CLASS_FOLDERS for file in videos.glob("[!.]" + pattern)}
    if with_videos - with_lists:
        raise InputError(
            f"{lists}: has no list for the class folder {min(with_videos - with_lists)} of {videos}; "
            "unpack the lists of all classes"
        )
    entries = []
    for label in sorted(with_lists):
        for where, line in _lines(lists / f"{label}_test_split{split}.txt"):
            name, part = (line.rsplit(maxsplit=1) + [""])[:2]
            if part not in HMDB_PARTS:
                raise InputError(f"{where}: {line!r} must end with 0 (unused), 1 (training) or 2 (test)")
            if used := HMDB_PARTS[part]:
                entries.append((used, where, videos / label / name, label))
    return _checked_lists(sorted(with_lists), entries, ("train", "val"), lists)


def read_vipriors(root: str | os.PathLike) -> OfficialLists:
    """The VIPriors challenge's UCF-101: ``mod-ucf101/videos/*.avi`` and ``mod-ucf101/annotations/mod-ucf101-*.txt``.

    Class numbers start at 1. The test list has no classes.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    names = ("annotations/mod-ucf101-classInd.txt",)
    folder = _folder(
        root, ("mod-ucf101", ""), names, "the folder that contains mod-ucf101/annotations/ and mod-ucf101/videos/"
    )
    lists = folder / "annotations"
    classes, entries = _read_classes(lists / "mod-ucf101-classInd.txt"), []
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        for where, line in _lines(lists / f"mod-ucf101-{name}.txt"):
            path, number = _path_and_number(where, line, with_number=part != "test")
            if number is not None and not 1 <= number <= len(classes):
                known = f"but the numbers in {lists / 'mod-ucf101-classInd.txt'} are 1 to {len(classes)}"
                raise InputError(f"{where}: {path} has the class number {number}, {known}")
            entries.append((part, where, folder / "videos" / path, None if number is None else classes[number - 1]))
    return _checked_lists(classes, entries, ("train", "val", "test"), lists)


@dataclass(frozen=True)
class Dataset:
    """An official dataset."""

    read: Callable[[str | os.PathLike, str], OfficialLists]
    splits: tuple[str, ...]
    """The first is the default; ``test`` has no labels."""
    mark: str
    """The folder by which it is known."""
    takes_submissions: bool = False
    """Whether predictions of its test videos are handed in, as a challenge's are."""


DATASETS = {
    "ucf101": Dataset(read_ucf101, ("1", "2", "3"), "ucfTrainTestlist"),
    "hmdb51": Dataset(read_hmdb51, ("1", "2", "3"), "testTrainMulti_7030_splits"),
    "vipriors": Dataset(lambda root, split: read_vipriors(root), ("train", "train+val", "test"), "mod-ucf101", True),
}
"""Name -> official data set.

``read(folder, split)`` returns its lists as :class:`OfficialLists`; ``splits`` are their names, the first the default.
How the folder must be laid out: docs/datasets.md; ``read`` raises :class:`InputError` where it is not."""


def _checked_lists(
    classes: list[str], entries: Sequence[tuple[str, str, Path, str | None]], parts: Sequence[str], lists: Path
) -> OfficialLists:
    """Return the videos of (part, where, path, class), each path once; checks that there is something in each part.

    Where a listed file is missing, the .mp4 that :mod:`dali_pipes.dataset.transcode` makes of it is taken.
    """
    seen: dict[Path, str] = {}
    for _, where, path, _ in entries:
        if path in seen:
            raise InputError(f"{where}: {path.name} is already listed in {seen[path]}; unpack the lists again")
        seen[path] = where
    of_part = {part: [(str(_present(path)), label) for own, _, path, label in entries if own == part] for part in parts}
    for part, videos in of_part.items():
        if not videos and part != "test":
            raise InputError(f"{lists}: its lists contain no videos for {part}; unpack the lists again")
    return OfficialLists(classes, of_part)


def _present(path: Path) -> Path:
    transcoded = path.with_suffix(TRANSCODED)
    return transcoded if not path.exists() and transcoded.exists() else path


def _folder(root: str | os.PathLike, names: Sequence[str], patterns: Sequence[str], expected: str) -> Path:
    """The first of some subfolders of ``root`` that holds one of the patterns."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: {'is a file' if root.exists() else 'no such folder'}; expected {expected}")
    for name in names:
        if any(next((root / name).glob(pattern), None) for pattern in patterns):
            return root / name
    raise InputError(f"{root}: does not contain {names[0]}/{patterns[0]}; expected {expected}")


def _lines(path: Path) -> list[tuple[str, str]]:
    """("FILE, line N", text) of a list's lines that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); unpack it again"
        ) from error
    lines = [
        (f"{path}, line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()
    ]
    for where, line in lines:
        if "\0" in line:
            raise InputError(f"{where}: contains a NUL byte; unpack the list again")
    return lines


def _path_and_number(where: str, line: str, with_number: bool) -> tuple[str, int | None]:
    """Return the path and the class number of a line; paths in these lists hold no blanks."""
    match = re.fullmatch(r"(\S+)\s+(\d{1,9})" if with_number else r"(\S+)", line)
    if not match:
        raise InputError(
            f"{where}: {line!r} must be {'a video and a class number' if with_number else 'a video without a class'}"
        )
    return match[1], int(match[2]) if with_number else None


def _read_classes(path: Path) -> list[str]:
    """Read lines ``number name``, in any order; the numbers are 1 to K."""
    names: dict[int, str] = {}
    for where, line in _lines(path):
        match = re.fullmatch(r"(\d{1,9})\s+(\S+)", line)
        if not match or int(match[1]) in names or match[2] in names.values():
            raise InputError(
                f"{where}: {line!r} must be a class number and a class name, such as 3 Archery, and no other "
                "line may have the same number or name"
            )
        names[int(match[1])] = match[2]
    if not names or sorted(names) != list(range(1, len(names) + 1)):
        raise InputError(f"{path}: its class numbers must be 1, 2, 3, ... without gaps, but are {sorted(names)}")
    return [names[number] for number in sorted(names)]
