"""Inputs of a graph that applies drawn operations: draws for kernels, a value and matrix per frame for graph functions.

The formula of the latter is written once for numpy (the loader's workers, so that the loader's graph has nothing to
compute) and for DALI (graphs that draw for themselves).
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import radians
from threading import RLock
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from nvidia import dali
from nvidia.dali import fn, math, types

from .ops import Affine, Op, Range, op_named

_log = logging.getLogger("dali_pipes")
KERNELS, WARP = "kernels", "warp"
"""Branches of a graph: all operations that run as kernels, and all affine ones that do not."""
INPUT_NAMES = ("rows", "levels", "signs", "branches", "values", "matrices")
"""Names of all that the graph of a policy may need of N operations; the first three are for kernels."""

NUMPY = SimpleNamespace(
    row=lambda table, index: table[index],
    scalars=lambda table, index: table[index][:, None],  # (1,) arrays: numpy 1 would make float32 scalars float64
    cos=np.cos,
    sin=np.sin,
    floor=np.floor,
    column=lambda numbers: numbers[:, None],
    stack=lambda arrays, axis: np.stack(arrays, axis),
    float32=np.float32,
    float64=np.float64,
    cast=lambda array, dtype: array.astype(dtype),
)
GRAPH = SimpleNamespace(
    row=lambda table, index: types.Constant(table)[index],
    scalars=lambda table, index: types.Constant(table)[index],
    cos=math.cos,
    sin=math.sin,
    floor=math.floor,
    column=lambda numbers: fn.reshape(numbers, shape=[-1, 1]),
    stack=lambda arrays, axis: fn.stack(*arrays, axis=axis),
    float32=types.FLOAT,
    float64=types.FLOAT64,
    cast=lambda array, dtype: fn.cast(array, dtype=dtype),
)


def why_not_kernels() -> str | None:
    """Return why the kernels cannot run in this process, or None; compiles them where they can.

    Where they cannot, the graph functions take their place on the CPU too, and the log says so.
    """
    return _why_not("augment_operator")


def why_not_compiled_parameters() -> str | None:
    """Return why the inputs of graph functions cannot be computed in one operator, or None; compiles it."""
    return _why_not("parameters_operator")


def why_not_compiled_normalise() -> str | None:
    """Return why clips cannot be normalised by a compiled operator, or None; compiles it."""
    return _why_not("normalise_operator")


_one_compiles = RLock()
os.register_at_fork(  # a fork waits until nobody imports or compiles: the child would lack the thread that does
    before=lambda: _one_compiles.acquire(),
    after_in_parent=lambda: _one_compiles.release(),
    after_in_child=lambda: _one_compiles.release(),
)


@lru_cache
def _why_not(operator: str) -> str | None:
    """Return why an operator of fused.py cannot be made, or None."""
    try:
        with _one_compiles:
            from . import fused  # here, because worker processes have no use for numba

            getattr(fused, operator)()
    except Exception as error:  # a version of numba that numpy, DALI or the machine does not take: no common one
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        _tell_once(reason)
        return reason
    return None


@lru_cache
def _tell_once(reason: str) -> None:
    _log.warning(
        "Cannot compile the augmentation with DALI %s: %s; DALI operators are used instead, which are slower",
        dali.__version__,
        reason,
    )


def run_as_kernels(device: str) -> bool:
    """Return whether operations that have a kernel use it for clips on a device, ``cpu`` or ``gpu``."""
    return device == "cpu" and why_not_kernels() is None


@dataclass(frozen=True)
class OpTable:
    """A policy's operations as numbers, one row for each of O operations.

    Worker processes receive this table, so they need not know a user's own operations.
    """

    rows_OR2: np.ndarray
    """(O, 2 R) int32, for kernels: the bits of the R float64 columns that kernels.py names. DALI has no float64
    constants, and float32 would miss PIL's pixels."""
    branches_O: np.ndarray
    """(O,) int32, positions in :func:`branches_of`."""
    ranges_O4: np.ndarray
    """(O, 4) float32: ``low``, ``high``, ``signed`` and ``base`` of :class:`Range`."""
    affines_O8: np.ndarray
    """(O, 8) float64: ``Affine.numbers``; those of the identity for other operations."""
    names: tuple[str, ...]
    """The names in ``INPUT_NAMES`` that a graph of these operations needs."""


class Parameters(NamedTuple):
    """The inputs of a graph function: arrays or DALI nodes."""

    branch: Any
    """int32, position in :func:`branches_of`; (N,) for N operations."""
    value: Any
    """(F,) float32, in the operation's unit; (N, F) for N."""
    matrices: Any
    """(F, 2, 3) float32, where each pixel of an affine operation comes from; (N, F, 2, 3) for N."""


def branches_of(names: Sequence[str], as_kernels: bool) -> list[Callable | str]:
    """Return the distinct branches of a graph of these operations: ``KERNELS``, ``WARP`` or a graph function.

    The fewer branches a graph has, the more clips each branch processes at once.
    """
    return list(dict.fromkeys(_branch(op_named(name), as_kernels) for name in names))


def is_one_operator(names: Sequence[str], device: str) -> bool:
    """Return whether one operator of DALI runs all of these operations, as kernels, for clips on a device."""
    return branches_of(names, run_as_kernels(device)) == [KERNELS]


def _branch(op: Op, as_kernels: bool) -> Callable | str:
    if as_kernels and op.kernel is not None:
        return KERNELS
    return WARP if isinstance(op.graph, Affine) else op.graph


def op_table(names: Sequence[str], ranges: str, translate_max_px: float, as_kernels: bool) -> OpTable:
    """Return the numbers of the operations; arguments as :func:`apply_ops` and :func:`branches_of`."""
    ops = [op_named(name) for name in names]
    return op_table_of(ops, [op.range_in(ranges, translate_max_px) for op in ops], as_kernels)


def op_table_of(ops: Sequence[Op], ranges: Sequence[Range], as_kernels: bool) -> OpTable:
    """Return the numbers of operations, each with a range of its own; ``as_kernels`` as :func:`branches_of`."""
    branches = branches_of([op.name for op in ops], as_kernels)
    numbers = [range_.numbers for range_ in ranges]
    affines = [op.graph if isinstance(op.graph, Affine) else Affine() for op in ops]
    kernels = [-1 if op.kernel is None else int(op.kernel) for op in ops]
    uses = dict.fromkeys(("rows", "levels", "signs"), KERNELS in branches) | {
        "branches": len(branches) > 1,
        "values": any(callable(branch) for branch in branches),
        "matrices": WARP in branches,
    }
    affine_numbers = [affine.numbers for affine in affines]
    return OpTable(
        np.column_stack([kernels, numbers, affine_numbers]).astype(np.float64).view(np.int32),
        np.array([branches.index(_branch(op, as_kernels)) for op in ops], np.int32),
        np.array(numbers, np.float32),
        np.array(affine_numbers, np.float64),
        tuple(name for name in INPUT_NAMES if uses[name]),
    )


def parameters(
    table: OpTable, op_id: Any, level_F: Any, sign: Any, size_hw: tuple[Any, Any], library: SimpleNamespace
) -> Parameters:
    """Return the parameters of one operation.

    Args:
        table: see :func:`op_table`.
        op_id: int, position in the table.
        level_F: (F,) float32, 0..30.
        sign: float32, +1 or -1; of shape (1,) for numpy.
        size_hw: the frames' height and width in pixels, numbers or scalar nodes.
        library: ``NUMPY`` or ``GRAPH``, of which the arguments and the result are.
    """
    low, high, signed, base = (library.scalars(table.ranges_O4, op_id)[k] for k in range(4))
    value_F = Range(low=low, high=high, signed=signed, base=base).value(level_F, sign)
    affine_8 = library.row(table.affines_O8, op_id)
    # float32 would miss PIL's 1/65536 pixel
    matrices_F23 = _matrices(library.cast(value_F, library.float64), affine_8, size_hw, library)
    return Parameters(library.row(table.branches_O, op_id), value_F, library.cast(matrices_F23, library.float32))


def inputs_of_clip(
    table: OpTable, op_ids_N: np.ndarray, levels_NF: np.ndarray, signs_N: np.ndarray, size_hw: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return what a graph needs of N drawn operations, by ``table.names``: numpy arrays, as :func:`apply_inputs`."""
    drawn = {"rows": table.rows_OR2[op_ids_N], "levels": levels_NF, "signs": signs_N}
    found = {name: drawn[name] for name in table.names if name in drawn}
    if len(found) < len(table.names):
        each = zip(op_ids_N, levels_NF, signs_N[:, None], strict=True)
        stacked = map(np.stack, zip(*(parameters(table, *one, size_hw, NUMPY) for one in each), strict=True))
        found |= dict(zip(("branches", "values", "matrices"), stacked, strict=True))
    return {name: found[name] for name in table.names}


def _matrices(value_F: Any, affine_8: Any, size_hw: tuple[Any, Any], library: SimpleNamespace) -> Any:
    """Return the (F, 2, 3) matrices of a warp: output (x, y) shows input (ax + by + c, dx + ey + f).

    PIL starts at the first pixel's centre and steps in units of 1/65536 pixel; with its rounded numbers, nearest pixels
    are the same ones also where a coordinate falls between two.
    """
    angle = value_F * affine_8[0] * -radians(1)
    cos, sin = library.cos(angle), library.sin(angle)
    cx, cy = size_hw[1] * 0.5, size_hw[0] * 0.5
    change = library.column(value_F)
    zoom = value_F * affine_8[7]
    x = library.stack([cos - zoom, -sin], 1) + change * affine_8[1:3]
    y = library.stack([sin, cos - zoom], 1) + change * affine_8[3:5]
    shift = library.stack([cx - cos * cx - sin * cy, cy + sin * cx - cos * cy], 1) + change * affine_8[5:7]
    shift = shift + library.stack([zoom * cx, zoom * cy], 1)
    start = _fixed((x + y) * 0.5 + shift, library)
    x, y = _fixed(x, library), _fixed(y, library)
    return library.stack([x, y, start - (x + y) * 0.5], 2)


def _fixed(number: Any, library: SimpleNamespace) -> Any:
    """Round to a multiple of 1/65536 pixel."""
    return library.floor(number * 65536.0 + 0.5) * (1.0 / 65536.0)
