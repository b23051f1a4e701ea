"""Where files are kept, reading tables, and writing files whole or not at all."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError


def cache_folder() -> Path:
    """``$DALI_PIPES_CACHE``, or ``dali_pipes`` in the user's cache folder."""
    chosen = os.environ.get("DALI_PIPES_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dali_pipes"


def make_folder(path: str | os.PathLike) -> Path:
    """The folder, made with those above it if it is not there.

    Raises:
        InputError: it cannot be made, such as where there is a file.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror})") from error
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike, make_folders: bool = False) -> Iterator[Path]:
    """A draft beside ``path`` to write to; takes its place at the end, once it is on the disk.

    If that fails, what was at ``path`` stays, and no draft is left.

    Raises:
        InputError: the file cannot be written, such as on a full disk.
    """
    path = Path(path)
    # a name of its own length might be too long
    draft = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}.{os.getpid()}{DRAFT}")
    try:
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def read_csv(path: str | os.PathLike, columns: Iterable[str], otherwise: str) -> list[tuple[int, dict]]:
    """Each row of a CSV by its column names, with the number of the line that it ends on.

    Raises:
        InputError: it cannot be read, or lacks a column, in which case it ``otherwise``, such as "is not a manifest".
    """
    try:
        reader = csv.DictReader(text_lines(path))
        names = reader.fieldnames or ()
        missing = [name for name in columns if name not in names]
        if missing and not all(map(is_text, names)):
            raise InputError(f"{path}: {NOT_TEXT}")
        if missing:
            raise InputError(f"{path}: {otherwise}, its first line has no {', '.join(missing)}")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: is not a CSV file ({error})") from error


def text_lines(path: str | os.PathLike) -> list[str]:
    """Return the lines of a UTF-8 text file, with their ends; bytes that are no text are kept, see :func:`is_text`.

    Raises:
        InputError: it cannot be read, or holds a NUL byte, which the csv module refuses before Python 3.11 and takes from then on.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = list(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise InputError(f"{path}, line {number}: holds a NUL byte" if is_text(line) else f"{path}: {NOT_TEXT}")
    return lines


NOT_TEXT = "is not UTF-8 text; a program such as Excel writes it as CSV UTF-8"


def is_text(read: str) -> bool:
    """Whether what was read with ``errors="surrogateescape"`` was UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in read)


def remove_drafts(folder: Path) -> None:
    """Those of processes that were killed while they wrote; another may be at work in the same folder."""
    for draft in folder.rglob(f".*{DRAFT}"):
        process = draft.name.removesuffix(DRAFT).rpartition(".")[2]
        if process.isdecimal() and not Path("/proc", process).exists():
            draft.unlink(missing_ok=True)


DRAFT = ".draft"
