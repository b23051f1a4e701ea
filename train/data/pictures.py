"""Conversion of the loader's clips back to pictures."""

import numpy as np
import torch

from dali_pipes.loader import MEAN, STD


def pictures_of(clip_CTHW: torch.Tensor) -> np.ndarray:
    """Return a clip of the loader, (3, T, H, W) in -1..1, as (T, H, W, 3) uint8."""
    pixels_THWC = clip_CTHW.movedim(0, -1).float() * STD + MEAN
    return pixels_THWC.round().clamp(0, 255).byte().cpu().numpy()
