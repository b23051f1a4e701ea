"""RandAugment-T's operations on one frame, compiled by numba: PIL's arithmetic, so PIL's pixels (paper section 3.1).

Every function here runs on the CPU and is compiled; ``fused.py`` makes a DALI operator of :func:`augment`. A kernel
reads ``frame_HWC`` and writes all of ``out_HWC``, both (H, W, 3) uint8 and contiguous; it allocates at most a row or a
table. The affine operations are in ``warps.py``.

float32 is exact for the integers that occur here, and makes vector instructions of the loops over pixels.
"""

import math

import numpy as np

from .graph_ops import ERASE_ROUNDING
from .ops import Kernel, value_in_range
from .warps import U, compiled, copy, fill_row, warp

F32 = np.float32
KERNEL, LOW, HIGH, SIGNED, BASE, AFFINE = range(6)
"""Columns of a row: a ``Kernel``, the numbers of its ``Range``, and from ``AFFINE`` on those of an ``Affine``."""
_value_in_range = compiled(value_in_range)
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
"""RGB to YIQ, with the digits of DALI's ``hue``."""
_TURN = np.array([np.diag([1, 0, 0]), np.diag([0, 1, 1]), np.diag([0, -1, 1])[[0, 2, 1]]])
_KEEP_COS_SIN = np.linalg.inv(_YIQ) @ _TURN @ _YIQ
"""The three parts of the matrix that turns the hue: grey stays, the colour follows the cosine and the sine."""


@compiled
def _blend(degenerate, pixel, factor):
    """Blend as ``Image.blend``: in float32, also beyond both ends, and the fraction is cut off."""
    blended = F32(degenerate) + factor * (F32(pixel) - F32(degenerate))
    return np.uint8(np.int32(min(max(blended, F32(0)), F32(255))))


@compiled
def _grey(red, green, blue):
    """Return the luma as ``convert("L")`` rounds it: all sums are integers below 2^24, which float32 holds."""
    luma = F32(red) * F32(19595) + F32(green) * F32(38470) + F32(blue) * F32(7471) + F32(32768)
    return np.int32(luma * F32(1 / 65536))


@compiled
def _identity(frame_HWC, out_HWC):
    copy(out_HWC.reshape(-1), 0, frame_HWC.reshape(-1), 0, frame_HWC.size)


@compiled
def _invert(frame_HWC, out_HWC):
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(-1)
    for i in range(frame.size):
        out[i] = frame[i] ^ np.uint8(255)


@compiled
def _solarize(frame_HWC, out_HWC, threshold):
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(-1)
    if threshold > 255:
        _identity(frame_HWC, out_HWC)
        return
    first_inverted = np.uint8(max(math.ceil(threshold), 0))
    for i in range(frame.size):
        pixel = frame[i]
        out[i] = pixel if pixel < first_inverted else pixel ^ np.uint8(255)


@compiled
def _posterize(frame_HWC, out_HWC, bits):
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(-1)
    mask = np.uint8(256 - (1 << (8 - min(max(int(bits), 1), 8))))
    for i in range(frame.size):
        out[i] = frame[i] & mask


@compiled
def _solarize_add(frame_HWC, out_HWC, value):
    frame, out, add = frame_HWC.reshape(-1), out_HWC.reshape(-1), np.uint8(min(max(math.floor(value), 0), 127))
    for i in range(frame.size):
        pixel = frame[i]  # at most 127 + 127
        out[i] = pixel + add if pixel < np.uint8(128) else pixel


@compiled
def _hue(frame_HWC, out_HWC, degrees):
    """Multiply each pixel by a matrix, as ``convert("RGB", matrix)``."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = (_KEEP_COS_SIN[0] + cos * _KEEP_COS_SIN[1] + sin * _KEEP_COS_SIN[2]).astype(np.float32)
    frame, out = frame_HWC.reshape(-1), out_HWC.reshape(-1)
    for pixel in range(frame.size // 3):
        i = U(3) * U(pixel)
        red, green, blue = F32(frame[i]), F32(frame[i + U(1)]), F32(frame[i + U(2)])
        for channel in range(3):
            a, b, c = matrix[channel, 0], matrix[channel, 1], matrix[channel, 2]
            number = a * red + b * green + c * blue + F32(0.5)
            out[i + U(channel)] = np.uint8(np.int32(min(max(number, F32(0)), F32(255))))


@compiled
def _erase(frame_HWC, out_HWC, value, fill):
    """Fill a box of a third of the height and width, in the upper half for a positive value, else in the lower."""
    height, width = frame_HWC.shape[0], frame_HWC.shape[1]
    box_height, box_width = (height + 2) // 3, (width + 2) // 3
    left, top = math.floor(abs(value) * width - box_width * 0.5 + ERASE_ROUNDING), height // (6 if value > 0 else 2)
    _identity(frame_HWC, out_HWC)
    for y in range(top, min(top + box_height, height)):
        fill_row(out_HWC[y].reshape(-1), 3 * max(left, 0), 3 * min(left + box_width, width), fill)


@compiled
def _blend_in(mixture_HWC, frame_HWC, share):
    mixture, frame = mixture_HWC.reshape(-1), frame_HWC.reshape(-1)
    for i in range(frame.size):
        mixture[i] += share * (F32(frame[i]) - mixture[i])


@compiled
def _round(mixture_HWC, out_HWC):
    mixture, out = mixture_HWC.reshape(-1), out_HWC.reshape(-1)
    for i in range(out.size):
        out[i] = np.uint8(np.int32(mixture[i] + F32(0.5)))


@compiled
def _brightness(frame_HWC, out_HWC, value):
    frame, out, factor = frame_HWC.reshape(-1), out_HWC.reshape(-1), F32(value)
    for i in range(frame.size):
        out[i] = _blend(0, frame[i], factor)


@compiled
def _contrast(frame_HWC, out_HWC, value):
    total = np.int64(0)
    for y in range(frame_HWC.shape[0]):
        row, row_total = frame_HWC[y].reshape(-1), np.int32(0)
        for x in range(frame_HWC.shape[1]):
            i = U(3) * U(x)
            row_total = np.int32(row_total + _grey(row[i], row[i + U(1)], row[i + U(2)]))
        total += row_total
    mean = int(total / (frame_HWC.shape[0] * frame_HWC.shape[1]) + 0.5)
    frame, out, factor = frame_HWC.reshape(-1), out_HWC.reshape(-1), F32(value)
    for i in range(frame.size):
        out[i] = _blend(mean, frame[i], factor)


@compiled
def _color(frame_HWC, out_HWC, value):
    frame, out, factor = frame_HWC.reshape(-1), out_HWC.reshape(-1), F32(value)
    for pixel in range(frame.size // 3):
        i = U(3) * U(pixel)
        red, green, blue = frame[i], frame[i + U(1)], frame[i + U(2)]
        grey = _grey(red, green, blue)
        out[i] = _blend(grey, red, factor)
        out[i + U(1)] = _blend(grey, green, factor)
        out[i + U(2)] = _blend(grey, blue, factor)


@compiled
def _sharpness(frame_HWC, out_HWC, value):
    """Blend with a 3x3 mean, 5 in the middle: (sum + 6.5) / 13 is never nearer to an integer than 1/26."""
    height, row_size = frame_HWC.shape[0], 3 * frame_HWC.shape[1]
    frame, out, factor = frame_HWC.reshape(height, row_size), out_HWC.reshape(height, row_size), F32(value)
    if height < 3 or row_size < 9:  # PIL leaves the outermost pixels as they are
        _identity(frame_HWC, out_HWC)
        return
    copy(out[0], 0, frame[0], 0, row_size)
    copy(out[height - 1], 0, frame[height - 1], 0, row_size)
    sums = np.empty(row_size, np.float32)
    left, centre, right = sums[: row_size - 6], sums[3 : row_size - 3], sums[6:]
    for y in range(1, height - 1):
        above, row, below = frame[y - 1], frame[y], frame[y + 1]
        for i in range(row_size):
            sums[i] = F32(above[i]) + F32(row[i]) + F32(below[i])
        inner, inner_out = row[3 : row_size - 3], out[y][3 : row_size - 3]
        for i in range(row_size - 6):
            total = left[i] + centre[i] + right[i] + F32(4) * F32(inner[i])
            inner_out[i] = _blend(np.int32((total + F32(6.5)) * F32(1 / 13)), inner[i], factor)
        copy(out[y], 0, row, 0, 3)
        copy(out[y], row_size - 3, row, row_size - 3, 3)


@compiled
def _map_channels(frame_HWC, out_HWC, table_C256):
    frame, out, table = frame_HWC.reshape(-1), out_HWC.reshape(-1), table_C256.reshape(-1)
    for pixel in range(frame.size // 3):
        i = U(3) * U(pixel)
        out[i] = table[U(frame[i])]
        out[i + U(1)] = table[U(frame[i + U(1)]) + U(256)]
        out[i + U(2)] = table[U(frame[i + U(2)]) + U(512)]


@compiled
def _lows_and_highs(frame_HWC):
    frame = frame_HWC.reshape(-1)
    red_low, green_low, blue_low = frame[0], frame[1], frame[2]
    red_high, green_high, blue_high = red_low, green_low, blue_low
    for pixel in range(frame.size // 3):
        i = U(3) * U(pixel)
        red, green, blue = frame[i], frame[i + U(1)], frame[i + U(2)]
        red_low, green_low, blue_low = min(red_low, red), min(green_low, green), min(blue_low, blue)
        red_high, green_high, blue_high = max(red_high, red), max(green_high, green), max(blue_high, blue)
    return (red_low, green_low, blue_low), (red_high, green_high, blue_high)


@compiled
def _auto_contrast(frame_HWC, out_HWC):
    """Stretch each channel to 0..255; a channel with a single value is left unchanged."""
    lows, highs = _lows_and_highs(frame_HWC)
    table_C256 = np.empty((3, 256), np.uint8)
    for channel in range(3):
        low, high = np.int64(lows[channel]), np.int64(highs[channel])
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for pixel in range(256):
            table_C256[channel, pixel] = min(max(int(pixel * scale + offset), 0), 255)
    _map_channels(frame_HWC, out_HWC, table_C256)


@compiled
def _histograms(frame_HWC):
    """Return the (3, 256) histograms. Four neighbours count apart: equal ones would wait for each other."""
    frame, counts = frame_HWC.reshape(-1), np.zeros(4 * 3 * 256, np.uint32)
    for group in range(frame.size // 12):
        first = U(12) * U(group)
        for i in range(12):
            counts[U(frame[first + U(i)]) + U(256 * i)] += np.uint32(1)
    for i in range(frame.size // 12 * 12, frame.size):
        counts[U(frame[i]) + U(256 * (i % 3))] += np.uint32(1)
    four = counts.reshape(4, 3, 256)
    return four[0] + four[1] + four[2] + four[3]


@compiled
def _equalize(frame_HWC, out_HWC):
    """Equalise each channel in PIL's steps: whole numbers of pixels, and the highest value's do not count."""
    counts_C256 = _histograms(frame_HWC)
    table_C256 = np.empty((3, 256), np.uint8)
    for channel in range(3):
        highest = 255
        while counts_C256[channel, highest] == 0:
            highest -= 1
        others = frame_HWC.shape[0] * frame_HWC.shape[1] - np.int64(counts_C256[channel, highest])
        step = others // 255
        below = step // 2
        for pixel in range(256):
            table_C256[channel, pixel] = min(below // step, 255) if step else pixel
            below += np.int64(counts_C256[channel, pixel])
    _map_channels(frame_HWC, out_HWC, table_C256)


@compiled
def _apply(kernel, frame_HWC, out_HWC, value, affine_8, linear, fill):
    if kernel == Kernel.WARP:
        warp(frame_HWC, out_HWC, affine_8, value, linear, fill)
    elif kernel == Kernel.AUTO_CONTRAST:
        _auto_contrast(frame_HWC, out_HWC)
    elif kernel == Kernel.EQUALIZE:
        _equalize(frame_HWC, out_HWC)
    elif kernel == Kernel.SOLARIZE:
        _solarize(frame_HWC, out_HWC, value)
    elif kernel == Kernel.COLOR:
        _color(frame_HWC, out_HWC, value)
    elif kernel == Kernel.POSTERIZE:
        _posterize(frame_HWC, out_HWC, value)
    elif kernel == Kernel.CONTRAST:
        _contrast(frame_HWC, out_HWC, value)
    elif kernel == Kernel.BRIGHTNESS:
        _brightness(frame_HWC, out_HWC, value)
    elif kernel == Kernel.SHARPNESS:
        _sharpness(frame_HWC, out_HWC, value)
    elif kernel == Kernel.INVERT:
        _invert(frame_HWC, out_HWC)
    elif kernel == Kernel.SOLARIZE_ADD:
        _solarize_add(frame_HWC, out_HWC, value)
    elif kernel == Kernel.HUE:
        _hue(frame_HWC, out_HWC, value)
    elif kernel == Kernel.ERASE:
        _erase(frame_HWC, out_HWC, value, fill)
    else:
        _identity(frame_HWC, out_HWC)


@compiled
def value_at(row, level, sign):
    """Return the value at ``level``, as ``Range.value``, in float64: what PIL is given."""
    return _value_in_range(row[LOW], row[HIGH], row[SIGNED], row[BASE], level, sign)


@compiled
def augment(out_FHWC, video_FHWC, rows_NR, levels_NF, signs_N, linear, fill):
    """Apply N operations to each frame, one after the other, while it is in the cache.

    Args:
        out_FHWC: (F, H, W, 3) uint8, written.
        video_FHWC: (F, H, W, 3) uint8.
        rows_NR: (N, R) float64, the columns above.
        levels_NF: (N, F) float32, 0..30.
        signs_N: (N,) float32, +1 or -1.
        linear: whether warps interpolate.
        fill: uint8, grey level outside the frame.
    """
    if video_FHWC.size == 0:  # kernels look at the first pixel
        return
    count, blends = rows_NR.shape[0], False
    for i in range(count):
        blends |= int(rows_NR[i, KERNEL]) == Kernel.BLEND_IN
    between_2HWC = np.empty((2 if count > 1 else 0, *video_FHWC.shape[1:]), np.uint8)
    mixture_1HWC = np.empty((1 if blends else 0, *video_FHWC.shape[1:]), np.float32)
    for f in range(video_FHWC.shape[0]):
        frame_HWC = video_FHWC[f]
        if blends:
            mixture_1HWC[0] = frame_HWC
        for i in range(count):
            row = rows_NR[i]
            kernel, value = int(row[KERNEL]), value_at(row, np.float64(levels_NF[i, f]), np.float64(signs_N[i]))
            if kernel == Kernel.BLEND_IN:
                _blend_in(mixture_1HWC[0], frame_HWC, F32(value))
                frame_HWC = video_FHWC[f]
                continue
            out_HWC = out_FHWC[f] if i == count - 1 else between_2HWC[i % 2]
            _apply(kernel, frame_HWC, out_HWC, value, row[AFFINE:], linear, fill)
            frame_HWC = out_HWC
        if blends:
            _round(mixture_1HWC[0], out_FHWC[f])
