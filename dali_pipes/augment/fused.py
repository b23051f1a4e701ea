"""DALI operators made of compiled functions, on the CPU.

One applies all operations to a clip, in place of a graph of hundreds of nodes. One normalises clips. One computes the
parameters of graph functions, which run on a GPU, or are a user's own.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import carray
from nvidia.dali import fn, types

from ..hints import Node
from ..plan import magnitude
from ..system.numba_operator import data_at, make_operator, shape_at
from . import graph_ops, kernels, ops, warps
from .graph_ops import Style
from .kernels import AFFINE, augment, value_at
from .warps import store_matrix

_SOURCES = [Path(str(module.__file__)) for module in (kernels, warps, ops, graph_ops, magnitude)] + [Path(__file__)]
"""Files whose content the compiled operators depend on."""
_VIDEO, _ROWS, _LEVELS, _SIGNS = (types.UINT8, 4), (types.INT32, 2), (types.FLOAT, 2), (types.FLOAT, 1)


def _augment_setup(out_shapes, out_ndims, num_outs, in_shapes, in_ndims, num_ins, samples):
    for sample in range(samples):
        video, out = shape_at(in_shapes, sample, 4), shape_at(out_shapes, sample, 4)
        rows, levels = shape_at(in_shapes, samples + sample, 2), shape_at(in_shapes, 2 * samples + sample, 2)
        signs = shape_at(in_shapes, 3 * samples + sample, 1)
        out[:] = video
        if video[3] != 3 or levels[0] != rows[0] or levels[1] != video[0] or signs[0] != rows[0] or rows[0] < 1:
            out[:] = -1  # DALI ends the pipeline before anything is read beside its place


def _augment_run(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):
    F, H, W, C = shape_at(in_shapes, 0, 4)
    N, row_size = shape_at(in_shapes, 1, 2)
    video_FHWC = carray(data_at(ins, 0), (F, H, W, C), np.uint8)
    rows_NR = carray(data_at(ins, 1), (N, row_size // 2), np.float64)
    levels_NF = carray(data_at(ins, 2), (N, F), np.float32)
    signs_N = carray(data_at(ins, 3), (N,), np.float32)
    style = carray(data_at(ins, 4), (2,), np.int32)
    out_FHWC = carray(data_at(outs, 0), (F, H, W, C), np.uint8)
    augment(out_FHWC, video_FHWC, rows_NR, levels_NF, signs_N, style[0] != 0, np.uint8(style[1]))


@lru_cache
def augment_operator() -> Callable:
    """Return the operator of :func:`apply_kernels`, which is compiled if the cache does not hold it."""
    inputs = [_VIDEO, _ROWS, _LEVELS, _SIGNS, (types.INT32, 1)]
    return make_operator(_augment_run, _augment_setup, outputs=[_VIDEO], inputs=inputs, sources=_SOURCES)


def apply_kernels(video: Node, rows: Node, levels: Node, signs: Node, style: Style) -> Node:
    """DALI graph function: apply N operations that have kernels, one after the other.

    Args:
        video: (F, H, W, 3) uint8 on the CPU.
        rows: (N, 2 R) int32, rows of ``OpTable.rows_OR2``.
        levels: (N, F) float32, 0..30.
        signs: (N,) float32, +1 or -1.
        style: interpolation and fill.
    """
    options = types.Constant(np.array([style.interpolation == "linear", int(style.fill)], np.int32))
    return fn.reshape(augment_operator()(video, rows, levels, signs, options), layout="FHWC")


def _normalise_setup(out_shapes, out_ndims, num_outs, in_shapes, in_ndims, num_ins, samples):
    for sample in range(samples):
        shape_at(out_shapes, sample, 4)[:] = shape_at(in_shapes, sample, 4)


def _normalise_run(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):
    F, H, W, C = shape_at(in_shapes, 0, 4)
    size = F * H * W * C
    video, out = carray(data_at(ins, 0), (size,), np.uint8), carray(data_at(outs, 0), (size,), np.float32)
    mean_and_scale = carray(data_at(ins, 1), (2,), np.float32)
    mean, scale = mean_and_scale[0], mean_and_scale[1]
    for i in range(size):
        out[i] = (np.float32(video[i]) - mean) * scale


@lru_cache
def normalise_operator() -> Callable:
    """Return the operator of :func:`normalise_by_kernel`, which is compiled if the cache does not hold it."""
    inputs = [_VIDEO, (types.FLOAT, 1)]
    return make_operator(_normalise_run, _normalise_setup, outputs=[(types.FLOAT, 4)], inputs=inputs, sources=_SOURCES)


def normalise_by_kernel(video: Node, mean: float, std: float) -> Node:
    """DALI graph function: (F, H, W, 3) uint8 on the CPU -> float32, (x - mean) / std; std is a power of 2.

    DALI's own operators take twice the time.
    """
    numbers = types.Constant(np.array([mean, 1.0 / std], np.float32))
    return fn.reshape(normalise_operator()(video, numbers), layout="FHWC")


def _parameters_setup(out_shapes, out_ndims, num_outs, in_shapes, in_ndims, num_ins, samples):
    for sample in range(samples):
        rows, signs = shape_at(in_shapes, sample, 2), shape_at(in_shapes, 2 * samples + sample, 1)
        N, F = shape_at(in_shapes, samples + sample, 2)
        if N != rows[0] or N != signs[0]:
            N = -1  # DALI ends the pipeline before anything is read beside its place
        values, matrices = shape_at(out_shapes, sample, 2), shape_at(out_shapes, samples + sample, 4)
        values[0], values[1] = N, F
        matrices[0], matrices[1], matrices[2], matrices[3] = N, F, 2, 3


def _parameters_run(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):
    N, row_size = shape_at(in_shapes, 0, 2)
    N, F = shape_at(in_shapes, 1, 2)
    rows_NR = carray(data_at(ins, 0), (N, row_size // 2), np.float64)
    levels_NF = carray(data_at(ins, 1), (N, F), np.float32)
    signs_N = carray(data_at(ins, 2), (N,), np.float32)
    size_hw = carray(data_at(ins, 3), (2,), np.float32)
    values_NF = carray(data_at(outs, 0), (N, F), np.float32)
    matrices_NF23 = carray(data_at(outs, 1), (N, F, 2, 3), np.float32)
    for n in range(N):
        for k in range(F):
            value = value_at(rows_NR[n], np.float64(levels_NF[n, k]), np.float64(signs_N[n]))
            values_NF[n, k] = value
            store_matrix(matrices_NF23[n, k], rows_NR[n, AFFINE:], value, size_hw[0], size_hw[1])


@lru_cache
def parameters_operator() -> Callable:
    """Return the operator of :func:`graph_parameters`, which is compiled if the cache does not hold it."""
    outputs, inputs = [(types.FLOAT, 2), (types.FLOAT, 4)], [_ROWS, _LEVELS, _SIGNS, (types.FLOAT, 1)]
    return make_operator(_parameters_run, _parameters_setup, outputs=outputs, inputs=inputs, sources=_SOURCES)


def graph_parameters(rows: Node, levels: Node, signs: Node, size_hw: tuple[Node, Node]) -> tuple[Node, Node]:
    """DALI graph function: the values and matrices of N operations, see ``Parameters``.

    Args:
        rows: (N, 2 R) int32, rows of ``OpTable.rows_OR2``.
        levels: (N, F) float32, 0..30.
        signs: (N,) float32, +1 or -1.
        size_hw: the frames' height and width in pixels, numbers or float32 scalars on the CPU.

    Returns:
        (N, F) float32 and (N, F, 2, 3) float32.
    """
    height, width = size_hw
    if isinstance(height, int | float):
        size = types.Constant(np.array([height, width], np.float32))
    else:
        size = fn.stack(height, width)
    return parameters_operator()(rows, levels, signs, size)
