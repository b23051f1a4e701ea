"""Lists of videos: CSV with named columns, and the text lists of other programs, a path and a class number to a line.

A row is a sample: a video that is listed twice is two. Columns: ``path``, ``label``, ``split`` (as the folders of a split are
named), and a segment of the file, ``start`` and ``end`` in seconds or ``start_frame`` and ``end_frame``.
"""

import csv
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .class_names import class_name
from .errors import InputError
from .files import is_text, open_text
from .video_folders import LIST_EXTENSIONS, SPLIT_WORDS, VIDEO_EXTENSIONS, split_of


class Segment(NamedTuple):
    """A part of a video, [start, end), counted from its first frame. Example: ``Segment(2.5, None, "s")``."""

    start: float
    """In ``unit``; 0 is the first frame."""
    end: float | None
    """In ``unit``, not part of it; None is the video's end, and so is what lies beyond that."""
    unit: str
    """``s``, for videos of a constant rate, or ``frames``."""

    def __str__(self) -> str:
        numbers = f"{self.start:g} to {'the end' if self.end is None else format(self.end, 'g')}"
        return f"{numbers} s" if self.unit == "s" else f"frames {numbers}"


@dataclass(frozen=True)
class Row:
    """A line of a list."""

    path: str
    label: str
    """A class name; empty where there is none."""
    segment: Segment | None = None
    split: str | None = None
    """``train``, ``val`` or ``test``; None where the list has no such column."""


COLUMNS = ("path", "label", "split", "start", "end", "start_frame", "end_frame")
_EMPTY = dict.fromkeys(COLUMNS, "")
_DELIMITERS = (",", ";", "\t")


def read_list(path: Path, with_labels: bool) -> list[Row]:
    """Return the rows of a list, in its order; relative paths start at the list's own folder. A saved ``Manifest`` is one.

    Columns that mean nothing here are named in a warning.

    Raises:
        InputError: it cannot be read, or a line is not as it should be.
    """
    if path.suffix.lower() not in LIST_EXTENSIONS:
        raise InputError(f"{path}: is neither a folder nor a list ({' '.join(LIST_EXTENSIONS)})")
    with open_text(path) as file:
        lines = list(file)
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((known for known in _DELIMITERS if "path" in _names(first, known)), None)
    if not delimiter and "path" in first.lower().split() and set(first.lower().split()) <= set(COLUMNS):
        delimiter = BLANKS
    if delimiter:
        return _read_table(path, lines, delimiter, with_labels)
    rows = _read_plain(path, lines, first, with_labels)
    if rows is None:
        raise InputError(
            f"{path}: its first line is {first.strip()!r}; expected names of columns, such as path,label, or a path and a class "
            "number, such as run/1.mp4 3"
        )
    return rows


def _names(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"').strip().lower() for name in line.split(delimiter)]


def _cells(path: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line that a row ends on, and its cells; empty lines are passed over."""
    # a blank behind the delimiter belongs to no name, if the first line has one
    spaced = next((f"{delimiter} " in line for line in lines if line.strip()), False)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced)
    try:
        for cells in reader:
            if cells and any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}: is not a CSV file ({error})") from error


def _read_table(path: Path, lines: list[str], delimiter: str, with_labels: bool) -> list[Row]:
    cells = _cells(path, lines, delimiter)
    names = [name.strip().lower() for name in next(cells)[1]]
    if with_labels and "label" not in names:
        raise InputError(f"{path}: needs the columns path,label, its first line has {', '.join(names)}")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: its first line names the column {twice[0]} twice")
    is_manifest = "class_index" in names
    unused = [name or "without a name" for name in names if name not in COLUMNS]
    if unused and not is_manifest:
        warnings.warn(
            f"{path}: columns that are not used: {', '.join(unused)}; used are {', '.join(COLUMNS)}", stacklevel=4
        )
    rows = []
    for number, values in cells:
        where = f"{path}, line {number}"
        if len(values) > len(names):
            raise InputError(f"{where}: has more than {len(names)} fields; quote a path with commas")
        row = _EMPTY | dict(zip(names, values, strict=False))
        # a manifest also has lines for refused files and for classes without videos
        if is_manifest and (not row["path"] or row["refused"]):
            continue
        if "split" in names and not row["split"].strip():
            raise InputError(f"{where}: needs a split, as the column is there")
        rows.append(_checked(path, where, row, with_labels))
    return rows


def _read_plain(path: Path, lines: list[str], first: str, with_labels: bool) -> list[Row] | None:
    """Lines without a header: a path and a class, or a path alone; None if the first line is neither."""
    delimiter = next((known for known in (*_DELIMITERS, BLANKS) if _is_pair(_fields(first, known), known)), None)
    if delimiter is None and (with_labels or not _is_video(first)):
        return None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = [line.strip("\r\n")] if delimiter is None else _fields(line, delimiter)
        if len(fields) != (1 if delimiter is None else 2):
            raise InputError(
                f"{where}: is not a path and a class, as the first line is; for more, name the columns in a first line"
            )
        rows.append(
            _checked(path, where, _EMPTY | dict(zip(("path", "label"), fields, strict=False)), delimiter is not None)
        )
    return rows


BLANKS = " "
"""Between a path, which may hold blanks, and a class number."""


def _fields(line: str, delimiter: str) -> list[str]:
    return line.rsplit(maxsplit=1) if delimiter == BLANKS else next(csv.reader([line], delimiter=delimiter), [])


def _is_pair(fields: list[str], delimiter: str) -> bool:
    return len(fields) == 2 and _is_video(fields[0]) and (delimiter != BLANKS or fields[1].isdecimal())


def _is_video(text: str) -> bool:
    return text.strip().lower().endswith(VIDEO_EXTENSIONS)


def _checked(path: Path, where: str, row: dict[str, str], with_labels: bool) -> Row:
    needed = ("path", "label") if with_labels else ("path",)
    if not all(row[name].strip() for name in needed):
        raise InputError(f"{where}: needs a {' and a '.join(needed)}")
    if not is_text(row["label"]):  # a path may be any bytes
        raise InputError(f"{where}: its label is not UTF-8 text")
    if "\0" in row["path"]:
        raise InputError(f"{where}: has a NUL byte in its path")
    video = path.parent / row["path"]
    if row["path"] != row["path"].strip() and not video.exists():
        video = path.parent / row["path"].strip()
    return Row(str(video), class_name(row["label"]), _segment(where, row), _split(where, row["split"]))


def _split(where: str, text: str) -> str | None:
    split = split_of(text) if text.strip() else None
    if text.strip() and not split:
        known = ", ".join(word for words in SPLIT_WORDS.values() for word in words)
        raise InputError(f"{where}: unknown split {text.strip()!r}: choose one of {known}")
    return split


def _segment(where: str, row: dict[str, str]) -> Segment | None:
    segments = [
        Segment(start or 0, end or None, unit)
        for unit, names in (("s", ("start", "end")), ("frames", ("start_frame", "end_frame")))
        for start, end in [[_number(where, name, row[name], unit) for name in names]]
        if start or end
    ]
    if len(segments) > 1:
        raise InputError(f"{where}: has both {segments[0]} and {segments[1]}; a segment is in seconds or in frames")
    for segment in segments:
        if segment.end is not None and segment.end <= segment.start:
            raise InputError(f"{where}: its segment, {segment}, ends before it starts")
    return segments[0] if segments else None


def _number(where: str, name: str, text: str, unit: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
        whole = unit == "s" or re.fullmatch(r"\s*\d+(\.0*)?\s*", text)
        if whole and 0 <= value < math.inf:
            return value if unit == "s" else int(value)
    except ValueError:
        pass
    raise InputError(
        f"{where}: {name} is {text.strip()!r}, it must be {'seconds' if unit == 's' else 'a whole number of frames'} from 0 up"
    )
