"""Crop, resize, flip, normalise: DALI graph functions."""

from nvidia.dali import fn, types

from ..decode.frames import ANTIALIAS_ABOVE
from ..hints import Node

MEAN = STD = 128.0
"""Pixel normalisation (x - 128) / 128 (paper section 4.1)."""


def crop_resize(video: Node, box_yxyx: Node, flip: Node, side_px: int) -> Node:
    """DALI graph function: cut a box out of every frame, scale it to side_px x side_px, linear, and mirror it where flip is 1.

    For videos that DALI decodes; the CPU's workers do the same while they convert colours, which is cheaper.

    Args:
        video: (F, H, W, 3) uint8.
        box_yxyx: (4,) float32 on the CPU, in the video's pixels.
        flip: 0 or 1, int32 scalar on the CPU.
        side_px: of the result; a box more than ``ANTIALIAS_ABOVE`` times as large is smoothed first.

    Returns:
        (F, side_px, side_px, 3) uint8.
    """
    y0, x0, y1, x1 = (box_yxyx[edge] for edge in range(4))
    shift = (x1 - x0) * flip  # a region that ends left of its start is mirrored
    place = {"roi_start": fn.stack(y0, x0 + shift), "roi_end": fn.stack(y1, x1 - shift), "size": [side_px, side_px]}
    if box_yxyx[2] - box_yxyx[0] > ANTIALIAS_ABOVE * side_px:
        scaled = fn.resize(video, **place, interp_type=types.INTERP_LINEAR, antialias=True)
    else:
        scaled = fn.resize(video, **place, interp_type=types.INTERP_LINEAR, antialias=False)
    return scaled


def normalise(video: Node) -> Node:
    """DALI graph function: (F, H, W, 3) uint8 -> float32, (x - 128) / 128."""
    return fn.brightness(video, brightness=1.0 / STD, brightness_shift=-MEAN / STD, dtype=types.FLOAT)
