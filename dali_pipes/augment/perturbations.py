"""Perturbations that change over time, for evaluation: what ``python -m train.robustness`` shows networks.

``PERTURBATIONS`` is a table: a kind names operations of ``ops.py``, five strengths, and a function that draws the
course of the values over a clip (or the order of its frames). All strengths of a kind share their draws, so a stronger
one is the same perturbation, but larger. Draws depend on the seed, the kind, the names of the video's file and of its
folder, and the number of the clip alone. Five strengths of each kind follow ImageNet-C (Hendrycks and Dietterich,
ICLR 2019).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import ClassVar, NamedTuple

import numpy as np

from ..errors import InputError, check_known
from ..plan.magnitude import MAX_LEVEL
from ..python_values import whole_number
from .graph_ops import BEST_QUALITY, Style
from .ops import Range, op_named
from .parameters import OpTable, op_table_of, run_as_kernels

STRENGTHS = (1, 2, 3, 4, 5)
SHAKE_FRAMES = 3
"""Frames from one random place of a shaking camera to the next; 0.1 s of a video of 30 frames per second."""
SHAKE_DEGREES = 50.0
"""Turn of a shaking camera, for a shift by the whole side."""
BURSTS = 3
"""Number of bursts in a clip."""

RANGES = {
    "translate_x": Range(-1.0, 1.0),
    "translate_y": Range(-1.0, 1.0),
    "rotate": Range(-90.0, 90.0),
    "zoom": Range(-0.5, 0.5),
    "brightness": Range(0.0, 8.0),
    "contrast": Range(0.0, 2.0),
    "color": Range(0.0, 2.0),
    "blur": Range(0.0, 0.1),
    "noise": Range(0.0, 120.0),
    "jpeg": Range(0.0, BEST_QUALITY),
}
"""Operation -> its values at the levels 0 and 30, wide enough for all strengths; unlike those of ``OPS``, one level
means no change, so that a value may change its sign within a clip."""
IN_SIDES = ("translate_x", "translate_y", "blur")
"""The operations whose values here are shares of the crop's side, not pixels."""


def _jitter(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(F,) standard normal values, a new one every ``SHAKE_FRAMES`` frames, with straight lines between them."""
    knots = np.arange(0, num_frames + SHAKE_FRAMES, SHAKE_FRAMES)
    return np.interp(np.arange(num_frames), knots, rng.normal(size=len(knots)))


def _ramp(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(F,) a straight line from near 0 to near 1, or back."""
    return np.linspace(rng.uniform(0, 0.2), rng.uniform(0.8, 1), num_frames)[:: rng.choice([-1, 1])]


def _swing(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(F,) a sine from -1 to 1 with one half to one period in a clip."""
    return np.sin(2 * np.pi * (np.arange(num_frames) / num_frames * rng.uniform(0.5, 1) + rng.random()))


def _bursts(rng: np.random.Generator, num_frames: int, longest: float) -> np.ndarray:
    """(F,) bool: ``BURSTS`` bursts, one in each third of the clip, as long as up to ``longest`` of it."""
    time, burst = np.arange(num_frames) * BURSTS / num_frames, np.zeros(num_frames, bool)
    for third in range(BURSTS):
        length = longest * rng.uniform(0.5, 1)
        start = third + rng.random() * (1 - length)
        first = min(int(np.ceil(start * num_frames / BURSTS)), num_frames - 1)
        burst[first] = True
        burst |= (start <= time) & (time < start + length)
    return burst


def _shake(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    x, y, turn = (size * _jitter(rng, num_frames) for _ in range(3))
    return np.stack([x, y, SHAKE_DEGREES * turn])


def _pan(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    angle, path = rng.uniform(0, 2 * np.pi), size * (np.linspace(0, 1, num_frames) - 0.5)
    return np.stack([path * np.cos(angle), path * np.sin(angle)])


def _roll(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return size * _swing(rng, num_frames)[None]


def _zoom(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return rng.choice([-1, 1]) * size * _ramp(rng, num_frames)[None]


def _exposure(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return 2 ** (size * (2 * _ramp(rng, num_frames) - 1))[None]


def _flash(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return 1 + (size - 1) * _bursts(rng, num_frames, 0.25)[None]


def _fade(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return 1 - size * (0.5 + 0.5 * _swing(rng, num_frames))[None]


def _blur(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return size * _bursts(rng, num_frames, 1.0)[None]


def _noise(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """Unequal from frame to frame, as equal values would have equal noise."""
    return size * (0.75 + 0.25 * _swing(rng, num_frames) + rng.uniform(-0.01, 0.01, num_frames))[None]


def _recompress(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    return np.where(_bursts(rng, num_frames, 1.0), size, BEST_QUALITY)[None]


def _drop(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """(F,) positions: those of the frames that are left, each as long as the others; the first is always left."""
    order = np.append(0, 1 + rng.permutation(num_frames - 1)) if num_frames > 1 else np.zeros(1, int)
    left = np.sort(order[: max(1, num_frames - round(size * num_frames))])
    return left[np.arange(num_frames) * len(left) // num_frames]


def _freeze(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """(F,) positions: in each third of the clip, a run of ``size`` of its frames shows the frame before the run."""
    positions = np.arange(num_frames)
    edges = np.arange(BURSTS + 1) * num_frames // BURSTS
    for first, end in zip(edges[:-1], edges[1:], strict=True):
        length = round(size * (end - first - 1))
        start = first + round(rng.random() * (end - first - 1 - length))
        positions[start : start + length + 1] = start
    return positions


@dataclass(frozen=True, kw_only=True)
class PerturbationKind:
    """A row of ``PERTURBATIONS``."""

    about: str
    """A description of one line."""
    ops: tuple[str, ...] = ()
    """Operations that are applied one after the other."""
    unit: str
    """Unit of the strengths' sizes."""
    sizes: tuple[float, ...]
    """The size at each of ``STRENGTHS``."""
    values: Callable[[np.random.Generator, int, float], np.ndarray] | None = None
    """``(rng, num_frames, size)`` -> (N, F) values of the N operations; see ``RANGES``."""
    positions: Callable[[np.random.Generator, int, float], np.ndarray] | None = None
    """``(rng, num_frames, size)`` -> (F,) int, which frame of the window is shown when; None is each once."""


PERTURBATIONS: dict[str, PerturbationKind] = {
    "shake": PerturbationKind(
        about="the camera shakes: a random shift and turn every 3 frames",
        ops=("translate_x", "translate_y", "rotate"),
        unit="standard deviation of the shift, as a share of the side; the turn is 50 degrees times that",
        sizes=(0.01, 0.02, 0.04, 0.06, 0.1),
        values=_shake,
    ),
    "pan": PerturbationKind(
        about="the camera pans steadily in a random direction",
        ops=("translate_x", "translate_y"),
        unit="path over the clip, as a share of the side",
        sizes=(0.1, 0.2, 0.35, 0.5, 0.7),
        values=_pan,
    ),
    "roll": PerturbationKind(
        about="the camera rolls to and fro about its axis",
        ops=("rotate",),
        unit="largest angle, in degrees",
        sizes=(5, 10, 20, 30, 45),
        values=_roll,
    ),
    "zoom": PerturbationKind(
        about="the camera zooms steadily, in or out",
        ops=("zoom",),
        unit="largest share of the side that is cut off or added",
        sizes=(0.05, 0.1, 0.2, 0.3, 0.45),
        values=_zoom,
    ),
    "exposure": PerturbationKind(
        about="the exposure drifts from too dark to too light, or back",
        ops=("brightness",),
        unit="largest distance from the right exposure, in stops",
        sizes=(0.4, 0.8, 1.2, 1.8, 2.5),
        values=_exposure,
    ),
    "flash": PerturbationKind(
        about="three flashes of a few frames each",
        ops=("brightness",),
        unit="brightness of the flash, as a factor",
        sizes=(1.5, 2, 3, 4.5, 7),
        values=_flash,
    ),
    "contrast_fade": PerturbationKind(
        about="the contrast fades and comes back",
        ops=("contrast",),
        unit="largest share of the contrast that is lost",
        sizes=(0.3, 0.5, 0.7, 0.85, 0.95),
        values=_fade,
    ),
    "colour_fade": PerturbationKind(
        about="the colours fade and come back",
        ops=("color",),
        unit="largest share of the colour that is lost",
        sizes=(0.3, 0.5, 0.7, 0.85, 1.0),
        values=_fade,
    ),
    "dropped_frames": PerturbationKind(
        about="frames are lost at random; the others are shown longer",
        unit="share of the frames that is lost",
        sizes=(0.1, 0.25, 0.5, 0.7, 0.85),
        positions=_drop,
    ),
    "frozen_frames": PerturbationKind(
        about="the picture freezes three times, then jumps ahead",
        unit="share of the clip that is frozen",
        sizes=(0.1, 0.25, 0.5, 0.75, 0.95),
        positions=_freeze,
    ),
    "blur": PerturbationKind(
        about="three bursts of Gaussian blur",
        ops=("blur",),
        unit="standard deviation, as a share of the side",
        sizes=(0.01, 0.015, 0.022, 0.032, 0.045),
        values=_blur,
    ),
    "noise": PerturbationKind(
        about="noise in every pixel, which swells and fades",
        ops=("noise",),
        unit="largest standard deviation, in grey levels",
        sizes=(8, 15, 28, 45, 70),
        values=_noise,
    ),
    "recompression": PerturbationKind(
        about="three bursts of strong JPEG compression",
        ops=("jpeg",),
        unit="JPEG quality, 1 to 100",
        sizes=(40, 20, 10, 5, 2),
        values=_recompress,
    ),
}
"""Name -> kind of perturbation."""

OP_NAMES = ("identity", *RANGES)
MOST_OPS = max(len(kind.ops) for kind in PERTURBATIONS.values())


class PerturbedClip(NamedTuple):
    """The draws for one clip."""

    op_ids: np.ndarray  # (N,) int32, positions in OP_NAMES
    levels_NF: np.ndarray  # (N, F) float32, 0..30
    signs: np.ndarray  # (N,) float32, all +1
    positions_F: np.ndarray  # (F,) int, which frame of the window is shown when


def levels_of(name: str, values_F: np.ndarray) -> np.ndarray:
    """Return the (F,) float32 levels at which an operation has these values, in the unit of ``RANGES``."""
    range_ = RANGES[name]
    levels_F = (np.asarray(values_F) - range_.low) * MAX_LEVEL / (range_.high - range_.low)
    return levels_F.clip(0, MAX_LEVEL).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Perturbations:
    """A policy for evaluation: epoch e of a loader shows all videos under condition e. Checked on construction.

    Raises:
        InputError: a kind is unknown, a strength is not 0 to 5, or there are no conditions.

    Example: ``VideoLoader(manifest, training=False, crop_px=160, augment=Perturbations(conditions=[("shake", 5)],
    crop_px=160))``
    """

    conditions: Sequence[tuple[str, int]]
    """(kind, strength) of each epoch, and again from the first; strength 0 changes nothing."""
    crop_px: int
    """Side of the clips, which shifts and blur are in proportion to."""
    seed: int = 0
    """Seed of all draws."""
    interpolation: str = "linear"
    """Interpolation of geometric operations, ``nearest`` or ``linear``."""
    fill: float = 128.0
    """Grey level outside the frame; networks are shown 0."""

    def __post_init__(self) -> None:
        if any(isinstance(one, str) or len(one) != 2 for one in self.conditions):
            raise InputError(f"Invalid conditions {self.conditions}: must be pairs (kind, strength)")
        object.__setattr__(self, "conditions", tuple((kind, strength) for kind, strength in self.conditions))
        if not self.conditions:
            raise InputError(f"Invalid conditions {self.conditions}: must hold at least one pair (kind, strength)")
        for kind, strength in self.conditions:
            check_known("kind", kind, PERTURBATIONS)
            check_known("strength", whole_number("strength", strength, 0), (0, *STRENGTHS))
        Style(self.interpolation, self.fill)
        whole_number("crop_px", self.crop_px, 1)
        whole_number("seed", self.seed, 0)

    n: ClassVar[int] = MOST_OPS
    op_names: ClassVar[Sequence[str]] = OP_NAMES
    blend_at: ClassVar[tuple[int, ...]] = ()

    def table(self, device: str) -> OpTable:
        """Return the operations as numbers; ``device`` is where the clips will be, ``cpu`` or ``gpu``."""
        ranges = [_in_pixels(name, self.crop_px) for name in OP_NAMES]
        return op_table_of([op_named(name) for name in OP_NAMES], ranges, run_as_kernels(device))

    def perturb(self, epoch: int, video: str, clip: int, num_frames: int) -> PerturbedClip:
        """Draw for one clip.

        Args:
            epoch: chooses the condition.
            video: the name of the video, see :func:`~dali_pipes.plan.sampling.perturbed_name`.
            clip: number of the clip within the video.
            num_frames: F, the frames of the window.
        """
        name, strength = self.conditions[epoch % len(self.conditions)]
        kind, ids = PERTURBATIONS[name], np.zeros(MOST_OPS, np.int32)
        levels_NF, signs_N = np.zeros((MOST_OPS, num_frames), np.float32), np.ones(MOST_OPS, np.float32)
        if not strength:
            return PerturbedClip(ids, levels_NF, signs_N, np.arange(num_frames))
        key = sha256("\n".join(map(str, (self.seed, name, clip, video))).encode(errors="surrogateescape")).digest()
        rng, size = np.random.default_rng(np.frombuffer(key, np.uint32)), kind.sizes[strength - 1]
        if kind.positions is not None:
            return PerturbedClip(ids, levels_NF, signs_N, kind.positions(rng, num_frames, size))
        assert kind.values is not None, "a kind has one of both"
        for i, (op, values_F) in enumerate(zip(kind.ops, kind.values(rng, num_frames, size), strict=True)):
            ids[i], levels_NF[i] = OP_NAMES.index(op), levels_of(op, values_F)
        return PerturbedClip(ids, levels_NF, signs_N, np.arange(num_frames))


def _in_pixels(name: str, crop_px: int) -> Range:
    range_ = RANGES.get(name, Range(0.0, 0.0))
    return replace(range_, low=range_.low * crop_px, high=range_.high * crop_px) if name in IN_SIDES else range_
