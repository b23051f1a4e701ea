"""The folder of a run: what a run may replace or move there, and what it never touches, such as videos it reads."""

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from dali_pipes.errors import InputError
from dali_pipes.system import IN_USE, exclusive_use

from .run_files import CONFIG, FOLDERS, RUN_FILES, TENSORBOARD, TRAIN_VIDEOS, VAL_VIDEOS

OTHER_OUT = "choose another folder with --out"
CONFIG_KEYS = {"data", "model", "aug", "epochs", "out"}
MANIFEST_COLUMN = "class_index"


def check_inputs_stay(out: Path, names: Collection[str], inputs: Mapping[str, str | Iterable[str]]) -> None:
    """Check that nothing which is read would be replaced or moved.

    Args:
        out: the folder that is written to.
        names: of the files and folders in it that are replaced or moved.
        inputs: option -> its value or values, paths; empty ones are passed over.

    Raises:
        InputError: an input is one of them, or lies in one.
    """
    taken = {(out / name).resolve(): name for name in names}
    for option, values in inputs.items():
        for value in [values] if isinstance(values, str) else values:
            path = Path(value).resolve()
            name = next((taken[place] for place in (path, *path.parents) if place in taken), None) if value else None
            if name:
                raise InputError(
                    f"Invalid {option} {value}: is in {out}, where a run writes its own {name}; {OTHER_OUT}"
                )


def check_written_by_a_run(out: Path) -> None:
    """Check that a new run would only replace what an earlier one wrote.

    Raises:
        InputError: a file or folder has the name of one of a run's, and is none.
    """
    is_run = _is_run(out)
    foreign = [name for name in (TRAIN_VIDEOS, VAL_VIDEOS) if (out / name).exists() and not _is_manifest(out / name)]
    if not is_run:
        by_other_programs = set(FOLDERS) - {TENSORBOARD}
        foreign = [name for name in RUN_FILES if name not in by_other_programs and (out / name).exists()]
    if foreign:
        why = "it is not a list that a run saved" if is_run else f"there is no {CONFIG} of a run in this folder"
        raise InputError(
            f"{out / foreign[0]}: was not written by a run ({why}); {OTHER_OUT}, or move this file to another folder"
        )


def _is_run(out: Path) -> bool:
    with suppress(OSError, ValueError):
        found = json.loads((out / CONFIG).read_text(encoding="utf-8"))
        return isinstance(found, dict) and set(found) >= CONFIG_KEYS
    return False


def _is_manifest(path: Path) -> bool:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return MANIFEST_COLUMN in file.readline().split(",")
    return False


def move_earlier_run(out: Path, videos: Iterable[str] = ()) -> Path | None:
    """Move what an earlier run left in ``out`` into ``out/earlier-N``.

    Args:
        out: the folder of the run, see :func:`check_written_by_a_run`.
        videos: files that are read; a folder that holds one stays.

    Returns:
        That folder, or None if there was nothing.

    Raises:
        InputError: they cannot be moved, such as those of another user, or a process is at work in one.
    """
    above = {folder for path in videos for folder in Path(path).resolve().parents}
    found = [out / name for name in RUN_FILES if (out / name).exists() and (out / name).resolve() not in above]
    if not found or not _is_run(out):
        return None
    # by which the others are known: the last one, should this be ended
    found.sort(key=lambda path: path.name == CONFIG)
    for path in found:
        if (path / IN_USE).exists():  # an evaluation at work, or what a killed one left
            with exclusive_use(path, OTHER_OUT):
                pass
    number = next(n for n in range(1, 10**6) if not (out / f"earlier-{n}").exists())
    target = out / f"earlier-{number}"
    try:
        target.mkdir()
        for path in found:
            path.rename(target / path.name)
    except OSError as error:
        with suppress(OSError):
            for path in target.iterdir():
                path.rename(out / path.name)
            target.rmdir()
        raise InputError(
            f"{out}: the earlier run there cannot be moved aside ({error.strerror}); choose another --out"
        ) from error
    return target
