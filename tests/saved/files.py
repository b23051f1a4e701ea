"""What an earlier version wrote, see README.md, where a test may use it; and programs as users start them."""

import csv
import io
import json
import os
import runpy
import shutil
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.videos import dark_and_bright

SAVED = Path(__file__).parent


def write_videos(folder: Path) -> Path:
    """The videos of the saved run, and their list, videos.csv, whose paths begin at ``folder``."""
    dark_and_bright(folder / "videos", train=(5, 5), val=(3, 3))
    shutil.copy(SAVED / "videos.csv", folder)
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def run_module(name: str, *arguments, expect: int = 0) -> str:
    """What ``python -m NAME ARGUMENTS`` prints, without the seconds that a new process needs for its imports."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [name, *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # runpy's: a test imported the module before
            runpy.run_module(name, run_name="__main__")
    except SystemExit as ended:
        assert ended.code == expect, err.getvalue()
    finally:
        sys.argv = argv
    return out.getvalue()


def pretend(row: dict[str, str], folder: Path) -> dict[str, str]:
    """Put a file of the size and time of change that a manifest's row says into ``folder``; returns its row."""
    path = folder / row["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, int(row["size_bytes"]))
    os.utime(path, ns=(int(row["mtime_ns"]), int(row["mtime_ns"])))
    return row | {"path": str(path)}
