"""Charts of a report, as SVG to stand in the page: no words but numbers and axes, in the page's colours."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = "#2f7fc1 #d9722a #2f9e5b #c2413d #8a63c4 #8d6748 #cf5fa8 #7a7d82 #9a9a22 #1fa3b5".split()
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
"""Matplotlib's name -> the same as a letter; the next one for each round of colours."""
HEAT = "#2f7fc1"

_INK, _GRID = "#010203", "#030201"  # stand for the page's colours, which differ by day and night
_SIZE_IN = 4.6, 2.7
_MARKED_POINTS = 15
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
}


@dataclass(frozen=True)
class Line:
    """One curve; a dashed one has open signs."""

    points: list[tuple[float, float]]
    colour: str
    marker: str = "o"
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    """(x, lowest, highest) of an interval around the curve."""


def line_style(number: int) -> tuple[str, str]:
    """Return the colour and marker of the run with this number."""
    return COLOURS[number % len(COLOURS)], list(MARKERS)[number // len(COLOURS) % len(MARKERS)]


def chart(
    name: str, lines: Sequence[Line], from_zero: bool = False, percent: bool = False, x_label: str = "epoch"
) -> str:
    """An SVG of curves over the epochs, or what ``x_label`` says.

    ``name`` must be the page's only one of its kind; percent is 0 to 100.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        axes = figure.subplots()
        for line in lines:
            style: dict[str, Any] = {"color": line.colour, "linestyle": "--" if line.dashed else "-", "linewidth": 1.6}
            marker = line.marker if len(line.points) <= _MARKED_POINTS else None
            inside = "none" if line.dashed else line.colour
            if line.points:
                axes.plot(
                    *zip(*line.points, strict=True), marker=marker, markersize=3.5, markerfacecolor=inside, **style
                )
            if line.band:
                x, lowest, highest = zip(*line.band, strict=True)
                axes.fill_between(x, lowest, highest, color=line.colour, alpha=0.15, linewidth=0)
        epochs = [epoch for line in lines for epoch, _ in line.points]
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if len(set(epochs)) == 1:
            axes.set_xticks(epochs[:1])
        axes.set_xlabel(x_label)
        if percent:
            axes.set_ylim(-2, 102)
        elif from_zero:
            top = max((value for line in lines for _, value in line.points), default=1) or 1
            axes.set_ylim(-0.03 * top, 1.08 * top)
        return _svg(figure, name)


def heat_map(name: str, confusion_KK: np.ndarray) -> str:
    """Return an SVG of a confusion matrix with many classes, numbered from 1.

    Shades are square roots of the shares of a row, as a few of a class's many videos would not be seen otherwise.
    """
    count = len(confusion_KK)
    shares_KK = confusion_KK / np.maximum(1, confusion_KK.sum(axis=1, keepdims=True))
    image_KK4 = np.full((count, count, 4), matplotlib.colors.to_rgba(HEAT))
    image_KK4[..., 3] = np.sqrt(shares_KK)
    with matplotlib.rc_context(_STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(6, 5.8), layout="constrained")
        axes = figure.subplots()
        axes.imshow(image_KK4, interpolation="none", extent=(0.5, count + 0.5, count + 0.5, 0.5))
        axes.set(xlabel="number of the predicted class", ylabel="number of the true class")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=2))
        return _svg(figure, name)


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG for an HTML page: ids and styles clash with no others, font and colours are the page's."""
    draft = io.StringIO()
    figure.savefig(draft, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = draft.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)  # HTML knows them
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = svg.replace(_INK, "var(--ink)").replace(_GRID, "var(--line)")
    return re.sub(r"\s*\n\s*", "\n", svg)
