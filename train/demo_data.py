"""The demo data set: 8 classes of motion, made once into the user's cache as real video files.

A layer of random shapes moves over a still, textured background. Where, how large and at what angle the layer stands
in any one frame is distributed alike in all classes, so a single frame tells nothing; only its motion does. The classes
look the same mirrored, so that the random flip of training keeps the labels true.
"""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from dali_pipes.files import cache_folder, make_folder, replacing
from dali_pipes.progress import progress_bar

VERSION = 1  # raise it when the videos change
WIDTH, HEIGHT, FPS = 320, 240, 25
TILE = 320  # side of the shape layer, which repeats in both directions
VIDEOS_PER_CLASS = {"train": 20, "val": 8}
FRAMES = (80, 200)


def _wave(time, rng, low, high):
    return rng.uniform(low, high) * np.sin(2 * np.pi * (time / rng.uniform(12, 18) + rng.random()))


def _drift(time, rng, either_way=False):
    return time * rng.uniform(4, 7) * (rng.choice([-1, 1]) if either_way else 1)


def _zoom(time, rng):
    """A saw tooth in 0..1."""
    return (time / rng.uniform(24, 36) + rng.random()) % 1


# class -> which of x, y (pixels), turn (degrees), zoom (0..1, log scale) its motion sets, over time in frames
MOTIONS = {
    "down": lambda time, rng: {"y": _drift(time, rng)},
    "grow": lambda time, rng: {"zoom": _zoom(time, rng)},
    "nod": lambda time, rng: {"y": _wave(time, rng, 16, 26)},
    "shake": lambda time, rng: {"x": _wave(time, rng, 16, 26)},
    "shrink": lambda time, rng: {"zoom": 1 - _zoom(time, rng)},
    "sideways": lambda time, rng: {"x": _drift(time, rng, either_way=True)},
    "spin": lambda time, rng: {"turn": _drift(time, rng, either_way=True)},
    "up": lambda time, rng: {"y": -_drift(time, rng)},
}


def _texture(rng, height, width) -> np.ndarray:
    """Smooth random colours with some grain, (H, W, 3) uint8."""
    coarse = rng.integers(0, 256, (rng.integers(3, 7), rng.integers(3, 7), 3), dtype=np.uint8)
    fine = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(smooth, 0.75, cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR), 0.25, 0)


def _shape_layer(rng) -> tuple[np.ndarray, np.ndarray]:
    """Colours and mask of a few random polygons and ellipses on a seamless tile, 3 x 3 of it: faster than wrapping."""
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


def make_frames(motion: str, rng: np.random.Generator):
    """Yield the (H, W, 3) uint8 RGB frames of one video."""
    time = np.arange(rng.integers(FRAMES[0], FRAMES[1] + 1))
    pose = {"x": rng.uniform(0, TILE), "y": rng.uniform(0, TILE), "turn": rng.uniform(0, 360), "zoom": rng.random()}
    still = np.ones(len(time))
    moved = MOTIONS[motion](time, rng)
    # A moving zoom passes through all values, so it replaces the random one; the others start from it.
    x, y, turn = (pose[key] * still + moved.get(key, 0) for key in ("x", "y", "turn"))
    scale = 0.8 * 2.0 ** moved.get("zoom", pose["zoom"] * still)
    background, (colours, mask) = _texture(rng, HEIGHT, WIDTH) // 3, _shape_layer(rng)
    pivot = np.array([WIDTH, HEIGHT]) * rng.uniform(0.35, 0.65, 2)
    for t in range(len(time)):
        # layer = R(turn) (pixel - pivot - (x, y)) / scale; the pivot falls into the middle one of the nine tiles
        matrix = cv2.getRotationMatrix2D((0, 0), turn[t], 1 / scale[t])
        matrix[:, 2] = -(matrix[:, :2] @ (x[t], y[t])) % TILE + TILE - matrix[:, :2] @ pivot
        warp = {"dsize": (WIDTH, HEIGHT), "flags": cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP}
        yield cv2.copyTo(
            cv2.warpAffine(colours, matrix, **warp), cv2.warpAffine(mask, matrix, **warp), background.copy()
        )


def write_video(path: Path, frames, fps: int = FPS, bit_rate: int = 600_000) -> None:
    """Write RGB frames as an MPEG-4 AVI, as UCF-101's are, atomically."""
    with replacing(path) as draft, av.open(str(draft), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.codec_context.time_base = bit_rate, Fraction(1, fps)
        stream.thread_count = 1
        for frame in frames:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))


def demo_folder(workers: int = 2) -> Path:
    """The demo data set's folder, ``train/<class>/*.avi`` and ``val/<class>/*.avi``; makes what is missing.

    About half a minute on two cores the first time; the same videos on every machine, up to encoder versions.
    """
    root = cache_folder() / f"demo-{VERSION}"
    jobs = []
    for split, count in VIDEOS_PER_CLASS.items():
        for label, motion in enumerate(MOTIONS):
            folder = make_folder(root / split / motion)
            for number in range(count):
                path = folder / f"{motion}_{number:02}.avi"
                if not path.exists():
                    jobs.append((path, motion, (VERSION, split == "val", label, number)))
    if jobs:
        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(lambda job: write_video(job[0], make_frames(job[1], np.random.default_rng(job[2]))), jobs)
            list(progress_bar(done, total=len(jobs), title="making demo videos", unit="video"))
    return root
