"""The section of a report about robustness: the results of train.robustness of several runs, side by side."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dali_pipes.system import flag

from ..analysis.robustness_results import PLAIN, curve_of, figures_of, kinds_of, right_of, shown
from ..runtime.run_files import ROBUSTNESS
from .data import Run
from .figures import Line, chart, line_style


def robustness_of(runs: Sequence[Run]) -> dict | None:
    """Return ``heads``, ``rows``, ``charts`` and ``remarks`` of the runs with results; None if no run has any.

    A run's result is that of the first measured checkpoint in the folder of the run. Means, and differences to the
    first run, are shown only where all results are of the same conditions, videos and settings.
    """
    found = {number: _own_checkpoint(run) for number, run in enumerate(runs) if run.robustness}
    if not found:
        return None
    own = {number: one for number, (one, _) in found.items() if one}
    remarks = [remark for _, remark in found.values() if remark]
    names = list(dict.fromkeys(name for one in own.values() for name in one["figures"]))
    names = [name for name in names if all(name in one["figures"] for one in own.values())]
    if differing := _differing(list(own.values())):
        names = [PLAIN]
        remarks.append(
            f"The measurements differ in {', '.join(differing)}: their means cannot be compared, and are left out."
        )
    differences = [] if differing else differences_of(list(own.values()))
    if not differing and len(own) > 1 and not differences:
        remarks.append(
            "Some results are of an earlier version, which kept no videos: for differences, run train.robustness again."
        )
    rows = [
        {
            "name": name,
            "cells": [
                *(shown(one["figures"][name]) for one in own.values()),
                *(shown(of_run[name], "+") for of_run in differences),
            ],
        }
        for name in names
    ]
    figures = []
    for kind in kinds_of({"checkpoints": list(own.values())}):
        lines = []
        for number, one in own.items():
            points = [(strength, values) for strength, values in curve_of(one, kind) if None not in values]
            curve = [(float(strength), values[0]) for strength, values in points]
            lines.append(Line(curve, *line_style(number), band=[(x, low, high) for x, (_, low, high) in points]))
        figures.append({"caption": kind, "svg": chart(f"robust-{kind}", lines, percent=True, x_label="strength")})
    heads = [
        {"name": runs[number].name, "file": Path(one["file"]["path"]).name, "videos": one["videos"]["count"]}
        for number, one in own.items()
    ]
    compared = [f"{head['name']} - {heads[0]['name']}" for head in heads[1:]] if differences else []
    return {"heads": heads, "compared": compared, "rows": rows, "charts": figures, "remarks": remarks}


def differences_of(results: Sequence[dict[str, Any]]) -> list[dict[str, list]]:
    """Return the differences of the second and further results to the first, of the same videos and conditions.

    Returns:
        For each, row of the table -> [value, lowest, highest]; nothing if a result does not say which videos are right.
    """
    found = [{(row["kind"], row["strength"]): row.get("right", "") for row in one["conditions"]} for one in results]
    if len(found) < 2 or not all(right for of_run in found for right in of_run.values()):
        return []
    conditions = list(found[0])
    right_NPV = np.array([[right_of(of_run[condition]) for condition in conditions] for of_run in found])
    return [own["differences"] for own in figures_of(right_NPV, conditions)[1:]]


def _own_checkpoint(run: Run) -> tuple[dict[str, Any] | None, str]:
    """Return the result of the checkpoint in the run's folder, if there is one, and a remark or nothing."""
    assert run.robustness, "only of runs with results"
    folder = (run.folder / ROBUSTNESS).resolve()
    for one in run.robustness["checkpoints"]:
        if "file" not in one:
            why = "its results are of an earlier version and do not say what was measured"
            return None, f"{run.name}: {why}; run train.robustness again."
        path = Path(os.path.normpath(folder / one["file"]["path"]))
        if path.parent == run.folder.resolve():
            again = f"{run.name}: {path.name} is missing or has changed since it was measured."
            return one, "" if _is_unchanged(path, one["file"]) else again
    return None, f"{run.name}: none of the measured checkpoints is in the folder of this run."


def _is_unchanged(path: Path, facts: dict[str, Any]) -> bool:
    try:
        stat = os.stat(path)
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (facts["size_bytes"], facts["mtime_ns"])


def _differing(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return in what the measurements differ: conditions, videos, options."""
    facts = [
        {
            "the conditions": sorted((row["kind"], row["strength"]) for row in one["conditions"]),
            "the videos": one["videos"],
            **{flag(name): value for name, value in one["settings"].items()},
        }
        for one in results
    ]
    names = dict.fromkeys(name for own in facts for name in own)
    return [name for name in names if any(own.get(name) != facts[0].get(name) for own in facts)]
