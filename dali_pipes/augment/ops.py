"""The table of RandAugment-T's 14 operations, each with a value per frame (paper section 3.1).

An operation is a row: of ``OPS`` (the paper's) or ``EXTRA_OPS`` here, or added from outside by :func:`register_op`;
everything else (sampling, selection, previews) reads the tables. A row names a DALI graph function and, where the
operation has one, a kernel: the same on one frame, for the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf
from typing import Any

from ..errors import InputError, check_known
from ..hints import Node
from ..plan.magnitude import MAX_LEVEL
from ..python_values import is_number, to_python
from . import graph_ops

RANGE_TABLES = ("paper", "monotonic", "increasing", "wide")
"""The tables of ranges: the paper's; those of DALI and torchvision; timm's increasing ones, as AugMix's; and
TrivialAugment's wide ones. Operations have the range of ``monotonic`` in a table that they do not name."""
OWN_TABLES = RANGE_TABLES[:2]
"""The tables that an operation with a magnitude must name."""
PAPER_CROP_PX = 160
PAPER_TRANSLATE_MAX_PX = 100.0
"""Translation at level 30, of the paper's crop."""


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

    @property
    def numbers(self) -> list[float]:
        """Return ``low``, ``high``, ``signed`` and ``base``."""
        return [self.low, self.high, self.signed, self.base]

    def value(self, level: Node, sign: Node = 1.0) -> Node:
        """The value at ``level``; numbers, arrays and DALI nodes alike."""
        return value_in_range(self.low, self.high, self.signed, self.base, level, sign)


def value_in_range(low: Node, high: Node, signed: Node, base: Node, level: Node, sign: Node) -> Node:
    """Return the value of :class:`Range` at ``level``; kernels.py compiles this formula too."""
    return base + (1 + signed * (sign - 1)) * (low + (high - low) * level / MAX_LEVEL)


NO_MAGNITUDE = Range(0.0, 0.0)


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
    zoom: float = 0.0
    """Share of the frame's sides that is lost by one unit of the value: what is left, around the centre, fills it."""

    def __post_init__(self) -> None:
        if len(self.slope) != 6:
            raise InputError(f"Invalid slope {self.slope}: must be 6 numbers (a, b, c, d, e, f)")

    @property
    def numbers(self) -> list[float]:
        """The turn in degrees, then what the value adds to the factors of x, of y and to the shift; the zoom."""
        a, b, c, d, e, f = self.slope
        return [self.turn, a, d, b, e, c, f, self.zoom]


class Kernel(IntEnum):
    """The operations that kernels.py has for a frame on the CPU; the numbers go into the compiled code."""

    IDENTITY = 0
    AUTO_CONTRAST = 1
    EQUALIZE = 2
    SOLARIZE = 3
    COLOR = 4
    POSTERIZE = 5
    CONTRAST = 6
    BRIGHTNESS = 7
    SHARPNESS = 8
    INVERT = 9
    WARP = 10
    """Every :class:`Affine`."""
    SOLARIZE_ADD = 11
    HUE = 12
    ERASE = 13
    BLEND_IN = 14


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation.

    Attributes:
        name: key in ``OPS``.
        graph: DALI graph function ``(video, value, style) -> video``, or an :class:`Affine`.
        kernel: the same on one frame, for the CPU; None if there is only the graph function, as for a user's own.
        unit: unit of the value.
        ranges: range table name -> :class:`Range`; empty for operations without a magnitude.
        scales_with_crop: whether the ranges are in pixels of the paper's 160-pixel crop, and in proportion for others.
    """

    name: str
    graph: Callable | Affine
    kernel: Kernel | None = None
    unit: str = ""
    ranges: dict[str, Range]
    scales_with_crop: bool = False

    def range_in(self, table: str, translate_max_px: float = PAPER_TRANSLATE_MAX_PX) -> Range:
        """Return the operation's range in a table of ranges.

        ``translate_max_px`` is the far end of the ranges that scale with the crop: 100 for the paper's 160-pixel crop.
        """
        check_known("ranges", table, RANGE_TABLES)
        own = self.ranges.get(table, self.ranges.get("monotonic", NO_MAGNITUDE))
        if not self.scales_with_crop:
            return own
        low, high, base = (
            number * translate_max_px / PAPER_TRANSLATE_MAX_PX for number in (own.low, own.high, own.base)
        )
        return replace(own, low=low, high=high, base=base)


def _op(
    name: str,
    graph: Callable | Affine,
    unit: str = "",
    ranges: Range | dict[str, Range] | None = None,
    scales_with_crop: bool = False,
    kernel: Kernel | None = None,
) -> Op:
    """A row; ``ranges`` may be one for all range tables, and every :class:`Affine` has the kernel of warps."""
    kernel = Kernel.WARP if isinstance(graph, Affine) else kernel
    if isinstance(ranges, Range):
        ranges = dict.fromkeys(OWN_TABLES, ranges)
    return Op(name=name, graph=graph, kernel=kernel, unit=unit, ranges=ranges or {}, scales_with_crop=scales_with_crop)


_ENHANCE = {
    "paper": Range(0.1, 1.9),
    "monotonic": Range(0.0, 0.9, signed=True, base=1.0),
    "wide": Range(0.0, 0.99, signed=True, base=1.0),
}
_SOLARIZE = {"paper": Range(0.0, 256.0), "monotonic": Range(256.0, 0.0)}
_POSTERIZE = {
    "paper": Range(0.0, 4.0),
    "monotonic": Range(8.0, 4.0),
    "increasing": Range(4.999, 0.999),  # timm's 4 less the whole part of 0 to 4, where the bits are rounded down
    "wide": Range(8.5, 2.5),  # 8 to 2 bits, rounded
}


def _signed(high: float, wide: float) -> dict[str, Range]:
    return {table: Range(0.0, wide if table == "wide" else high, signed=True) for table in (*OWN_TABLES, "wide")}


_ROTATE, _SHEAR = _signed(30.0, wide=135.0), _signed(0.3, wide=0.99)
_TRANSLATE = Range(0.0, PAPER_TRANSLATE_MAX_PX, signed=True)
_ROWS = (
    _op("identity", graph_ops.identity, kernel=Kernel.IDENTITY),
    _op("auto_contrast", graph_ops.auto_contrast, kernel=Kernel.AUTO_CONTRAST),
    _op("equalize", graph_ops.equalize, kernel=Kernel.EQUALIZE),
    _op("rotate", Affine(turn=1.0), "degrees", _ROTATE),
    _op("solarize", graph_ops.solarize, "threshold", _SOLARIZE, kernel=Kernel.SOLARIZE),
    _op("color", graph_ops.color, "factor", _ENHANCE, kernel=Kernel.COLOR),
    _op("posterize", graph_ops.posterize, "bits", _POSTERIZE, kernel=Kernel.POSTERIZE),
    _op("contrast", graph_ops.contrast, "factor", _ENHANCE, kernel=Kernel.CONTRAST),
    _op("brightness", graph_ops.brightness, "factor", _ENHANCE, kernel=Kernel.BRIGHTNESS),
    _op("sharpness", graph_ops.sharpness, "factor", _ENHANCE, kernel=Kernel.SHARPNESS),
    _op("shear_x", Affine((0, 1, 0, 0, 0, 0)), "pixels per pixel", _SHEAR),
    _op("shear_y", Affine((0, 0, 0, 1, 0, 0)), "pixels per pixel", _SHEAR),
    _op("translate_x", Affine((0, 0, 1, 0, 0, 0)), "pixels", _TRANSLATE, scales_with_crop=True),
    _op("translate_y", Affine((0, 0, 0, 0, 0, 1)), "pixels", _TRANSLATE, scales_with_crop=True),
)

OPS: dict[str, Op] = {row.name: row for row in _ROWS}
"""Name -> operation: the 14 of the paper (section 3.1), and those of :func:`register_op`. Its ``graph`` is a DALI graph
function or an :class:`Affine`, its ``unit`` that of its value, its ``ranges`` a :class:`Range` for each of the range
tables ``paper`` and ``monotonic`` and perhaps others, or nothing where there is no magnitude."""


def check_translate_max_px(number: Any) -> float:
    """Return the translation at level 30 as a float.

    Raises:
        InputError: it is no finite number of at least 0.
    """
    number = to_python(number)
    if not is_number(number) or not 0 <= number < inf:
        raise InputError(f"Invalid translate_max_px {number!r}: must be a finite number of at least 0")
    return float(number)


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
        ranges: one :class:`Range` for all range tables, or a dict with one for ``paper`` and ``monotonic``, and for
            ``increasing`` and ``wide`` where they differ from ``monotonic``; None if it has no magnitude.
        scales_with_crop: the ranges are in pixels of a 160-pixel crop,
            and scale as translation does with ``translate_max_px``.

    Raises:
        InputError: the name is taken, ``graph`` is no function, or ``ranges`` does not fit.
    """
    taken = [*OPS, *EXTRA_OPS, BLEND_IN.name]  # policies and perturbations name some of them
    if name in taken:
        raise InputError(
            f"Invalid name {name!r}: is already the name of an operation; choose a name other than {', '.join(taken)}"
        )
    if not callable(graph) and not isinstance(graph, Affine):
        raise InputError(
            f"Invalid graph {graph!r} of operation {name!r}: must be a function of DALI nodes, or an Affine"
        )
    if ranges is None and isinstance(graph, Affine):
        raise InputError(
            f"Invalid ranges None of operation {name!r}: must be a Range, because an Affine needs a value from a range"
        )
    if not (ranges is None or isinstance(ranges, Range)) and not (
        isinstance(ranges, dict)
        and set(OWN_TABLES) <= set(ranges) <= set(RANGE_TABLES)
        and all(isinstance(range_, Range) for range_ in ranges.values())
    ):
        raise InputError(
            f"Invalid ranges {ranges!r} of operation {name!r}: must be a Range, or a dict with a Range for "
            f"{' and '.join(OWN_TABLES)}"
        )
    OPS[name] = _op(name, graph, unit, ranges, scales_with_crop)


PAPER_OPS = tuple(OPS)
"""The 14 operations of the paper, in the order of their ids: what policies draw from that name no others."""

EXTRA_OPS = {
    "invert": _op("invert", graph_ops.invert, kernel=Kernel.INVERT),
    "zoom": _op("zoom", Affine(zoom=1.0), "share of the side", Range(0.0, 0.5, signed=True)),
    "solarize_add": _op(
        "solarize_add", graph_ops.solarize_add, "grey levels", Range(0.0, 110.0), kernel=Kernel.SOLARIZE_ADD
    ),
    "hue": _op("hue", graph_ops.hue, "degrees", Range(0.0, 60.0, signed=True), kernel=Kernel.HUE),
    "erase": _op("erase", graph_ops.erase, "widths", Range(0.1, 0.9, signed=True), kernel=Kernel.ERASE),
    "blur": _op("blur", graph_ops.blur, "sigma in pixels", Range(0.0, 4.0)),
    "noise": _op("noise", graph_ops.noise, "grey levels", Range(0.0, 60.0)),
    "jpeg": _op("jpeg", graph_ops.jpeg, "quality", Range(100.0, 1.0)),
}
"""Operations beside the paper's, for policies that name them; as in ``OPS``, where a name stands first."""

BLEND_IN = _op("blend_in", graph_ops.identity, "share", Range(0.0, 1.0), kernel=Kernel.BLEND_IN)
"""Ends a chain of operations that is blended with others: their mixture, at first the clip itself, takes in this share
of what the chain made of the clip, and the next operation starts from the clip again. A clip to which it was applied
becomes the mixture. No policy draws it: ``AugMix`` has it at fixed places, where graphs call ``graph_ops.blend_in``."""

AUTHORS_OPS = (*PAPER_OPS, "invert")
"""The operations of the authors' program: one more than the paper names."""


def op_named(name: str) -> Op:
    """Return the operation of that name.

    Raises:
        InputError: there is none.
    """
    if name == BLEND_IN.name:
        return BLEND_IN
    check_known("operation", name, [*OPS, *EXTRA_OPS])
    return OPS[name] if name in OPS else EXTRA_OPS[name]
