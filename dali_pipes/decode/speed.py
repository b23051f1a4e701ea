"""Where videos decode faster, on the CPU or on the GPU: what ``--decoder auto`` goes by where both can."""

from collections.abc import Sequence
from statistics import median

from .video_info import VideoInfo

GPU_FROM_LINES = 480
"""Height in pixels from which the GPU is taken to be faster. Starting a hardware decoder costs the same for each clip,
however small its frames are."""


def why_cpu_is_faster(videos: Sequence[VideoInfo]) -> str | None:
    """Return why most of these videos decode faster on the CPU, or None where they do on the GPU."""
    lines = median(video.height for video in videos) if videos else GPU_FROM_LINES
    if lines >= GPU_FROM_LINES:
        return None
    return f"frames of {lines:g} lines decode faster there (from {GPU_FROM_LINES} lines on the GPU does)"
