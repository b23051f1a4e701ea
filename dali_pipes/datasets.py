"""From what a user has on disk to (path, class name) pairs: folders of classes, CSV files, and the official lists of
UCF-101, HMDB-51 and the VIPriors challenge, in the layouts that their archives unpack to. Nothing is downloaded.
"""

import csv
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Listed:
    """The videos of an official split."""

    classes: list[str]
    """In the official order; a label is a position here."""
    parts: dict[str, list[tuple[str, str | None]]]
    """``train``, ``val`` and for VIPriors ``test``: (path, class name) as listed, whether the file is there or not; the
    class is None where the list gives none."""


def read_ucf101(root: str | os.PathLike, split: str = "1") -> Listed:
    """UCF-101: ``UCF-101/<class>/*.avi`` and ``ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt`` in ``root``.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    root = Path(root)
    lists = _folder(
        root, ("ucfTrainTestlist", ""), "classInd.txt", "ucfTrainTestlist/ (UCF101TrainTestSplits-RecognitionTask.zip)"
    )
    videos = _folder(root, ("UCF-101", ""), "*/*.avi", "UCF-101/<class>/*.avi (UCF101.rar)")
    classes = _read_classes(lists / "classInd.txt")
    parts = {}
    for part, name in (("train", f"trainlist0{split}.txt"), ("val", f"testlist0{split}.txt")):
        parts[part] = []
        for where, line in _lines(lists / name):
            path, index = _fields(where, line)
            label = path.split("/")[0]
            if label not in classes:
                raise InputError(f"{where}: the class {label!r} of {path} is not in {lists / 'classInd.txt'}")
            if index is not None and classes.index(label) + 1 != index:
                raise InputError(
                    f"{where}: {path} has the class number {index}, in {lists / 'classInd.txt'} {label} has {classes.index(label) + 1}"
                )
            parts[part].append((str(videos / path), label))
    return Listed(classes, parts)


HMDB_PARTS = {"0": None, "1": "train", "2": "val"}  # 0: in neither


def read_hmdb51(root: str | os.PathLike, split: str = "1") -> Listed:
    """HMDB-51: ``<class>/*.avi`` (or ``hmdb51_org/<class>/*.avi``) and ``testTrainMulti_7030_splits/<class>_test_splitN.txt``.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    root, ending = Path(root), f"_test_split{split}.txt"
    lists = _folder(root, ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits", "test_train_splits", ""),
                    f"*{ending}", f"testTrainMulti_7030_splits/<class>{ending} (test_train_splits.rar)")  # fmt: skip
    videos = _folder(
        root, ("hmdb51_org", ""), "*/*.avi", "<class>/*.avi (hmdb51_org.rar, and the archive of each class in it)"
    )
    files = sorted(lists.glob(f"*{ending}"))
    parts = {"train": [], "val": []}
    for file in files:
        label = file.name.removesuffix(ending)
        for where, line in _lines(file):
            name, part = (line.rsplit(maxsplit=1) + [""])[:2]
            if part not in HMDB_PARTS:
                raise InputError(f"{where}: {line!r} must end with 0 (unused), 1 (training) or 2 (test)")
            if HMDB_PARTS[part]:
                parts[HMDB_PARTS[part]].append((str(videos / label / name), label))
    return Listed([file.name.removesuffix(ending) for file in files], parts)


def read_vipriors(root: str | os.PathLike) -> Listed:
    """The VIPriors challenge's UCF-101: ``mod-ucf101/videos/*.avi`` and ``mod-ucf101/annotations/mod-ucf101-*.txt``.

    Class numbers start at 1. The test list has no classes.

    Raises:
        InputError: a list is missing, or a line of it is not as it should be; names the file and the line.
    """
    folder = _folder(
        Path(root),
        ("mod-ucf101", ""),
        "annotations/mod-ucf101-classInd.txt",
        "mod-ucf101/annotations/mod-ucf101-classInd.txt",
    )
    lists = folder / "annotations"
    classes = _read_classes(lists / "mod-ucf101-classInd.txt")
    parts = {}
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        parts[part] = []
        for where, line in _lines(lists / f"mod-ucf101-{name}.txt"):
            path, index = _fields(where, line)
            if (index is None) != (part == "test"):
                raise InputError(
                    f"{where}: {line!r} must be {'a video alone' if part == 'test' else 'a video and a class number'}"
                )
            if index is not None and not 1 <= index <= len(classes):
                raise InputError(
                    f"{where}: {path} has the class number {index}, {lists / 'mod-ucf101-classInd.txt'} has 1 to {len(classes)}"
                )
            parts[part].append((str(folder / "videos" / path), None if index is None else classes[index - 1]))
    return Listed(classes, parts)


@dataclass(frozen=True)
class Dataset:
    """An official dataset: how to read it, and its splits, of which the first is the default."""

    read: Callable[[str | os.PathLike, str], Listed]
    splits: tuple[str, ...]


DATASETS = {
    "ucf101": Dataset(read_ucf101, ("1", "2", "3")),
    "hmdb51": Dataset(read_hmdb51, ("1", "2", "3")),
    "vipriors": Dataset(lambda root, split: read_vipriors(root), ("train", "val", "test", "train+val")),
}


def _folder(root: Path, names, pattern: str, expected: str) -> Path:
    """The first of some subfolders of ``root`` that holds a pattern."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    for name in names:
        if next((root / name).glob(pattern), None):
            return root / name
    raise InputError(f"{root}: holds no {expected}")


def _lines(path: Path) -> list[tuple[str, str]]:
    """("FILE, line N", text) of a list's lines that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    return [
        (f"{path}, line {number}", line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]


def _fields(where: str, line: str) -> tuple[str, int | None]:
    """``path`` or ``path number``; paths in these lists hold no blanks."""
    match = re.fullmatch(r"(\S+)(?:\s+(\d+))?", line)
    if not match:
        raise InputError(f"{where}: {line!r} is not a video, or a video and a class number")
    return match[1], int(match[2]) if match[2] else None


def _read_classes(path: Path) -> list[str]:
    """Lines ``number name``, in any order; the numbers are 1 to K."""
    names = {}
    for where, line in _lines(path):
        match = re.fullmatch(r"(\d+)\s+(\S+)", line)
        if not match or int(match[1]) in names or match[2] in names.values():
            raise InputError(f"{where}: {line!r} is not a new class number and a new class name")
        names[int(match[1])] = match[2]
    if sorted(names) != list(range(1, len(names) + 1)):
        raise InputError(f"{path}: the class numbers must be 1 to {len(names)}, without gaps")
    return [names[number] for number in sorted(names)]
