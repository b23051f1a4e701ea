"""The slow oracle of every operation: PIL, one frame at a time,
parameters in float64 straight from the paper's table."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SIGNED = {"rotate", "zoom", "shear_x", "shear_y", "translate_x", "translate_y", "hue", "erase"}
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
        "solarize_add": (0, 110),
        "hue": (0, 60),
        "erase": (0.1, 0.9),
        "blend_in": (0, 1),
    }
}
LINEAR["monotonic"] = LINEAR["paper"] | {"solarize": (256, 0), "posterize": (8, 4)}
LINEAR["increasing"] = LINEAR["monotonic"] | {"posterize": (4.999, 0.999)}
LINEAR["wide"] = LINEAR["monotonic"] | {"posterize": (8.5, 2.5), "rotate": (0, 135)}
LINEAR["wide"] |= {"shear_x": (0, 0.99), "shear_y": (0, 0.99)}


def value_of(name: str, level: float, sign: float, ranges: str) -> float:
    """Level 0..30 to the operation's parameter."""
    if name in ENHANCE and ranges != "paper":
        return 1 + sign * (0.99 if ranges == "wide" else 0.9) * level / 30
    if name not in LINEAR[ranges]:
        return 0.0
    low, high = LINEAR[ranges][name]
    value = low + (high - low) * level / 30
    return sign * value if name in SIGNED else value


def signs_of(name: str, ranges: str) -> tuple[int, ...]:
    """The signs that an operation's parameter may have."""
    return (1, -1) if value_of(name, 1, 1, ranges) != value_of(name, 1, -1, ranges) else (1,)


def hue_matrix(degrees: float) -> np.ndarray:
    """From RGB to YIQ, where the colour is a vector that is turned, and back."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.linalg.inv(to_yiq) @ [[1, 0, 0], [0, cos, sin], [0, -sin, cos]] @ to_yiq


def erase(image: Image.Image, value: float, fill: int) -> Image.Image:
    """A box of a third of the frame, about the place that the value names."""
    width, height = image.size
    box = Image.new("RGB", (-(-width // 3), -(-height // 3)), (fill,) * 3)
    left = np.floor(abs(value) * width - box.width / 2 + 0.5 + 1 / 64)
    result = image.copy()
    result.paste(box, (int(left), height // 6 if value > 0 else height // 2))
    return result


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
    if name == "solarize_add":
        return image.point([min(255, i + int(value)) if i < 128 else i for i in range(256)] * 3)
    if name == "hue":
        return image.convert("RGB", tuple(np.column_stack([hue_matrix(value), np.zeros(3)]).ravel()))
    if name == "erase":
        return erase(image, value, fill)
    if name == "posterize":
        return ImageOps.posterize(image, max(1, int(value)))
    if name in ENHANCE:
        return ENHANCE[name](image).enhance(value)
    return image.transform(image.size, Image.AFFINE, affine[name], **fills)


def apply_to_clip(frames_FHWC, ops, levels_NF, signs, ranges="paper", **style) -> np.ndarray:
    """What ``augment_clip`` should give."""
    result, mixture = frames_FHWC, frames_FHWC.astype(float)
    for name, levels_F, sign in zip(ops, levels_NF, signs, strict=True):
        values = [value_of(name, float(level), sign, ranges) for level in levels_F]
        if name == "blend_in":
            shares = np.array(values)[:, None, None, None]
            mixture, result = (1 - shares) * mixture + shares * result, frames_FHWC
            continue
        images = [
            apply(name, Image.fromarray(frame), value, **style) for frame, value in zip(result, values, strict=True)
        ]
        result = np.stack([np.asarray(image) for image in images])
    return np.rint(mixture).astype(np.uint8) if "blend_in" in ops else result
