"""Probe of one video file: its frames are counted packet by packet, or decoded one by one.

Imports no DALI, so that the processes which scan (:mod:`dali_pipes.system.isolate`) start fast.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise

import av
import numpy as np

from ..decode.video_file import (
    LOOK_AHEAD_PACKETS,
    MATRIX_NAMES,
    TIME_LIMIT_S,
    UPRIGHT,
    VideoReader,
    check_colours,
    open_video,
    orientation_of,
    swscale_matrix,
)
from ..decode.video_info import Oddity, OddityKind, VideoInfo
from ..errors import NoAnswer, TooSlow, VideoError

DecoderMessages = list[tuple[int, str, str]]
"""The errors that FFmpeg reports, as (level, part of FFmpeg, message)."""


# One packet is one frame, so that counting packets counts frames; files of other codecs are decoded to count.
_COUNTABLE = frozenset("h264 hevc vp9 av1 libdav1d libaom-av1 mpeg4 mjpeg prores ffv1 dnxhd rawvideo".split())
_VOPS = re.compile(b"\0\0\1\xb6(.)", re.DOTALL)  # the pictures of an MPEG-4 packet; 2 high bits say of which type
_B_VOP = 2
_MILLISECOND_S = 0.001
_LOSE_LEADING = ("mpeg4", "hevc")  # in H.264 DALI seeks to IDR frames alone, and no frame after one is shown before it
_INDEXED = frozenset(("mp4", "matroska", "avi"))  # containers, of which FFmpeg knows where each key frame is
_FOR_DALI = _INDEXED | {"mpegts"}  # whose frames DALI showed right on a GPU; FLV and MPEG-PS it cannot even open
_DROPPED_BYTES = 8  # MPEG-4 packets up to this size stand for frames that are not coded, and may not be shown


@dataclass
class _Packets:
    """The observations made while a file was read."""

    times: list = field(default_factory=list)
    """Presentation times of the packets, in the order of decoding."""
    key_times: set = field(default_factory=set)
    """Presentation times of the packets that the container marks as key frames."""
    last_key_time: int | None = None
    leading: int = 0
    """Packets of frames that are shown before the key frame that they are stored after."""
    new_headers: bool = False
    """Whether the decoder was told something new on the way."""
    hidden: int = 0
    """Packets that an edit list leaves out."""
    doubtful: bool = False
    """Whether the packets may not say how many frames there are."""
    packed: bool = False
    b_frames: bool = False
    """Whether MPEG-4 packets hold B-frames, so that frames are decoded in another order than they are shown."""
    frame_times: list = field(default_factory=list)
    key_frame_times: set = field(default_factory=set)
    """Presentation times of the key frames by the decoder: some containers mark all packets as key frames."""
    damaged: int = 0
    first: av.VideoFrame | None = None

    def packet(self, packet: av.Packet, codec: str) -> None:
        if not packet.size:
            return
        self.new_headers |= bool(self.times) and packet.has_sidedata("new_extradata")
        if packet.is_discard:
            self.hidden += 1
        else:
            self.times.append(packet.pts)
        if packet.is_keyframe:
            self.key_times.add(packet.pts)
            self.last_key_time = packet.pts
        elif packet.pts is not None and self.last_key_time is not None:
            self.leading += packet.pts < self.last_key_time
        self.doubtful |= packet.is_corrupt or packet.is_discard
        if codec == "mpeg4":
            vops = _VOPS.findall(bytes(packet))
            self.packed |= len(vops) > 1
            self.b_frames |= any(byte[0] >> 6 == _B_VOP for byte in vops)
            self.doubtful |= self.packed or packet.size <= _DROPPED_BYTES

    def leaves_order_in_doubt(self, reader: VideoReader) -> bool:
        """Return whether frames must be decoded to know in which order they are shown."""
        reordered = self.b_frames if reader.codec == "mpeg4" else reader.stream.codec_context.has_b_frames
        return None in self.times or not _increases(sorted(self.times)) or (reordered and _increases(self.times))

    def frame(self, path: str, frame: av.VideoFrame) -> None:
        first, index = self.first or frame, len(self.frame_times)
        if (frame.width, frame.height) != (first.width, first.height):
            sizes = f"{first.width}x{first.height} to {frame.width}x{frame.height}"
            raise VideoError(f"{path}: changes its frame size from {sizes} at frame {index}")
        if orientation_of(frame, path) != orientation_of(first, path):
            raise VideoError(f"{path}: changes its orientation at frame {index}")
        if self.first is None:
            check_colours(frame, path)
        self.first = first
        self.frame_times.append(frame.pts)
        if frame.key_frame:
            self.key_frame_times.add(frame.pts)
        self.damaged += frame.is_corrupt


def _increases(times: Sequence[int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(times))


def read_video_info(path: str, label: int = 0, *, verify: bool = True, time_limit_s: float = TIME_LIMIT_S) -> VideoInfo:
    """Describe a file.

    Args:
        path: the file.
        label: is handed on.
        verify: decode every frame. Otherwise the packets are counted and one frame is decoded, unless the packets leave
            doubt about the number of frames.
        time_limit_s: a file that takes more processor time is refused,
            and one that keeps its reader waiting for as long twice.

    Raises:
        VideoError: it is missing, empty, damaged, has no frames, changes its frame size or takes too long.
    """
    try:
        return _describe(path, label, verify, time_limit_s)
    except NoAnswer:  # the disk's fault may have passed; or it was none, and this process was stopped
        return _describe(path, label, verify, time_limit_s)


def _describe(path: str, label: int, verify: bool, time_limit_s: float) -> VideoInfo:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror}") from error
    if not stat.st_size:
        raise VideoError(f"{path}: is empty (0 bytes)")
    with decoder_messages() as messages:
        try:
            info = _read(path, label, stat, verify, time_limit_s, messages)
            if info is None:  # what the packets leave in doubt is decoded
                info = _read(path, label, stat, True, time_limit_s, messages)
            assert info is not None, "no doubt is left"
            return info
        except (TooSlow, NoAnswer):
            raise
        except VideoError as error:
            raise VideoError(f"{error}{quoted(messages)}") from error


@contextmanager
def decoder_messages() -> Iterator[DecoderMessages]:
    """Collect what FFmpeg reports inside the block, as (level, part of FFmpeg, message).

    It is used only here, where every frame is looked at once: listening to the log slows decoding, and may block
    decoders that have threads of their own.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as messages:
            yield messages
    finally:
        av.logging.set_level(before)


def quoted(messages: DecoderMessages) -> str:
    """Return the first complaint as ``, h264 says: ...``; empty if there is none."""
    if not messages:
        return ""
    _, who, what = messages[0]
    return f", {who} says: {' '.join(what.replace(';', ',').split())}"


def _read(
    path: str, label: int, stat: os.stat_result, verify: bool, time_limit_s: float, messages: DecoderMessages
) -> VideoInfo | None:
    """Read a video's description; None if its packets leave doubt about the number or order of frames."""
    with open_video(path, time_limit_s) as reader:
        seen = _Packets()
        all_decoded = verify or reader.codec not in _COUNTABLE
        for packet in reader.packets():
            seen.packet(packet, reader.codec)
            if all_decoded or seen.first is None:
                for frame in reader.decode(packet):
                    seen.frame(path, frame)
        if seen.first is None:
            raise VideoError(f"{path}: has no frames")
        if not all_decoded and (seen.doubtful or messages or seen.leaves_order_in_doubt(reader)):
            messages.clear()
            return None
        height, width = orientation_of(seen.first, path).size_hw(seen.first.height, seen.first.width)
        return VideoInfo(
            path=path,
            label=label,
            num_frames=len(seen.frame_times) if all_decoded else len(seen.times),
            fps=_rate(reader, seen.times),
            width=width,
            height=height,
            codec=reader.codec,
            size_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            pix_fmt=seen.first.format.name,
            oddities=tuple(_oddities(path, reader, seen.first, seen, all_decoded, messages)),
            verified=all_decoded,
            exact_times=all_decoded and not messages and _exact_times(seen),
        )


@dataclass(frozen=True)
class Refused:
    """A video that cannot be used, and why."""

    reason: str
    """The words after the path in a sentence, such as ``is empty (0 bytes)``."""


def probe(path: str, verify: bool, time_limit_s: float) -> VideoInfo | Refused:
    """Return the result of :func:`read_video_info`, or why it failed.

    It is passed to :func:`dali_pipes.system.isolate.map_isolated`.
    """
    try:
        return read_video_info(path, verify=verify, time_limit_s=time_limit_s)
    except VideoError as error:
        return Refused(str(error).removeprefix(f"{path}: "))
    except Exception as error:  # a hostile file may make PyAV stumble in its own way
        return Refused(f"cannot be read ({type(error).__name__}: {error})")


def _rate(reader: VideoReader, times: list[int | None]) -> float:
    """Return the mean frame rate that the file declares, or else that of its time stamps."""
    if reader.stream.average_rate:
        return float(reader.stream.average_rate)
    known = [time for time in times if time is not None]
    ticks = max(known) - min(known) if known else 0
    return float((len(known) - 1) / (ticks * reader.tick_s)) if ticks else float(reader.stream.guessed_rate or 0)


def _exact_times(seen: _Packets) -> bool:
    inexact = seen.hidden or seen.doubtful or seen.damaged or seen.new_headers or None in seen.times
    if inexact or sorted(seen.times) != seen.frame_times or not seen.key_times <= seen.key_frame_times:
        return False
    order = np.argsort(seen.times, kind="stable")
    strictly = (np.diff(np.array(seen.frame_times)) > 0).all()
    return bool(strictly and np.abs(order - np.arange(len(order))).max() <= LOOK_AHEAD_PACKETS // 2)


def _time_note(reader: VideoReader, seen: _Packets, all_decoded: bool) -> str:
    """Return what is wrong with the time stamps, by which DALI orders frames; empty if nothing is."""
    times = seen.frame_times if all_decoded else sorted(seen.times)
    if None in times:
        return "missing"
    if not _increases(times) or (seen.b_frames and not _are_times_stored(reader)):
        return "not in display order"
    return "below zero" if times[0] < 0 else ""


def _are_times_stored(reader: VideoReader) -> bool:
    """Return whether the file itself holds the times at which frames are shown.

    AVI does not: FFmpeg asks its decoder for them, and DALI, which has no such decoder, takes the times of decoding.
    """
    with open_video(reader.path, reader.time_limit_s, stored_times=True) as again:
        packets = islice((packet for packet in again.packets() if packet.size), LOOK_AHEAD_PACKETS)
        return all(packet.pts is not None for packet in packets)


def _oddities(
    path: str,
    reader: VideoReader,
    first: av.VideoFrame,
    seen: _Packets,
    all_decoded: bool,
    messages: DecoderMessages,
) -> Iterator[Oddity]:
    stream = reader.stream
    times = np.sort([time for time in seen.times if time is not None])
    steps = np.diff(times)
    # containers round times, by up to one tick either way, and those of files that were copied from one to another by a
    # millisecond; times that occur twice are no times
    usual = float(np.median(steps)) if len(steps) else 0.0
    rounding = max(min(2.0, usual / 2), 0.01 * usual, min(2 * _MILLISECOND_S / float(reader.tick_s), usual / 4))
    if len(steps) and steps.min() > 0 and np.ptp(steps) > rounding:
        low, high = (float(step * reader.tick_s) for step in (steps.min(), steps.max()))
        yield Oddity(OddityKind.VARIABLE_RATE, f": {1e3 * low:.3g} to {1e3 * high:.3g} ms between frames")
    start = float(times[0] * reader.tick_s) if len(times) else 0.0
    if start:
        yield Oddity(OddityKind.STARTS_LATE, f": at {start:.3f} s")
    orientation = orientation_of(first, path)
    if orientation != UPRIGHT:
        kind = OddityKind.MIRRORED if orientation.is_mirrored else OddityKind.ROTATED
        yield Oddity(kind, str(orientation).removeprefix(kind.words))
    if note := _time_note(reader, seen, all_decoded):
        yield Oddity(OddityKind.FRAME_TIMES, f" {note}")
    if seen.leading and reader.codec in _LOSE_LEADING:
        yield Oddity(OddityKind.OPEN_GROUPS, f": {seen.leading} frames are shown before their key frame")
    if seen.packed:
        yield Oddity(OddityKind.PACKED_B_FRAMES)
    bits = max(component.bits for component in first.format.components)
    if bits > 8:
        yield Oddity(OddityKind.DEEP_COLOUR, f": {bits}")
    if not first.format.name.startswith(("yuv420p", "yuvj420p", "nv12")):
        yield Oddity(OddityKind.NOT_420, f": {first.format.name}")
    if (matrix := swscale_matrix(first)) in MATRIX_NAMES:
        yield Oddity(OddityKind.NOT_BT601, f": {MATRIX_NAMES[matrix]}")
    if first.width % 2 or first.height % 2:
        yield Oddity(OddityKind.ODD_SIZE, f": {first.width}x{first.height}")
    if (shape := 1 / reader.pixel_shape if orientation.transpose else reader.pixel_shape) != 1:
        yield Oddity(OddityKind.PIXELS_NOT_SQUARE, f": {shape.numerator}:{shape.denominator}")
    if first.interlaced_frame:
        yield Oddity(OddityKind.INTERLACED)
    packets = len(seen.times) + seen.hidden
    if stream.frames and stream.frames != packets:
        yield Oddity(OddityKind.WRONG_HEADER, f" counts {stream.frames} frames, but there are {packets} packets")
    promised_s = (reader.container.duration or 0) / 1e6
    lasts_s = float((times[-1] - times[0]) * reader.tick_s) if len(times) else 0.0
    if promised_s > 1.2 * lasts_s + 1:
        yield Oddity(OddityKind.WRONG_HEADER, f" states {promised_s:.1f} s, but the frames last {lasts_s:.1f} s")
    if seen.hidden:
        yield Oddity(OddityKind.HIDDEN_PACKETS, f": {seen.hidden} of {packets} packets")
    if all_decoded and len(seen.frame_times) != len(seen.times):
        yield Oddity(OddityKind.FRAMES_UNLIKE_PACKETS, f": {len(seen.frame_times)} frames, {len(seen.times)} packets")
    if (streams := len(reader.container.streams.video)) > 1:
        yield Oddity(OddityKind.SEVERAL_VIDEO_STREAMS, f": {streams}")
    if not (formats := set(reader.container.format.name.split(","))) & _INDEXED:
        kind = OddityKind.NO_KEY_FRAME_INDEX if formats & _FOR_DALI else OddityKind.CONTAINER
        yield Oddity(kind, f": {'/'.join(sorted(formats))}")
    if seen.damaged or messages:
        how = f"{seen.damaged} of {len(seen.frame_times)} frames incomplete" if seen.damaged else "decoder errors"
        yield Oddity(OddityKind.DAMAGED, f": {how}{quoted(messages)}")
