"""A picture of the schedules: how each lets the level change over a clip."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..plan.magnitude import SCHEDULES, schedule_levels
from .sheets import CURVE_COLOURS, GREY, draw_text, write_picture

FAINT = (225, 225, 225)
CHART_PX, CHARTS_ACROSS = (230, 300), 3  # (height, width)
SUBPIXEL_BITS = 4  # of OpenCV's fixed-point coordinates


def draw_schedules(path: Path, m: float = 10.0, num_frames: int = 64, draws: int = 6) -> None:
    """A picture with a few draws of every schedule."""
    rng = np.random.default_rng(2)
    charts = []
    for name in SCHEDULES:
        curves = [schedule_levels(name, m, num_frames, rng) for _ in range(draws)]
        charts.append(_chart(f"{name}: level over frames, M = {m:g}", curves, top=2 * m))
    charts += [charts[0] * 0 + 255] * (-len(charts) % CHARTS_ACROSS)
    lines = [np.concatenate(charts[i : i + CHARTS_ACROSS], axis=1) for i in range(0, len(charts), CHARTS_ACROSS)]
    write_picture(path, np.concatenate(lines))


def _chart(title: str, curves: Sequence[np.ndarray], top: float) -> np.ndarray:
    """(H, W, 3) uint8: (F,) curves over a grid, on a scale from 0 to ``top``."""
    height, width = CHART_PX
    image = np.full((height, width, 3), 255, np.uint8)
    left, right, upper, lower = 34, width - 12, 28, height - 24
    last = len(curves[0]) - 1
    draw_text(image, title, left, upper - 10, size=0.42)
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = round(left + share * (right - left)), round(lower - share * (lower - upper))
        cv2.line(image, (left, y), (right, y), FAINT)
        cv2.line(image, (x, upper), (x, lower), FAINT)
        draw_text(image, f"{share * top:g}", 4, y + 4, GREY)
        draw_text(image, f"{share * last:.0f}", x - 6, lower + 16, GREY)
    for i, curve in enumerate(curves):
        points = np.stack([np.linspace(left, right, len(curve)), lower - curve / top * (lower - upper)], axis=1)
        fixed = (points * 2**SUBPIXEL_BITS).round().astype(np.int32)
        colour = CURVE_COLOURS[i % len(CURVE_COLOURS)]
        cv2.polylines(image, [fixed], False, colour, 2, cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return image
