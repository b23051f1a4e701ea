"""Magnitude levels over time: what makes RandAugment temporal (paper sections 3.1 and 4.2).

A level is a point on the 0..30 scale of RandAugment. A schedule is a pure function of uniform random numbers that gives
one level per frame, written once for numpy and for DALI graphs:

    schedule(u, m, time, xp) -> levels

``u`` holds ``NUMBERS`` independent numbers in [0, 1), of which ``u[0]`` is shared by all operations of a clip; ``m`` is
the RandAugment level; ``time`` runs from 0 to 1 over the frames, (F,); ``xp`` has ``abs``, ``floor``, ``sin``, ``log``,
``sqrt``, ``clip``, and ``min`` and ``max`` over all frames. To add a schedule, write such a function and its row in
``SCHEDULES``, or pass it where a name is expected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, pi
from types import SimpleNamespace

import numpy as np

from ..errors import InputError, check_known
from ..hints import Node
from ..python_values import fields_to_python, is_number, to_python, whole_number

MAX_LEVEL = 30.0
NUMBERS = 16

NUMPY = SimpleNamespace(
    abs=np.abs, floor=np.floor, sin=np.sin, log=np.log, sqrt=np.sqrt, clip=np.clip, min=np.min, max=np.max
)


def _either_way(u: Node, time: Node) -> Node:
    """Return the time forwards or backwards, with equal chance, as in the authors' experiments."""
    forwards = u < 0.5
    return forwards * time + (1 - forwards) * (1 - time)


def _half_width(m: float, share: float = 0.5) -> float:
    """Return the largest distance of the level from m: ``share`` of m.

    The paper's M/2 is reduced above M = 20, so that no level leaves the scale.
    """
    return min(share * m, MAX_LEVEL - m)


def _spatial(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Keep the level m at every frame."""
    return m + 0.0 * time


def _temporal(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Change linearly between a random level, uniform from 0.1 to m, and m; rising or falling."""
    low = min(0.1, m)
    start = low + (m - low) * u[1]
    way = _either_way(u[2], time)
    return start * (1 - way) + m * way


def _swing(u: Node, m: float, time: Node) -> Node:
    return _half_width(m) * u[1] * (2 * _either_way(u[2], time) - 1)


def _temporal_plus(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Change linearly between m - d and m + d, rising or falling, with d uniform from 0 to m/2."""
    return m + _swing(u, m, time)


def _mix(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Follow spatial or temporal+ with equal probability, the same one for all operations of a clip."""
    temporal = u[0] < 0.5  # shared: the whole clip is one or the other
    return m + temporal * _swing(u, m, time)


WALK_STEPS = 8


def _random_walk(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Follow a random walk of 8 straight segments, reflected at m - m/2 and m + m/2.

    At each moment, the level is uniform between the two.
    """
    place = 2 * u[1] - 1
    for step in range(WALK_STEPS):
        place = place + 1.2 * (u[2 + step] - 0.5) * xp.clip(WALK_STEPS * time - step, 0.0, 1.0)
    turned = place + 1
    turned = turned - 4 * xp.floor(turned * 0.25)
    return m + _half_width(m) * (1 - xp.abs(turned - 2))


def _fourier(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Follow a mean of three sinusoids of 0.2 to 1.5 cycles, with random weights and phases, within m +- m/2."""
    total, weights = 0.0 * time, 1e-6
    for wave in range(3):
        weight, cycles, phase = u[2 + 3 * wave], 0.2 + 1.3 * u[3 + 3 * wave], u[4 + 3 * wave]
        total = total + weight * xp.sin(2 * pi * (cycles * time + phase))
        weights = weights + weight
    return m + _half_width(m) * (total / weights)


DYNA_WAVES = 3


def _fourier_wide(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Follow a mean of three sinusoids of 0.2 to 1.5 cycles, each stretched to m +- a random share of m.

    Fourier Sampling of DynaAugment (Kim et al., ICLR 2023): the weights are from Dirichlet(1, 1, 1), each wave starts
    at any of its first T frames, and its lowest and highest frame become m - A m and m + A m, with A from U(0, 1).
    """
    total, weights = 0.0 * time, 0.0
    for wave in range(DYNA_WAVES):
        weight, cycles, amplitude, start = (u[1 + 4 * wave + i] for i in range(4))
        weight = 1e-9 - xp.log(1.0 - weight)  # exponential: their shares are from the Dirichlet distribution
        sine = xp.sin(2 * pi * (0.2 + 1.3 * cycles) * (time + start))
        low, high = xp.min(sine), xp.max(sine)
        total = total + weight * amplitude * (2 * (sine - low) / (high - low + 1e-9) - 1)
        weights = weights + weight
    return m + _half_width(m, 1.0) * (total / weights)


def _uniform(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Keep a random whole level, uniform from 0 to m, at every frame."""
    return xp.floor(u[1] * (int(m) + 1)) + 0.0 * time


def _uniform_ends(u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
    """Change linearly between two random whole levels, each uniform from 0 to m."""
    start, end = (xp.floor(u[1 + i] * (int(m) + 1)) for i in range(2))
    return start * (1 - time) + end * time


@dataclass(frozen=True)
class RandomLevel:
    """A schedule about a level of its own: drawn from N(m, std), or uniform from ``low`` to m, then changed over time.

    Example: ``RandomLevel(std=1.5, swing=0.5)`` with m = 21 draws 20.1, and rises from 15.2 to 25: the level changes
    linearly by at most half of it, as in ``temporal+``.

    Raises:
        InputError: a field is out of range, or when it is called, ``low`` is above m.
    """

    std: float | None = None
    """Standard deviation of the drawn level; None draws it uniformly."""
    low: float = 0.0
    """Lowest level of the uniform distribution; 0 if ``std`` is given."""
    swing: float = 0.0
    """Largest change to either side, rising or falling, as a share of the drawn level; 0 keeps it constant."""

    def __post_init__(self) -> None:
        fields_to_python(self)
        if self.std is not None and not (is_number(self.std) and 0 <= self.std < inf):
            raise InputError(f"Invalid std {self.std!r}: must be a finite number of at least 0, or None")
        if not is_number(self.low) or not 0 <= self.low <= MAX_LEVEL:
            raise InputError(f"Invalid low {self.low!r}: must be a level between 0 and {MAX_LEVEL:g}")
        if self.std is not None and self.low:
            raise InputError(f"Invalid low {self.low!r}: must be 0 if std is given, as N(m, std) has no lowest level")
        if not is_number(self.swing) or not 0 <= self.swing <= 1:
            raise InputError(f"Invalid swing {self.swing!r}: must be a share between 0 and 1")

    def __call__(self, u: Node, m: float, time: Node, xp: SimpleNamespace) -> Node:
        """Return the levels, see the functions above; what leaves the scale is clipped, as timm does."""
        if self.std is None:
            if self.low > m:
                raise InputError(f"Invalid low {self.low:g}: must be at most m, {m:g}")
            level = self.low + (m - self.low) * u[15]
        else:  # Box and Muller's transform
            normal = xp.sqrt(-2.0 * xp.log(1.0 - u[15])) * xp.sin(2 * pi * u[14])
            level = xp.clip(m + self.std * normal, 0.0, MAX_LEVEL)
        change = self.swing * level * u[1] * (2 * _either_way(u[2], time) - 1)
        return xp.clip(level + change, 0.0, MAX_LEVEL)


SCHEDULES: dict[str, Callable] = {
    "spatial": _spatial,
    "temporal": _temporal,
    "temporal+": _temporal_plus,
    "mix": _mix,
    "random_walk": _random_walk,
    "fourier": _fourier,
    "fourier_wide": _fourier_wide,
    "uniform": _uniform,
    "uniform_ends": _uniform_ends,
}
"""Name -> function ``(u, m, time, xp) -> levels``; what they draw is described at :func:`schedule_levels`."""


def check_level(m: float) -> None:
    """Raise :class:`InputError` if ``m`` is no RandAugment level: a number from 0 to 30."""
    if not is_number(to_python(m)) or not 0 <= m <= MAX_LEVEL:
        raise InputError(f"Invalid m {m!r}: must be a level between 0 and {MAX_LEVEL:g}")


def schedule_function(schedule: str | Callable) -> Callable:
    """The function of a schedule given by its name, or as that function; anything else raises :class:`InputError`."""
    if callable(schedule):
        return schedule
    if not isinstance(schedule, str):
        raise InputError(f"Invalid schedule {schedule!r}: must be a name or a function")
    check_known("schedule", schedule, SCHEDULES)
    return SCHEDULES[schedule]


def check_schedule(schedule: str | Callable, m: float) -> None:
    """Raise :class:`InputError` for an unknown name, or a function that fails or leaves the scale in 100 tries."""
    schedule_function(schedule)
    if isinstance(schedule, str):
        return
    rng = np.random.default_rng(0)
    for _ in range(100):
        curve(schedule, m, 7, rng.random(NUMBERS))


def curve(schedule: str | Callable, m: float, num_frames: int, u: np.ndarray) -> np.ndarray:
    """The (F,) float32 levels that a schedule makes of given numbers."""
    levels = np.asarray(schedule_function(schedule)(u, float(m), np.linspace(0, 1, num_frames), NUMPY), np.float32)
    name = getattr(schedule, "__name__", schedule)
    if levels.shape != (num_frames,):
        raise InputError(
            f"Invalid schedule {name}: must return one level for each of the {num_frames} frames, "
            f"but returns an array of shape {levels.shape}"
        )
    if not ((levels >= 0) & (levels <= MAX_LEVEL)).all():
        raise InputError(
            f"Invalid schedule {name}: must return levels between 0 and {MAX_LEVEL:g}, "
            f"but returns levels from {levels.min():g} to {levels.max():g} for m = {m:g}"
        )
    return levels


def schedule_levels(schedule: str | Callable, m: float, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one RandAugment level per frame (paper section 4.2).

    Args:
        schedule: a name in ``SCHEDULES``, or a function like those: ``u`` holds 16 numbers in [0, 1), of which ``u[0]``
            is shared by all operations of a clip, ``time`` (F,) runs from 0 to 1, ``xp`` has ``abs``, ``floor``,
            ``sin``, ``log``, ``sqrt``, ``clip``, ``min`` and ``max`` of numpy or DALI. Of the paper's, ``spatial`` is
            constant at m, ``temporal`` runs between U(0.1, m) and m, ``temporal+`` between m - d and m + d with
            d ~ U(0, m/2), ``mix`` is spatial or temporal+; all run either way. ``random_walk`` and ``fourier`` wander
            within m - m/2 and m + m/2, ``fourier_wide`` (DynaAugment, Kim et al., ICLR 2023) within 0 and 2m.
            ``uniform`` is constant at a random level up to m (TrivialAugment, Müller and Hutter, ICCV 2021),
            ``uniform_ends`` runs between two of them.
        m: RandAugment level, 0..30.
        num_frames: F, frames of the clip window at stride 1.
        rng: the only source of chance.

    Returns:
        (F,) float32 levels, all within 0..30.

    Raises:
        InputError: the schedule is unknown or leaves the scale, or ``m`` or ``num_frames`` is out of range.

    Example: ``temporal+`` with m = 10 and d = 5 over 3 frames is ``[5, 10, 15]`` or ``[15, 10, 5]``.
    """
    schedule_function(schedule)
    check_level(m)
    return curve(schedule, m, whole_number("num_frames", num_frames, 1), rng.random(NUMBERS))
