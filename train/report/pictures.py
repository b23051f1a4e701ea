"""Small pictures of a report, as JPEG in data URIs: frames of a video, and the sample clips of a training."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dali_pipes import VideoInfo, scan_videos
from dali_pipes.decode import decode_frames
from dali_pipes.errors import InputError

STRIP_FRAMES = 6
FRAME_PX = 120, 90
"""Width and height that a frame must fit into."""
GAP_PX = 2
SAMPLES_WIDTH_PX = 960
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A picture to show at its own size, or smaller."""

    uri: str
    width_px: int
    height_px: int


def strip(path: str, known: VideoInfo | None) -> Picture:
    """Return frames from the first to the last of a video, or of its segment that is used, beside each other.

    ``known``: what a manifest says of the file; it is looked at anew if it has changed since.

    Raises:
        InputError: the file is gone or cannot be read; the message is the reason alone.
    """
    if not os.path.exists(path):  # unlike Path.exists never an error, such as of a name that is too long
        whence = (
            "" if Path(path).is_absolute() else " (its path is relative to the folder in which this report was made)"
        )
        raise InputError(f"the file no longer exists{whence}")
    try:
        if known is None or not known.is_current(path):
            (known,) = scan_videos([(path, 0)], workers=1).videos
        used = known.used_frames
        wanted = np.linspace(used.start, used.stop - 1, STRIP_FRAMES).round().astype(int)
        # from the key frame before each, where that is possible
        parts = [[index] for index in wanted] if known.exact_times else [wanted]
        frames = [frame for part in parts for frame in decode_frames(path, part, exact_times=known.exact_times)]
    except (InputError, OSError) as error:
        raise InputError(str(error).rpartition(f"{path}: ")[2]) from error
    return _jpeg(_side_by_side([_fit(frame, *FRAME_PX) for frame in frames]))


def samples(path: Path) -> Picture:
    """A run's ``samples.png``, made narrower if it is wide.

    Raises:
        InputError: it is not there or cannot be read; the message is the reason.
    """
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except FileNotFoundError as error:
        raise InputError(f"{path.name} does not exist; training writes it at its first step") from error
    except (OSError, cv2.error) as error:
        raise InputError(f"{path.name} cannot be read") from error
    if image is None:
        raise InputError(f"{path.name} cannot be read, because it is cut off or damaged")
    return _jpeg(_fit(image[..., ::-1], SAMPLES_WIDTH_PX, image.shape[0]))


def _fit(image_HWC: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Scale an image down if it does not fit."""
    height, width = image_HWC.shape[:2]
    scale = min(1.0, width_px / width, height_px / height)
    if scale == 1:
        return image_HWC
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)


def _side_by_side(frames: list[np.ndarray]) -> np.ndarray:
    gap = np.full((frames[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)


def _jpeg(image_HWC: np.ndarray) -> Picture:
    good, data = cv2.imencode(".jpg", image_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert good
    height, width = image_HWC.shape[:2]
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}", width, height)
