"""Magnitude levels over time: what makes RandAugment temporal (paper sections 3.1 and 4.2). Pure numpy.

A level is a point on the 0..30 scale of RandAugment; a schedule draws one level per frame of a clip.
"""

import numpy as np

from .errors import InputError, check_known

MAX_LEVEL = 30.0


def _ends_spatial(m: float, rng: np.random.Generator) -> tuple[float, float]:
    return m, m


def _ends_temporal(m: float, rng: np.random.Generator) -> tuple[float, float]:
    return rng.uniform(min(0.1, m), m), m


def _ends_temporal_plus(m: float, rng: np.random.Generator) -> tuple[float, float]:
    # The paper's delta reaches M/2; above M = 20 it is held back so that no level leaves the scale.
    delta = rng.uniform(0.0, min(0.5 * m, MAX_LEVEL - m))
    return m - delta, m + delta


def _ends_mix(m: float, rng: np.random.Generator) -> tuple[float, float]:
    return SCHEDULES[resolve_schedule("mix", rng)](m, rng)


# name -> function that draws the levels of both temporal ends of the clip
SCHEDULES = {
    "spatial": _ends_spatial,
    "temporal": _ends_temporal,
    "temporal+": _ends_temporal_plus,
    "mix": _ends_mix,
}


def resolve_schedule(schedule: str, rng: np.random.Generator) -> str:
    """Settle what a whole clip shares: ``mix`` is ``spatial`` or ``temporal+`` with equal chance, others stay."""
    check_known("schedule", schedule, SCHEDULES)
    return ("spatial", "temporal+")[rng.integers(2)] if schedule == "mix" else schedule


def check_level(m: float) -> None:
    if not 0 <= m <= MAX_LEVEL:
        raise InputError(f"the RandAugment level is {m}, it must lie between 0 and {MAX_LEVEL:g}")


def schedule_levels(schedule: str, m: float, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one level per frame, linear between two random ends.

    Either end may come first (chance 1/2), as in the authors' experiments.

    Args:
        schedule: ``spatial`` (constant m), ``temporal`` (from U(0.1, m) to m), ``temporal+`` (m - d to m + d with
            d ~ U(0, m/2)) or ``mix`` (spatial or temporal+). Paper section 4.2.
        m: RandAugment level, 0..30.
        num_frames: F, frames of the clip window at stride 1.
        rng: the only source of chance.

    Returns:
        (F,) float32 levels, all within 0..30.

    Example: ``temporal+`` with m = 10 and d = 5 over 3 frames is ``[5, 10, 15]`` or ``[15, 10, 5]``.
    """
    check_known("schedule", schedule, SCHEDULES)
    check_level(m)
    if num_frames < 1:
        raise InputError(f"num_frames is {num_frames}, it must be at least 1")
    first, last = SCHEDULES[schedule](float(m), rng)
    if rng.integers(2):
        first, last = last, first
    return np.linspace(first, last, num_frames).astype(np.float32)
