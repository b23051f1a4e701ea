"""Results of a measurement of robustness: accuracies with intervals, as text, tables and charts."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dali_pipes import Manifest
from dali_pipes.augment import STRENGTHS
from dali_pipes.system import replacing

from ..runtime.run_files import ROBUSTNESS_CHARTS, ROBUSTNESS_SUMMARY, ROBUSTNESS_VIDEOS

PLAIN = "plain"
"""The condition without perturbation, of strength 0."""
RESAMPLES, BOOTSTRAP_SEED = 2000, 0
LEVEL_PERCENT = 95.0
MEAN, RELATIVE = "mean over kinds and strengths", "mean, as a share of plain"
Condition = tuple[str, int]


def resample(count: int) -> np.ndarray:
    """Return (R, V) float64 weights of V videos, the same at each call: each row draws V videos with replacement."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count


def interval(values_R: np.ndarray) -> list[float]:
    """Return the ends of the middle 95 % of the resampled values; NaN, of resamples without a value, do not count."""
    if np.isnan(values_R).all():
        return [np.nan, np.nan]
    outside = (100 - LEVEL_PERCENT) / 2
    return [float(end) for end in np.nanpercentile(values_R, [outside, 100 - outside])]


def rows_of(conditions: Sequence[Condition]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return name -> function of (..., P) accuracies in percent under P conditions: the rows of a table."""
    kinds = np.array([kind for kind, _ in conditions])
    strengths = np.array([strength for _, strength in conditions])
    chosen: dict[str, np.ndarray] = {PLAIN: kinds == PLAIN}
    chosen |= {kind: kinds == kind for kind in dict.fromkeys(kinds.tolist()) if kind != PLAIN}
    chosen |= {f"strength {number}": strengths == number for number in STRENGTHS if (strengths == number).any()}
    chosen[MEAN] = kinds != PLAIN
    rows: dict[str, Callable] = {
        name: lambda accuracy, which=which: accuracy[..., which].mean(axis=-1) for name, which in chosen.items()
    }
    with_plain = lambda accuracy: 100 * rows[MEAN](accuracy) / rows[PLAIN](accuracy)  # noqa: E731
    return rows | {RELATIVE: with_plain}


def figures_of(right_NPV: np.ndarray, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Return the figures of N checkpoints in percent, each as [value, lowest, highest].

    The intervals are bootstraps over videos: each resample takes the same videos for all checkpoints and conditions,
    so those of the differences are of pairs.

    Args:
        right_NPV: bool, whether N checkpoints recognise V videos under P conditions.
        conditions: kind and strength of each.

    Returns:
        For each checkpoint ``figures`` and ``differences``, row of a table -> figure, or its difference to the first
        checkpoint; and ``accuracies``, of each condition.
    """
    numbers_NPV = right_NPV.astype(float)
    accuracy_NP = 100 * numbers_NPV.mean(axis=2)
    resampled_RNP = np.moveaxis(100 * numbers_NPV @ resample(right_NPV.shape[2]).T, 2, 0)
    rows, found = rows_of(conditions), []
    with np.errstate(divide="ignore", invalid="ignore"):  # a share of an accuracy of 0
        for accuracy_P, resampled_RP in zip(accuracy_NP, np.moveaxis(resampled_RNP, 1, 0), strict=True):
            own: dict[str, Any] = {"figures": {}, "differences": {}}
            for row, of in rows.items():
                values_R, first_R = of(resampled_RP), of(resampled_RNP[:, 0])
                value, first = of(accuracy_P), of(accuracy_NP[0])
                own["figures"][row] = _finite([float(value), *interval(values_R)])
                own["differences"][row] = _finite([float(value - first), *interval(values_R - first_R)])
            shown = zip(accuracy_P.tolist(), resampled_RP.T, strict=True)
            found.append(own | {"accuracies": [_finite([value, *interval(values_R)]) for value, values_R in shown]})
    return found


@dataclass(frozen=True)
class Measured:
    """Predictions of N checkpoints for V videos under P conditions."""

    checkpoints: list[str]
    described: list[dict[str, Any]]
    """File, videos and settings of each checkpoint, for a JSON file; see ``Evaluated.described``."""
    conditions: list[Condition]
    """The first is ``(PLAIN, 0)``."""
    manifest: Manifest
    guesses_NPV: np.ndarray
    """int64: the class of the highest score."""

    @property
    def right_NPV(self) -> np.ndarray:
        """Bool: whether the guesses are right."""
        return self.guesses_NPV == np.array([video.label for video in self.manifest.videos])

    def summary(self) -> dict[str, Any]:
        """Return all figures of :func:`figures_of`, and which videos are recognised, for a JSON file."""
        checkpoints = []
        figures_N = figures_of(self.right_NPV, self.conditions)
        for n, (name, described, own) in enumerate(zip(self.checkpoints, self.described, figures_N, strict=True)):
            conditions = [
                {"kind": kind, "strength": strength, "accuracy": accuracy, "right": _as_digits(right_V)}
                for (kind, strength), accuracy, right_V in zip(
                    self.conditions, own.pop("accuracies"), self.right_NPV[n], strict=True
                )
            ]
            checkpoints.append({"checkpoint": name, **described, **own, "conditions": conditions})
        return {
            "videos": len(self.manifest),
            "level_percent": LEVEL_PERCENT,
            "resamples": RESAMPLES,
            "bootstrap_seed": BOOTSTRAP_SEED,
            "checkpoints": checkpoints,
        }


def _as_digits(right_V: np.ndarray) -> str:
    """Return a digit per video, 1 where it is recognised."""
    return "".join("01"[right] for right in right_V.tolist())


def right_of(digits: str) -> np.ndarray:
    """Return (V,) bool, whether each video is recognised, of the digits in a summary."""
    return np.array(list(digits)) == "1"


def _finite(values: list[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]


def shown(values: Sequence[float | None], sign: str = "") -> str:
    """Return [value, lowest, highest] as text."""
    value, low, high = (f"{value:{sign}.1f}" if value is not None else "-" for value in values)
    return f"{value} ({low} to {high})"


def table(summary: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return the lines of a table: a row per figure, a column per checkpoint, then the differences to the first."""
    own = summary["checkpoints"]
    columns = [["top-1, %", *own[0]["figures"]]]
    columns += [[name, *map(shown, one["figures"].values())] for name, one in zip(names, own, strict=True)]
    for name, one in list(zip(names, own, strict=True))[1:]:
        columns.append([f"{name} - {names[0]}", *(shown(cell, "+") for cell in one["differences"].values())])
    widths = [max(map(len, column)) for column in columns]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True)]


def curve_of(one: dict[str, Any], kind: str) -> list[tuple[int, list[float]]]:
    """Return (strength, [accuracy, lowest, highest]) of one checkpoint, sorted; plain is strength 0."""
    points = [(row["strength"], row["accuracy"]) for row in one["conditions"] if row["kind"] in (kind, PLAIN)]
    return sorted(points, key=lambda point: point[0])


def kinds_of(summary: dict[str, Any]) -> list[str]:
    """Return the kinds of perturbation of a summary, in its order."""
    kinds = [row["kind"] for one in summary["checkpoints"] for row in one["conditions"]]
    return [kind for kind in dict.fromkeys(kinds) if kind != PLAIN]


def draw(path: Path, summary: dict[str, Any], names: Sequence[str]) -> None:
    """Draw accuracy against strength: a chart per kind, a line with its interval per checkpoint."""
    kinds = kinds_of(summary)
    across = min(5, len(kinds))
    down = -(-len(kinds) // across)
    figure = Figure(figsize=(2.5 * across + 0.6, 2.1 * down + 0.6), layout="constrained")
    charts = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in charts[len(kinds) :]:
        axes.remove()
    for place, (axes, kind) in enumerate(zip(charts, kinds, strict=False)):
        for number, one in enumerate(summary["checkpoints"]):
            strengths, accuracies = zip(*curve_of(one, kind), strict=True)
            value, low, high = np.array(accuracies).T
            line = axes.plot(strengths, value, f"C{number}.-", label=names[number])[0]
            axes.fill_between(strengths, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_title(kind, fontsize=9)
        axes.set(ylim=(-2, 102), xticks=(0, *STRENGTHS))
        axes.tick_params(labelbottom=place + across >= len(kinds))
        axes.grid(linewidth=0.4)
    figure.supxlabel("strength; 0 is plain", fontsize=9)
    figure.supylabel(f"top-1 accuracy and {LEVEL_PERCENT:g} % interval, %", fontsize=9)
    if len(names) > 1:
        figure.legend(*charts[0].get_legend_handles_labels(), loc="outside upper left", fontsize=8)
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=110)


def write_all(out: Path, measured: Measured, names: Sequence[str]) -> dict[str, Any]:
    """Write the table of all videos, the summary and the charts to a folder; return the summary."""
    summary, classes = measured.summary(), measured.manifest.classes
    path = out / ROBUSTNESS_VIDEOS
    with replacing(path) as draft, open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["checkpoint", "kind", "strength", "video", "start_frame", "label", "prediction", "right"])
        for checkpoint, guesses_PV in zip(measured.checkpoints, measured.guesses_NPV.tolist(), strict=True):
            for condition, guesses_V in zip(measured.conditions, guesses_PV, strict=True):
                for video, guess in zip(measured.manifest.videos, guesses_V, strict=True):
                    right = "yes" if guess == video.label else "no"
                    label = classes[video.label], classes[guess]
                    writer.writerow([checkpoint, *condition, video.path, video.start_frame, *label, right])
    with replacing(out / ROBUSTNESS_SUMMARY) as draft:
        draft.write_text(json.dumps(summary, indent=1), encoding="utf-8", errors="surrogateescape")
    draw(out / ROBUSTNESS_CHARTS, summary, names)
    return summary
