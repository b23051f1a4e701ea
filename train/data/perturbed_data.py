"""The perturbed data set: the demo's motions, filmed badly in validation. What ``--data perturbed`` is.

The paper's claim is that magnitudes that change over time make features invariant to perturbations that do (its Fig. 1:
a moving camera, flashes). Here the training videos are few and clean, filmed by a camera that stands still; every
validation video has one perturbation of ``PERTURBATIONS`` from its first frame to its last, which its name ends with:
``val/up/up_03_roll.avi``. The same scenes without perturbation are in ``clean_val``, under the same names: what is lost
between them is lost to the perturbation. The scenes are not those of the demo.

Seen through a clip of 32 frames, pan, exposure, and mostly roll and fade resemble operations of RandAugment whose level
changes steadily, as RandAugment-T's do (translate, brightness, rotate, contrast); shake and flash do not, they jump.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dali_pipes.system import cache_folder

from .demo_data import HEIGHT, MOTIONS, WIDTH, Camera, Scene, make_missing

VERSION = 1  # raise it when the videos change
TRAIN_VIDEOS_PER_CLASS = 16
VAL_VIDEOS_PER_CLASS_AND_PERTURBATION = 11


def _view_T23(turn_T: np.ndarray, x_T: np.ndarray, y_T: np.ndarray) -> np.ndarray:
    """(T, 2, 3): a camera turned about the picture's centre, in degrees, and shifted, in pixels."""
    views = [cv2.getRotationMatrix2D(((WIDTH - 1) / 2, (HEIGHT - 1) / 2), turn, 1.0) for turn in turn_T]
    return np.stack(views) + np.stack([x_T, y_T], axis=1)[:, :, None] * np.array([0, 0, 1.0])


def _moving(turn_T: np.ndarray, x_T: np.ndarray, y_T: np.ndarray) -> Camera:
    return Camera(_view_T23(turn_T, x_T, y_T), lambda frame, t: frame)


def _lit(gain_T: np.ndarray, contrast_T: np.ndarray) -> Camera:
    """A camera that stands still; contrast is about the middle grey."""
    still = np.zeros(len(gain_T))

    def expose(frame: np.ndarray, t: int) -> np.ndarray:
        levels = ((np.arange(256) - 128) * contrast_T[t] + 128) * gain_T[t]
        return cv2.LUT(frame, np.rint(levels).clip(0, 255).astype(np.uint8))

    return Camera(_view_T23(still, still, still), expose)


def _jitter(rng: np.random.Generator, frames: int, size: float) -> np.ndarray:
    """(T,) Unsteady hands: a new random place every 3 frames, of standard deviation ``size``, straight between."""
    knots = np.arange(0, frames + 3, 3)
    return np.interp(np.arange(frames), knots, rng.normal(0, size, len(knots)))


def _swing(rng: np.random.Generator, frames: int, low: float, high: float, periods: tuple[float, float]) -> np.ndarray:
    """(T,) A sine with an amplitude from low to high and a period of so many frames."""
    cycles = np.arange(frames) / rng.uniform(*periods) + rng.random()
    return rng.uniform(low, high) * np.sin(2 * np.pi * cycles)


def _shake(rng: np.random.Generator, frames: int) -> Camera:
    return _moving(_jitter(rng, frames, 1.0), _jitter(rng, frames, 5.0), _jitter(rng, frames, 5.0))


def _pan(rng: np.random.Generator, frames: int) -> Camera:
    """Return a camera that pans in any direction at 1 to 3 pixels per frame, slower than the motions."""
    angle, path = rng.uniform(0, 2 * np.pi), np.arange(frames) * rng.uniform(1, 3)
    return _moving(np.zeros(frames), path * np.cos(angle), path * np.sin(angle))


def _roll(rng: np.random.Generator, frames: int) -> Camera:
    return _moving(_swing(rng, frames, 8, 16, (40, 80)), np.zeros(frames), np.zeros(frames))


def _exposure(rng: np.random.Generator, frames: int) -> Camera:
    """Return a camera whose exposure drifts by a factor of 3 to 6 over the video, either way."""
    stops = np.log(rng.uniform(3, 6)) * np.linspace(-0.6, 0.4, frames)
    return _lit(np.exp(stops[:: rng.choice([-1, 1])]), np.ones(frames))


def _flash(rng: np.random.Generator, frames: int) -> Camera:
    """A burst of 1 to 3 frames of double to fourfold light about every 12 frames, as in a stadium."""
    gain = np.ones(frames)
    for start in np.flatnonzero(rng.random(frames) < 1 / 12):
        gain[start : start + rng.integers(1, 4)] = rng.uniform(2, 4)
    return _lit(gain, np.ones(frames))


def _fade(rng: np.random.Generator, frames: int) -> Camera:
    """Return a camera whose contrast falls to 10 to 30 % and comes back, once in 40 to 80 frames."""
    lowest = rng.uniform(0.1, 0.3)
    return _lit(np.ones(frames), lowest + (1 - lowest) * (0.5 + 0.5 * _swing(rng, frames, 1, 1, (40, 80))))


PERTURBATIONS: dict[str, Callable[[np.random.Generator, int], Camera]] = {
    "shake": _shake,
    "pan": _pan,
    "roll": _roll,
    "exposure": _exposure,
    "flash": _flash,
    "fade": _fade,
}


def perturbation_of(path: str) -> str:
    """The perturbation that a validation video's name tells."""
    return Path(path).stem.rpartition("_")[2]


def perturbed_folder(workers: int = 2) -> Path:
    """Return the folder, with ``train``, ``val`` and ``clean_val``, each of ``<class>/*.avi``; make what is missing.

    Two to three minutes on two cores the first time; the same videos on every machine, up to encoder versions.
    """
    root = cache_folder() / f"perturbed-{VERSION}"
    scenes = []
    for label, motion in enumerate(MOTIONS):
        for number in range(TRAIN_VIDEOS_PER_CLASS):
            scenes.append(
                Scene(root / "train" / motion / f"{motion}_{number:02}.avi", motion, (VERSION, 2, label, number))
            )
        for number in range(len(PERTURBATIONS) * VAL_VIDEOS_PER_CLASS_AND_PERTURBATION):
            kind = list(PERTURBATIONS)[number % len(PERTURBATIONS)]
            file, seed = f"{motion}/{motion}_{number:02}_{kind}.avi", (VERSION, 3, label, number)
            film = partial(PERTURBATIONS[kind], np.random.default_rng((VERSION, 4, label, number)))
            scenes += [Scene(root / "val" / file, motion, seed, film), Scene(root / "clean_val" / file, motion, seed)]
    make_missing(root, scenes, workers, "making perturbed videos")
    return root
