"""What DALI would show in another order, or of another stream, is not left to it:
by DALI's own index of the packets."""

from types import SimpleNamespace

import pytest
import torch

from dali_pipes import InputError, OddityKind, scan_videos
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.decode import dali as dali_decoder
from dali_pipes.decode.dali import dali_decode, why_not_dali
from dali_pipes.decode.video_file import open_video
from dali_pipes.loader import clip_reader, stream_reader
from dali_pipes.loader.clip_reader import ClipReader
from dali_pipes.loader.stream_reader import StreamReader, takes_frame_ranges, why_not_stream
from tests import odd_videos as odd
from tests.dali_container import order_by_dali, packet_times
from tests.dali_decoding import decode_with_dali
from tests.odd_videos import odd_text
from tests.videos import write_lossless

CUDA = torch.device("cuda", 0)
FILES = {  # name -> maker, whether DALI orders its frames as they are shown
    "mpeg4_b.avi": (lambda path: write_lossless(path, 30, codec="mpeg4", bf=2), False),
    "h264_b.avi": (lambda path: odd.h264(path, frames=30), False),
    "below_zero.flv": (odd.below_zero, False),
    "mpeg4.avi": (lambda path: write_lossless(path, 30, codec="mpeg4"), True),
    "h264.avi": (lambda path: odd.h264(path, frames=30, bf=0), True),
    "mpeg4_b.mp4": (lambda path: write_lossless(path, 30, codec="mpeg4", bf=2), True),
    "mpeg4_b.mkv": (lambda path: write_lossless(path, 30, codec="mpeg4", bf=2), True),
    "h264_b.mp4": (lambda path: odd.h264(path, frames=30), True),
    "h264_b.mkv": (lambda path: odd.h264(path, frames=30), True),
    "h264_b.ts": (lambda path: odd.h264(path, frames=30), True),
    "vp9.webm": (lambda path: write_lossless(path, 30, codec="libvpx-vp9"), True),
}


def order_shown(path: str) -> list[int]:
    """Which packet each frame was in, in the order of showing."""
    with open_video(path) as reader:
        times, shown = [], []
        for packet in reader.packets():
            if packet.size:
                times.append(packet.pts)
            shown += [frame.pts for frame in reader.decode(packet)]
    assert len(set(times)) == len(times)
    return [times.index(time) for time in shown]


def shown_before_their_key_frame(path: str) -> int:
    """How many frames are stored after a key frame and shown before it, as decoded from the beginning."""
    with open_video(path) as reader:
        is_key = [packet.is_keyframe for packet in reader.packets() if packet.size]
    place_of = {packet: place for place, packet in enumerate(order_shown(path))}
    last_key = [max(key for key in range(packet + 1) if is_key[key]) for packet in place_of]
    return sum(place_of[packet] < place_of[key] for packet, key in zip(place_of, last_key, strict=True))


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_dali_gets_what_it_orders_right(tmp_path, name, verify):
    maker, right = FILES[name]
    path = str(maker(tmp_path / name))
    assert (order_by_dali(path) == order_shown(path)) is right
    obstacle = why_not_dali(read_video_info(path, verify=verify))
    assert obstacle is None if right else f"{path} has an unusual property (frame times " in obstacle


def test_dali_would_take_the_thumbnail(tmp_path):
    path = str(odd.several(tmp_path / "video.mkv", "thumbnail", "video"))
    stream, _ = packet_times(path)
    with open_video(path) as reader:
        assert (reader.stream.index, stream) == (1, 0)
    assert "several video streams: 2" in why_not_dali(read_video_info(path))


def test_real_clips(shared_clips):
    """UCF-101's and HMDB-51's with B-frames go to the CPU, and no others."""
    obstacles = {}
    for path in sorted((shared_clips / "actions").rglob("*.avi")):
        infos = [read_video_info(str(path), verify=verify) for verify in (True, False)]
        assert infos[0].oddities == infos[1].oddities
        obstacles[path.parent.name] = "frame times not in display order" in odd_text(infos[0])
        if not infos[0].oddities:
            assert order_by_dali(str(path)) == list(range(infos[0].num_frames))
    assert obstacles["wave"] and obstacles["ApplyEyeMakeup"] and not obstacles["BaseballPitch"]


@pytest.mark.parametrize(
    "name, maker, note",
    [
        ("b_frames.avi", FILES["mpeg4_b.avi"][0], "frame times not in display order"),
        ("cover.mp4", odd.cover_first, "several video streams: 2"),
    ],
)
def test_who_decodes_them(tmp_path, monkeypatch, name, maker, note):
    """The choice alone: nothing here needs a GPU."""
    for reader in (clip_reader, stream_reader):
        monkeypatch.setattr(reader, "why_no_gpu_decoder", lambda: None)
    monkeypatch.setattr(clip_reader, "DALI_VERSION", (2, 4))
    videos = scan_videos([(str(maker(tmp_path / name)), "a")], verify=False).videos
    assert ClipReader.choose_decoder("auto", CUDA, videos, 2) == "cpu"
    way_out = rf"{name} has an unusual property .{note}., which DALI does not decode correctly .*; choose"
    with pytest.raises(InputError, match=f"Invalid decoder 'gpu': cannot be used, because .*{way_out} cpu or auto"):
        ClipReader.choose_decoder("gpu", CUDA, videos, 2)
    with pytest.raises(InputError, match=f"Invalid reader 'stream': cannot be used, because .*{way_out} clips"):
        StreamReader.choose_decoder("auto", CUDA, videos, 2)


def test_pixels_that_are_not_square_are_no_obstacle(tmp_path):
    assert why_not_dali(read_video_info(str(odd.anamorphic(tmp_path / "video.mp4")))) is None


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "name, codec, options, loses",
    [
        ("b.mp4", "mpeg4", {"bf": 2, "sc_threshold": 10**9}, True),
        ("b.mkv", "mpeg4", {"bf": 2, "sc_threshold": 10**9}, True),
        ("closed.mp4", "mpeg4", {"bf": 2, "sc_threshold": 10**9, "flags": "+cgop"}, False),
        ("no_b.mp4", "mpeg4", {}, False),
        ("open_hevc.mp4", "libx265", {"x265-params": "open-gop=1:bframes=3:b-adapt=0:log-level=none"}, True),
        ("closed_hevc.mp4", "libx265", {"x265-params": "open-gop=0:bframes=3:b-adapt=0:log-level=none"}, False),
        (
            "open.mp4",
            "libx264",
            {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"},
            False,
        ),  # DALI seeks to its IDR frames
        ("vp9.webm", "libvpx-vp9", {}, False),
    ],
)
def test_frames_that_dali_loses_where_it_seeks(tmp_path, name, codec, options, loses, verify):
    """As in the middle of a file those do that are stored after a key frame and shown before it."""
    path = str(write_lossless(tmp_path / name, 60, (64, 64), codec=codec, gop=20, **options))
    video = read_video_info(path, verify=verify)
    found = video.oddity(OddityKind.OPEN_GROUPS)
    assert why_not_dali(video) is None  # decodes from the beginning
    if loses:
        assert found.detail == f": {shown_before_their_key_frame(path)} frames are shown before their key frame"
        reason = (
            f"{path} has an unusual property (open groups{found.detail}), so DALI's video reader returns wrong "
            "frames when it "
            "seeks"
        )
        assert why_not_stream(video, "gpu") == reason
    else:
        assert found is None and (not takes_frame_ranges() or why_not_stream(video, "gpu") is None)
        assert name == "open.mp4" or shown_before_their_key_frame(path) == 0


@pytest.mark.parametrize("container", ["flv", "mpg"])
def test_containers_that_dali_cannot_open(tmp_path, container):
    path = str(odd.h264(tmp_path / f"video.{container}"))
    video = read_video_info(path, verify=False)
    assert video.oddity(OddityKind.CONTAINER) and f"{path} has an unusual property (" in why_not_dali(video)
    if dali_decoder.DALI_VERSION >= (2, 0):
        with pytest.raises(RuntimeError, match="Failed to create video decoder"):
            decode_with_dali(path, [0], "cpu")


@pytest.mark.parametrize("container", ["ts", "mp4", "mkv"])
def test_containers_in_which_dali_cannot_seek(tmp_path, container):
    path = str(odd.h264(tmp_path / f"video.{container}"))
    video = read_video_info(path, verify=False)
    assert why_not_dali(video) is None
    if container == "ts":
        assert f"{path} has an unusual property (no index: mpegts), so DALI's video reader returns" in why_not_stream(
            video, "gpu"
        )
    else:
        assert video.oddity(OddityKind.NO_KEY_FRAME_INDEX) is None


@pytest.mark.parametrize("takes_it", [True, False])
def test_dali_decodes_from_the_beginning(monkeypatch, takes_it):
    """Where it seeks, it loses the frames that are shown before the key frame, and counts wrongly from there on."""

    def today(encoded, *, device, frames, build_index=True):
        return build_index

    def earlier(encoded, *, device, frames):
        return None

    decoders = SimpleNamespace(video=today if takes_it else earlier)
    monkeypatch.setattr(dali_decoder, "fn", SimpleNamespace(decoders=decoders))
    assert dali_decode(None, None, device="mixed") is (False if takes_it else None)
