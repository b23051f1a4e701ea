"""The affine operations on one frame, compiled by numba: PIL's arithmetic, so PIL's pixels; see ``kernels.py``."""

import math

import numpy as np
from numba import njit

U = np.uint64
"""Unsigned indices need no check for negative ones, without which loops become vector instructions."""
FIXED_ONE = 1 << 16
"""PIL warps in units of 1/65536 pixel."""
MAX_FIXED = 2.0**46
"""Largest coordinate in those units: more is moved to here, so that no sum leaves 64 bits."""

compiled = njit(error_model="numpy", nogil=True)


@compiled
def copy(out, out_start, source, start, count):
    """Copy ``count`` bytes of a flat array; slices of numba cost more than the bytes of a row."""
    for i in range(count):
        out[U(out_start + i)] = source[U(start + i)]


@compiled
def fill_row(out, start, end, number):
    """Fill [start, end) of a flat array."""
    for i in range(start, end):
        out[U(i)] = number


@compiled
def to_fixed(number):
    """Round to units of 1/65536 pixel."""
    scaled = number * 65536.0 + 0.5
    scaled = scaled if scaled > -MAX_FIXED else -MAX_FIXED  # NaN too
    return np.int64(math.floor(min(scaled, MAX_FIXED)))


@compiled
def _inside(start, step, limit, count):
    """Return [first, last) of the x in 0..count for which 0 <= start + x * step < limit."""
    if step == 0:
        return (0, count) if 0 <= start < limit else (0, 0)
    if step > 0:
        first, last = -(start // step), -((start - limit) // step)
    else:
        first, last = (start - limit) // -step + 1, start // -step + 1
    return min(max(first, 0), count), min(max(last, 0), count)


@compiled
def _warp_in_fixed_steps(frame_HWC, out_HWC, a, b, c, d, e, f, fill):
    """Warp as PIL does with nearest pixels: from the first pixel's centre on in steps of 1/65536 pixel."""
    height, width = frame_HWC.shape[0], frame_HWC.shape[1]
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(height, 3 * width)
    x_step, x_next_row, y_step, y_next_row = to_fixed(a), to_fixed(b), to_fixed(d), to_fixed(e)
    x_row, y_row = to_fixed(c + a * 0.5 + b * 0.5), to_fixed(f + d * 0.5 + e * 0.5)
    for y in range(height):
        row = out[y]
        x_first, x_last = _inside(x_row, x_step, width * FIXED_ONE, width)
        y_first, y_last = _inside(y_row, y_step, height * FIXED_ONE, width)
        first = max(x_first, y_first)
        last = max(min(x_last, y_last), first)
        fill_row(row, 0, 3 * first, fill)
        fill_row(row, 3 * last, 3 * width, fill)
        if x_step == FIXED_ONE and y_step == 0:
            start = 3 * ((y_row >> 16) * width + (x_row >> 16) + first)
            copy(row, 3 * first, frame, start, 3 * (last - first))
        else:
            x_in, y_in = x_row + first * x_step, y_row + first * y_step
            for x in range(first, last):
                i, k = U(3 * x), U(3 * ((y_in >> 16) * width + (x_in >> 16)))
                row[i], row[i + U(1)], row[i + U(2)] = frame[k], frame[k + U(1)], frame[k + U(2)]
                x_in += x_step
                y_in += y_step
        x_row += x_next_row
        y_row += y_next_row


@compiled
def _scale_and_shift(frame_HWC, out_HWC, a, c, e, f, fill):
    """Warp as PIL does with nearest pixels where rows stay rows: float64, adding up from pixel to pixel."""
    height, width = frame_HWC.shape[0], frame_HWC.shape[1]
    frame, out = frame_HWC.reshape(height, 3 * width), out_HWC.reshape(height, 3 * width)
    columns, first, last = np.empty(width, np.int64), width, 0
    x_in = c + a * 0.5
    for x in range(width):
        if 0 <= x_in < width:
            columns[x] = int(x_in)
            first, last = min(first, x), x + 1
        x_in += a
    y_in = f + e * 0.5
    for y in range(height):
        row = out[y]
        if 0 <= y_in < height and first < last:
            row_in = frame[int(y_in)]
            fill_row(row, 0, 3 * first, fill)
            fill_row(row, 3 * last, 3 * width, fill)
            if columns[last - 1] - columns[first] == last - 1 - first:
                copy(row, 3 * first, row_in, 3 * columns[first], 3 * (last - first))
            else:
                for x in range(first, last):
                    i, k = U(3 * x), U(3 * columns[x])
                    row[i], row[i + U(1)], row[i + U(2)] = row_in[k], row_in[k + U(1)], row_in[k + U(2)]
        else:
            fill_row(row, 0, 3 * width, fill)
        y_in += e


@compiled
def _warp_linear(frame_HWC, out_HWC, a, b, c, d, e, f, fill):
    """Warp as PIL does with ``BILINEAR``: float64, the fraction is cut off, and only what is outside is filled."""
    height, width = frame_HWC.shape[0], frame_HWC.shape[1]
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(-1)
    for y in range(height):
        for x in range(width):
            x_in = a * (x + 0.5) + b * (y + 0.5) + c
            y_in = d * (x + 0.5) + e * (y + 0.5) + f
            i = U(3 * (y * width + x))
            if not (0.0 <= x_in < width and 0.0 <= y_in < height):
                out[i] = out[i + U(1)] = out[i + U(2)] = fill
                continue
            left, top = math.floor(x_in - 0.5), math.floor(y_in - 0.5)
            right_share, bottom_share = x_in - 0.5 - left, y_in - 0.5 - top
            columns = U(3 * max(int(left), 0)), U(3 * min(int(left) + 1, width - 1))
            above = U(3 * width * max(int(top), 0))
            below = U(3 * width * min(int(top) + 1, height - 1))
            for channel in range(3):
                first, second = columns[0] + U(channel), columns[1] + U(channel)
                upper, lower = np.float64(frame[above + first]), np.float64(frame[below + first])
                upper += (frame[above + second] - upper) * right_share
                lower += (frame[below + second] - lower) * right_share
                out[i + U(channel)] = np.uint8(np.int32(upper + (lower - upper) * bottom_share))


@compiled
def affine_matrix(affine_8, value, height, width):
    """Return a, b, c, d, e, f of an ``Affine`` at ``value``: output (x, y) shows input (ax + by + c, dx + ey + f).

    ``affine_8`` is ``Affine.numbers``. The turn is computed as by ``Image.rotate``, which keeps 15 decimals.
    """
    angle = -math.radians((value * affine_8[0]) % 360.0)
    cos, sin = round(math.cos(angle) * 1e15) / 1e15, round(math.sin(angle) * 1e15) / 1e15
    x, y, zoom = width / 2.0, height / 2.0, value * affine_8[7]
    a, d = cos + value * affine_8[1] - zoom, -sin + value * affine_8[2]
    b, e = sin + value * affine_8[3], cos + value * affine_8[4] - zoom
    c = -cos * x - sin * y + x + value * affine_8[5] + zoom * x
    f = sin * x - cos * y + y + value * affine_8[6] + zoom * y
    return a, b, c, d, e, f


@compiled
def store_matrix(matrix_23, affine_8, value, height, width):
    """Write the float32 matrix of the numbers as PIL rounds them, so that DALI's warp takes the same nearest pixels."""
    a, b, c, d, e, f = affine_matrix(affine_8, value, height, width)
    x_start, y_start = to_fixed(c + a * 0.5 + b * 0.5) / 65536.0, to_fixed(f + d * 0.5 + e * 0.5) / 65536.0
    a, b, d, e = to_fixed(a) / 65536.0, to_fixed(b) / 65536.0, to_fixed(d) / 65536.0, to_fixed(e) / 65536.0
    matrix_23[0, 0], matrix_23[0, 1], matrix_23[0, 2] = a, b, x_start - (a + b) * 0.5
    matrix_23[1, 0], matrix_23[1, 1], matrix_23[1, 2] = d, e, y_start - (d + e) * 0.5


@compiled
def warp(frame_HWC, out_HWC, affine_8, value, linear, fill):
    """Warp as ``Image.rotate`` and ``Image.transform``."""
    a, b, c, d, e, f = affine_matrix(affine_8, value, frame_HWC.shape[0], frame_HWC.shape[1])
    if linear:
        _warp_linear(frame_HWC, out_HWC, a, b, c, d, e, f, fill)
    elif b == 0.0 and d == 0.0:
        _scale_and_shift(frame_HWC, out_HWC, a, c, e, f, fill)
    else:
        _warp_in_fixed_steps(frame_HWC, out_HWC, a, b, c, d, e, f, fill)
