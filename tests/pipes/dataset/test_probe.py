"""Every kind of odd file is read right or refused with one sentence; counting packets agrees with decoding."""

import os

import numpy as np
import pytest

from dali_pipes import Oddity, OddityKind, VideoError, find_videos, scan_videos
from dali_pipes.dataset.probe import Refused, probe, read_video_info
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.video_file import _ORIENTATIONS, UPRIGHT
from tests import odd_videos as odd
from tests.videos import rgb_of, write_lossless, write_video

READABLE = {  # name -> maker, frames, beginning of what is noted, first frame's index in the plain video
    "plain.mp4": (odd.h264, 12, "", 0),
    "one_frame.mp4": (lambda path: odd.h264(path, frames=1), 1, "", 0),
    "b_frames.avi": (
        lambda path: write_lossless(path, 12, codec="mpeg4", bf=2, qmin=1, qmax=1),
        12,
        "starts late: at 0.040 s; frame times not in display order",
        0,
    ),
    "b_frames.ts": (odd.h264, 12, "starts late: at ", 0),
    "mkv named.avi": (lambda path: odd.named(path, ".mkv"), 12, "", 0),
    "mp4 named.wmv": (lambda path: odd.named(path, ".mp4"), 12, "", 0),
    "trimmed.mp4": (lambda path: odd.trimmed(path, 3), 9, "hidden packets: 3 of 12", 3),
    "uneven.mkv": (odd.uneven, 12, "variable rate: 40 to 160 ms", 0),
    "dropped.mp4": (odd.dropped, 8, "variable rate: 40 to 80 ms", 0),
    "in milliseconds.mp4": (odd.in_milliseconds, 12, "", 0),
    "header.avi": (odd.huge_header_count, 12, "header counts 2147483632 frames, but there are 12", 0),
    "12:30.mp4": (odd.h264, 12, "", 0),
    "new\nline, comma.mp4": (odd.h264, 12, "", 0),
    "ünïcödé 视频.mp4": (odd.h264, 12, "", 0),
    "cover.mp4": (lambda path: odd.several(path, "video", "cover"), 12, "several video streams: 2", 0),
    "cover first.mp4": (odd.cover_first, 12, "several video streams: 2", 0),
    "thumbnail first.mkv": (lambda path: odd.several(path, "thumbnail", "video"), 12, "several video streams: 2", 0),
    "preview first.mov": (lambda path: odd.several(path, "thumbnail", "video"), 12, "several video streams: 2", 0),
    "attachment.mkv": (odd.attachment, 12, "several video streams: 2", 0),
    "programmes.ts": (
        lambda path: odd.several(path, "video", "video"),
        12,
        "starts late: at 0.080 s; several video streams: 2",
        0,
    ),
    "exif.avi": (odd.exif, 12, "rotated 90 degrees clockwise", 0),
    "wide pixels.mp4": (odd.anamorphic, 12, "pixels not square: 4:3", 0),
    "wide pixels on their side.mp4": (
        lambda path: odd.turn(odd.anamorphic(path), (0, 1, -1, 0)),
        12,
        "rotated 90 degrees clockwise; pixels not square: 3:4",
        0,
    ),
    "below zero.flv": (odd.below_zero, 12, "starts late: at -0.080 s; frame times below zero; container: flv", 0),
    "b_frames of h264.avi": (odd.h264, 12, "starts late: at 0.040 s; frame times not in display order", 0),
    "cut.ts": (lambda path: odd.cut(path, 0.9, bf=0), None, "", 0),
    "cut.mkv": (lambda path: odd.cut(path, 0.9, bf=0), None, "", 0),
}
REFUSED = {  # name -> maker, reason
    "empty.mp4": (lambda path: path.touch() or path, "is empty (0 bytes)"),
    "text.mp4": (lambda path: path.write_text("no video " * 99) and path, "cannot be read as video (Invalid data"),
    "audio.mp4": (odd.audio_only, "has no video stream"),
    "cover.m4a.mp4": (lambda path: odd.several(path, "sound", "cover"), "has no video stream, only a cover picture"),
    "no_frames.avi": (odd.no_frames, "has no frames"),
    "encrypted.mp4": (odd.encrypted, "cannot be read as video (it is encrypted)"),
    "encrypted mpeg2.mp4": (
        lambda path: odd.encrypted(path, "mpeg2video"),
        "cannot be read as video (it is encrypted)",
    ),
    "changing.h264": (odd.changing_size, "changes its frame size from 64x48 to 64x96 at frame 12"),
    "unknown.avi": (odd.unknown_codec, "has a video codec that PyAV does not support"),
    "cut.mp4": (lambda path: odd.cut(path, 0.5), "has no video stream"),
    "cut.avi": (lambda path: odd.cut(path, 0.1), "cannot be read as video (Invalid data"),
    "askew.mp4": (lambda path: odd.turn(odd.h264(path), (0.7, 0.7, -0.7, 0.7)), "is rotated by an angle"),
    "list.mp4": (odd.list_of_files, "is a list of other files, not a video"),
    "ycgco.mp4": (
        lambda path: odd.of_format(path, "yuv420p", (120, 90, 160), colorspace=8, codec="libx264"),
        "its colour matrix is YCgCo",
    ),
    "folder.mp4": (lambda path: path.mkdir() or path, "is not a regular file"),
    "pipe.mp4": (lambda path: os.mkfifo(path) or path, "is empty (0 bytes)"),
    "device.mp4": (lambda path: path.symlink_to("/dev/zero") or path, "is empty (0 bytes)"),
    "loop.mp4": (lambda path: path.symlink_to(path) or path, "Too many levels of symbolic links"),
    "gone.mp4": (lambda path: path, "No such file or directory"),
}


@pytest.mark.parametrize("name", READABLE)
def test_odd_files_are_read_right(tmp_path, name):
    maker, frames, note, first = READABLE[name]
    path = str(maker(tmp_path / name))
    info = read_video_info(path)
    assert odd.odd_text(info).startswith(note) and (info.oddities or not note) and info.verified
    assert frames is None or info.num_frames == frames
    counted = read_video_info(path, verify=False)
    assert (counted.num_frames, counted.oddities) == (info.num_frames, info.oddities)
    shown = decode_frames(path, range(info.num_frames)).mean(axis=(1, 2, 3))
    expected = [rgb_of(first + index) for index in range(info.num_frames)]
    assert np.abs(shown - expected).max() < 1.7  # neighbours differ by 3.5
    with pytest.raises(VideoError, match="frame .* is requested"):
        decode_frames(path, [info.num_frames])


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_with_a_sentence(tmp_path, name):
    maker, reason = REFUSED[name]
    path = str(maker(tmp_path / name))
    outcome = probe(path, True, 30.0)
    assert isinstance(outcome, Refused) and outcome.reason.startswith(reason) and "\n" not in outcome.reason
    with pytest.raises(VideoError) as caught:
        decode_frames(path, range(40))
    assert str(caught.value).startswith(f"{path}: ")


def test_one_bad_file_of_each_kind_among_good_ones(tmp_path):
    names = {name for name in REFUSED if not name.endswith(".h264")}  # others lie beside it
    for name in names | {"plain.mp4"}:
        (tmp_path / "a").mkdir(exist_ok=True)
        (READABLE if name == "plain.mp4" else REFUSED)[name][0](tmp_path / "a" / name)
    (tmp_path / "a" / "folder.mp4").rmdir()
    (tmp_path / "a" / "gone.mp4").symlink_to(tmp_path / "nowhere")
    manifest = scan_videos(find_videos(tmp_path), time_limit_s=30.0)
    good = ["other.h264", "plain.mp4"]  # the first is named in the list of files
    assert [os.path.basename(video.path) for video in manifest.videos] == good
    assert {os.path.basename(path) for path in manifest.refused} == names - {"folder.mp4"}


@pytest.mark.parametrize("matrix", odd.ORIENTATION_MATRICES)
@pytest.mark.parametrize("flip", [False, True])
def test_orientation_is_applied(tmp_path, matrix, flip):
    """Against the same file with an upright header, turned by numpy; whole, cut and scaled."""
    width = np.arange(64)
    planes = np.full((72, 64), 128, np.uint8)
    planes[:48] = 30 + 2 * width + np.arange(48)[:, None]
    path = write_video(tmp_path / "video.mp4", [planes] * 3, (48, 64), codec="libx264", qp=1)
    upright = decode_frames(str(path), [1])[0]
    odd.turn(path, matrix)
    expected = odd.ORIENTATION_MATRICES[matrix](upright)
    info = read_video_info(str(path))
    assert (info.height, info.width) == expected.shape[:2]
    assert odd.odd_text(info).startswith(("rotated", "mirrored")) is (matrix != (1, 0, 0, 1))
    mirrored = expected[:, ::-1] if flip else expected
    size_hw = (info.height, info.width)
    assert np.abs(decode_frames(str(path), [1], flip=flip, size_hw=size_hw)[0].astype(int) - mirrored).max() <= 1
    y0, x0, y1, x1 = box = (4, 10, 28, 34)
    part = expected[y0:y1, x0:x1][:, :: -1 if flip else 1].astype(float)
    halved = part.reshape(12, 2, 12, 2, 3).mean(axis=(1, 3))
    assert np.abs(decode_frames(str(path), [1], box, flip=flip)[0] - part).max() <= 1
    assert np.abs(decode_frames(str(path), [1], box, 12, flip=flip)[0] - halved).max() <= 3


def test_oddities_are_texts_and_back():
    """Each is of one kind, also where the words of another are part of its text."""
    for kind in OddityKind:
        for detail in ("", ": 3 of 4", " 90 degrees clockwise"):
            assert Oddity.parse(f"{kind.words}{detail}") == Oddity(kind, detail)
    turned = [Oddity.parse(text).kind for orientation, text in _ORIENTATIONS.items() if orientation != UPRIGHT]
    assert set(turned) == {OddityKind.ROTATED, OddityKind.MIRRORED}
    with pytest.raises(ValueError, match="unknown oddity 'sepia': must start with one of variable rate, starts late"):
        Oddity.parse("sepia")


def test_shared_odd_clips(shared_clips):
    """Whatever a file is, it is read right or refused;
    counting packets is decoding but where damage lies further on."""
    files = sorted(path for path in (shared_clips / "odd").rglob("*") if path.is_file())
    assert len(files) > 40
    damaged_later = 0
    for path in map(str, files):
        counted, decoded = probe(path, False, 60.0), probe(path, True, 60.0)
        if isinstance(decoded, Refused):
            assert "\n" not in decoded.reason and "cannot be read (" not in decoded.reason
            damaged_later += not isinstance(counted, Refused)
            continue
        assert counted.num_frames == decoded.num_frames, path
        size_hw = (decoded.height, decoded.width)
        last = decode_frames(path, [decoded.num_frames - 1, 0], size_hw=size_hw, exact_times=decoded.exact_times)
        assert last.shape == (2, *size_hw, 3)
    assert damaged_later <= 3
