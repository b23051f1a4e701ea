"""The folder of a run, read into plain data: settings, metrics, predictions, starts of the program."""

import json
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dali_pipes import Manifest
from dali_pipes.dataset import UNLABELLED
from dali_pipes.errors import InputError
from dali_pipes.system import read_csv

from ..config.options import with_todays_names
from ..engine.metrics import COLUMNS
from ..runtime.run_files import (
    BEST,
    CLASS_ACCURACY,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    ROBUSTNESS,
    ROBUSTNESS_SUMMARY,
    TRAIN_VIDEOS,
    VAL_PREDICTIONS,
    VAL_VIDEOS,
    short_names,
)


@dataclass(frozen=True)
class Prediction:
    """The prediction for one video."""

    path: str
    label: int
    """Index of its class, or ``UNLABELLED``."""
    guess: int
    """Index of the most probable class."""
    probability: float
    start_frame: int = 0
    """First frame of the segment of the file that was seen."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions of the best epoch."""

    classes: list[str]
    videos: list[Prediction]

    def confusion_KK(self) -> np.ndarray:
        """(K, K) int64: how many videos of each class (row) were taken for each class (column); as in training."""
        table_KK = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for video in self.videos:
            if video.label != UNLABELLED:
                table_KK[video.label, video.guess] += 1
        return table_KK

    def mistakes(self, label: int) -> list[Prediction]:
        """Return the videos of a class that were taken for another, the surest first."""
        wrong = [video for video in self.videos if video.label == label != video.guess]
        return sorted(wrong, key=lambda video: (-video.probability, video.path))

    def worst_classes(self) -> list[int]:
        """Return the classes with mistakes, the least accurate first; of equal ones that with more videos."""
        table_KK = self.confusion_KK()
        videos_K, right_K = table_KK.sum(axis=1), table_KK.diagonal()
        wrong = [index for index in range(len(self.classes)) if right_K[index] < videos_K[index]]
        return sorted(wrong, key=lambda index: (right_K[index] / videos_K[index], -videos_K[index]))


@dataclass(frozen=True)
class Start:
    """One start of the program."""

    facts: dict[str, str]
    """Facts by name, such as when -> 2026-01-31 12:00:00."""
    versions: dict[str, str]
    """Versions of Python and the packages."""


@dataclass(frozen=True)
class Run:
    """A run, finished or not."""

    folder: Path
    name: str
    """The end of the folder's path that no other run of the report has."""
    settings: dict[str, object]
    rows: list[dict[str, float]]
    """Metrics of the epochs done; only numbers that are finite."""
    starts: list[Start]
    train: Manifest | None
    val: Manifest | None
    evaluation: Evaluation | None
    no_evaluation: str
    """Reason why there is no evaluation."""
    robustness: dict[str, Any] | None = None
    """Summary of train.robustness, see ``Measured.summary``; None if there is none."""

    @property
    def best_row(self) -> dict[str, float] | None:
        """The metrics of the epoch that ``best.pt`` holds: the first with the highest top-1."""
        return max((row for row in self.rows if "val_top1" in row), key=lambda row: row["val_top1"], default=None)

    @property
    def planned_epochs(self) -> int | None:
        """The planned number of epochs, by ``--epochs`` or ``--max-steps``; None if the settings do not say."""
        epochs, steps, batch = (self.settings.get(name) for name in ("epochs", "max_steps", "batch_size"))
        if type(epochs) is not int:
            return None
        if not (type(steps) is type(batch) is int and steps > 0 and batch > 0 and self.train):
            return epochs
        steps_of_epoch = -(-len(self.train) // batch)
        return min(epochs, -(-steps // steps_of_epoch))


def read_runs(folders: Sequence[str]) -> list[Run]:
    """Read each folder once, in the order given.

    Raises:
        InputError: a folder is not that of a run, or a file in it is damaged; the message names it.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    given = {Path(folder).resolve(): Path(folder) for folder in reversed(folders)}
    return [_read_run(given[path], name) for path, name in zip(paths, short_names(paths), strict=True)]


def _read_run(folder: Path, name: str) -> Run:
    if not os.path.isfile(folder / CONFIG):
        what = (
            f"it contains no {CONFIG}, which train/run.py writes"
            if os.path.isdir(folder)
            else "there is no such folder"
        )
        if os.path.isfile(folder):
            what = "it is a file"
        raise InputError(f"{folder}: is not the folder of a run: {what}")
    settings = with_todays_names(_read_json(folder / CONFIG, dict, {}))
    rows = read_metrics(folder / METRICS)
    why = _why_no_evaluation(folder, rows)
    train, val = (_read_manifest(folder / name) for name in (TRAIN_VIDEOS, VAL_VIDEOS))
    starts = [_start(entry, folder) for entry in _read_json(folder / ENVIRONMENT, list, [])]
    evaluation = None if why else _read_evaluation(folder)
    robustness = _read_robustness(folder / ROBUSTNESS / ROBUSTNESS_SUMMARY)
    return Run(folder, name, settings, rows, starts, train, val, evaluation, why, robustness)


def _read_robustness(path: Path) -> dict[str, Any] | None:
    found = _read_json(path, dict, {})
    if not found:
        return None
    try:
        for one in found["checkpoints"]:
            one["checkpoint"], one["figures"], [row["accuracy"] for row in one["conditions"]]
            if "file" in one:  # earlier versions did not write what they measured
                one["file"]["path"], one["file"]["size_bytes"], one["file"]["mtime_ns"]
                dict(one["settings"]), one["videos"]["count"]
                if any(len(row.get("right", "")) not in (0, one["videos"]["count"]) for row in one["conditions"]):
                    raise ValueError("another number of videos than it says")
        return found if found["checkpoints"] else None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: was not written by train.robustness ({error!r}); run it again") from error


Json = TypeVar("Json", dict, list)


def _read_json(path: Path, kind: type[Json], missing: Json) -> Json:
    if not path.exists():
        return missing
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is cut off or damaged (it is not valid JSON: {error})") from error
    if not isinstance(found, kind):
        raise InputError(f"{path}: was not written by train/run.py, which writes a JSON {kind.__name__}")
    return found


def _read_csv(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str | None]]]:
    """Number of the line, and its cells by column; those that the line lacks are None."""
    rows = read_csv(path, columns, "is cut off or damaged")
    long = next((number for number, row in rows if None in row), None)
    if long:
        raise InputError(f"{path}, line {long}: is damaged (it has more cells than the first line)")
    return rows


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read one row per epoch of a run's metrics.csv; only numbers that are finite. Empty if there is no such file."""
    if not path.exists():
        return []
    found = []
    for number, row in _read_csv(path, ["epoch"]):
        try:
            if None in row.values():
                raise ValueError("it has fewer cells than the first line")
            values = {name: float(cell) for name in COLUMNS if (cell := row.get(name))}
            int(row["epoch"] or "")
        except ValueError as error:
            raise InputError(f"{path}, line {number}: is cut off or damaged ({error})") from error
        found.append({name: value for name, value in values.items() if math.isfinite(value)})
    return found


def _read_manifest(path: Path) -> Manifest | None:
    return Manifest.load(path) if path.exists() else None


def _why_no_evaluation(folder: Path, rows: Sequence[dict]) -> str:
    """A sentence, or nothing if there is one."""
    missing = [name for name in (VAL_PREDICTIONS, CLASS_ACCURACY) if not (folder / name).exists()]
    if not missing:
        return ""
    what = f"{missing[0]} is missing: "
    if (folder / BEST).exists():
        command = ["python", "train/run.py", "--eval-only", str(folder / BEST), "--out", str(folder)]
        return f"{what}an earlier version of the program made this run. To write the file, run: {shlex.join(command)}"
    if any("val_top1" in row for row in rows):
        return f"{what}it could be made from {BEST}, but {BEST} is missing as well."
    return f"{what}the run has not been evaluated yet. The first evaluation writes it."


def _read_evaluation(folder: Path) -> Evaluation:
    path = folder / CLASS_ACCURACY
    classes = [row["class"] or "" for _, row in _read_csv(path, ["class"])]
    index_of = {name: index for index, name in enumerate(classes)}
    path, videos = folder / VAL_PREDICTIONS, []
    for number, row in _read_csv(path, ["path", "label", "class_1", "probability_1"]):
        if row["label"] is None or None in row.values() and row["class_1"] is not None:
            raise InputError(f"{path}, line {number}: is cut off or damaged (it has fewer cells than the first line)")
        if not row["class_1"]:
            continue  # it could not be read and has no scores
        unknown = next((row[name] for name in ("label", "class_1") if row[name] and row[name] not in index_of), None)
        if unknown is not None:
            raise InputError(f"{path}, line {number}: has the class {unknown!r}, which {CLASS_ACCURACY} does not list")
        try:
            probability = float(row["probability_1"] or "")
            if not 0 <= probability <= 1:
                raise ValueError(f"its probability is {probability}")
            start_frame = int(row.get("start_frame") or 0)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: is damaged ({error})") from error
        label = index_of[row["label"]] if row["label"] else UNLABELLED
        videos.append(Prediction(row["path"] or "", label, index_of[row["class_1"]], probability, start_frame))
    return Evaluation(classes, videos)


def _start(entry: Any, folder: Path) -> Start:
    """Read one start of the program; missing entries are tolerated."""
    try:
        git, packages, command = entry.get("git") or {}, entry.get("packages") or {}, entry.get("command") or []
        commit = str(git.get("commit") or "unknown")[:10]
        changed = len(git.get("changed") or [])
        files = "changed file" if changed == 1 else "changed files"
        versions = {"Python": entry.get("python"), **packages}
        facts = {
            "started": str(entry.get("started") or "").replace("T", " ").replace("+00:00", " UTC"),
            "commit": f"{commit} + {changed} {files}" if changed else commit,
            "device": entry.get("device"),
            "processes": entry.get("processes"),
            "machine": entry.get("machine"),
            "command": shlex.join(map(str, command)),
        }
    except (AttributeError, TypeError) as error:
        raise InputError(f"{folder / 'environment.json'}: was not written by train/run.py ({error})") from error
    facts, versions = ({name: str(value) for name, value in part.items() if value} for part in (facts, versions))
    return Start(facts, versions)
