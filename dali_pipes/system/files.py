"""The cache folder, reading of tables, and writing of files whole or not at all."""

import csv
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError
from .locks import is_open_at, lock


def cache_folder() -> Path:
    """Return the cache folder: ``$DALI_PIPES_CACHE``, or ``dali_pipes`` in the user's cache folder.

    A user whose home cannot be written, such as an unknown one in a container, gets a folder of their own in the folder
    for temporary files.
    """
    if chosen := os.environ.get("DALI_PIPES_CACHE"):
        return Path(chosen)
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no $HOME, and no entry in the list of users
        caches = None
    if caches is None or not _can_be_written(caches / "dali_pipes"):
        return Path(tempfile.gettempdir()) / f"dali_pipes-{os.getuid()}"
    return caches / "dali_pipes"


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder can be written, or made if it is missing."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    return os.access(existing, os.W_OK | os.X_OK)


def make_folder(path: str | os.PathLike) -> Path:
    """The folder, made with those above it if it is not there.

    Raises:
        InputError: it cannot be made, such as where there is a file.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created as a folder ({error.strerror})") from error
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike, make_folders: bool = False) -> Iterator[Path]:
    """A draft beside ``path`` to write to; takes its place at the end, once it is on the disk.

    If that fails, what was at ``path`` stays, and no draft is left.

    Raises:
        InputError: the file cannot be written, such as on a full disk.
    """
    path = Path(path)
    file: int | None = None
    try:
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        draft, file = _own_draft(path)
        yield draft
        os.fsync(file)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if file is not None:
            with suppress(OSError):
                draft.unlink()
            os.close(file)


DRAFT = ".draft"
_DRAFT_NAME = re.compile(rf"\.[0-9a-f]{{12}}\.[0-9a-f]{{16}}{re.escape(DRAFT)}")


def _own_draft(path: Path) -> tuple[Path, int]:
    """An empty file beside ``path``, locked as long as it is open: so others know that it is not left over.

    Numbers of processes would not tell, as those in two containers may have the same.
    """
    start = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]  # the name itself might be too long
    while True:
        draft = path.with_name(f".{start}.{secrets.token_hex(8)}{DRAFT}")
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks, or somebody who looks whether it is left over
            lock(file)
        if is_open_at(file, draft):
            return draft, file
        os.close(file)  # taken for left over before it was locked


def remove_drafts(folder: Path) -> None:
    """Remove the drafts in a folder, not in those below it, of processes that were killed while they wrote."""
    for draft in folder.glob(f".*{DRAFT}"):
        if not _DRAFT_NAME.fullmatch(draft.name):
            continue
        with suppress(OSError), open(draft, "rb+") as file:  # another process's, or no locks: it stays
            lock(file.fileno())
            draft.unlink()


def check_not_replaced(out: str | os.PathLike, inputs: Iterable[str | os.PathLike]) -> None:
    """Raise :class:`InputError` if ``out``, a file to be written, is one of the ``inputs``."""
    for path in inputs:
        if os.path.exists(path) and os.path.exists(out) and os.path.samefile(path, out):
            raise InputError(
                f"{out}: is an input file, which the output would overwrite; choose another name for the output"
            )


NOT_TEXT = "is not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8)"


def read_csv(
    path: str | os.PathLike, columns: Iterable[str], otherwise: str, renamed: Mapping[str, str] | None = None
) -> list[tuple[int, dict]]:
    """Return each row of a CSV by its column names, with the number of the line that it ends on.

    Args:
        path: the file.
        columns: the columns that it must have.
        otherwise: what a file without them is said to be, such as "is not a manifest".
        renamed: a column's name in files of earlier versions -> its name today.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    try:
        reader = csv.DictReader(text_lines(path))
        names = [(renamed or {}).get(name, name) for name in reader.fieldnames or ()]
        reader.fieldnames = names
        missing = [name for name in columns if name not in names]
        if missing and not all(map(is_text, names)):
            raise InputError(f"{path}: {NOT_TEXT}")
        if missing:
            raise InputError(f"{path}: {otherwise} (its first line does not name {', '.join(missing)})")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: is not a valid CSV file ({error})") from error


def text_lines(path: str | os.PathLike) -> list[str]:
    """Return the lines of a UTF-8 text file, with their ends; bytes that are no text are kept, see :func:`is_text`.

    Raises:
        InputError: it cannot be read, or holds a NUL byte,
            which the csv module refuses before Python 3.11 and takes from then on.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = list(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise InputError(
                f"{path}, line {number}: contains a NUL byte; save the file as text again"
                if is_text(line)
                else f"{path}: {NOT_TEXT}"
            )
    return lines


def is_text(read: str) -> bool:
    """Return whether text that was read with ``errors="surrogateescape"`` was UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in read)
