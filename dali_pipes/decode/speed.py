"""Decoding speeds on the CPU and the GPU, by which ``auto`` chooses where both can decode."""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from ..system.cores import usable_cores
from .video_info import VideoInfo


class Speed(NamedTuple):
    """Measured decoding speed of a codec and size, in clips per second of 32 frames out of 64."""

    codec: str
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    per_worker: float
    """Speed of each of 16 worker processes on 16 CPU cores, which crop and scale too."""
    gpu: float
    """Speed of the whole GPU, with 16 threads, which gives whole frames."""


SPEEDS = (
    Speed("h264", 320, 240, 15.5, 75.9),
    Speed("h264", 1280, 720, 1.95, 50.2),
    Speed("mpeg4", 320, 240, 59.2, 87.2),
)
"""Measured by benchmarks/gpu_probe.py, see benchmarks/results/h100.md; other codecs are taken for H.264."""


def why_cpu_is_faster(videos: Sequence[VideoInfo], workers: int) -> str | None:
    """Return why the median one of these videos decodes faster in so many processes than on a GPU, or None.

    Of the codec's nearest measured size, the CPU's speed is scaled by the pixels and the GPU's is taken as it is.
    """
    if not videos:
        return None
    processes = max(1, min(workers, usable_cores()))
    video = sorted(videos, key=_pixels)[len(videos) // 2]
    rows = [row for row in SPEEDS if row.codec == video.codec] or [row for row in SPEEDS if row.codec == "h264"]
    row = min(rows, key=lambda row: abs(log(row.width * row.height) - log(_pixels(video))))
    on_cpu = processes * row.per_worker * row.width * row.height / _pixels(video)
    if on_cpu < row.gpu:
        return None
    who = "1 process decodes" if processes == 1 else f"{processes} processes decode"
    return (
        f"{who} {video.codec} of {video.width}x{video.height} pixels faster than the GPU "
        f"(about {on_cpu:.0f} clips/s, compared with {row.gpu:.0f} on the GPU, measured on an H100)"
    )


def _pixels(video: VideoInfo) -> int:
    return video.width * video.height
