"""Where videos decode faster, on the CPU or on the GPU: what ``auto`` goes by where both can."""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from .video_info import VideoInfo


class Speed(NamedTuple):
    """How fast videos of a codec and size decode, in clips per second: 32 frames out of 64, cropped and scaled."""

    codec: str
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    per_worker: float
    """On the CPU, of one of 16 processes on 16 cores."""
    gpu: float
    """On the GPU, all of it, with 16 threads."""


SPEEDS = (
    Speed("h264", 320, 240, 15.5, 75.9),
    Speed("h264", 1280, 720, 1.95, 50.2),
    Speed("mpeg4", 320, 240, 59.2, 87.2),
)
"""Measured by benchmarks/gpu_probe.py, see benchmarks/results/h100.md; other codecs are taken for H.264."""


def why_cpu_is_faster(videos: Sequence[VideoInfo], workers: int) -> str | None:
    """Return why the median one of these videos decodes faster in so many processes than on a GPU, or None."""
    if not videos:
        return None
    video = sorted(videos, key=_pixels)[len(videos) // 2]
    rows = [row for row in SPEEDS if row.codec == video.codec] or [row for row in SPEEDS if row.codec == "h264"]
    row = min(rows, key=lambda row: abs(log(row.width * row.height) - log(_pixels(video))))
    on_cpu = max(1, workers) * row.per_worker * row.width * row.height / _pixels(video)
    if on_cpu < row.gpu:
        return None
    return (
        f"{max(1, workers)} processes decode {video.codec} of {video.width}x{video.height} faster "
        f"(some {on_cpu:.0f} clips/s, an H100 {row.gpu:.0f})"
    )


def _pixels(video: VideoInfo) -> int:
    return video.width * video.height
