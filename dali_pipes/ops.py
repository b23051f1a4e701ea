"""The table of RandAugment-T's 14 operations, each a DALI graph function with a value per frame (paper section 3.1).

To add an operation, write its graph function ``(video, value, style) -> video`` and its row in ``OPS``; everything
else (sampling, selection, previews, tests of the table) reads the table.

In graph functions ``video`` is a batch of (F, H, W, 3) uint8 on the CPU or the GPU, ``value`` a batch of (F,) float32
on the CPU, and the formulas are PIL's. The few lines that depend on the device are in ``_broadcast`` and ``_contrast``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi

from nvidia import dali
from nvidia.dali import fn, math, types

from .errors import InputError, check_known
from .magnitude import MAX_LEVEL

RANGE_TABLES = ("paper", "monotonic")
INTERPOLATIONS = {"nearest": types.INTERP_NN, "linear": types.INTERP_LINEAR}


@dataclass(frozen=True)
class Range:
    """How a level in 0..30 becomes an operation's value: ``base + sign * (low + (high - low) * level / 30)``.

    ``signed`` tells whether the sign is drawn at random; otherwise it is always +1.
    """

    low: float
    high: float
    signed: bool = False
    base: float = 0.0

    def value(self, level, sign=1.0):
        """The value at ``level``; numbers, arrays and DALI nodes alike."""
        magnitude = self.low + (self.high - self.low) * level / MAX_LEVEL
        return self.base + sign * magnitude if self.signed else self.base + magnitude


@dataclass(frozen=True)
class Style:
    """What geometric operations share: how pixels are interpolated, what fills the outside, the frames' size if known."""

    interpolation: str = "nearest"
    fill: float = 0.0
    size_hw: tuple[int, int] | None = None

    def __post_init__(self):
        check_known("interpolation", self.interpolation, INTERPOLATIONS)


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        name: key in ``OPS``.
        graph: DALI graph function ``(video, value, style) -> video``; ``value`` is None without a magnitude.
        unit: unit of the value.
        ranges: range table name -> :class:`Range`; empty for operations without a magnitude.
    """

    name: str
    graph: Callable
    unit: str = ""
    ranges: dict[str, Range] | None = None

    def range_in(self, table: str, translate_max_px: float = 100.0) -> Range | None:
        """The range in a table, None without a magnitude; translation's far end is ``translate_max_px`` (100 for the paper's 160-pixel crop)."""
        check_known("range table", table, RANGE_TABLES)
        if not self.ranges:
            return None
        if self.unit == "pixels":
            return Range(0.0, translate_max_px, signed=True)
        return self.ranges[table]


def _broadcast(value, video):
    """(F,) -> (F, 1, 1, 1) beside the video, on its device."""
    value = fn.reshape(value, shape=[-1, 1, 1, 1])
    return value.gpu() if video.device == "gpu" else value


def _to_uint8(video):
    """Round to the nearest integer and clip to 0..255."""
    return fn.cast(video, dtype=types.UINT8)


def _identity(video, value, style):
    return video


def _auto_contrast(video, value, style):
    """Stretch each channel of each frame to 0..255; a flat channel stays as it is."""
    low = fn.reductions.min(video, axes=[1, 2], keep_dims=True)
    high = fn.reductions.max(video, axes=[1, 2], keep_dims=True)
    flat = low == high
    scale = 255.0 / (high - low + flat)
    return _to_uint8((video - low * (1 - flat)) * (scale * (1 - flat) + flat))


def _equalize(video, value, style):
    """Histogram equalisation per channel of each frame, through the negative.

    PIL maps a value by the number of pixels below it, DALI by those up to it; in the negative these are the same. What
    is left is that PIL divides by a whole number of pixels, ``step = pixels // 255``: up to 255 / step grey levels at
    the bright end, 2.5 for 160 x 160 pixels.
    """
    equalize = fn.equalize if hasattr(fn, "equalize") else fn.experimental.equalize
    all_bits = types.Constant(255).uint8()
    return equalize(video ^ all_bits) ^ all_bits


def _warp(video, style, a, b, c, d, e, f):
    """Affine warp of each frame: output (x, y) shows input (ax + by + c, dx + ey + f), in pixels from the corner.

    PIL steps through the input in units of 1/65536 pixel from the first pixel's centre; taking its rounded numbers makes
    nearest pixels the same ones also where a coordinate falls between two.
    """

    def fixed(number):
        return math.floor(number * 65536.0 + 0.5) * (1.0 / 65536.0)

    rows = []
    for x, y, shift in ((a, b, c), (d, e, f)):
        start = fixed(x * 0.5 + y * 0.5 + shift)
        x, y = fixed(x), fixed(y)
        rows += [x, y, start - (x + y) * 0.5]
    return fn.warp_affine(
        video,
        matrix=fn.per_frame(fn.cast(fn.reshape(fn.stack(*rows, axis=1), shape=[-1, 2, 3]), dtype=types.FLOAT)),
        interp_type=INTERPOLATIONS[style.interpolation],
        fill_value=style.fill,
        inverse_map=True,
    )


def _size_hw(video, style):
    """Height and width, as numbers or as float32 scalars on the CPU."""
    if style.size_hw:
        return style.size_hw
    if hasattr(video, "shape"):
        shape = video.shape(dtype=types.FLOAT)
    elif video.device == "cpu":
        shape = fn.shapes(video, dtype=types.FLOAT)
    else:  # before DataNode.shape, a GPU video's shape was on the GPU, where no named argument may come from
        raise InputError(f"DALI {dali.__version__} needs the size of frames on the GPU: give size_hw=(height, width)")
    return shape[1], shape[2]


def _rotate(video, value, style):
    """Counter-clockwise by ``value`` degrees about the frame's centre."""
    angle = fn.cast(value, dtype=types.FLOAT64) * (-pi / 180.0)  # float32 would miss PIL's 1/65536 pixel
    cos, sin = math.cos(angle), math.sin(angle)
    height, width = _size_hw(video, style)
    cx, cy = width * 0.5, height * 0.5
    return _warp(video, style, cos, sin, cx - cos * cx - sin * cy, -sin, cos, cy + sin * cx - cos * cy)


def _shift_coordinates(video, value, style, *, place):
    """Shear or translate: ``value`` stands at one place of the identity matrix."""
    zero = value * 0.0
    coefficients = [zero + 1.0, zero, zero, zero, zero + 1.0, zero]
    coefficients[place] = value
    return _warp(video, style, *coefficients)


def _solarize(video, value, style):
    """Invert pixels at or above the threshold: for uint8, ``255 - v`` is ``v ^ 255``."""
    return video ^ ((video >= _broadcast(value, video)) * types.Constant(255).uint8())


def _posterize(video, value, style):
    """Keep the highest int(value) bits, at least one."""
    bits = math.max(math.floor(value), 1.0)
    mask = fn.cast(256.0 - math.pow(2.0, 8.0 - bits), dtype=types.UINT8)
    return video & _broadcast(mask, video)


def _brightness(video, value, style):
    return fn.brightness(video, brightness=fn.per_frame(value))


def _grey(video):
    return fn.color_space_conversion(video, image_type=types.RGB, output_type=types.GRAY)


def _contrast(video, value, style):
    """Blend with the frame's mean grey, rounded to an integer."""
    mean = math.floor(fn.reductions.mean(_grey(video), axes=[1, 2, 3]) + 0.5)
    if video.device == "gpu":  # there a named argument cannot come from the GPU
        mean = fn.reshape(mean, shape=[-1, 1, 1, 1])
        return _to_uint8(mean + (video - mean) * _broadcast(value, video))
    return fn.contrast(video, contrast=fn.per_frame(value), contrast_center=fn.per_frame(mean))


def _color(video, value, style):
    """Blend with the grey version of the frame; int16 holds what leaves 0..255 before the sum."""
    grey = fn.color_space_conversion(_grey(video), image_type=types.GRAY, output_type=types.RGB)
    colour_part = fn.brightness(video, brightness=fn.per_frame(value), dtype=types.INT16)
    return _to_uint8(colour_part + fn.brightness(grey, brightness=fn.per_frame(1.0 - value), dtype=types.INT16))


def _sharpness(video, value, style):
    """Blend with the frame smoothed by PIL's 3x3 kernel (centre 5, neighbours 1, over 13), as one filter."""
    blurred = (1.0 - value) * (1.0 / 13.0)
    centre = value + 5.0 * blurred
    kernel = fn.reshape(fn.stack(*[blurred] * 4, centre, *[blurred] * 4, axis=1), shape=[-1, 3, 3])
    filter_frames = fn.filter if hasattr(fn, "filter") else fn.experimental.filter
    return filter_frames(video, fn.per_frame(kernel.gpu() if video.device == "gpu" else kernel), border="clamp")


def _both(low: float, high: float) -> dict[str, Range]:
    return dict.fromkeys(RANGE_TABLES, Range(low, high, signed=True))


_ENHANCE = {"paper": Range(0.1, 1.9), "monotonic": Range(0.0, 0.9, signed=True, base=1.0)}

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("identity", _identity),
        Op("auto_contrast", _auto_contrast),
        Op("equalize", _equalize),
        Op("rotate", _rotate, "degrees", _both(0.0, 30.0)),
        Op("solarize", _solarize, "threshold", {"paper": Range(0.0, 256.0), "monotonic": Range(256.0, 0.0)}),
        Op("color", _color, "factor", _ENHANCE),
        Op("posterize", _posterize, "bits", {"paper": Range(0.0, 4.0), "monotonic": Range(8.0, 4.0)}),
        Op("contrast", _contrast, "factor", _ENHANCE),
        Op("brightness", _brightness, "factor", _ENHANCE),
        Op("sharpness", _sharpness, "factor", _ENHANCE),
        Op("shear_x", partial(_shift_coordinates, place=1), "pixels per pixel", _both(0.0, 0.3)),
        Op("shear_y", partial(_shift_coordinates, place=3), "pixels per pixel", _both(0.0, 0.3)),
        Op("translate_x", partial(_shift_coordinates, place=2), "pixels", _both(0.0, 100.0)),
        Op("translate_y", partial(_shift_coordinates, place=5), "pixels", _both(0.0, 100.0)),
    )
}
