"""The demo data set: 8 classes of motion, made once into the user's cache as real video files. What ``--data demo`` is.

A layer of random shapes moves over a still, textured background. Where, how large and at what angle the layer stands
in any one frame is distributed alike in all classes, so a single frame tells nothing; only its motion does. The classes
look the same mirrored, so that the random flip of training keeps the labels true.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from dali_pipes.system import cache_folder, make_folder, progress_bar, remove_drafts, replacing, wait_for_lock

VERSION = 1  # raise it when the videos change
WIDTH, HEIGHT, FPS = 320, 240, 25
TILE = 320  # side of the shape layer, which repeats in both directions
VIDEOS_PER_CLASS = {"train": 20, "val": 8}
FRAMES = (80, 200)


def _wave(time: np.ndarray, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high) * np.sin(2 * np.pi * (time / rng.uniform(12, 18) + rng.random()))


def _drift(time: np.ndarray, rng: np.random.Generator, either_way: bool = False) -> np.ndarray:
    return time * rng.uniform(4, 7) * (rng.choice([-1, 1]) if either_way else 1)


def _zoom(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A saw tooth in 0..1."""
    return (time / rng.uniform(24, 36) + rng.random()) % 1


# class -> which of x, y (pixels), turn (degrees), zoom (0..1, log scale) its motion sets, over time in frames
MOTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], dict[str, np.ndarray]]] = {
    "down": lambda time, rng: {"y": _drift(time, rng)},
    "grow": lambda time, rng: {"zoom": _zoom(time, rng)},
    "nod": lambda time, rng: {"y": _wave(time, rng, 16, 26)},
    "shake": lambda time, rng: {"x": _wave(time, rng, 16, 26)},
    "shrink": lambda time, rng: {"zoom": 1 - _zoom(time, rng)},
    "sideways": lambda time, rng: {"x": _drift(time, rng, either_way=True)},
    "spin": lambda time, rng: {"turn": _drift(time, rng, either_way=True)},
    "up": lambda time, rng: {"y": -_drift(time, rng)},
}


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw smooth random colours with some grain, (H, W, 3) uint8."""
    coarse = rng.integers(0, 256, (rng.integers(3, 7), rng.integers(3, 7), 3), dtype=np.uint8)
    fine = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(smooth, 0.75, cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR), 0.25, 0)


def _shape_layer(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw colours and mask of a few random shapes on a seamless tile, 3 x 3 of it: faster than wrapping."""
    mask = np.zeros((TILE, TILE), np.uint8)
    for _ in range(rng.integers(9, 13)):
        centre, radius = rng.integers(0, TILE, 2), rng.integers(24, 46)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        outline = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        is_polygon, tilt = rng.integers(2), rng.uniform(0, 180)
        for shift in np.ndindex(3, 3):  # the copies that reach in over the edges
            place = centre + (np.array(shift) - 1) * TILE
            if is_polygon:
                cv2.fillPoly(mask, [(outline + place).astype(np.int32)], 255)
            else:
                cv2.ellipse(mask, [int(value) for value in place], axes, tilt, 0, 360, 255, -1)
    return np.tile(128 + _texture(rng, TILE, TILE) // 2, (3, 3, 1)), np.tile(mask, (3, 3))


@dataclass(frozen=True)
class Camera:
    """The camera's path and exposure over a scene of T frames."""

    view_T23: np.ndarray
    """(T, 2, 3) float64 affine map of each frame, from pixels of the picture to those of the scene."""
    expose: Callable[[np.ndarray, int], np.ndarray]
    """``(frame_HWC uint8, t) -> frame_HWC uint8``: light and contrast of frame t."""


def make_frames(
    motion: str, rng: np.random.Generator, film: Callable[[int], Camera] | None = None
) -> Iterator[np.ndarray]:
    """Yield the (H, W, 3) uint8 RGB frames of one video.

    Args:
        motion: one of ``MOTIONS``.
        rng: what the scene is drawn from.
        film: the camera for a number of frames; by default it stands still. Without effect on the scene's draws.
    """
    time = np.arange(rng.integers(FRAMES[0], FRAMES[1] + 1))
    pose = {"x": rng.uniform(0, TILE), "y": rng.uniform(0, TILE), "turn": rng.uniform(0, 360), "zoom": rng.random()}
    still = np.ones(len(time))
    moved = MOTIONS[motion](time, rng)
    # A moving zoom passes through all values, so it replaces the random one; the others start from it.
    x, y, turn = (pose[key] * still + moved.get(key, 0) for key in ("x", "y", "turn"))
    scale = 0.8 * 2.0 ** moved.get("zoom", pose["zoom"] * still)
    background, (colours, mask) = _texture(rng, HEIGHT, WIDTH) // 3, _shape_layer(rng)
    pivot = np.array([WIDTH, HEIGHT]) * rng.uniform(0.35, 0.65, 2)
    camera = film(len(time)) if film else None
    for t in range(len(time)):
        # layer = R(turn) (pixel - pivot - (x, y)) / scale; the pivot falls into the middle one of the nine tiles
        matrix, still_view = cv2.getRotationMatrix2D((0, 0), turn[t], 1 / scale[t]), background.copy()
        matrix[:, 2] = -(matrix[:, :2] @ (x[t], y[t])) % TILE + TILE - matrix[:, :2] @ pivot
        if camera:
            matrix = _seen_through(matrix, camera.view_T23[t], pivot)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            still_view = cv2.warpAffine(
                background, camera.view_T23[t], (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT
            )
        shown, held = (
            cv2.warpAffine(layer, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
            for layer in (colours, mask)
        )
        frame = cv2.copyTo(shown, held, still_view)
        yield camera.expose(frame, t) if camera else frame


def _seen_through(layer_23: np.ndarray, view_23: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """The map from the picture to the layer, with the pivot in the middle one of the nine tiles again."""
    matrix = layer_23 @ np.vstack([view_23, [0, 0, 1]])
    at_pivot = matrix[:, :2] @ pivot + matrix[:, 2]
    matrix[:, 2] += at_pivot % TILE + TILE - at_pivot
    return matrix


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int = FPS, bit_rate: int = 600_000) -> None:
    """Write RGB frames as an MPEG-4 AVI, as UCF-101's are, atomically."""
    with replacing(path) as draft, av.open(str(draft), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.codec_context.time_base = bit_rate, Fraction(1, fps)
        stream.thread_count = 1
        for frame in frames:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Scene:
    """One video that is yet to be made."""

    path: Path
    motion: str
    seed: tuple[int, ...]
    film: Callable[[int], Camera] | None = None


def make_missing(root: Path, scenes: Sequence[Scene], workers: int, title: str) -> None:
    """Write those videos of a data set that do not exist; another process that makes them too is waited for."""
    if all(scene.path.exists() for scene in scenes):
        return
    with wait_for_lock(root.with_name(f".{root.name}.lock")):
        _make([scene for scene in scenes if not scene.path.exists()], workers, title)


def _make(jobs: Sequence[Scene], workers: int, title: str) -> None:
    for folder in dict.fromkeys(scene.path.parent for scene in jobs):
        remove_drafts(make_folder(folder))

    def make(scene: Scene) -> None:
        write_video(scene.path, make_frames(scene.motion, np.random.default_rng(scene.seed), scene.film))

    with ThreadPoolExecutor(workers) as pool:
        list(progress_bar(pool.map(make, jobs), total=len(jobs), title=title, unit="video"))


def demo_folder(workers: int = 2) -> Path:
    """The demo data set's folder, ``train/<class>/*.avi`` and ``val/<class>/*.avi``; makes what is missing.

    About half a minute on two cores the first time; the same videos on every machine, up to encoder versions.
    """
    root = cache_folder() / f"demo-{VERSION}"
    scenes = [
        Scene(root / split / motion / f"{motion}_{number:02}.avi", motion, (VERSION, split == "val", label, number))
        for split, count in VIDEOS_PER_CLASS.items()
        for label, motion in enumerate(MOTIONS)
        for number in range(count)
    ]
    make_missing(root, scenes, workers, "making demo videos")
    return root
