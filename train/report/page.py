"""Write an HTML report of one or several runs.

Example: ``python -m train.report runs/latest runs/first``

Nothing else is needed to read it.

Learning curves, settings, confusions, the worst classes with their surest mistakes, speed, and in what environment each
run was made. The same folders give the same file.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from markupsafe import Markup

from dali_pipes.errors import InputError
from dali_pipes.system import check_not_replaced, described_by, flag, progress_bar, replacing, run_program

from ..config.options import Config
from ..engine.metrics import mean_class_accuracy
from ..runtime.run_files import REPORT, RUN_FILES, SAMPLES
from .data import Evaluation, Run, read_runs
from .figures import MARKERS, Line, chart, heat_map, line_style
from .pictures import Picture, samples, strip
from .robustness import robustness_of

STRIPS = 45
"""Approximate number of film strips in a report, 10 to 20 kB each; of many runs, one of each worst class."""
WORST_CLASSES, STRIPS_OF_CLASS = 5, 3
CONFUSED_PAIRS = 10
NUMBERED_CLASSES = 20
"""Largest number of classes whose confusion matrix is a table of numbers; above it is a map of shades."""
NOT_KNOWN = "–"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _mean_over_time(name: str) -> Callable[[Run], float | None]:
    """Return a function that averages a metric over a run's epochs, weighted with their times."""

    def mean(run: Run) -> float | None:
        pairs = [(row[name], row["epoch_s"]) for row in run.rows if {name, "epoch_s"} <= set(row)]
        seconds = sum(time for _, time in pairs)
        return sum(value * time for value, time in pairs) / seconds if seconds else None

    return mean


def _of_best(name: str) -> Callable[[Run], float | None]:
    return lambda run: (run.best_row or {}).get(name)


def _of_last(name: str) -> Callable[[Run], float | None]:
    return lambda run: run.rows[-1].get(name) if run.rows else None


def _class_accuracy(run: Run) -> float | None:
    table_KK = run.evaluation.confusion_KK() if run.evaluation else np.zeros((0, 0))
    return mean_class_accuracy(torch.from_numpy(table_KK)) if table_KK.sum() else None


@dataclass(frozen=True)
class Column:
    """A column of the table of runs."""

    title: str
    value: Callable[[Run], float | None]
    show: Callable[[float], str]
    best: Callable | None = None
    """max or min, where one is better than another."""


def _percent(value: float) -> str:
    return f"{value:.1f} %"


COLUMNS = (
    Column("best epoch", _of_best("epoch"), "{:.0f}".format),
    Column("top-1", _of_best("val_top1"), _percent, max),
    Column("top-5", _of_best("val_top5"), _percent, max),
    Column("mean class accuracy", _class_accuracy, _percent, max),
    Column("training loss", _of_last("train_loss"), "{:.4f}".format, min),
    Column("epochs done", lambda run: len(run.rows), "{:.0f}".format),
    Column("planned epochs", lambda run: run.planned_epochs, "{:.0f}".format),
    Column("training time", lambda run: sum(row.get("epoch_s", 0) for row in run.rows) or None, _duration),
    Column("clips/s", _mean_over_time("clips_per_s"), "{:.1f}".format, max),
    Column("waiting for data", _mean_over_time("data_wait_fraction"), lambda share: _percent(100 * share), min),
    Column("unreadable videos", _of_last("bad_videos"), "{:.0f}".format, min),
)


def table_of_runs(runs: Sequence[Run]) -> list[list[dict]]:
    """A list of cells for each run, with ``text`` and whether it is the ``best`` of its column."""
    columns = []
    for column in COLUMNS:
        values = [column.value(run) for run in runs]
        texts = [NOT_KNOWN if value is None else column.show(value) for value in values]
        known = [value for value in values if value is not None]
        best = column.show(column.best(known)) if column.best and len(set(texts) - {NOT_KNOWN}) > 1 else None
        columns.append([{"text": text, "best": text == best} for text in texts])
    return [list(cells) for cells in zip(*columns, strict=True)]


Chart = tuple[str, Sequence[tuple[str, bool]], dict[str, Any]]
LEARNING: Sequence[Chart] = (  # caption, (metric, dashed), options of the chart
    ("loss", (("train_loss", True), ("val_loss", False)), {}),
    ("top-1 accuracy, %", (("train_top1", True), ("val_top1", False)), {"percent": True}),
    ("top-5 accuracy, %", (("val_top5", False),), {"percent": True}),
    ("learning rate at the end of the epoch", (("lr", False),), {"from_zero": True}),
)
SPEED: Sequence[Chart] = (
    ("clips per second", (("clips_per_s", False),), {"from_zero": True}),
    ("time spent waiting for data, %", (("data_wait_fraction", False),), {"from_zero": True}),
)
SCALES = {"data_wait_fraction": 100}


def charts(runs: Sequence[Run], what: Sequence[Chart]) -> list[dict]:
    """Return ``caption`` and ``svg`` of each chart."""
    found = []
    for caption, metrics, options in what:
        lines = []
        for number, run in enumerate(runs):
            colour, marker = line_style(number)
            for name, dashed in metrics:
                points = [(row["epoch"], SCALES.get(name, 1) * row[name]) for row in run.rows if name in row]
                lines.append(Line(points, colour, marker, dashed))
        found.append({"caption": caption, "svg": chart(metrics[0][0].replace("_", "-"), lines, **options)})
    return found


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOT_KNOWN if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def settings_table(runs: Sequence[Run]) -> tuple[list[dict], list[dict]]:
    """Return the settings that differ between the runs (for one run: from the defaults), and all others.

    Each has a ``name``, its ``help``, ``values`` of the runs, and for one run the ``default``. Folders are left out.
    """
    known = {item.name: item for item in fields(Config)}
    names = list(dict.fromkeys([*known, *(name for run in runs for name in run.settings)]))
    lacking = object()
    differing: list[dict] = []
    equal: list[dict] = []
    for name in names:
        values = [run.settings.get(name, lacking) for run in runs]
        if all(value is lacking for value in values):
            continue
        item = known.get(name)
        default = item.default if item else lacking
        compared = values if len(runs) > 1 else [*values, default]
        differs = name != "out" and any(value != compared[0] for value in compared)
        shown = [NOT_KNOWN if value is lacking else _shown(value) for value in (*values, default)]
        row = {
            "name": flag(name),
            "help": item.metadata["help"] if item else "",
            "values": shown[:-1],
            "default": shown[-1],
        }
        (differing if differs else equal).append(row)
    return differing, equal


def confusion_of(evaluation: Evaluation, name: str) -> dict:
    """The matrix as rows of numbers for few classes, as an SVG map for many; and the most confused pairs."""
    table_KK, classes = evaluation.confusion_KK(), evaluation.classes
    videos_K, right_K = table_KK.sum(axis=1).tolist(), table_KK.diagonal().tolist()
    accuracy = [
        f"{100 * right / videos:.0f} %" if videos else NOT_KNOWN
        for right, videos in zip(right_K, videos_K, strict=True)
    ]
    rows = [
        {
            "name": classes[index],
            "videos": videos_K[index],
            "accuracy": accuracy[index],
            "cells": [(count, round(count / max(1, videos_K[index]), 2)) for count in counts],
        }
        for index, counts in enumerate(table_KK.tolist())
    ]
    wrong_KK = table_KK - np.diag(table_KK.diagonal())
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:CONFUSED_PAIRS]
    pairs = [
        (classes[row], classes[column], int(wrong_KK[row, column]), videos_K[row])
        for row, column in zip(*np.unravel_index(order, wrong_KK.shape), strict=True)
        if wrong_KK[row, column]
    ]
    numbered = len(classes) <= NUMBERED_CLASSES
    return {"rows": rows, "pairs": pairs, "svg": "" if numbered else heat_map(name, table_KK)}


def worst_of(run: Run, evaluation: Evaluation, strips: int) -> list[dict]:
    """The worst classes, with the surest mistakes of each: a ``picture`` of the video, or the ``problem`` with it."""
    found = []
    known = {(video.path, video.start_frame): video for video in run.val.videos} if run.val else {}
    worst = evaluation.worst_classes()[:WORST_CLASSES]
    for index in progress_bar(worst, title=f"mistakes of {run.name}", unit="class", leave=False):
        of_class, wrong = [video for video in evaluation.videos if video.label == index], evaluation.mistakes(index)
        shown = []
        for video in wrong[:strips]:
            picture, problem = _try(strip, video.path, known.get((video.path, video.start_frame)))
            shown.append(
                {
                    "file": Path(video.path).name,
                    "path": video.path,
                    "guess": evaluation.classes[video.guess],
                    "percent": f"{100 * video.probability:.0f} %",
                    "picture": picture,
                    "problem": problem,
                }
            )
        found.append(
            {
                "name": evaluation.classes[index],
                "videos": len(of_class),
                "mistakes": len(wrong),
                "shown": shown,
                "accuracy": _percent(100 * (1 - len(wrong) / len(of_class))),
            }
        )
    return found


def _try(make: Callable[..., Picture], *arguments: object) -> tuple[Picture | None, str]:
    try:
        return make(*arguments), ""
    except InputError as error:
        return None, str(error)


def section_of(run: Run, number: int, strips: int) -> dict:
    """Return the page's section about one run."""
    colour, marker = line_style(number)
    picture, problem = _try(samples, run.folder / SAMPLES)
    section = {
        "run": run,
        "id": f"run-{number + 1}",
        "colour": colour,
        "marker": MARKERS[marker],
        "samples": picture,
        "no_samples": problem,
        "confusion": None,
        "worst": [],
        "unlabelled": 0,
    }
    if run.evaluation:
        section["confusion"] = confusion_of(run.evaluation, f"confusion-{number + 1}")
        section["worst"] = worst_of(run, run.evaluation, strips)
        section["unlabelled"] = sum(1 for video in run.evaluation.videos if video.label < 0)
    return section


def page(runs: Sequence[Run]) -> str:
    """The HTML."""
    strips = min(STRIPS_OF_CLASS, max(1, STRIPS // (len(runs) * WORST_CLASSES)))
    sections = [section_of(run, number, strips) for number, run in enumerate(runs)]
    differing, equal = settings_table(runs)
    has_epochs = any(run.rows for run in runs)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    return template.render(
        sections=sections,
        titles=[column.title for column in COLUMNS],
        table=table_of_runs(runs),
        learning=charts(runs, LEARNING) if has_epochs else [],
        speed=charts(runs, SPEED) if has_epochs else [],
        robustness=robustness_of(runs),
        differing=differing,
        equal=equal,
    )


def _printable(value: object) -> str:
    """Replace control characters and bytes of file names that are not UTF-8 by U+FFFD."""
    if isinstance(value, Markup):
        return value  # the template's own, and charts
    return re.sub("[\ud800-\udfff\0-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(value))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.report",
        **described_by(__doc__),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folder of a run (--out of train/run.py)")
    parser.add_argument("-o", "--out", help="HTML file to write (default: report.html in the first RUN_DIR)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    options = _parser().parse_args(arguments)
    return run_program("report", lambda: run(options.runs, Path(options.out or Path(options.runs[0]) / REPORT)))


def run(folders: Sequence[str], out: Path) -> None:
    """Write the report and print where it is.

    Raises:
        InputError: a folder is not that of a run, or ``out`` cannot be written.
    """
    check_not_replaced(out, [Path(folder) / name for folder in folders for name in RUN_FILES if name != REPORT])
    html = page(read_runs(folders))
    with replacing(out) as draft:
        draft.write_text(html, encoding="utf-8")
    print(out)
