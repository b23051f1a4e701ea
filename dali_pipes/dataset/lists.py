"""Lists of videos: CSV with named columns, and the text lists of other programs, a path and a class number to a line.

A row is a sample: a video that is listed twice is two. Columns: ``path``, ``label``, ``split`` (as the folders of a
split are named), and a segment of the file, ``start`` and ``end`` in seconds or ``start_frame`` and ``end_frame``.
"""

import csv
import math
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..system.files import is_text, text_lines
from .class_names import class_name
from .folders import LIST_EXTENSIONS, SPLIT_WORDS, VIDEO_EXTENSIONS, split_of


class Segment(NamedTuple):
    """A part of a video, [start, end), counted from its first frame. Example: ``Segment(2.5, None, "s")``."""

    start: float
    """Start of the segment, in ``unit``; 0 is the first frame."""
    end: float | None
    """End of the segment (exclusive), in ``unit``; None is the video's end, and so is any later time."""
    unit: str
    """``s``, for videos of a constant rate, or ``frames``."""

    def __str__(self) -> str:
        if self.unit == "frames":
            return f"frames {self.start:g} to {'the end' if self.end is None else format(self.end, 'g')}"
        return f"{self.start:g} s to the end" if self.end is None else f"{self.start:g} to {self.end:g} s"


@dataclass(frozen=True)
class ListedVideo:
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


def read_list(path: Path, with_labels: bool) -> list[ListedVideo]:
    """Return the rows of a list of videos, in its order; a saved ``Manifest`` is such a list.

    Relative paths start at the list's own folder.

    Columns that mean nothing here are named in a warning.

    Raises:
        InputError: it cannot be read, or a line is not as it should be.
    """
    if not path.name.lower().endswith(LIST_EXTENSIONS):
        raise InputError(
            f"{path}: is neither a folder nor a list; the name of a list must end in {' or '.join(LIST_EXTENSIONS)}"
        )
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return list(_read_list(path, with_labels, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)  # the same list is asked for its splits, then for the rows of each
def _read_list(path: Path, with_labels: bool, mtime_ns: int, size_bytes: int) -> tuple[ListedVideo, ...]:
    lines = _lines(path)
    first = next((line for line in lines if line.strip()), "")
    delimiter = _header_delimiter(first)
    rows = (
        _read_table(path, lines, delimiter, with_labels) if delimiter else _read_plain(path, lines, first, with_labels)
    )
    return tuple(rows)


def is_list(path: Path) -> bool:
    """Return whether a file's first line is that of a list of videos with labels. The other lines are not checked."""
    try:
        first = next((line for line in _lines(path) if line.strip()), "")
    except InputError:
        return False
    delimiter = _header_delimiter(first)
    return "label" in _names(first, delimiter) if delimiter else _plain_delimiter(first) is not None


def may_be_list(path: Path) -> bool:
    """Return whether a user may take a file for a list of videos, by its name or its first line."""
    return path.name.lower().endswith((".csv", ".tsv")) or split_of(path.stem) is not None or is_list(path)


def _lines(path: Path) -> list[str]:
    lines = text_lines(path)
    return lines[1:] if lines and re.fullmatch(r"sep=.\s*", lines[0]) else lines  # for Excel


BLANKS = " "
"""Separator of a path, which may hold blanks, and a class number."""


def _header_delimiter(first: str) -> str | None:
    """Return the separator of the column names in a first line; None if the line holds none."""
    words = first.lower().split()
    by_blanks = BLANKS if "path" in words and set(words) <= set(COLUMNS) else None
    return next((known for known in _DELIMITERS if "path" in _names(first, known)), by_blanks)


def _names(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"').strip().lower() for name in line.split(delimiter)]


def _cells(path: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line that a row ends on, and its cells; empty lines are passed over."""
    # a blank behind the delimiter belongs to no name, if the first line has one
    spaced = next((f"{delimiter} " in line for line in lines if line.strip()), False)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced, strict=True)
    begins_on = 1
    try:
        for cells in reader:
            if reader.line_num > begins_on and any(
                "\n" in cell and not os.path.exists(path.parent / cell) for cell in cells
            ):
                raise InputError(
                    f"{path}, line {begins_on}: has a quotation mark that is not closed on this line; "
                    "close it, or double it if it is part of a path"
                )
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
            begins_on = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {begins_on}: is not valid CSV ({error}); correct this line") from error


def _read_table(path: Path, lines: list[str], delimiter: str, with_labels: bool) -> list[ListedVideo]:
    cells = _cells(path, lines, delimiter)
    names = [name.strip().lower() for name in next(cells)[1]]
    if with_labels and "label" not in names:
        raise InputError(f"{path}: needs the columns path,label, but its first line names {', '.join(names)}")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: its first line names the column {twice[0]} twice; remove one of them")
    is_manifest = {"class_index", "refused"} <= set(names)
    unused = [name or "without a name" for name in names if name not in COLUMNS]
    if unused and not is_manifest:
        warnings.warn(
            f"{path}: these columns are ignored: {', '.join(unused)}; the known columns are {', '.join(COLUMNS)}",
            stacklevel=1,
        )
    rows = []
    for number, values in cells:
        where = f"{path}, line {number}"
        if any(value.strip() for value in values[len(names) :]):
            raise InputError(
                f"{where}: has more than {len(names)} fields, the number in the first line; "
                "put a path that contains commas in quotation marks"
            )
        row = _EMPTY | dict(zip(names, values, strict=False))
        # a manifest also has lines for refused files and for classes without videos
        if is_manifest and (not row["path"] or row["refused"]):
            continue
        if "split" in names and not row["split"].strip():
            raise InputError(f"{where}: has no split; each line needs one, because the list has the column split")
        rows.append(_checked(path, where, row, with_labels))
    return rows


def _read_plain(path: Path, lines: list[str], first: str, with_labels: bool) -> list[ListedVideo]:
    """Read lines without a header: a path and a class, or a path alone."""
    delimiter = _plain_delimiter(first)
    if delimiter is None and (with_labels or not _is_video(first)):
        raise InputError(f"{path}: {_why_no_list(first)}")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = [line.strip("\r\n")] if delimiter is None else _fields(line, delimiter)
        if len(fields) != (1 if delimiter is None else 2):
            raise InputError(
                f"{where}: must be a path and a class, like the first line; for more columns, add a first line "
                "with their names"
            )
        row = _EMPTY | dict(zip(("path", "label"), fields, strict=False))
        rows.append(_checked(path, where, row, delimiter is not None))
    return rows


def _plain_delimiter(first: str) -> str | None:
    """Return the separator of a path and a class in a first line; None if it is no such line."""
    return next((known for known in (*_DELIMITERS, BLANKS) if _is_pair(_fields(first, known), known)), None)


def _why_no_list(first: str) -> str:
    shown, words = first.strip(), first.split()
    if not shown:
        return (
            "is empty; expected a first line with column names, such as path,label, or with a path and a class number"
        )
    if _is_video(shown):
        return (
            f"its first line, {shown!r}, is a path without a class; "
            "expected the columns path,label or lines such as run/1.mp4 3"
        )
    if len(words) > 2 and _is_video(words[0]):
        return (
            f"its first line, {shown!r}, has more than a path and a class; "
            "add a first line with the column names, such as path,label"
        )
    if len(words) == 2 and _is_video(words[0]):
        return f"its first line, {shown!r}, separates a path and a class name with a space; use a comma or a tab"
    if len(words) == 2 and words[1].isdecimal():
        return (
            f"its first line, {shown!r}, names no video file: "
            f"{words[0]!r} does not end in the extension of a video, such as .mp4"
        )
    return (
        f"its first line is {shown!r}; expected column names, such as path,label, "
        "or a path and a class number, such as run/1.mp4 3"
    )


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter != BLANKS:
        return next(csv.reader([line], delimiter=delimiter), [])
    return [field[1:-1] if re.fullmatch('".*"', field) else field for field in line.rsplit(maxsplit=1)]


def _is_pair(fields: list[str], delimiter: str) -> bool:
    return len(fields) == 2 and _is_video(fields[0]) and (delimiter != BLANKS or fields[1].isdecimal())


def _is_video(text: str) -> bool:
    return text.strip().lower().endswith(VIDEO_EXTENSIONS)


def _checked(path: Path, where: str, row: dict[str, str], with_labels: bool) -> ListedVideo:
    needed = ("path", "label") if with_labels else ("path",)
    if not all(row[name].strip() for name in needed):
        raise InputError(f"{where}: has an empty field; give a {' and a '.join(needed)}")
    if not is_text(row["label"]):  # a path may be any bytes
        raise InputError(f"{where}: its label is not UTF-8 text; save the list as UTF-8")
    video = str(path.parent / _as_on_disk(path.parent, row["path"]))
    return ListedVideo(video, class_name(row["label"]), _segment(where, row), _split(where, row["split"]))


def _as_on_disk(folder: Path, path: str) -> str:
    """Return a listed path in the spelling in which it exists on disk.

    Blanks around it, backslashes and another encoding of its accents are tried; a path that is not found stays as it
    is.
    """
    if path.isascii() and path == path.strip() and "\\" not in path:
        return path
    plain = path.strip()
    spellings = (
        path,
        plain,
        plain.replace("\\", "/"),
        *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")),
    )
    return next((spelling for spelling in spellings if os.path.exists(folder / spelling)), plain)


def _split(where: str, text: str) -> str | None:
    split = split_of(text) if text.strip() else None
    if text.strip() and not split:
        known = ", ".join(word for words in SPLIT_WORDS.values() for word in words)
        raise InputError(f"{where}: invalid split {text.strip()!r}: choose one of {known}, or rename the column")
    return split


def _segment(where: str, row: dict[str, str]) -> Segment | None:
    segments = [
        Segment(start or 0, end, unit)
        for unit, names in (("s", ("start", "end")), ("frames", ("start_frame", "end_frame")))
        for start, end in [[_number(where, name, row[name], unit) for name in names]]
        if start is not None or end is not None
    ]
    if len(segments) > 1:
        raise InputError(
            f"{where}: has both {segments[0]} and {segments[1]}; give one segment, in seconds or in frames"
        )
    for segment in segments:
        if segment.end is not None and segment.end <= segment.start:
            raise InputError(f"{where}: its segment, {segment}, must end after its start; give a later end")
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
        f"{where}: invalid {name} {text.strip()!r}: must be "
        f"{'a number of seconds' if unit == 's' else 'a whole number of frames'}, at least 0"
    )
