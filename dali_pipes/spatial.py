"""Crop, resize, flip, normalise: DALI graph functions, and the region of a frame that a crop needs."""

from math import ceil

from nvidia.dali import fn, types

MEAN = STD = 128.0
"""Pixel normalisation (x - 128) / 128 (paper section 4.1)."""


def region_around(box_yxyx, height: int, width: int, side_px: int) -> tuple[int, int, int, int]:
    """The least region with even edges that resizing ``box_yxyx`` to ``side_px`` looks at.

    Decoding can leave out the rest; the resized pixels are the same, because the filter's reach is kept as a margin.

    Example: box (41, 60, 201, 220) of a 240x320 frame at 160 pixels gives (38, 58, 204, 222).
    """
    y0, x0, y1, x1 = (int(edge) for edge in box_yxyx)
    margin = ceil(max(1.0, (y1 - y0) / side_px)) + 1

    def floor_even(edge):
        return max(0, edge - margin) // 2 * 2

    def ceil_even(edge, limit):
        return min(limit, (edge + margin + 1) // 2 * 2)

    return floor_even(y0), floor_even(x0), ceil_even(y1, height), ceil_even(x1, width)


def crop_resize(video, box_yxyx, side_px: int):
    """DALI graph function: cut a box out of every frame and scale it to side_px x side_px, linear with antialiasing.

    Args:
        video: (F, H, W, 3) uint8.
        box_yxyx: (4,) float32 on the CPU, in the video's pixels.
    """
    return fn.resize(
        video, roi_start=box_yxyx[0:2], roi_end=box_yxyx[2:4], size=[side_px, side_px], interp_type=types.INTERP_LINEAR
    )


def normalise(video, flip):
    """DALI graph function: (F, H, W, 3) uint8 -> (3, F, H, W) float32, (x - 128) / 128, mirrored where flip is 1.

    The flip comes last because it costs nothing here; signs are symmetric, so the augmentations are distributed alike.
    """
    return fn.crop_mirror_normalize(
        video, dtype=types.FLOAT, output_layout="CFHW", mean=[MEAN] * 3, std=[STD] * 3, mirror=flip
    )
