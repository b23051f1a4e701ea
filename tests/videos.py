"""Small videos whose frames are known exactly, written where they are needed."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def grey_of(index: int) -> int:
    """The luma of frame ``index`` in :func:`write_lossless`."""
    return 20 + 3 * (index % 70)


def rgb_of(index: int) -> int:
    """The RGB grey that a limited-range decoder makes of :func:`grey_of`."""
    return round((grey_of(index) - 16) * 255 / 219)


def write_video(path: Path, frames_yuv420p, size_hw, codec="ffv1", fps=25, gop=12, **options) -> Path:
    """Write I420 arrays (H * 3 / 2, W) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={name: str(value) for name, value in options.items()})
        stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.gop_size = gop
        for planes in frames_yuv420p:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def write_lossless(path: Path, num_frames: int, size_hw=(48, 64), **options) -> Path:
    """Frame i is one grey, :func:`grey_of` (i)."""
    height, width = size_hw
    frames = (np.full((height * 3 // 2, width), 128, np.uint8) for _ in range(num_frames))

    def filled():
        for index, planes in enumerate(frames):
            planes[:height] = grey_of(index)
            yield planes

    return write_video(path, filled(), size_hw, **options)


def noise_clip(num_frames=6, height=40, width=56, seed=0) -> np.ndarray:
    """(F, H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def natural_clip(num_frames=6, height=96, width=128, seed=0) -> np.ndarray:
    """(F, H, W, 3) uint8: smooth gradients, edges and some grain, over time; stands in for camera footage."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for t in range(num_frames):
        planes = [110 + 60 * np.sin((x + 3 * t) / (17 + 5 * c)) * np.cos(y / (23 - 4 * c)) for c in range(3)]
        frame = np.stack(planes, axis=-1) + rng.normal(0, 4, (height, width, 3))
        frame[20 + 2 * t : 50 + 2 * t, 30:70] = (200, 60 + 10 * t, 40)
        frames.append(np.clip(frame, 5, 250).astype(np.uint8))
    return np.stack(frames)


def dark_and_bright(root, **counts) -> Path:
    """Two classes that are easy to learn, in ``root/<split>/<class>``;
    ``train=(5, 4)`` is 5 dark videos and 4 bright ones.

    The dark ones are short and the bright ones long: brightness is what tells how far a video has come.
    """
    for split, numbers in counts.items():
        for label, length, count in zip(("dark", "bright"), (18, 70), numbers, strict=True):
            for number in range(count):
                write_lossless(Path(root) / split / label / f"{number}.avi", length + number, (48, 64))
    return Path(root)
