"""The comparison of decoders: wrong counts, shifted frames, static videos and failing decoders, and its page."""

import faulthandler
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import odd_videos
from tests.videos import natural_clip, write_video

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "studies")]
import decoder_process as process  # noqa: E402
import decoder_readers as readers  # noqa: E402
import decoders  # noqa: E402
from decoder_readers import READERS, REFERENCE, Reader  # noqa: E402
from frame_matching import match, thumbnail  # noqa: E402

FRAMES, SIZE_HW = 40, (96, 128)


@pytest.fixture(scope="module")
def moving(tmp_path_factory) -> Path:
    """Every frame differs from all others."""
    planes = [odd_planes(frame) for frame in natural_clip(FRAMES, *SIZE_HW)]
    return write_video(tmp_path_factory.mktemp("moving") / "moving.avi", planes, SIZE_HW)


def odd_planes(frame_HWC: np.ndarray) -> np.ndarray:
    """I420 of the same luma, without colour."""
    luma = frame_HWC.mean(axis=-1).astype(np.uint8)
    return np.concatenate([luma, np.full((len(luma) // 2, luma.shape[1]), 128, np.uint8)])


def changed(change, count=None) -> Reader:
    """A decoder that makes what ``change`` does of the right frames of [start, stop)."""

    def frames(path, start, stop):
        right = list(readers.reference_frames(path))
        return iter(change(right, start, len(right) if stop is None else stop))

    return Reader("changed", frames, "av", count)


def verdict_of(path: Path, reader: Reader) -> decoders.Verdict:
    (reference,) = process.read_files(REFERENCE, [(str(path), [])], 60)
    frames = len(reference.reads[0].thumbnails)
    (outcome,) = process.read_files(reader, [(str(path), decoders.windows_of(frames))], 60)
    return decoders.judge(outcome, reference)


@pytest.mark.parametrize("name", ["ours", "opencv-sequential", "opencv-seek", "pyav-sequential"])
def test_right_frames_are_right_whatever_the_conversion_of_colours(moving, name):
    verdict = verdict_of(moving, READERS[name])
    assert verdict.expected == verdict.count == FRAMES and len(verdict.matches) == 3
    assert verdict.has_count and verdict.has_frames and decoders.described(verdict) == ""


@pytest.mark.parametrize("shift", [1, 2, -1, -2])
def test_a_shift_is_recognised_also_in_other_colours(moving, shift):
    def shifted(right, start, stop):
        numbers = np.clip(np.arange(start, stop) + shift, 0, len(right) - 1)
        return [(16 + right[number] * (219 / 255)).astype(np.uint8) for number in numbers]

    verdict = verdict_of(moving, changed(shifted))
    assert verdict.has_count and verdict.is_shifted and not verdict.has_frames
    whole, middle, end = verdict.matches
    assert middle.counted_shifts == [(shift, 32)] and middle.wrong[0] == 4
    assert whole.counted_shifts[0] == (shift, FRAMES - abs(shift)) and not whole.unlike
    late = "late" if shift > 0 else "early"
    assert f"middle 32 wrong from frame 4 on (32 {abs(shift)} {late})" in decoders.described(verdict)


def test_one_wrong_frame_among_right_ones_is_found(moving):
    verdict = verdict_of(moving, changed(lambda right, start, stop: [*right[:7], right[9], *right[8:]][start:stop]))
    assert [found.shifts for found in verdict.matches] == [{7: 2}, {7: 2}, {}]  # the last 32 begin at 8


def test_wrong_counts(moving):
    short = verdict_of(moving, changed(lambda right, start, stop: right[start : min(stop, FRAMES - 3)]))
    assert (short.count, short.has_count, short.has_frames) == (FRAMES - 3, False, False)
    assert decoders.described(short) == "counts 37; whole file gives 37 of 40; end gives 29 of 32"
    said = verdict_of(moving, changed(lambda right, start, stop: right[start:stop], count=lambda path: FRAMES + 1))
    assert not said.has_count and said.has_frames and decoders.described(said) == "counts 41"
    twice = verdict_of(moving, changed(lambda right, start, stop: [*right[start:stop], right[-1]]))
    assert not twice.has_frames and "whole file gives 41 of 40" in decoders.described(twice)


def test_a_static_video_shows_no_shift_and_noise_is_no_frame(tmp_path):
    path = write_video(tmp_path / "static.avi", [odd_planes(natural_clip(1, *SIZE_HW)[0])] * 12, SIZE_HW)
    late = verdict_of(path, changed(lambda right, start, stop: [*right[start + 1 : stop], right[-1]]))
    assert late.has_count and late.has_frames and not late.is_shifted

    def noise(right, start, stop):
        return [np.random.default_rng(number).integers(0, 256, (9, 16, 3), np.uint8) for number in range(start, stop)]

    assert verdict_of(path, changed(noise)).matches[0].unlike == list(range(12))
    assert "12 wrong from frame 0 on (12 like no frame)" in decoders.described(verdict_of(path, changed(noise)))


def test_frames_that_are_not_turned_upright_are_told_from_wrong_ones(tmp_path):
    path = odd_videos.turn(write_moving_mp4(tmp_path / "turned.mp4"), (0, 1, -1, 0))
    assert decoders.described(verdict_of(path, READERS["ours"])) == ""
    stored = verdict_of(path, READERS["pyav-sequential"])
    assert stored.is_turned and stored.has_frames and decoders.described(stored) == "not turned upright"


def write_moving_mp4(path: Path) -> Path:
    return write_video(path, [odd_planes(frame) for frame in natural_clip(12, *SIZE_HW)], SIZE_HW, "libx264", qp=4)


def crash(right, start, stop):
    faulthandler.disable()  # pytest's would print where
    os.abort()


def hang(right, start, stop):
    time.sleep(600)


def fail(right, start, stop):
    raise RuntimeError("Critical error:\n[/a/b.cc:3] Assert on 'x|y' failed")


def fail_late(right, start, stop):
    yield from right[start : stop - 1]
    raise RuntimeError("ends here")


def test_decoders_that_crash_hang_or_fail(moving):
    files = [(str(moving), [(4, 36)])]
    (crashed,) = process.read_files(changed(crash), files, 60)
    assert crashed.failure == "crashed (SIGABRT)"
    (hung,) = process.read_files(changed(hang), files, 1)
    assert hung.failure == "hung (killed after 1 s)"
    (failed,) = process.read_files(changed(fail), files, 60)
    assert failed.failure == "Assert on 'x/y' failed"
    verdict = verdict_of(moving, changed(fail_late))
    assert verdict.is_error and not verdict.failure and verdict.count == FRAMES - 1
    assert "end gives 31 of 32, error: ends here" in decoders.described(verdict)
    verdicts = [decoders.judge(outcome, process.read_file(REFERENCE, str(moving), [])) for outcome in (crashed, failed)]
    assert [(one.died, one.is_error, one.has_count) for one in verdicts] == [(True, False, False), (False, True, False)]


def test_a_library_that_is_missing_is_no_error(moving):
    missing = Reader("missing", readers.reference_frames, "no_such_library")
    assert process.read_files(missing, [(str(moving), [])], 60) == "not installed"


def test_a_thumbnail_is_made_of_means_and_can_be_turned():
    frame = natural_clip(1, 97, 131)[0]
    small = thumbnail(frame)
    assert small.shape == (64, 64) and abs(small.mean() - (frame @ [0.299, 0.587, 0.114]).mean()) < 0.05
    assert np.abs(thumbnail(np.rot90(frame)) - np.rot90(small)).max() < 0.01
    assert match(np.zeros((0, 64, 64)), range(3), small[None]).given == 0


def test_the_program_writes_the_page_and_keeps_the_text_below(tmp_path, moving):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "moving.avi").symlink_to(moving)
    odd_videos.audio_only(folder / "sound.mp4")
    out = tmp_path / "page.md"
    out.write_text("# Old figures\n\n## What it shows\n\nWords of a person.\n")
    chosen = ["ours", "dali", "opencv-seek", "pyav-sequential"]
    command = [sys.executable, str(BENCHMARKS / "studies" / "decoders.py"), "--data", str(folder), "-o", str(out)]
    result = subprocess.run([*command, "--decoders", *chosen], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    text = out.read_text()
    assert text.startswith("# Which decoders show the right frames\n") and "Old figures" not in text
    assert text.endswith("\n\n## What it shows\n\nWords of a person.\n")
    rows = re.findall(
        r"^\| (dali_pipes|OpenCV, seeking|PyAV, sequential) \| 1 \| 1 \| 1 \| 1 \| 0 ", text, re.MULTILINE
    )
    assert rows == ["dali_pipes", "OpenCV, seeking", "PyAV, sequential"]
    assert "2 files, 1 of them with frames" in text and "agree with the reference on 1 of the files" in text
    assert "| `sound.mp4` | all report an error or no frames |" in text and "DALI on the CPU |" not in text
    assert f"`python benchmarks/studies/decoders.py --data {folder}" in text


def test_help_and_unknown_decoders(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "studies" / "decoders.py")]
    result = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and "DALI_PIPES_CLIPS" in result.stdout
    result = subprocess.run([*command, "--decoders", "decrod"], capture_output=True, text=True)
    assert result.returncode == 2 and "Invalid --decoders 'decrod': choose one of decord, ours" in result.stderr
    result = subprocess.run([*command, "--data", str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 2 and "has no files; --data must name folders with videos" in result.stderr
    same = [str(tmp_path / "a" / "videos"), str(tmp_path / "b" / "videos")]
    result = subprocess.run([*command, "--data", *same], capture_output=True, text=True)
    assert result.returncode == 2 and "Invalid --data: two folders are called 'videos'" in result.stderr
