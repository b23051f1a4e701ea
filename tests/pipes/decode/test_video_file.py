"""Decoding from a key frame gives the frames of a decode from the beginning, bit by bit."""

from itertools import islice

import av
import cv2
import numpy as np
import pytest

from dali_pipes import OddityKind, VideoError
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.pyav import open_input
from dali_pipes.decode.video_file import has_idr, open_video
from tests import odd_videos as odd
from tests.videos import natural_clip, write_video

NUM_FRAMES = 70
# name -> codec, options, whether decoding may begin in the middle
FILES = {
    "closed.mp4": ("libx264", {"bf": 3}, True),
    "closed.mkv": ("libx264", {"bf": 3}, True),
    "closed.ts": ("libx264", {"bf": 3}, True),
    "open.mp4": ("libx264", {"bf": 3, "x264-params": "open-gop=1:bframes=3"}, False),
    "refresh.mp4": ("libx264", {"bf": 0, "x264-params": "intra-refresh=1:scenecut=0"}, False),
    "open_hevc.mp4": ("libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"}, True),
    "mpeg4.avi": ("mpeg4", {}, True),
    "mpeg4.mp4": ("mpeg4", {"bf": 2}, True),
    "mpeg4_b.avi": ("mpeg4", {"bf": 2}, True),
    "mpeg2.mp4": ("mpeg2video", {"bf": 2}, True),
    "mpeg1.mpg": ("mpeg1video", {"bf": 2}, True),
    "mjpeg.avi": ("mjpeg", {"strict": "unofficial"}, True),
    "ffv1.mkv": ("ffv1", {}, True),
    "vp8.webm": ("libvpx", {"auto-alt-ref": 1, "lag-in-frames": 16}, True),
    "vp9.webm": ("libvpx-vp9", {}, True),
}


@pytest.fixture(scope="module")
def planes():
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(NUM_FRAMES, 48, 64)]


def sequential(path) -> list[np.ndarray]:
    """The oracle: nothing of ours but the colour conversion is left out."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", FILES)
def test_frames_from_a_key_frame(tmp_path, planes, name):
    codec, options, skips = FILES[name]
    path = write_video(tmp_path / name, planes, (48, 64), codec=codec, gop=12, **options)
    expected = sequential(path)
    info = read_video_info(str(path))
    assert info.num_frames == len(expected) == NUM_FRAMES
    starts = set()
    if info.exact_times:
        for first in range(0, NUM_FRAMES, 3):
            with open_video(str(path)) as reader:
                frames = list(islice(reader.frames_from(first), first % 5 + 20))
            starts.add(frames[0][0])
            assert [index for index, _ in frames] == [*range(frames[0][0], frames[-1][0] + 1)]
            assert frames[0][0] <= first and all(np.array_equal(f.to_ndarray(), expected[i]) for i, f in frames)
    assert (len(starts) > 3) is skips
    wanted = [60, 61, 44, 69]
    ours = decode_frames(str(path), wanted, exact_times=info.exact_times)
    assert np.array_equal(ours, decode_frames(str(path), wanted))


def test_hidden_packets_are_noticed(tmp_path):
    """Where not every packet is a frame, the file is decoded from its beginning, whatever is said of it."""
    path = odd.trimmed(tmp_path / "trimmed.mp4", 20, frames=60, g=8)
    assert not read_video_info(str(path)).exact_times
    for plan in ([0, 5, 8], [30, 39], [39]):
        assert np.array_equal(decode_frames(str(path), plan, exact_times=True), decode_frames(str(path), plan))


@pytest.mark.parametrize(
    "codec, options", [("mpeg4", {}), ("mpeg4", {"bf": 2}), ("mpeg2video", {"bf": 2}), ("libx265", {})]
)
def test_containers_that_call_every_packet_a_key_frame(tmp_path, planes, codec, options):
    """An MP4 without its table of key frames; what the decoder says counts."""
    if codec == "libx265":
        options = {"x265-params": "log-level=none:bframes=0"}
    path = write_video(tmp_path / "video.mp4", planes, (48, 64), codec=codec, gop=12, **options)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert not read_video_info(str(path)).exact_times
    assert len(decode_frames(str(path), [69], exact_times=True)) == 1  # said wrongly: not refused


def test_headers_that_change_in_the_middle(tmp_path, planes):
    path = odd.restarted(tmp_path / "both.flv", planes)
    info = read_video_info(str(path))
    assert info.num_frames == 2 * NUM_FRAMES and info.oddity(OddityKind.VARIABLE_RATE) is None and not info.exact_times
    with open_video(str(path)) as reader:
        told = [packet.has_sidedata("new_extradata") for packet in reader.packets() if packet.size]
    assert told.count(True) == 1 and told[NUM_FRAMES]


def test_packets_before_the_key_frame_are_not_decoded(tmp_path, planes):
    path = write_video(tmp_path / "video.mp4", planes, (48, 64), codec="libx264", gop=12, bf=0, sc_threshold=0)
    with open_video(str(path)) as reader:
        index, _ = next(reader.frames_from(66))
        assert index == 60 and reader.count < 5


def test_real_and_odd_clips(shared_clips):
    skipped = 0
    for path in sorted(
        path for path in shared_clips.rglob("*") if path.is_file() and path.suffix not in (".md", ".txt")
    ):
        try:
            info = read_video_info(str(path))
        except VideoError:
            continue
        expected = [frame.tobytes() for frame in sequential_rgb(path)]
        assert info.num_frames == len(expected)
        if not info.exact_times:
            continue
        for first in {info.num_frames // 2, info.num_frames - 1}:
            with open_video(str(path)) as reader:
                frames = list(islice(reader.frames_from(first), 30))
            skipped += frames[0][0] > 0
            assert all(frame.to_ndarray(format="rgb24").tobytes() == expected[i] for i, frame in frames), path
    assert skipped >= 8


def sequential_rgb(path) -> list[np.ndarray]:
    with open_input(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


@pytest.mark.parametrize("kind, expected", [(5, True), (1, False), (6, False)])
def test_idr_units(kind, expected):
    unit = bytes([0x60 | kind]) + b"\x88\x84" * 3
    avcc = b"\x01\x64\x00\x1f\xff\xe1"  # lengths of 4 bytes
    header = bytes([0x67]) + b"\1\2\3"
    assert has_idr(len(header).to_bytes(4, "big") + header + len(unit).to_bytes(4, "big") + unit, avcc) is expected
    assert has_idr(b"\0\0\0\1" + header + b"\0\0\1" + unit, None) is expected
    assert has_idr(b"", avcc) is False and has_idr(b"\0\0\1", b"") is False
