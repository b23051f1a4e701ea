"""The decoders that decoders.py compares, each used as its documentation shows.

A reader is a row of ``READERS``. Its ``frames`` yields the frames [start, stop) of a file as (H, W, 3) uint8 RGB; a
``stop`` of None is the end of the file. Every call opens the file anew, as a loader does for each clip. Readers that
find frames by number read the whole file in windows of ``WINDOW_FRAMES``. One thread each, where a library lets one
choose. Libraries are imported by the functions that use them, so that no process has two of them and their copies of
FFmpeg, except where one needs the other.
"""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

WINDOW_FRAMES = 32


# --- reference -------------------------------------------------------------------------------------------------------


def reference_frames(path: str, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """All frames that FFmpeg's decoder puts out, in its order, from the first packet to the last.

    A packet that the decoder rejects is passed over, as the program ``ffmpeg`` does. Time stamps are not looked at.
    """
    import av

    def decoded(packet) -> Iterable:
        try:
            return packet.decode()
        except av.FFmpegError:
            return []

    with av.open(path) as container:
        stream = container.streams.best("video")
        if stream is None:
            raise ValueError("has no video stream")
        stream.thread_count = 1
        frames = (frame for packet in container.demux(stream) for frame in decoded(packet))
        for frame in islice(frames, start, stop):
            yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


# --- ours ------------------------------------------------------------------------------------------------------------


def our_count(path: str) -> int:
    return _our_info(path).num_frames


def our_frames(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """As ``VideoLoader`` with ``decoder="cpu"``: checked once, then any frames by number."""
    from dali_pipes.decode import decode_frames

    info = _our_info(path)
    for window in _windows(start, info.num_frames if stop is None else stop):
        yield from decode_frames(path, window, exact_times=info.exact_times)


_INFOS: dict[str, Any] = {}


def _our_info(path: str):
    """A file's description, made once for all clips, as a manifest's."""
    from dali_pipes.dataset.probe import read_video_info

    if path not in _INFOS:
        _INFOS[path] = read_video_info(path)
    return _INFOS[path]


# --- DALI ------------------------------------------------------------------------------------------------------------


def dali_frames(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``fn.decoders.video`` on the CPU, where it needs no GPU: the whole file, or the numbers of frames."""
    from nvidia.dali import fn, pipeline_def, types

    from dali_pipes.decode.dali import dali_decode

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        encoded = fn.external_source(lambda: [np.fromfile(path, np.uint8)], batch=True)
        if stop is None:
            return fn.decoders.video(encoded, device="cpu")
        numbers = np.arange(start, stop, dtype=np.int32)
        return dali_decode(encoded, fn.external_source(lambda: [numbers], batch=True, dtype=types.INT32), device="cpu")

    built = pipeline()
    built.build()
    yield from np.array(built.run()[0][0])


# --- torchcodec ------------------------------------------------------------------------------------------------------


def torchcodec_count(seek_mode: str) -> Callable[[str], int]:
    return lambda path: len(_torchcodec(path, seek_mode))


def torchcodec_frames(seek_mode: str) -> Callable[[str, int, int | None], Iterator[np.ndarray]]:
    """``get_frames_in_range`` of ``VideoDecoder``."""

    def frames(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
        decoder = _torchcodec(path, seek_mode)
        for window in _windows(start, len(decoder) if stop is None else stop):
            yield from decoder.get_frames_in_range(window[0], window[-1] + 1).data.numpy()

    return frames


def _torchcodec(path: str, seek_mode: str):
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, seek_mode=seek_mode, dimension_order="NHWC", num_ffmpeg_threads=1)


# --- OpenCV ----------------------------------------------------------------------------------------------------------


def opencv_sequential(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``read`` from the beginning of the file; ``grab`` passes over what is before the window."""
    capture = _opencv(path)
    for _ in range(start):
        capture.grab()
    yield from islice(_opencv_reads(capture), None if stop is None else stop - start)


def opencv_seek_count(path: str) -> int:
    import cv2

    return int(_opencv(path).get(cv2.CAP_PROP_FRAME_COUNT))


def opencv_seek(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``read`` after ``CAP_PROP_POS_FRAMES`` was set to the window's first frame."""
    import cv2

    capture = _opencv(path)
    for window in _windows(start, opencv_seek_count(path) if stop is None else stop):
        capture.set(cv2.CAP_PROP_POS_FRAMES, window[0])
        yield from islice(_opencv_reads(capture), len(window))


def _opencv(path: str):
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise ValueError("cannot be opened")
    return capture


def _opencv_reads(capture) -> Iterator[np.ndarray]:
    while True:
        good, frame = capture.read()
        if not good:
            return
        yield frame[..., ::-1]


# --- decord ----------------------------------------------------------------------------------------------------------


def decord_count(path: str) -> int:
    return len(_decord(path))


def decord_frames(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``get_batch`` of ``VideoReader``."""
    reader = _decord(path)
    for window in _windows(start, len(reader) if stop is None else stop):
        yield from reader.get_batch(list(window)).asnumpy()


def _decord(path: str):
    import decord

    return decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)


# --- PyAV ------------------------------------------------------------------------------------------------------------


def pyav_sequential(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``container.decode`` from the beginning of the file."""
    import av

    with av.open(path) as container:
        container.streams.video[0].thread_count = 1
        for frame in islice(container.decode(video=0), start, stop):
            yield frame.to_ndarray(format="rgb24")


def pyav_count(path: str) -> int | None:
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        return stream.frames or round((container.duration or 0) / av.time_base * (_rate(stream) or 0)) or None


def _rate(stream):
    return stream.average_rate or stream.guessed_rate


def pyav_seek(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """``container.seek`` to the time of the first frame by the mean rate, then ``decode`` until that time."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        period_s = 1 / _rate(stream)
        for window in _windows(start, pyav_count(path) or 0 if stop is None else stop):
            first_s = window[0] * period_s + (stream.start_time or 0) * stream.time_base
            container.seek(int(first_s / stream.time_base), stream=stream)
            later = (frame for frame in container.decode(stream) if frame.time >= first_s - period_s / 2)
            for frame in islice(later, len(window)):
                yield frame.to_ndarray(format="rgb24")


# --- the program ffmpeg ----------------------------------------------------------------------------------------------


def ffmpeg_frames(path: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """All frames, none repeated or dropped for the sake of a rate; scaled by the program, which tells no size."""
    side = 128
    output = (
        f"-map 0:v:0 -vsync passthrough -vf scale={side}:{side}:flags=area -pix_fmt rgb24 -f rawvideo pipe:".split()
    )
    command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", f"file:{path}", *output]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False) as process:
        shape = side, side, 3
        for number in range(stop or 1 << 62):
            data = process.stdout.read(int(np.prod(shape)))
            if not data:
                break
            if number >= start:
                yield np.frombuffer(data, np.uint8).reshape(shape)
        process.stdout.close()
        complaint = process.stderr.read().decode(errors="replace").strip().splitlines()
        if process.wait() and stop is None:
            raise ValueError(complaint[-1] if complaint else f"exit code {process.returncode}")


# --- the table -------------------------------------------------------------------------------------------------------


class Reader(NamedTuple):
    """One way to read frames."""

    title: str
    frames: Callable[[str, int, int | None], Iterator[np.ndarray]]
    imports: str
    """A module that must be importable."""
    count: Callable[[str], int | None] | None = None
    """The number of frames that a file has, as the library says before it decodes; None: it does not say."""
    codecs: tuple[str, ...] = ()
    """All that it decodes, as FFmpeg names them; empty: all that there are."""
    is_timed: bool = True


REFERENCE = Reader("the reference", reference_frames, "av", is_timed=False)
READERS = {
    "ours": Reader("dali_pipes", our_frames, "dali_pipes.decode.frames", our_count),
    "dali": Reader("DALI on the CPU", dali_frames, "nvidia.dali", codecs=("vp8", "vp9", "mjpeg")),
    "torchcodec-exact": Reader(
        "torchcodec, exact", torchcodec_frames("exact"), "torchcodec.decoders", torchcodec_count("exact")
    ),
    "torchcodec-approximate": Reader(
        "torchcodec, approximate",
        torchcodec_frames("approximate"),
        "torchcodec.decoders",
        torchcodec_count("approximate"),
    ),
    "opencv-sequential": Reader("OpenCV, sequential", opencv_sequential, "cv2"),
    "opencv-seek": Reader("OpenCV, seeking", opencv_seek, "cv2", opencv_seek_count),
    "decord": Reader("decord", decord_frames, "decord", decord_count),
    "pyav-sequential": Reader("PyAV, sequential", pyav_sequential, "av"),
    "pyav-seek": Reader("PyAV, seeking", pyav_seek, "av", pyav_count),
    "ffmpeg": Reader("the program ffmpeg", ffmpeg_frames, "numpy", is_timed=False),
}


def _windows(start: int, stop: int) -> Iterator[range]:
    for first in range(start, stop, WINDOW_FRAMES):
        yield range(first, min(first + WINDOW_FRAMES, stop))
