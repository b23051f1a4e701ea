"""The section of a report about robustness: the results of train.robustness of several runs, side by side."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dali_pipes.system import flag

from ..analysis.robustness_results import PLAIN, curve_of, kinds_of, shown
from ..runtime.run_files import ROBUSTNESS
from .data import Run
from .figures import Line, chart, line_style


def robustness_of(runs: Sequence[Run]) -> dict | None:
    """Return ``heads``, ``rows``, ``charts`` and ``remarks`` of the runs with results; None if no run has any.

    A run's result is that of the first measured checkpoint in the folder of the run. Means are shown only where all
    results are of the same conditions, videos and settings.
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
    rows = [{"name": name, "cells": [shown(one["figures"][name]) for one in own.values()]} for name in names]
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
    return {"heads": heads, "rows": rows, "charts": figures, "remarks": remarks}


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
