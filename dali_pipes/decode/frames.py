"""Decoding of given frames of a file to pixels, on the CPU with PyAV."""

from collections.abc import Sequence

import av
import cv2
import numpy as np

from ..errors import TooSlow, VideoError
from .video_file import (
    CLIP_LIMITS,
    SWSCALE_BT601,
    TIME_LIMIT_S,
    UPRIGHT,
    Box,
    FramesUnlikePackets,
    check_colours,
    open_video,
    orientation_of,
    swscale_matrix,
)

ANTIALIAS_ABOVE = 1.5
"""Ratio of a box's side to the result's side above which pixels are averaged, not sampled."""

_FULL_RANGE = 2


class _ClipWriter:
    """A converter of decoded frames to RGB that crops, scales, rotates and mirrors them.

    It keeps buffers, so each clip has one of its own.
    """

    def __init__(self, path: str, first: av.VideoFrame, box_yxyx: Box | None, crop_px: int | None, flip: bool):
        self.path, self.orientation = path, orientation_of(first, path)
        self.frame_hw = first.height, first.width
        shown_hw = self.orientation.size_hw(*self.frame_hw)
        box_yxyx = self.orientation.stored_box((0, 0, *shown_hw) if box_yxyx is None else box_yxyx, shown_hw)
        self.y0, self.x0, self.y1, self.x1 = box_yxyx
        height, width = self.y1 - self.y0, self.x1 - self.x0
        stored_hw = (crop_px, crop_px) if crop_px else (height, width)
        self.size_hw = self.orientation.size_hw(*stored_hw)
        shrinks = max(height, width) > ANTIALIAS_ABOVE * max(stored_hw)
        self.filter = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # The size at which colours are converted: small, but not so small that they would lose much resolution.
        rgb_height, rgb_width = (height, width) if shrinks else stored_hw
        even = all(number % 2 == 0 for number in (*box_yxyx, *self.frame_hw, rgb_height, rgb_width))
        self.i420 = np.empty((rgb_height * 3 // 2, rgb_width), np.uint8) if even else None
        self.rgb = np.empty((rgb_height, rgb_width, 3), np.uint8) if shrinks else None
        self.stored = None if self.orientation == UPRIGHT else np.empty((*stored_hw, 3), np.uint8)
        self.flip = flip
        self.reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: av.VideoFrame, out_HWC: np.ndarray) -> None:
        check_colours(frame, self.path)
        if self.stored is None:
            self._convert(frame, out_HWC, self.flip)
            return
        self._convert(frame, self.stored, flip=False)
        shown = self.orientation.show(self.stored)
        out_HWC[:] = shown[:, ::-1] if self.flip else shown

    def _convert(self, frame: av.VideoFrame, out_HWC: np.ndarray, flip: bool) -> None:
        common = (
            frame.format.name == "yuv420p"
            and swscale_matrix(frame) == SWSCALE_BT601
            and frame.color_range != _FULL_RANGE
        )
        if self.i420 is not None and common:
            self._scale_planes(frame, self.i420, flip)
            converted = out_HWC if self.rgb is None else self.rgb
            cv2.cvtColor(self.i420, cv2.COLOR_YUV2RGB_I420, dst=converted)
            if converted is not out_HWC:
                self._scale(converted, out_HWC)
            return
        rgb = self.reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=swscale_matrix(frame),
            src_color_range=int(frame.color_range),
            dst_color_range=_FULL_RANGE,
        )
        self._scale(rgb.to_ndarray()[self.y0 : self.y1, self.x0 : self.x1], out_HWC)
        if flip:
            cv2.flip(out_HWC, 1, dst=out_HWC)

    def _scale_planes(self, frame: av.VideoFrame, i420: np.ndarray, flip: bool) -> None:
        """Scale the box of each plane into ``i420``: half the numbers of RGB, and only the result is converted.

        Against scaling RGB, real footage differs by less than 1 grey level on average, as colours then have half the
        resolution of the result.
        """
        flat, start = i420.reshape(-1), 0
        for plane, shrink in zip(frame.planes, (1, 2, 2), strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            height, width = i420.shape[0] * 2 // 3 // shrink, i420.shape[1] // shrink
            box = rows[self.y0 // shrink : self.y1 // shrink, self.x0 // shrink : self.x1 // shrink]
            target = flat[start : start + height * width].reshape(height, width)
            self._scale(box, target)
            if flip:  # here, because a plane at a time is the fastest place
                cv2.flip(target, 1, dst=target)
            start += height * width

    def _scale(self, source: np.ndarray, target: np.ndarray) -> None:
        if source.shape == target.shape:
            target[:] = source
        else:
            cv2.resize(source, target.shape[1::-1], dst=target, interpolation=self.filter)


def decode_frames(
    path: str,
    frame_indices: Sequence[int] | np.ndarray,
    box_yxyx: Box | None = None,
    crop_px: int | None = None,
    size_hw: tuple[int, int] | None = None,
    flip: bool = False,
    exact_times: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> np.ndarray:
    """Decode chosen frames on the CPU, cut out a box, scale it and mirror it. The file's own rotation is applied first.

    Args:
        path: video file.
        frame_indices: (K,) integers in any order, repeats allowed; 0 is the first frame shown.
        box_yxyx: (y0, x0, y1, x1) pixels to keep, ends excluded; None is the whole frame. Even numbers are faster.
        crop_px: scale the box to crop_px x crop_px, linear, or by area above ``ANTIALIAS_ABOVE``; None keeps its size.
        size_hw: the size that the frames must have; other frames raise.
        flip: mirror left to right.
        exact_times: ``VideoInfo.exact_times``: decoding may begin at the last key frame before the first index, which
            gives the same frames sooner.
        time_limit_s: as for ``read_video_info``; ``CLIP_LIMITS`` times as much is allowed here.

    Returns:
        (K, H, W, 3) uint8 RGB.

    Raises:
        VideoError: the file is unreadable, ends before the last index, changes its frame size or takes too long.
    """
    if not len(frame_indices):
        raise VideoError(f"{path}: no frames are requested; give at least one frame index")
    wanted, place = np.unique(np.asarray(frame_indices, np.int64), return_inverse=True)
    if wanted[0] < 0:
        raise VideoError(f"{path}: invalid frame index {wanted[0]}: must be at least 0")
    how = box_yxyx, crop_px, size_hw, flip, CLIP_LIMITS * time_limit_s
    try:
        frames_FHWC = _decode(path, wanted, *how, from_key_frame=exact_times)
    except TooSlow:  # from the beginning it is no quicker
        raise
    except (FramesUnlikePackets, VideoError):
        if not exact_times:
            raise
        frames_FHWC = _decode(path, wanted, *how, from_key_frame=False)
    in_order = len(place) == len(wanted) and (np.diff(place) > 0).all()
    return frames_FHWC if in_order else frames_FHWC[place]


def _decode(
    path: str,
    wanted: np.ndarray,
    box_yxyx: Box | None,
    crop_px: int | None,
    size_hw: tuple[int, int] | None,
    flip: bool,
    time_limit_s: float,
    from_key_frame: bool,
) -> np.ndarray:
    """Decode the ``wanted`` frames, which are strictly increasing."""
    write, found, index = None, 0, -1
    with open_video(path, time_limit_s) as reader:
        for index, frame in reader.frames_from(int(wanted[0])) if from_key_frame else reader.frames():
            if write is None:
                write = _ClipWriter(path, frame, box_yxyx, crop_px, flip)
                frames_FHWC = np.empty((len(wanted), *write.size_hw, 3), np.uint8)
                _check_size(path, index, write.orientation.size_hw(*write.frame_hw), size_hw)
            if (frame.height, frame.width) != write.frame_hw:
                _check_size(path, index, (frame.height, frame.width), write.frame_hw)
            if index != wanted[found]:
                continue
            if orientation_of(frame, path) != write.orientation:
                raise VideoError(f"{path}: changes its orientation at frame {index}")
            write(frame, frames_FHWC[found])
            found += 1
            if found == len(wanted):
                return frames_FHWC
    raise VideoError(f"{path}: ends after {index + 1} frames, but frame {wanted[found]} is requested")


def _check_size(path: str, index: int, size_hw: tuple[int, int], expected_hw: tuple[int, int] | None) -> None:
    if expected_hw is not None and tuple(size_hw) != tuple(expected_hw):
        (height, width), (expected_height, expected_width) = size_hw, expected_hw
        raise VideoError(
            f"{path}: frame {index} has the size {width}x{height}, but {expected_width}x{expected_height} is expected"
        )
