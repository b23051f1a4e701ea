"""From a file and frame indices to pixels: on the CPU with PyAV, on the GPU (or DALI's CPU decoder) as a graph function.

CPU decoding counts the frames of a sequential decode, so index i is always the i-th frame that the file shows,
whatever its time stamps, key frames or header say.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import cv2
import numpy as np
from nvidia.dali import fn

from .errors import VideoError

av.logging.set_level(av.logging.PANIC)  # what goes wrong is raised, with the file's name

TIME_LIMIT_S = 120.0
"""A file that takes longer than this to decode is refused, so that none can hang a worker."""

ANTIALIAS_ABOVE = 1.5
"""Where a box is more than this many times the side it is scaled to, its pixels are averaged, not sampled."""

# AVColorSpace -> swscale's matrix; the others, unspecified included, are BT.601
_MATRIX = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}
_FULL_RANGE = 2


@contextmanager
def open_video(path: str) -> Iterator[tuple[av.video.stream.VideoStream, Iterator[av.VideoFrame]]]:
    """Open the first video stream and its frames, decoded one by one in presentation order on one thread.

    Raises:
        VideoError: the file cannot be opened, has no video, is damaged or takes more than ``TIME_LIMIT_S``.
    """
    deadline = time.monotonic() + TIME_LIMIT_S
    count = 0

    def frames(container, stream):
        nonlocal count
        for frame in container.decode(stream):
            if time.monotonic() > deadline:
                raise VideoError(f"{path}: decoding takes more than {TIME_LIMIT_S:g} s")
            count += 1
            yield frame

    try:
        # errors="replace": some HMDB-51 title tags are not UTF-8
        with av.open(f"file:{path}", metadata_errors="replace") as container:  # a name like 12:30.avi is no protocol
            if not container.streams.video:
                raise VideoError(f"{path}: has no video stream")
            stream = container.streams.video[0]
            stream.thread_count = 1
            yield stream, frames(container, stream)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        place = f"cannot be decoded after frame {count}" if count else "cannot be read as video"
        raise VideoError(f"{path}: {place} ({reason})") from error


class _ClipWriter:
    """Turns decoded frames into RGB, cut to a box, scaled and mirrored; made once per clip, as it keeps buffers."""

    def __init__(self, box_yxyx: tuple[int, int, int, int], side_px: int | None, flip: bool):
        self.y0, self.x0, self.y1, self.x1 = (int(edge) for edge in box_yxyx)
        height, width = self.y1 - self.y0, self.x1 - self.x0
        self.size_hw = (side_px, side_px) if side_px else (height, width)
        shrinks = max(height, width) > ANTIALIAS_ABOVE * max(self.size_hw)
        self.filter = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # The size at which colours are converted: small, but not so small that they would lose much resolution.
        rgb_height, rgb_width = (height, width) if shrinks else self.size_hw
        even = all(number % 2 == 0 for number in (*box_yxyx, rgb_height, rgb_width))
        self.i420 = np.empty((rgb_height * 3 // 2, rgb_width), np.uint8) if even else None
        self.rgb = np.empty((rgb_height, rgb_width, 3), np.uint8) if shrinks else None
        self.flip = flip
        self.reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: av.VideoFrame, out_HWC: np.ndarray) -> None:
        common = frame.format.name == "yuv420p" and frame.colorspace not in _MATRIX and frame.color_range != _FULL_RANGE
        if self.i420 is not None and common and frame.width % 2 == frame.height % 2 == 0:
            self._scale_planes(frame)
            converted = out_HWC if self.rgb is None else self.rgb
            cv2.cvtColor(self.i420, cv2.COLOR_YUV2RGB_I420, dst=converted)
            if converted is not out_HWC:
                self._scale(converted, out_HWC)
        else:
            rgb = self.reformatter.reformat(
                frame, format="rgb24", src_colorspace=_MATRIX.get(int(frame.colorspace), 5),
                src_color_range=int(frame.color_range), dst_color_range=_FULL_RANGE,
            )  # fmt: skip
            self._scale(rgb.to_ndarray()[self.y0 : self.y1, self.x0 : self.x1], out_HWC)
            if self.flip:
                cv2.flip(out_HWC, 1, dst=out_HWC)

    def _scale_planes(self, frame) -> None:
        """Scale the box of each plane into ``i420``: half the numbers of RGB, and only the result is converted.

        Against scaling RGB, real footage differs by less than 1 grey level on average, as colours then have half the
        resolution of the result.
        """
        flat, start = self.i420.reshape(-1), 0
        for plane, shrink in zip(frame.planes, (1, 2, 2), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            height, width = self.i420.shape[0] * 2 // 3 // shrink, self.i420.shape[1] // shrink
            box = rows[self.y0 // shrink : self.y1 // shrink, self.x0 // shrink : self.x1 // shrink]
            target = flat[start : start + height * width].reshape(height, width)
            self._scale(box, target)
            if self.flip:  # here, because a plane at a time is the fastest place
                cv2.flip(target, 1, dst=target)
            start += height * width

    def _scale(self, source, target) -> None:
        if source.shape == target.shape:
            target[:] = source
        else:
            cv2.resize(source, target.shape[1::-1], dst=target, interpolation=self.filter)


def decode_frames(
    path: str,
    frame_indices,
    box_yxyx: tuple[int, int, int, int] | None = None,
    side_px: int | None = None,
    size_hw: tuple[int, int] | None = None,
    flip: bool = False,
) -> np.ndarray:
    """Decode chosen frames on the CPU, cut out a box, scale it and mirror it.

    Args:
        path: video file.
        frame_indices: (K,) integers in any order, repeats allowed; 0 is the first frame shown.
        box_yxyx: (y0, x0, y1, x1) pixels to keep, ends excluded; None is the whole frame. Even numbers are faster.
        side_px: scale the box to side_px x side_px, linear, or by area above ``ANTIALIAS_ABOVE``; None keeps its size.
        size_hw: the size that the frames must have; other frames raise.
        flip: mirror left to right.

    Returns:
        (K, H, W, 3) uint8 RGB.

    Raises:
        VideoError: the file is unreadable, ends before the last index or changes its frame size.
    """
    if not len(frame_indices):
        raise VideoError(f"{path}: no frames are asked for")
    wanted, place = np.unique(np.asarray(frame_indices, np.int64), return_inverse=True)
    frames_FHWC, found, index = None, 0, -1
    with open_video(path) as (_, frames):
        for index, frame in enumerate(frames):
            size_hw = size_hw or (frame.height, frame.width)
            if (frame.height, frame.width) != size_hw:
                raise VideoError(
                    f"{path}: frame {index} is {frame.width}x{frame.height}, not {size_hw[1]}x{size_hw[0]} as expected"
                )
            if index != wanted[found]:
                continue
            if frames_FHWC is None:
                write = _ClipWriter((0, 0, *size_hw) if box_yxyx is None else box_yxyx, side_px, flip)
                frames_FHWC = np.empty((len(wanted), *write.size_hw, 3), np.uint8)
            write(frame, frames_FHWC[found])
            found += 1
            if found == len(wanted):
                in_order = len(place) == found and (np.diff(place) > 0).all()
                return frames_FHWC if in_order else frames_FHWC[place]
    raise VideoError(f"{path}: ends after {index + 1} frames, but frame {wanted[found]} was planned")


def dali_decode(encoded, frame_indices, *, device: str):
    """DALI graph function: decode chosen frames with DALI.

    Args:
        encoded: the file's bytes, (size,) uint8 on the CPU.
        frame_indices: (K,) int32 on the CPU, as for :func:`decode_frames`.
        device: ``mixed`` decodes on the GPU; ``cpu`` only knows VP8, VP9 and MJPEG (DALI 2).

    Returns:
        (K, H, W, 3) uint8 RGB, on the GPU for ``mixed``.
    """
    # Since DALI 2.0; before, the same operator was experimental.
    decoder = fn.decoders.video if hasattr(fn.decoders, "video") else fn.experimental.decoders.video
    return decoder(encoded, device=device, frames=frame_indices)
