"""A video file as packets and frames, read by PyAV; nothing here knows DALI or OpenCV.

Frame i is the i-th frame that a decode from the beginning to the end shows, whatever time stamps, key frames,
edit lists or the header say.
"""

import os
import re
import stat
import time
from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

import av
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.stream import Disposition

from ..errors import NoAnswer, TooSlow, VideoError, no_answer, too_slow
from .pyav import fraction_of, open_input

av.logging.set_level(av.logging.PANIC)  # what goes wrong is raised, with the file's name
av.logging.set_skip_repeated(False)  # else a message may come with the next file

TIME_LIMIT_S = 120.0
"""A file that takes more processor time than this to read is refused, so that none can hang a worker."""

CLIP_LIMITS = 4
"""Factor of the time limit for a clip. Its frames are also converted and scaled, and what the check of a file accepted
must not be refused later."""

LOOK_AHEAD_PACKETS = 32
"""Packets to read before the order of frames is known; codecs reorder 16 at most."""


Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in pixels, ends excluded."""


class Orientation(NamedTuple):
    """The turn from stored frames to shown ones: transposed first, then flipped."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def size_hw(self, height: int, width: int) -> tuple[int, int]:
        """The shown size of a stored one; its own inverse."""
        return (width, height) if self.transpose else (height, width)

    def stored_box(self, box_yxyx: Box, shown_hw: tuple[int, int]) -> Box:
        """The stored pixels of a box of shown ones."""
        (y0, x0, y1, x1), (height, width) = (int(edge) for edge in box_yxyx), shown_hw
        if self.flip_y:
            y0, y1 = height - y1, height - y0
        if self.flip_x:
            x0, x1 = width - x1, width - x0
        return (x0, y0, x1, y1) if self.transpose else (y0, x0, y1, x1)

    def show(self, frames_HWC: np.ndarray) -> np.ndarray:
        """A view of frames (..., H, W, C) as they are shown."""
        shown = frames_HWC.swapaxes(-3, -2) if self.transpose else frames_HWC
        return shown[..., :: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1, :]

    @property
    def is_mirrored(self) -> bool:
        """Whether this is a mirror image: an odd number of flips, of which transposing is one."""
        return self.transpose ^ self.flip_y ^ self.flip_x

    def __str__(self) -> str:
        return _ORIENTATIONS[self]


UPRIGHT = Orientation()
_ORIENTATIONS = {
    UPRIGHT: "upright",
    Orientation(True, False, True): "rotated 90 degrees clockwise",
    Orientation(False, True, True): "rotated 180 degrees",
    Orientation(True, True, False): "rotated 90 degrees counter-clockwise",
    Orientation(False, False, True): "mirrored left to right",
    Orientation(False, True, False): "mirrored top to bottom",
    Orientation(True, False, False): "mirrored along the diagonal from top left to bottom right",
    Orientation(True, True, True): "mirrored along the diagonal from top right to bottom left",
}


def orientation_of(frame: av.VideoFrame, path: str) -> Orientation:
    """Return the orientation that the display matrix in a frame's side data gives; its scale is ignored.

    Raises:
        VideoError: it turns by another angle than a multiple of 90 degrees.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    assert isinstance(matrix, Buffer), type(matrix)
    (a, b, _), (c, d, _), _ = np.frombuffer(memoryview(matrix), np.int32).reshape(3, 3).tolist()
    # what is stored at (x, y) is shown at (a x + c y, b x + d y)
    if a and d and not b and not c:
        return Orientation(False, d < 0, a < 0)
    if b and c and not a and not d:
        return Orientation(True, b < 0, c < 0)
    raise VideoError(f"{path}: is rotated by an angle that is not a multiple of 90 degrees")


SWSCALE_BT601 = 5
MATRIX_NAMES = {1: "BT.709", 4: "FCC", 7: "SMPTE 240M", 9: "BT.2020"}
"""Names of the other colour matrices, by swscale's number."""
# by AVColorSpace
_SWSCALE_MATRIX = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}
_UNKNOWN_MATRIX = {8: "YCgCo", 11: "YDzDx", 12: "chromaticity-derived", 13: "chromaticity-derived", 14: "ICtCp"}


def check_colours(frame: av.VideoFrame, path: str) -> None:
    """Raise :class:`VideoError` if its colours are of a matrix that FFmpeg cannot convert."""
    if frame.colorspace in _UNKNOWN_MATRIX:
        raise VideoError(
            f"{path}: its colour matrix is {_UNKNOWN_MATRIX[frame.colorspace]}, which cannot be converted to RGB"
        )


def swscale_matrix(frame: av.VideoFrame) -> int:
    """Return swscale's number of a frame's colour matrix; an unspecified matrix counts as BT.601."""
    return _SWSCALE_MATRIX.get(int(frame.colorspace), SWSCALE_BT601)


class FramesUnlikePackets(Exception):
    """Frames did not come as their packets said: begin again from the start of the file."""


RESTARTING_CODECS = frozenset(
    "h264 hevc vp8 vp9 av1 libdav1d libaom-av1 mpeg4 mpeg1video mpeg2video mjpeg ffv1 prores dnxhd rawvideo".split()
)
"""Codecs in which what follows a key frame, and is shown after it, does not depend on what was before."""


class VideoReader:
    """The video stream of an open file. One pass: packets or frames, once."""

    def __init__(self, path: str, container: InputContainer, time_limit_s: float):
        self.path, self.container, self.time_limit_s = path, container, time_limit_s
        # of this thread, in which decoders run: what others do, or a pause, does not count
        self.began_s = time.thread_time()
        self.stream = _video_stream(path, container)
        self.stream.thread_count = 1
        tick_s = fraction_of(self.stream.time_base)
        if tick_s is None:
            raise VideoError(f"{path}: its time stamps have no time base")
        self.tick_s = tick_s
        self.codec = self.stream.codec_context.name
        self.pixel_shape = fraction_of(self.stream.sample_aspect_ratio) or Fraction(1)
        """Width by height of a stored pixel."""
        self.count = 0
        """Frames decoded so far."""

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets in the order of decoding; the last one is empty and flushes the decoder."""
        try:
            for packet in self.container.demux(self.stream):
                self._check_time()
                if packet.has_sidedata("encryption_info"):  # a decoder may make frames of it, of noise
                    raise VideoError(f"{self.path}: cannot be read as video (it is encrypted)")
                yield packet
        except av.FFmpegError as error:
            raise self._failure(error) from error
        except IndexError as error:  # PyAV knows the streams of the beginning only
            raise VideoError(
                f"{self.path}: a new stream starts after frame {self.count}, which is not supported"
            ) from error

    def decode(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        """The frames that come out when a packet goes in."""
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            raise self._failure(error) from error
        for frame in frames:
            self._check_time()
            yield frame
            self.count += 1

    def frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """(index, frame) from the first to the last, in the order of showing."""
        for packet in self.packets():
            for frame in self.decode(packet):
                yield self.count, frame

    def frames_from(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(index, frame) from the last key frame at or before frame ``first``; what is before it is read, not decoded.

        Only for files in which every packet is one frame, shown at the packet's own time (``VideoInfo.exact_times``):
        elsewhere the indices may be wrong.

        Raises:
            FramesUnlikePackets: a frame came that is not the one that the packets said.
        """
        waiting: list[av.Packet] = []
        times: list[int] = []

        def timed() -> Iterator[av.Packet]:
            for packet in self.packets():
                if packet.size:
                    if packet.pts is None or packet.is_discard:
                        raise FramesUnlikePackets
                    insort(times, packet.pts)
                yield packet

        packets = timed()
        for packet in packets:
            if self._begins_anew(packet) and len(times) <= first - LOOK_AHEAD_PACKETS:
                del waiting[1:]
            waiting.append(packet)
            if len(times) > first + LOOK_AHEAD_PACKETS:
                break
        start, index = 0, 0
        start_time: int | None = None
        for place, packet in enumerate(waiting[1:], 1):
            if packet.pts is None or not self._begins_anew(packet):
                continue
            if (rank := bisect_left(times, packet.pts)) <= first:
                start, index, start_time = place, rank, packet.pts

        def is_before(pts: int | None) -> bool:
            return start_time is not None and pts is not None and pts < start_time

        # The first packet may hold headers, and marks of the encoder that change how all frames are decoded.
        for packet in chain(waiting[:1] if start else [], waiting[start:], packets):
            if packet.size and is_before(packet.pts) and packet is not waiting[0]:
                continue  # decoded after the key frame, shown before it
            for frame in self.decode(packet):
                if is_before(frame.pts):
                    continue
                if index >= len(times) or frame.pts != times[index]:
                    raise FramesUnlikePackets
                yield index, frame
                index += 1

    def _begins_anew(self, packet: av.Packet) -> bool:
        """Return whether decoding can start at this packet: frames from here on need none before."""
        if not packet.size or not packet.is_keyframe or self.codec not in RESTARTING_CODECS:
            return False
        return self.codec != "h264" or has_idr(bytes(packet), self.stream.codec_context.extradata)

    def _failure(self, error: Exception) -> VideoError:
        return _failure(self.path, error, self.count, self.time_limit_s)

    def _check_time(self) -> None:
        if time.thread_time() - self.began_s > self.time_limit_s:
            raise TooSlow(f"{self.path}: {too_slow(self.time_limit_s)}")


IDR_UNIT = 5


def has_idr(data: bytes, extradata: bytes | None) -> bool:
    """Return whether an H.264 packet holds an IDR picture.

    Other key frames (recovery points) may need frames before them.
    """
    if extradata and extradata[0] == 1:  # avcC: each unit behind its length
        length_bytes, place = (extradata[4] & 3) + 1, 0
        while place + length_bytes < len(data):
            size = int.from_bytes(data[place : place + length_bytes], "big")
            if data[place + length_bytes] & 31 == IDR_UNIT:
                return True
            place += length_bytes + size
        return False
    return any(data[match.end()] & 31 == IDR_UNIT for match in re.finditer(b"\0\0\1(?=.)", data, re.DOTALL))


@contextmanager
def open_video(path: str, time_limit_s: float = TIME_LIMIT_S, stored_times: bool = False) -> Iterator[VideoReader]:
    """Open the video stream of a file, the best by FFmpeg's rules where there are several, to be decoded on one thread.

    Args:
        path: the file.
        time_limit_s: processor time of this thread from here to the end, or the time of a single read,
            in which a disk must answer.
        stored_times: packets carry the times that the file holds; otherwise FFmpeg fills in what is missing.

    Raises:
        VideoError: it cannot be opened, has no video or is damaged.
        TooSlow: it takes more processor time.
        NoAnswer: a read takes longer.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise VideoError(f"{path}: is not a regular file")
        with open_input(path, time_limit_s, stored_times) as container:
            if container.format.name == "concat":
                raise VideoError(f"{path}: is a list of other files, not a video")
            yield VideoReader(path, container, time_limit_s)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise _failure(path, error, 0, time_limit_s) from error


_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


def _video_stream(path: str, container: InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise VideoError(f"{path}: has no video stream")
    moving = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not moving:
        raise VideoError(f"{path}: has no video stream, only a cover picture")
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{path}: has a video codec that PyAV does not support")
    # a single frame beside others is a preview
    films = [stream for stream in known if stream.frames != 1] or known
    best = container.streams.best("video")
    return next((stream for stream in films if stream is best), max(films, key=lambda film: film.width * film.height))


def _failure(path: str, error: Exception, count: int, time_limit_s: float) -> VideoError:
    if isinstance(error, av.error.ExitError):  # a read that was interrupted at the limit
        return NoAnswer(f"{path}: {no_answer(time_limit_s)}")
    reason = "it is encrypted" if _is_encrypted(path) else getattr(error, "strerror", None) or str(error)
    place = f"cannot be decoded after frame {count}" if count else "cannot be read as video"
    return VideoError(f"{path}: {place} ({reason})")


_HEADER_BYTES = 1 << 20


def _is_encrypted(path: str) -> bool:
    """Return whether an MP4 declares an encrypted video track, in the header at its beginning or end."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
            file.seek(max(0, os.path.getsize(path) - _HEADER_BYTES))
            return b"encv" in head or b"encv" in file.read(_HEADER_BYTES)
    except OSError:
        return False
