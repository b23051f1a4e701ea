"""Hostile and unusual video files, made where they are needed. Each maker writes one file and returns its path."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from dali_pipes import VideoInfo
from tests.videos import grey_of, write_lossless, write_video

FRAMES, SIZE_HW = 12, (48, 64)
ORIENTATION_MATRICES = {  # a, b, c, d of the display matrix; numpy's way to show a stored frame
    (1, 0, 0, 1): lambda frame: frame,
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),
    (-1, 0, 0, -1): lambda frame: np.rot90(frame, 2),
    (0, -1, 1, 0): lambda frame: np.rot90(frame),
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],
    (1, 0, 0, -1): lambda frame: frame[::-1],
    (0, 1, 1, 0): lambda frame: frame.swapaxes(0, 1),
    (0, -1, -1, 0): lambda frame: np.rot90(frame, 2).swapaxes(0, 1),
}


def odd_text(info: VideoInfo) -> str:
    """Return what is odd about a video, as a manifest's file holds it."""
    return "; ".join(map(str, info.oddities))


def h264(path: Path, frames=FRAMES, size_hw=SIZE_HW, **options) -> Path:
    return write_lossless(path, frames, size_hw, **{"codec": "libx264", "qp": 1, "bf": 2} | options)


def edit(path: Path, tag: bytes, offset: int, data: bytes) -> Path:
    """Overwrite bytes that stand ``offset`` behind a tag."""
    content = bytearray(path.read_bytes())
    place = content.index(tag) + len(tag) + offset
    content[place : place + len(data)] = data
    path.write_bytes(content)
    return path


def turn(path: Path, matrix) -> Path:
    """Make an MP4's track header say how it is to be shown."""
    a, b, c, d = (round(value * 65536) for value in matrix)
    return edit(path, b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


def trimmed(path: Path, hidden_frames: int, **options) -> Path:
    """An MP4 whose edit list leaves out the first frames."""
    h264(path, bf=0, **options)
    tick = _first_duration(path)
    return edit(path, b"elst", 12, struct.pack(">i", hidden_frames * tick))


def _first_duration(path: Path) -> int:
    with av.open(str(path)) as container:
        return next(container.demux(video=0)).duration


def uneven(path: Path, gap_ms: int = 120) -> Path:
    """Frames at times that are not evenly spaced."""
    return timed(path, [40 * index + (gap_ms if index > 5 else 0) for index in range(FRAMES)], Fraction(1, 1000))


def dropped(path: Path) -> Path:
    """Every third frame is missing, in a file whose times are counted in frames."""
    return timed(path, (0, 1, 3, 4, 6, 7, 9, 10), Fraction(1, 25), video_track_timescale="25")


def in_milliseconds(path: Path) -> Path:
    """A constant rate whose times were rounded to milliseconds, as copying from MKV to MP4 leaves them."""
    times = [30 * round(index * 1001 / 30) for index in range(FRAMES)]
    return timed(path, times, Fraction(1, 30000), video_track_timescale="30000")


def timed(path: Path, times, tick_s: Fraction, **options) -> Path:
    """Frames at these times, in ticks."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        stream.codec_context.time_base = tick_s
        for index, time in enumerate(times):
            planes = np.full((SIZE_HW[0] * 3 // 2, SIZE_HW[1]), 128, np.uint8)
            planes[: SIZE_HW[0]] = grey_of(index)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = time, tick_s
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def several(path: Path, *kinds: str) -> Path:
    """A stream for each of ``kinds``, in this order:
    ``video`` as of :func:`h264`, a bright ``cover`` or ``thumbnail`` of one frame, ``sound``."""
    with av.open(str(path), "w") as container:
        for kind, stream in [(kind, _add_stream(container, kind)) for kind in kinds]:
            for index in range(FRAMES if kind == "video" else 1):
                container.mux(stream.encode(_picture_or_sound(kind, index)))
            container.mux(stream.encode(None))
    return path


def _add_stream(container, kind: str):
    if kind == "sound":
        return container.add_stream("aac", rate=44100)
    codec, options = ("libx264", {"qp": "1"}) if kind == "video" else ("mjpeg", {"strict": "unofficial"})
    stream = container.add_stream(codec, rate=25, options=options)
    stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
    if kind == "cover":
        stream.disposition = Disposition.attached_pic.value  # PyAV 17.0 takes numbers alone
    return stream


def _picture_or_sound(kind: str, index: int):
    if kind == "sound":
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        return frame
    planes = np.full((SIZE_HW[0] * 3 // 2, SIZE_HW[1]), 128, np.uint8)
    planes[: SIZE_HW[0]] = grey_of(index) if kind == "video" else 250
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = index
    return frame


def cover_first(path: Path) -> Path:
    """An MP4 whose header names its cover picture (``udta``) before its video (``trak``)."""
    content = several(path, "video", "cover").read_bytes()

    def boxes(start: int, end: int) -> dict[bytes, tuple[int, int]]:
        found = {}
        while start < end:
            size = int.from_bytes(content[start : start + 4], "big")
            found[content[start + 4 : start + 8]] = start, start + size
            start += size
        return found

    start, end = boxes(0, len(content))[b"moov"]
    header = boxes(start + 8, end)
    parts = [content[slice(*header[kind])] for kind in (b"mvhd", b"udta", b"trak")]
    assert len(header) == 3
    path.write_bytes(content[: start + 8] + b"".join(parts) + content[end:])
    return path


def attachment(path: Path) -> Path:
    """A Matroska file with a picture attached."""
    with av.open(str(several(path.with_name("other.mkv"), "thumbnail"))) as source:
        picture = bytes(next(source.demux(video=0)))
    with av.open(str(path), "w") as container:
        container.add_attachment("cover.jpg", "image/jpeg", picture)
        stream = _add_stream(container, "video")
        for index in range(FRAMES):
            container.mux(stream.encode(_picture_or_sound("video", index)))
        container.mux(stream.encode(None))
    return path


def exif(path: Path) -> Path:
    """Motion JPEG whose pictures say in their EXIF header that they are to be turned, as some cameras' do."""
    tag = struct.pack("<4sIH", b"II*\0", 8, 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + bytes(4)
    header = b"\xff\xe1" + struct.pack(">H", 8 + len(tag)) + b"Exif\0\0" + tag
    plain = write_lossless(path.with_name("other.avi"), FRAMES, SIZE_HW, codec="mjpeg", strict="unofficial")
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                turned = av.Packet(bytes(packet)[:2] + header + bytes(packet)[2:])
                turned.pts, turned.dts, turned.time_base, turned.stream = (
                    packet.pts,
                    packet.dts,
                    packet.time_base,
                    stream,
                )
                turned.is_keyframe = True
                container.mux(turned)
    return path


def anamorphic(path: Path, pixel_shape: str = "4/3", size_hw=(72, 96), **options) -> Path:
    """Pixels that are not square; ``pixel_shape`` is width by height."""
    return h264(path, size_hw=size_hw, **{"x264-params": f"sar={pixel_shape}"} | options)


def below_zero(path: Path, shift_ms: int = 80) -> Path:
    """An FLV whose first frames are to be shown before time 0."""
    content, place = bytearray(h264(path, bf=0).read_bytes()), 13
    while place < len(content):  # a tag: its type, then its size in 3 bytes; behind it its whole size again
        if content[place] == 9 and content[place + 12] == 1:  # video, a picture: from decoding to showing in 3 bytes
            content[place + 13 : place + 16] = (-shift_ms).to_bytes(3, "big", signed=True)
        place += 15 + int.from_bytes(content[place + 1 : place + 4], "big")
    path.write_bytes(content)
    return path


def no_frames(path: Path) -> Path:
    """A header that promises video, and nothing after it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        container.start_encoding()
    return path


def encrypted(path: Path, codec: str = "libx264") -> Path:
    """Other noise each time: what a decoder says of it differs."""
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "12" * 16, "encryption_kid": "34" * 16}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        for _ in range(FRAMES):
            picture = np.random.default_rng(0).integers(0, 256, (SIZE_HW[0] * 3 // 2, SIZE_HW[1]), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def changing_size(path: Path) -> Path:
    """Two raw H.264 streams of different sizes, one after the other."""
    parts = [h264(path.with_name(f"{height}.h264"), size_hw=(height, 64)) for height in (48, 96)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def huge_header_count(path: Path) -> Path:
    write_lossless(path, FRAMES, SIZE_HW, codec="mpeg4", qmin=1, qmax=1)
    edit(path, b"avih", 4 + 16, struct.pack("<I", 0x7FFFFFF0))
    return edit(path, b"strh", 4 + 32, struct.pack("<I", 0x7FFFFFF0))


def list_of_files(path: Path) -> Path:
    """A text that FFmpeg plays as the files that it names."""
    other = h264(path.with_name("other.h264"))
    path.write_text(f"ffconcat version 1.0\nfile {other.name}\n")
    return path


def unknown_codec(path: Path) -> Path:
    write_lossless(path, FRAMES, SIZE_HW, codec="mpeg4")
    content = path.read_bytes().replace(b"FMP4", b"ZQ\x01\x02")
    path.write_bytes(content)
    return path


def cut(path: Path, share: float, **options) -> Path:
    h264(path, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def named(path: Path, maker_suffix: str, **options) -> Path:
    """A file whose name says another container than it is."""
    whole = h264(path.with_name(f"content{maker_suffix}"), **options)
    whole.rename(path)
    return path


def restarted(path: Path, pictures, later=None) -> Path:
    """An FLV of two encodings one after the other, whose headers differ, as after an encoder was started anew; of the
    same I420 pictures, or ``later`` ones."""
    content, shift_ms = b"", 0
    for number, (offset, part_pictures) in enumerate(((0, pictures), (12, later or pictures))):
        size_hw = (part_pictures[0].shape[0] * 2 // 3, part_pictures[0].shape[1])
        options = {"x264-params": f"qp=20:chroma-qp-offset={offset}:scenecut=0"}
        part = write_video(
            path.with_name(f"{number}.flv"), part_pictures, size_hw, codec="libx264", gop=12, bf=0, **options
        )
        data, place = part.read_bytes(), 13
        content += data[:13] if number == 0 else b""
        while place < len(
            data
        ):  # a tag: its type, then its size and its time in ms in 3 bytes each; its whole size again
            size = 11 + int.from_bytes(data[place + 1 : place + 4], "big")
            tag = bytearray(data[place : place + size])
            tag[4:7] = (int.from_bytes(tag[4:7], "big") + shift_ms).to_bytes(3, "big")
            if tag[0] == 9 and tag[12] != 2:  # of video, and not its end
                content += bytes(tag) + size.to_bytes(4, "big")
            place += size + 4
        shift_ms += 40 * len(pictures)
    path.write_bytes(content)
    return path


def of_format(
    path: Path, pix_fmt: str, yuv, size_hw=SIZE_HW, color_range=1, colorspace=6, codec="ffv1", frames=3
) -> Path:
    """One colour, given as 8-bit Y, Cb, Cr, in any pixel format."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size_hw, pix_fmt
        stream.codec_context.color_range, stream.codec_context.colorspace = color_range, colorspace
        for _ in range(frames):
            frame = av.VideoFrame(size_hw[1], size_hw[0], pix_fmt)
            frame.color_range, frame.colorspace = color_range, colorspace
            for plane, component, value in zip(frame.planes, frame.format.components, yuv, strict=False):
                kind = np.uint8 if component.bits == 8 else np.dtype("<u2")
                number = plane.buffer_size // np.dtype(kind).itemsize
                plane.update(np.full(number, value << (component.bits - 8), kind).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def intra_refresh(path: Path) -> Path:
    """H.264 whose key frames are mere recovery points: decoding from one gives other pixels."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, SIZE_HW[0] * 3 // 2, SIZE_HW[1]), np.uint8)
    return write_video(path, pictures, SIZE_HW, codec="libx264", **{"x264-params": "intra-refresh=1:keyint=12"})
