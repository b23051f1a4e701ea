"""The slow oracle of every operation: PIL, one frame at a time,
parameters in float64 straight from the paper's table."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SIGNED = {"rotate", "zoom", "shear_x", "shear_y", "translate_x", "translate_y"}
ENHANCE = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}
LINEAR = {
    "paper": {
        "rotate": (0, 30),
        "solarize": (0, 256),
        "color": (0.1, 1.9),
        "posterize": (0, 4),
        "contrast": (0.1, 1.9),
        "brightness": (0.1, 1.9),
        "sharpness": (0.1, 1.9),
        "shear_x": (0, 0.3),
        "shear_y": (0, 0.3),
        "translate_x": (0, 100),
        "translate_y": (0, 100),
        "zoom": (0, 0.5),
    }
}
LINEAR["monotonic"] = LINEAR["paper"] | {"solarize": (256, 0), "posterize": (8, 4)}


def value_of(name: str, level: float, sign: float, ranges: str) -> float:
    """Level 0..30 to the operation's parameter."""
    if name in ENHANCE and ranges == "monotonic":
        return 1 + sign * 0.9 * level / 30
    if name not in LINEAR[ranges]:
        return 0.0
    low, high = LINEAR[ranges][name]
    value = low + (high - low) * level / 30
    return sign * value if name in SIGNED else value


def apply(name: str, image: Image.Image, value: float, resample=Image.NEAREST, fill=0) -> Image.Image:
    """One operation on one PIL image."""
    fills = {"resample": resample, "fillcolor": (fill,) * 3}
    affine = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, value),
        "zoom": (1 - value, 0, value * (image.width / 2), 0, 1 - value, value * (image.height / 2)),
    }
    if name == "identity":
        return image
    if name == "auto_contrast":
        return ImageOps.autocontrast(image)
    if name == "invert":
        return ImageOps.invert(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "rotate":
        return image.rotate(value, **fills)
    if name == "solarize":
        return ImageOps.solarize(image, value)
    if name == "posterize":
        return ImageOps.posterize(image, max(1, int(value)))
    if name in ENHANCE:
        return ENHANCE[name](image).enhance(value)
    return image.transform(image.size, Image.AFFINE, affine[name], **fills)


def apply_to_clip(frames_FHWC, ops, levels_NF, signs, ranges="paper", **style) -> np.ndarray:
    """What ``augment_clip`` should give."""
    result = frames_FHWC
    for name, levels_F, sign in zip(ops, levels_NF, signs, strict=True):
        values = [value_of(name, float(level), sign, ranges) for level in levels_F]
        images = [
            apply(name, Image.fromarray(frame), value, **style) for frame, value in zip(result, values, strict=True)
        ]
        result = np.stack([np.asarray(image) for image in images])
    return result
