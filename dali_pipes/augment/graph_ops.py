"""The operations as DALI graph functions: for clips on a GPU, and on the CPU where the kernels cannot run.

``video`` is a batch of (F, H, W, 3) uint8 on the CPU or the GPU, ``value`` a batch of (F,) float32 on the CPU, and the
formulas are PIL's. The few lines that depend on the device ask for ``video.device``.
"""

from dataclasses import dataclass

import numpy as np
from nvidia import dali
from nvidia.dali import fn, math, types

from ..errors import InputError, check_known
from ..hints import Node
from ..python_values import fields_to_python, is_number

INTERPOLATIONS = {"nearest": types.INTERP_NN, "linear": types.INTERP_LINEAR}


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


def _broadcast(value: Node, video: Node) -> Node:
    """(F,) -> (F, 1, 1, 1) beside the video, on its device."""
    value = fn.reshape(value, shape=[-1, 1, 1, 1])
    return value.gpu() if video.device == "gpu" else value


def round_to_uint8(video: Node) -> Node:
    """Round to the nearest integer and clip to 0..255."""
    return fn.cast(video, dtype=types.UINT8)


def _linear(video: Node, scale: Node, shift: Node) -> Node:
    """Return ``video * scale + 255 * shift``, clipped to 0..255; both are (F,) float32 on the video's device."""
    if video.device == "gpu":  # there a named argument cannot come from the GPU
        scale, shift = (fn.reshape(number, shape=[-1, 1, 1, 1]) for number in (scale, shift))
        return round_to_uint8(video * scale + shift * 255.0)
    return fn.brightness(video, brightness=fn.per_frame(scale), brightness_shift=fn.per_frame(shift))


def _to_planes(video: Node) -> Node:
    """(F, H, W, 3) -> (3 F, H, W, 1): each channel of each frame as a frame of its own."""
    planes = fn.crop_mirror_normalize(video, dtype=types.UINT8, output_layout="FCHW", mean=[0.0] * 3, std=[1.0] * 3)
    return fn.reshape(planes, src_dims=[0, 2, 3, 1], rel_shape=[3, 1, 1, 1 / 3], layout="FHWC")


def _from_planes(planes: Node) -> Node:
    planes = fn.reshape(planes, src_dims=[0, 3, 1, 2], rel_shape=[1 / 3, 3, 1, 1], layout="FCHW")
    return fn.crop_mirror_normalize(planes, dtype=types.UINT8, output_layout="FHWC", mean=[0.0] * 3, std=[1.0] * 3)


def identity(video: Node, value: Node, style: Style) -> Node:
    """Leave the frames unchanged."""
    return video


def auto_contrast(video: Node, value: Node, style: Style) -> Node:
    """Stretch each channel of each frame to 0..255; a channel with a single value is left unchanged."""
    planes = _to_planes(video)
    low, high = (reduce(planes, axes=[1, 2, 3]) for reduce in (fn.reductions.min, fn.reductions.max))
    width = high - low
    flat = width == 0
    width = width + flat * 255
    return _from_planes(_linear(planes, 255.0 / width, low * (flat - 1) / width))


def equalize(video: Node, value: Node, style: Style) -> Node:
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


def solarize(video: Node, value: Node, style: Style) -> Node:
    """Invert the pixels at or above the threshold.

    A steep contrast makes a mask of 0 or 255, and ``255 - v`` is ``v ^ 255``.
    """
    at_or_above = fn.contrast(video, contrast=1000.0, contrast_center=fn.per_frame(math.ceil(value) - 0.5))
    return video ^ at_or_above


def invert(video: Node, value: Node, style: Style) -> Node:
    """Invert all pixels: v becomes 255 - v."""
    return video ^ types.Constant(255).uint8()


def solarize_add(video: Node, value: Node, style: Style) -> Node:
    """Add the value, rounded down, to the pixels below 128; sums above 255 become 255."""
    upper = fn.contrast(video, contrast=1000.0, contrast_center=127.5)  # a mask as in solarize
    added = fn.brightness(video, brightness_shift=fn.per_frame(math.floor(value) * (1 / 255)))
    return added ^ ((added ^ video) & upper)


def hue(video: Node, value: Node, style: Style) -> Node:
    """Turn the hue of each pixel by the value in degrees, in the colour space YIQ."""
    return fn.hue(video, hue=fn.per_frame(value))


def erase(video: Node, value: Node, style: Style) -> Node:
    """Fill a box of a third of the frame's height and width, whose centre moves along x with the value.

    The value's amount is the place of the centre, as a share of the width. The box is in the upper half for a positive
    value, and in the lower half for a negative one.
    """
    height, width = size_of(video, style)
    box_height, box_width = _floor((height + 2) / 3), _floor((width + 2) / 3)
    left = math.floor(math.abs(value) * width - box_width * 0.5 + ERASE_ROUNDING)
    top = _floor(height / 2) + (value > 0) * (_floor(height / 6) - _floor(height / 2))
    zoom_x, zoom_y, zero = width / box_width + 0 * value, height / box_height + 0 * value, 0.0 * value
    x, y = fn.stack(zoom_x, zero, -left * zoom_x, axis=1), fn.stack(zero, zoom_y, -top * zoom_y, axis=1)
    white = video | types.Constant(255).uint8()
    inside = warp(white, fn.stack(x, y, axis=1), Style())
    outside = inside ^ types.Constant(255).uint8()
    return (video & outside) | (inside & types.Constant(int(style.fill)).uint8())


ERASE_ROUNDING = 0.5 + 1 / 64
"""Rounds the left edge of the box; float32 and float64 seldom differ there, as they would where values often are."""


def _floor(number: Node) -> Node:
    return int(number) if isinstance(number, int | float) else math.floor(number)


def blend_in(mixture: Node, video: Node, value: Node) -> Node:
    """DALI graph function: take the share ``value`` of the video into the mixture.

    Args:
        mixture: (F, H, W, 3) float32.
        video: (F, H, W, 3) uint8.
        value: (F,) float32 on the CPU, 0..1.

    Returns:
        (F, H, W, 3) float32.
    """
    return mixture + (video - mixture) * _broadcast(value, video)


def posterize(video: Node, value: Node, style: Style) -> Node:
    """Keep the highest bits of each pixel, at least one; the value is rounded down to a number of bits."""
    bits = math.max(math.floor(value), 1.0)
    mask = fn.cast(256.0 - math.pow(2.0, 8.0 - bits), dtype=types.UINT8)
    return video & _broadcast(mask, video)


def brightness(video: Node, value: Node, style: Style) -> Node:
    """Multiply each pixel by the factor."""
    return fn.brightness(video, brightness=fn.per_frame(value))


def _grey(video: Node) -> Node:
    return fn.color_space_conversion(video, image_type=types.RGB, output_type=types.GRAY)


def _blend(other: Node, video: Node, value: Node) -> Node:
    """Blend, also beyond both ends: ``other`` (float32) where the value is 0, the video where it is 1."""
    return round_to_uint8(other + (video - other) * _broadcast(value, video))


def contrast(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with its mean grey level, rounded to an integer; the factor 1 changes nothing."""
    mean = math.floor(fn.reductions.mean(_grey(video), axes=[1, 2, 3]) + 0.5)
    if video.device == "gpu":  # there a named argument cannot come from the GPU
        return _blend(fn.reshape(mean, shape=[-1, 1, 1, 1]), video, value)
    return fn.contrast(video, contrast=fn.per_frame(value), contrast_center=fn.per_frame(mean))


def color(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with its grey version; the factor 1 changes nothing."""
    if video.device == "gpu":  # there a number for each frame costs more than one pass more
        return _blend(fn.cast(_grey(video), dtype=types.FLOAT), video, value)
    grey = fn.color_space_conversion(_grey(video), image_type=types.GRAY, output_type=types.RGB)
    # int16 holds what leaves 0..255 before the sum
    colour_part = fn.brightness(video, brightness=fn.per_frame(value), dtype=types.INT16)
    return round_to_uint8(colour_part + fn.brightness(grey, brightness=fn.per_frame(1.0 - value), dtype=types.INT16))


def sharpness(video: Node, value: Node, style: Style) -> Node:
    """Blend each frame with a copy smoothed by PIL's 3x3 kernel; the factor 1 changes nothing.

    The kernel has 5 in the centre and 1 around it, divided by 13. Both steps are one filter.
    """
    blurred = (1.0 - value) * (1.0 / 13.0)
    centre = value + 5.0 * blurred
    kernel = fn.reshape(fn.stack(*[blurred] * 4, centre, *[blurred] * 4, axis=1), shape=[-1, 3, 3])
    filter_frames = fn.filter if hasattr(fn, "filter") else fn.experimental.filter
    return filter_frames(video, fn.per_frame(kernel.gpu() if video.device == "gpu" else kernel), border="clamp")


SHARPEST_SIGMA_PX = 0.01
"""DALI takes no Gaussian of width 0; one of this width changes no pixel."""


def blur(video: Node, value: Node, style: Style) -> Node:
    """Blur each frame with a Gaussian whose standard deviation, in pixels, is the value; 0 changes nothing."""
    return fn.gaussian_blur(video, sigma=fn.per_frame(math.max(value, SHARPEST_SIGMA_PX)))


BEST_QUALITY = 100


def jpeg(video: Node, value: Node, style: Style) -> Node:
    """Compress the frames whose value, a JPEG quality, is below 100, all at the lowest of the qualities (at least 1).

    DALI has one quality for all frames of a sample.
    """
    quality = fn.cast(math.max(math.floor(fn.reductions.min(value)), 1.0), dtype=types.INT32)
    compressed = fn.jpeg_compression_distortion(video, quality=quality)
    chosen = _broadcast(fn.cast(value < float(BEST_QUALITY), dtype=types.UINT8), video)
    return round_to_uint8(compressed * chosen + video * (1 - chosen))


NOISE_MAX_PX = 4096
_NOISE_ROWS, _NOISE_COLUMNS = (
    np.random.default_rng(seed).integers(2**31, size=shape, dtype=np.int32)
    for seed, shape in enumerate([(NOISE_MAX_PX, 1, 1), (NOISE_MAX_PX, 3)])
)
_NOISE_HALF, _NOISE_DEVIATION = 65535.0, 26754.8
"""Mean and standard deviation of the sum of two random numbers of 16 bits."""


def noise(video: Node, value: Node, style: Style) -> Node:
    """Add noise to each pixel and channel; the value is its standard deviation in grey levels, 0 changes nothing.

    The noise is a hash of a pixel's place and of the value, so it depends on nothing else. Frames of equal values have
    equal noise: let the value change. The hash is lowbias32 (Wellons, hash-prospector); the sum of its halves has a
    triangular distribution. Frames have sides of at most ``NOISE_MAX_PX``.
    """
    height, width = (
        side if isinstance(side, int) else fn.cast(side, dtype=types.INT32) for side in size_of(video, style)
    )
    rows, columns = types.Constant(_NOISE_ROWS)[0:height], types.Constant(_NOISE_COLUMNS)[0:width]
    frames = fn.reshape(value * 65536.0, shape=[-1, 1, 1, 1])
    rows, columns, frames = (fn.cast(number, dtype=types.UINT32) for number in (rows, columns, frames))
    if video.device == "gpu":
        rows, columns, frames = rows.gpu(), columns.gpu(), frames.gpu()
    bits = rows + columns + frames * _uint32(0x9E3779B1)
    for divisor, factor in ((1 << 16, 0x7FEB352D), (1 << 15, 0x846CA68B), (1 << 16, 1)):
        bits = (bits ^ (bits // _uint32(divisor))) * _uint32(factor)
    halves = fn.cast((bits & _uint32(0xFFFF)) + bits // _uint32(1 << 16), dtype=types.FLOAT)
    return round_to_uint8(video + (halves - _NOISE_HALF) * _broadcast(value * (1 / _NOISE_DEVIATION), video))


def _uint32(number: int) -> Node:
    return types.Constant(number, dtype=types.UINT32)
