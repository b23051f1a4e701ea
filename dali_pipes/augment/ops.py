"""The table of RandAugment-T's 14 operations, each a DALI graph function with a value per frame (paper section 3.1).

An operation is a row: of ``OPS`` (the paper's) or ``EXTRA_OPS`` here, or added from outside by :func:`register_op`;
everything else (sampling, selection, previews) reads the tables.

In graph functions ``video`` is a batch of (F, H, W, 3) uint8 on the CPU or the GPU, ``value`` a batch of (F,) float32
on the CPU, and the formulas are PIL's. The few lines that depend on the device ask for ``video.device``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import radians

from nvidia import dali
from nvidia.dali import fn, math, types

from ..errors import InputError, check_known
from ..hints import Node
from ..plan.magnitude import MAX_LEVEL
from ..python_values import fields_to_python, is_number

RANGE_TABLES = ("paper", "monotonic")
PAPER_CROP_PX = 160
PAPER_TRANSLATE_MAX_PX = 100.0
"""Translation at level 30, of the paper's crop."""
INTERPOLATIONS = {"nearest": types.INTERP_NN, "linear": types.INTERP_LINEAR}


@dataclass(frozen=True)
class Range:
    """The values that an operation takes: ``base + sign * (low + (high - low) * level / 30)`` for a level in 0..30.

    Example: rotate has ``Range(0, 30, signed=True)``: at level 10 the frame turns by 10 degrees, one way or the other.
    """

    low: float
    """Value at level 0, before sign and base, in the operation's unit."""
    high: float
    """Value at level 30, before sign and base; may be below ``low``."""
    signed: bool = False
    """Whether the sign is drawn at random; otherwise it is always +1."""
    base: float = 0.0
    """Constant that is added, such as a factor of 1."""

    def value(self, level: Node, sign: Node = 1.0) -> Node:
        """The value at ``level``; numbers, arrays and DALI nodes alike."""
        return self.base + (1 + self.signed * (sign - 1)) * (self.low + (self.high - self.low) * level / MAX_LEVEL)


NO_MAGNITUDE = Range(0.0, 0.0)


@dataclass(frozen=True)
class Style:
    """The options that all geometric operations share.

    They are the interpolation, the fill value outside the frame, and the frames' height and width if known.
    """

    interpolation: str = "nearest"
    fill: float = 0.0
    size_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_known("interpolation", self.interpolation, INTERPOLATIONS)
        fields_to_python(self)
        if not is_number(self.fill) or not 0 <= self.fill <= 255:
            raise InputError(f"Invalid fill {self.fill!r}: must be a grey level between 0 and 255")


@dataclass(frozen=True)
class Affine:
    """An affine operation: output (x, y) shows input (ax + by + c, dx + ey + f), in pixels from the corner.

    All affine operations run as one warp, which DALI does for a larger part of a batch at once.

    Example: ``Affine(slope=(0, 1, 0, 0, 0, 0))`` is a shear along x by as many pixels per row as the value says.

    Raises:
        InputError: ``slope`` does not hold 6 numbers.
    """

    slope: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """Change of the matrix entries a, b, c, d, e, f per unit of the value, in the order of PIL's AFFINE."""
    turn: float = 0.0
    """Counter-clockwise turn about the frame's centre by one unit of the value, in degrees."""

    def __post_init__(self) -> None:
        if len(self.slope) != 6:
            raise InputError(f"Invalid slope {self.slope}: must be 6 numbers (a, b, c, d, e, f)")

    @property
    def numbers(self) -> list[float]:
        """The turn in radians, clockwise, then what the value adds to the factors of x, of y and to the shift."""
        a, b, c, d, e, f = self.slope
        return [-radians(self.turn), a, d, b, e, c, f]


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation.

    Attributes:
        name: key in ``OPS``.
        graph: DALI graph function ``(video, value, style) -> video``, or an :class:`Affine`.
        unit: unit of the value.
        ranges: range table name -> :class:`Range`; empty for operations without a magnitude.
        scales_with_crop: whether the ranges are in pixels of the paper's 160-pixel crop, and in proportion for others.
    """

    name: str
    graph: Callable | Affine
    unit: str = ""
    ranges: dict[str, Range]
    scales_with_crop: bool = False

    def range_in(self, table: str, translate_max_px: float = PAPER_TRANSLATE_MAX_PX) -> Range:
        """Return the operation's range in a table of ranges.

        ``translate_max_px`` is the far end of the ranges that scale with the crop: 100 for the paper's 160-pixel crop.
        """
        check_known("ranges", table, RANGE_TABLES)
        own = self.ranges.get(table, NO_MAGNITUDE)
        if not self.scales_with_crop:
            return own
        low, high, base = (
            number * translate_max_px / PAPER_TRANSLATE_MAX_PX for number in (own.low, own.high, own.base)
        )
        return replace(own, low=low, high=high, base=base)


OPS: dict[str, Op] = {}
"""Name -> operation: the 14 of the paper (section 3.1), and those of :func:`register_op`. Its ``graph`` is a DALI graph
function or an :class:`Affine`, its ``unit`` that of its value, its ``ranges`` a :class:`Range` for each of the range
tables ``paper`` and ``monotonic``, or nothing where there is no magnitude."""


def translate_max_px(crop_px: int) -> float:
    """Return the translation at level 30 for clips of that side, in proportion to the paper's 100 pixels of 160."""
    return PAPER_TRANSLATE_MAX_PX * crop_px / PAPER_CROP_PX


def register_op(
    name: str,
    graph: Callable | Affine,
    *,
    unit: str = "",
    ranges: Range | dict | None = None,
    scales_with_crop: bool = False,
) -> None:
    """Add an operation to ``OPS``. Policies draw it where their ``ops`` name it.

    Args:
        name: a new name.
        graph: a DALI graph function ``(video, value, style) -> video``, or an :class:`Affine`. ``video`` is
            (F, H, W, 3) uint8 on the CPU or the GPU, ``value`` (F,) float32 on the CPU; ``style`` has
            ``interpolation``, ``fill`` and ``size_hw``.
        unit: of the value, such as ``degrees``; for previews.
        ranges: one :class:`Range` for both range tables, or a dict with one for each; None if it has no magnitude.
        scales_with_crop: the ranges are in pixels of a 160-pixel crop,
            and scale as translation does with ``translate_max_px``.

    Raises:
        InputError: the name is taken, ``graph`` is no function, or ``ranges`` does not fit.
    """
    if name in OPS:
        raise InputError(
            f"Invalid name {name!r}: is already the name of an operation; choose a name other than {', '.join(OPS)}"
        )
    if not callable(graph) and not isinstance(graph, Affine):
        raise InputError(
            f"Invalid graph {graph!r} of operation {name!r}: must be a function of DALI nodes, or an Affine"
        )
    if isinstance(ranges, Range):
        ranges = dict.fromkeys(RANGE_TABLES, ranges)
    if ranges is None and isinstance(graph, Affine):
        raise InputError(
            f"Invalid ranges None of operation {name!r}: must be a Range, because an Affine needs a value from a range"
        )
    if ranges is not None and not (
        isinstance(ranges, dict)
        and set(ranges) == set(RANGE_TABLES)
        and all(isinstance(range_, Range) for range_ in ranges.values())
    ):
        raise InputError(
            f"Invalid ranges {ranges!r} of operation {name!r}: must be a Range, or a dict with a Range for "
            f"{' and '.join(RANGE_TABLES)}"
        )
    OPS[name] = Op(name=name, graph=graph, unit=unit, ranges=ranges or {}, scales_with_crop=scales_with_crop)


def _broadcast(value: Node, video: Node) -> Node:
    """(F,) -> (F, 1, 1, 1) beside the video, on its device."""
    value = fn.reshape(value, shape=[-1, 1, 1, 1])
    return value.gpu() if video.device == "gpu" else value


def _to_uint8(video: Node) -> Node:
    """Round to the nearest integer and clip to 0..255."""
    return fn.cast(video, dtype=types.UINT8)


def _linear(video: Node, scale: Node, shift: Node) -> Node:
    """Return ``video * scale + 255 * shift``, clipped to 0..255; both are (F,) float32 on the video's device."""
    if video.device == "gpu":  # there a named argument cannot come from the GPU
        scale, shift = (fn.reshape(number, shape=[-1, 1, 1, 1]) for number in (scale, shift))
        return _to_uint8(video * scale + shift * 255.0)
    return fn.brightness(video, brightness=fn.per_frame(scale), brightness_shift=fn.per_frame(shift))


def _to_planes(video: Node) -> Node:
    """(F, H, W, 3) -> (3 F, H, W, 1): each channel of each frame as a frame of its own."""
    planes = fn.crop_mirror_normalize(video, dtype=types.UINT8, output_layout="FCHW", mean=[0.0] * 3, std=[1.0] * 3)
    return fn.reshape(planes, src_dims=[0, 2, 3, 1], rel_shape=[3, 1, 1, 1 / 3], layout="FHWC")


def _from_planes(planes: Node) -> Node:
    planes = fn.reshape(planes, src_dims=[0, 3, 1, 2], rel_shape=[1 / 3, 3, 1, 1], layout="FCHW")
    return fn.crop_mirror_normalize(planes, dtype=types.UINT8, output_layout="FHWC", mean=[0.0] * 3, std=[1.0] * 3)


def _identity(video: Node, value: Node, style: Style) -> Node:
    """Leave the frames unchanged."""
    return video


def _auto_contrast(video: Node, value: Node, style: Style) -> Node:
    """Stretch each channel of each frame to 0..255; a channel with a single value is left unchanged."""
    planes = _to_planes(video)
    low, high = (reduce(planes, axes=[1, 2, 3]) for reduce in (fn.reductions.min, fn.reductions.max))
    width = high - low
    flat = width == 0
    width = width + flat * 255
    return _from_planes(_linear(planes, 255.0 / width, low * (flat - 1) / width))


def _equalize(video: Node, value: Node, style: Style) -> Node:
    """Equalise the histogram of each channel of each frame.

    This is done on the negative. PIL maps a value by the number of pixels below it, DALI by those up to it; in the
    negative these are the same. But where DALI divides by all pixels that are not of the highest value, PIL takes a
    whole 255th of them, rounded down (and leaves a channel with less than 255 of them as it is): hence the stretch.
    """
    equalize = fn.equalize if hasattr(fn, "equalize") else fn.experimental.equalize
    negative = _to_planes(video ^ types.Constant(255).uint8())
    lowest = fn.reductions.min(negative, axes=[1, 2, 3])
    below = _linear(negative, lowest * 0.0 + 1000.0, lowest * (-1000 / 255) - (500 / 255))  # 0 where highest, else 255
    count = fn.reductions.sum(below, axes=[1, 2, 3]) // 255
    step = count // 255
    keep = step == 0
    stretch = count * (1 - keep) / (255 * (step + keep))
    return _from_planes(
        _linear(equalize(negative), stretch * -1.0, stretch) + _linear(negative, keep * -1.0, keep * 1.0)
    )


def warp(video: Node, matrices: Node, style: Style) -> Node:
    """DALI graph function: affine warp of each frame; output (x, y) shows input (ax + by + c, dx + ey + f).

    Args:
        video: (F, H, W, 3) uint8.
        matrices: (F, 2, 3) float32 on the CPU: a, b, c and d, e, f, in pixels from the corner.
        style: interpolation and fill.
    """
    return fn.warp_affine(
        video,
        matrix=fn.per_frame(matrices),
        interp_type=INTERPOLATIONS[style.interpolation],
        fill_value=style.fill,
        inverse_map=True,
    )


def size_of(video: Node, style: Style) -> tuple[Node, Node]:
    """Return height and width, as numbers or as float32 scalars on the CPU."""
    if style.size_hw:
        return style.size_hw
    if hasattr(video, "shape"):
        shape = video.shape(dtype=types.FLOAT)
    elif video.device == "cpu":
        shape = fn.shapes(video, dtype=types.FLOAT)
    else:  # before DataNode.shape, a GPU video's shape was on the GPU, where no named argument may come from
        raise InputError(
            f"Invalid size_hw None: must be (height, width), which DALI {dali.__version__} needs for frames on a GPU"
        )
    return shape[1], shape[2]


def _solarize(video: Node, value: Node, style: Style) -> Node:
    """Invert the pixels at or above the threshold.

    A steep contrast makes a mask of 0 or 255, and ``255 - v`` is ``v ^ 255``.
    """
    at_or_above = fn.contrast(video, contrast=1000.0, contrast_center=fn.per_frame(math.ceil(value) - 0.5))
    return video ^ at_or_above


def _invert(video: Node, value: Node, style: Style) -> Node:
    """Invert all pixels: v becomes 255 - v."""
    return video ^ types.Constant(255).uint8()


def _posterize(video: Node, value: Node, style: Style) -> Node:
    """Keep the highest bits of each pixel, at least one; the value is rounded down to a number of bits."""
    bits = math.max(math.floor(value), 1.0)
    mask = fn.cast(256.0 - math.pow(2.0, 8.0 - bits), dtype=types.UINT8)
    return video & _broadcast(mask, video)


def _brightness(video: Node, value: Node, style: Style) -> Node:
    """Multiply each pixel by the factor."""
    return fn.brightness(video, brightness=fn.per_frame(value))


def _grey(video: Node) -> Node:
    return fn.color_space_conversion(video, image_type=types.RGB, output_type=types.GRAY)


def _blend(other: Node, video: Node, value: Node) -> Node:
    """Blend, also beyond both ends: ``other`` (float32) where the value is 0, the video where it is 1."""
    return _to_uint8(other + (video - other) * _broadcast(value, video))


def _contrast(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with its mean grey level, rounded to an integer; the factor 1 changes nothing."""
    mean = math.floor(fn.reductions.mean(_grey(video), axes=[1, 2, 3]) + 0.5)
    if video.device == "gpu":  # there a named argument cannot come from the GPU
        return _blend(fn.reshape(mean, shape=[-1, 1, 1, 1]), video, value)
    return fn.contrast(video, contrast=fn.per_frame(value), contrast_center=fn.per_frame(mean))


def _color(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with its grey version; the factor 1 changes nothing."""
    if video.device == "gpu":  # there a number for each frame costs more than one pass more
        return _blend(fn.cast(_grey(video), dtype=types.FLOAT), video, value)
    grey = fn.color_space_conversion(_grey(video), image_type=types.GRAY, output_type=types.RGB)
    # int16 holds what leaves 0..255 before the sum
    colour_part = fn.brightness(video, brightness=fn.per_frame(value), dtype=types.INT16)
    return _to_uint8(colour_part + fn.brightness(grey, brightness=fn.per_frame(1.0 - value), dtype=types.INT16))


def _sharpness(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with a copy smoothed by PIL's 3x3 kernel; the factor 1 changes nothing.

    The kernel has 5 in the centre and 1 around it, divided by 13. Both steps are one filter.
    """
    blurred = (1.0 - value) * (1.0 / 13.0)
    centre = value + 5.0 * blurred
    kernel = fn.reshape(fn.stack(*[blurred] * 4, centre, *[blurred] * 4, axis=1), shape=[-1, 3, 3])
    filter_frames = fn.filter if hasattr(fn, "filter") else fn.experimental.filter
    return filter_frames(video, fn.per_frame(kernel.gpu() if video.device == "gpu" else kernel), border="clamp")


_ROTATE, _SHEAR = Range(0.0, 30.0, signed=True), Range(0.0, 0.3, signed=True)
_TRANSLATE = Range(0.0, PAPER_TRANSLATE_MAX_PX, signed=True)
_ENHANCE = {"paper": Range(0.1, 1.9), "monotonic": Range(0.0, 0.9, signed=True, base=1.0)}
_SOLARIZE = {"paper": Range(0.0, 256.0), "monotonic": Range(256.0, 0.0)}
_POSTERIZE = {"paper": Range(0.0, 4.0), "monotonic": Range(8.0, 4.0)}

register_op("identity", _identity)
register_op("auto_contrast", _auto_contrast)
register_op("equalize", _equalize)
register_op("rotate", Affine(turn=1.0), unit="degrees", ranges=_ROTATE)
register_op("solarize", _solarize, unit="threshold", ranges=_SOLARIZE)
register_op("color", _color, unit="factor", ranges=_ENHANCE)
register_op("posterize", _posterize, unit="bits", ranges=_POSTERIZE)
register_op("contrast", _contrast, unit="factor", ranges=_ENHANCE)
register_op("brightness", _brightness, unit="factor", ranges=_ENHANCE)
register_op("sharpness", _sharpness, unit="factor", ranges=_ENHANCE)
register_op("shear_x", Affine((0, 1, 0, 0, 0, 0)), unit="pixels per pixel", ranges=_SHEAR)
register_op("shear_y", Affine((0, 0, 0, 1, 0, 0)), unit="pixels per pixel", ranges=_SHEAR)
register_op("translate_x", Affine((0, 0, 1, 0, 0, 0)), unit="pixels", ranges=_TRANSLATE, scales_with_crop=True)
register_op("translate_y", Affine((0, 0, 0, 0, 0, 1)), unit="pixels", ranges=_TRANSLATE, scales_with_crop=True)

PAPER_OPS = tuple(OPS)
"""The 14 operations of the paper, in the order of their ids: what policies draw from that name no others."""

EXTRA_OPS = {"invert": Op(name="invert", graph=_invert, ranges={})}
"""Operations beside the paper's, for policies that name them; as in ``OPS``, where a name stands first."""

AUTHORS_OPS = (*PAPER_OPS, "invert")
"""The operations of the authors' program: one more than the paper names."""


def op_named(name: str) -> Op:
    """Return the operation of that name.

    Raises:
        InputError: there is none.
    """
    check_known("operation", name, [*OPS, *EXTRA_OPS])
    return OPS[name] if name in OPS else EXTRA_OPS[name]
