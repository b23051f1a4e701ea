"""Copies show what the originals show, at a constant rate, with many key frames;
calls can be interrupted and repeated."""

import csv
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dali_pipes import InputError, OddityKind, VideoError
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.dataset.transcode import CopySettings, constant_rate, main, transcode_folder, transcode_video
from dali_pipes.decode.dali import why_not_dali
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.video_file import open_video
from tests import odd_videos as odd
from tests.videos import natural_clip, rgb_of, write_lossless, write_video


def report(out: Path) -> dict[str, dict]:
    with open(out / "transcode.csv") as file:
        return {Path(row["source"]).name: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    "milliseconds, rate, expected",
    [
        ([0, 100, 200], 10, [0, 1, 2]),
        ([0, 100, 400], 10, [0, 1, 1, 1, 2]),
        ([0, 10, 20, 100], 10, [2, 3]),
        ([0, 33, 67, 100, 133], 15, [1, 2, 4]),
        ([0], 25, [0]),
        ([200, 400], 10, [0, 0, 0, 0, 1]),
        ([], 25, []),
    ],
)
def test_constant_rate(milliseconds, rate, expected):
    frames = [(Fraction(ms, 1000), index) for index, ms in enumerate(milliseconds)]
    assert list(constant_rate(frames, Fraction(rate))) == expected


@pytest.mark.parametrize("matrix", odd.ORIENTATION_MATRICES)
def test_a_copy_looks_like_its_original(tmp_path, matrix):
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(20, 96, 128)]
    path = write_video(tmp_path / "video.mp4", planes, (96, 128), codec="libx264", qp=1, bf=2)
    original = decode_frames(str(path), range(20))
    turn = odd.ORIENTATION_MATRICES[matrix]
    odd.turn(path, matrix)
    target = str(tmp_path / "copy.mp4")
    assert transcode_video(str(path), target, CopySettings(short_side_px=48, crf=4, key_every_frames=5)) == (20, 20)
    info = read_video_info(target)
    assert (info.codec, info.num_frames, info.fps, info.oddities, info.exact_times) == ("h264", 20, 25.0, (), True)
    copy = decode_frames(target, range(20))
    expected = np.stack(
        [cv2.resize(turn(frame), copy.shape[2:0:-1], interpolation=cv2.INTER_AREA) for frame in original]
    )
    difference = copy - expected.astype(float)
    assert copy.shape[1:3] in ((48, 64), (64, 48))
    assert np.abs(difference).mean() < 5 and np.abs(difference.mean(axis=(0, 1, 2))).max() < 1  # fine grain costs some
    assert np.abs(copy[:, ::-1, ::-1] - expected.astype(float)).mean() > 15
    with open_video(target) as reader:
        keys = [index for index, packet in enumerate(p for p in reader.packets() if p.size) if packet.is_keyframe]
        assert max(np.diff([*keys, 20])) <= 5
        assert len(reader.container.streams) == 1


@pytest.mark.parametrize(
    "pix_fmt, color_range, colorspace",
    [
        ("yuv444p", 1, 6),
        ("yuv420p", 2, 6),
        ("yuv420p", 1, 1),
        ("yuv420p10le", 1, 6),
        ("gray", 2, 6),
        ("yuv422p", 2, 1),
    ],
)
def test_colours_stay(tmp_path, pix_fmt, color_range, colorspace):
    path = odd.of_format(tmp_path / "video.mkv", pix_fmt, (120, 100, 150), (50, 66), color_range, colorspace)
    transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings())
    before, after = (
        decode_frames(str(tmp_path / name), [1]).mean(axis=(0, 1, 2)) for name in ("video.mkv", "copy.mp4")
    )
    assert np.abs(before - after).max() < 3.5
    assert why_not_dali(read_video_info(str(tmp_path / "copy.mp4"))) is None  # so DALI may decode it


def test_a_rate_that_is_no_small_fraction_is_refused():
    with pytest.raises(InputError, match="Invalid fps 0.0004: must be at least 0.01, or 0"):
        CopySettings(fps=0.0004)


def test_uneven_times_become_even(tmp_path):
    """40 ms apart, but for 160 ms between frames 5 and 6: frame 5 is shown four times."""
    path = odd.uneven(tmp_path / "video.mkv")
    transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings(fps=25, crf=1))
    info = read_video_info(str(tmp_path / "copy.mp4"))
    shown = decode_frames(info.path, range(info.num_frames)).mean(axis=(1, 2, 3))
    indices = [int(np.abs(np.array([rgb_of(i) for i in range(12)]) - value).argmin()) for value in shown]
    assert info.fps == 25 and info.oddity(OddityKind.VARIABLE_RATE) is None
    assert indices == [0, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, 9, 10, 11]


def test_a_gap_in_time_is_not_filled(tmp_path):
    path = odd.uneven(tmp_path / "video.mkv", gap_ms=7_200_000)
    with pytest.raises(VideoError, match="has a gap of 7200 s between frames 5 and 6"):
        transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings())


def test_small_videos_keep_their_size(tmp_path):
    path = write_lossless(tmp_path / "video.avi", 5, (48, 64))
    transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings())
    info = read_video_info(str(tmp_path / "copy.mp4"))
    assert (info.width, info.height) == (64, 48)
    path = odd.of_format(tmp_path / "odd.mkv", "yuv444p", (100, 90, 80), (49, 63))
    transcode_video(str(path), str(tmp_path / "even.mp4"), CopySettings())
    info = read_video_info(str(tmp_path / "even.mp4"))
    assert (info.width, info.height) == (64, 48)  # of 63x49


@pytest.mark.parametrize(
    "pixel_shape, short_side_px, size_hw",
    [
        ("4/3", 256, (72, 128)),
        ("4/3", 36, (36, 64)),
        ("3/4", 256, (96, 96)),
        ("16/15", 256, (72, 102)),
        ("1/1", 256, (72, 96)),
    ],
)
@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, 1)])
def test_pixels_become_square(tmp_path, pixel_shape, short_side_px, size_hw, matrix):
    """A disc that is round as shown is round in the copy, upright or turned."""
    (height, width), ratio = (72, 96), float(Fraction(pixel_shape))
    y, x = np.mgrid[:height, :width]
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = np.where(np.hypot(y - 35.5, (x - 47.5) * ratio) < 30, 220, 30)
    options = {"x264-params": f"sar={pixel_shape}", "qp": 1}
    path = write_video(tmp_path / "video.mp4", [planes] * 3, (height, width), codec="libx264", **options)
    odd.turn(path, matrix)
    transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings(short_side_px=short_side_px, crf=4))
    info = read_video_info(str(tmp_path / "copy.mp4"))
    assert info.oddities == () and (info.height, info.width) == (size_hw[::-1] if matrix[1] else size_hw)
    disc = decode_frames(info.path, [1])[0].mean(axis=2) > 125
    tall, wide = (int(disc.any(axis=axis).sum()) for axis in (1, 0))
    assert abs(tall - wide) <= 2 and tall >= 28


def test_pixels_of_a_shape_beyond_reason(tmp_path):
    path = odd.edit(
        odd.h264(tmp_path / "video.mp4"), b"tkhd", 76, (25600 << 16).to_bytes(4, "big")
    )  # its width as shown
    with pytest.raises(
        VideoError,
        match="video.mp4: with square pixels its size would be 25600x48, but x264 supports at most 16384 pixels per "
        "side",
    ):
        transcode_video(str(path), str(tmp_path / "copy.mp4"), CopySettings())


@pytest.mark.parametrize(
    "maker, name",
    [
        (odd.cover_first, "cover.mp4"),
        (lambda path: odd.several(path, "thumbnail", "video"), "thumbnail.mkv"),
        (lambda path: write_lossless(path, 12, codec="mpeg4", bf=2, qmin=1, qmax=1), "b_frames.avi"),
    ],
)
def test_a_copy_is_of_the_video_in_its_order(tmp_path, maker, name):
    """Not of a cover picture, and DALI may decode it."""
    transcode_video(str(maker(tmp_path / name)), str(tmp_path / "copy.mp4"), CopySettings(crf=1))
    info = read_video_info(str(tmp_path / "copy.mp4"))
    assert (info.num_frames, info.oddities, why_not_dali(info)) == (12, (), None)
    shown = decode_frames(info.path, range(12)).mean(axis=(1, 2, 3))
    assert np.abs(shown - [rgb_of(index) for index in range(12)]).max() < 1.7


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(3):
        write_lossless(tmp_path / "in" / "a" / f"{number}.avi", 8 + number)
    odd.h264(tmp_path / "in" / "whole.mp4", frames=9)
    (tmp_path / "in" / "b").mkdir()
    odd.encrypted(tmp_path / "in" / "b" / "encrypted.mp4")
    odd.cut(tmp_path / "in" / "b" / "cut.mp4", 0.4)
    (tmp_path / "in" / "b" / "notes.txt").write_text("left alone")
    return tmp_path


def test_a_folder_is_copied_and_kept(folder, capsys):
    out = folder / "out"
    arguments = [str(folder / "in"), str(out), "--workers", "2"]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert (
        "copies made: 4, existing copies kept: 0, videos refused: 2" in shown
        and "encrypted.mp4: cannot be read as video (it is encrypted)" in shown
    )
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert made == ["a/0.mp4", "a/1.mp4", "a/2.mp4", "transcode.csv", "whole.mp4"]
    rows = report(out)
    assert (
        rows["1.avi"]["frames_written"] == "9" and rows["cut.mp4"]["result"] == "refused" and rows["cut.mp4"]["reason"]
    )
    assert read_video_info(str(out / "a" / "2.mp4")).num_frames == 10
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    write_lossless(folder / "in" / "a" / "1.avi", 15)
    assert main(arguments) == 1
    assert "copies made: 1, existing copies kept: 3, videos refused: 2" in capsys.readouterr().out
    assert [path.name for path in times if path.stat().st_mtime_ns != times[path]] == ["1.mp4"]
    assert main([*arguments, "--crf", "30"]) == 1
    assert "copies made: 4, existing copies kept: 0" in capsys.readouterr().out


def test_interrupted_and_gone_on_with(tmp_path):
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(8, 480, 640)] * 20
    for number in range(4):
        write_video(tmp_path / "in" / f"{number}.mp4", planes, (480, 640), codec="mpeg4")
    command = [
        sys.executable,
        "-m",
        "dali_pipes.transcode",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--workers",
        "2",
    ]
    command += ["--short-side-px", "480"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list((tmp_path / "out").glob("*.mp4")):
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130 and "interrupted; run the same command again" in process.stderr.read()
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    done = [name for name in left if name.endswith(".mp4")]
    assert 1 <= len(done) < 4 and not [name for name in left if "draft" in name]
    assert all(read_video_info(str(tmp_path / "out" / name)).num_frames == 160 for name in done)
    result = subprocess.run(command, capture_output=True, text=True)
    assert (
        result.returncode == 0
        and f"copies made: {4 - len(done)}, existing copies kept: {len(done)}, videos refused: 0" in result.stdout
    )


def test_what_stands_in_the_way(folder):
    source, settings = folder / "in", CopySettings()
    with pytest.raises(InputError, match="is in .*, so the copies would be copied again"):
        transcode_folder(source, source / "out", settings)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        transcode_folder(folder / "nowhere", folder / "out", settings)
    with pytest.raises(InputError, match="contains no videos"):
        (folder / "empty").mkdir()
        transcode_folder(folder / "empty", folder / "out", settings)
    write_lossless(source / "whole.avi", 3)
    with pytest.raises(InputError, match="whole.avi and .*whole.mp4: both would be copied to .*whole.mp4"):
        transcode_folder(source, folder / "out", settings)
    (source / "whole.avi").unlink()
    (folder / "other").mkdir()
    (folder / "other" / "whole.mp4").write_text("precious")
    with pytest.raises(InputError, match="whole.mp4: was not written by this program, so it is not replaced"):
        transcode_folder(source, folder / "other", settings)
    assert (folder / "other" / "whole.mp4").read_text() == "precious"


def test_what_cannot_be_written_and_what_was_damaged_is_said(tmp_path, capsys):
    source = tmp_path / "in" / ("v" * 240 + ".avi")
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(20, 96, 128)]
    content = bytearray(write_video(source, planes, (96, 128), codec="mpeg4").read_bytes())
    middle = int(0.7 * len(content))
    content[middle : middle + 100] = bytes(100)
    source.write_bytes(content)
    assert read_video_info(str(source)).oddity(OddityKind.DAMAGED)
    (tmp_path / "out").write_text("a file")
    assert main([str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "cannot be created as a folder (File exists)" in capsys.readouterr().err
    assert main([str(tmp_path / "in"), str(tmp_path / "copies")]) == 0
    assert "copies made: 1" in (shown := capsys.readouterr().out) and "damaged, mpeg4 says: " in shown
    (row,) = report(tmp_path / "copies").values()
    assert row["result"] == "made" and row["reason"].startswith("damaged, mpeg4 says: ")


def test_a_source_that_is_bad_leaves_nothing(tmp_path):
    pictures = [np.full((rows * 3 // 2, 64), 128, np.uint8) for rows in (48, 96)]
    path = odd.restarted(tmp_path / "changing.flv", [pictures[0]] * 30, [pictures[1]] * 30)
    with pytest.raises(VideoError, match="changing.flv: its frame size changes to 64x96"):
        transcode_video(str(path), str(tmp_path / "out" / "copy.mp4"), CopySettings())
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        (["--crf", "52"], "Invalid --crf 52: must be between 0 and 51"),
        (["--short-side-px", "3"], "Invalid --short-side-px 3: must be between 16 and 8192"),
        (["--fps", "-1"], "Invalid --fps -1: must be between 0 and 1000"),
        (["--key-every-frames", "0"], "Invalid --key-every-frames 0: must be"),
        (["--workers", "0"], "Invalid --workers 0: must be at least 1"),
    ],
)
def test_wrong_options(tmp_path, capsys, options, message):
    assert main([str(tmp_path), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
