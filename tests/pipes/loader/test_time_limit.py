"""One limit for a file, in processor time: for its check, for clips of it, and for its copy."""

import time
from itertools import count
from types import SimpleNamespace

import av
import pytest

from dali_pipes import InputError, VideoError, VideoLoader, scan_videos
from dali_pipes.dataset import transcode as transcode_module
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.dataset.transcode import CopySettings, transcode_folder
from dali_pipes.decode import frames as decode_module
from dali_pipes.decode import video_file
from dali_pipes.decode.frames import decode_frames
from dali_pipes.errors import NoAnswer, TooSlow, too_slow
from dali_pipes.loader import source as source_module
from dali_pipes.system.files import DRAFT
from dali_pipes.system.isolate import NoResult
from tests.pipes.system import fragile
from tests.videos import write_lossless

OPTIONS = {"crop_px": 32, "num_frames": 16, "device": "cpu", "workers": 0, "batch_size": 1}


@pytest.fixture
def path(tmp_path):
    return str(write_lossless(tmp_path / "in" / "slow.avi", 20))


@pytest.fixture
def opened(monkeypatch):
    """How often a file was opened to be read; and the times of these at which its disk does not answer."""
    times, unanswered = [], []
    open_input = video_file.open_input

    def open_or_not(*arguments):
        times.append(len(times))
        if times[-1] in unanswered:
            raise av.error.ExitError(1414092869, "Immediate exit requested")
        return open_input(*arguments)

    monkeypatch.setattr(video_file, "open_input", open_or_not)
    return times, unanswered


@pytest.fixture
def slow(monkeypatch):
    """Every packet and frame takes 0.1 s of this thread's time and converting a frame 0.5 s:
    4 s to decode 20, 14 s to show them."""
    now_s = [0.0]

    def thread_time():
        now_s[0] += 0.1
        return now_s[0]

    convert = decode_module._ClipWriter.__call__

    def slowly(*arguments):
        now_s[0] += 0.5
        convert(*arguments)

    monkeypatch.setattr(time, "thread_time", thread_time)
    monkeypatch.setattr(decode_module._ClipWriter, "__call__", slowly)


def test_a_pause_does_not_count(monkeypatch, path):
    leaps = count(0.0, 1000.0)
    clocks = SimpleNamespace(monotonic=lambda: next(leaps), thread_time=time.thread_time)
    monkeypatch.setattr(video_file, "time", clocks)  # not PyAV's, whose limit is of a single read
    assert read_video_info(path, time_limit_s=10.0).num_frames == 20
    assert len(decode_frames(path, range(20), time_limit_s=10.0)) == 20


def test_what_the_check_accepts_is_not_refused_later(slow, path):
    with pytest.raises(TooSlow) as caught:
        read_video_info(path, time_limit_s=3.9)
    assert str(caught.value) == (
        f"{path}: takes more than 3.9 s of CPU time to read; make a copy with python -m "
        "dali_pipes.transcode, which is faster to read, or raise the time limit"
    )
    info = read_video_info(path, time_limit_s=4.2)
    assert len(decode_frames(path, range(20), exact_times=info.exact_times, time_limit_s=4.2)) == 20


def test_the_limit_of_a_loader(monkeypatch, slow, opened, path):
    manifest = scan_videos([(path, "a")])
    assert len(next(iter(VideoLoader(manifest, time_limit_s=4.2, **OPTIONS)))) == 1
    opened[0].clear()
    with pytest.raises(VideoError, match="slow.avi: takes more than 2 s of CPU time to read; make a copy .*, or raise"):
        next(iter(VideoLoader(manifest, time_limit_s=0.5, **OPTIONS)))
    assert len(opened[0]) == 1, "it was tried again in vain"
    for wrong in (0.0, -1.0, 2e6, float("nan")):
        with pytest.raises(InputError, match="Invalid time_limit_s .*: must be above 0 and at most 1e.06"):
            VideoLoader(manifest, time_limit_s=wrong)


def test_a_disk_that_does_not_answer_is_asked_once_more(opened, path):
    times, unanswered = opened
    unanswered[:] = [0]
    assert read_video_info(path, time_limit_s=30.0).num_frames == 20 and len(times) == 2
    times.clear()
    unanswered[:] = [0, 1]
    with pytest.raises(NoAnswer, match="slow.avi: cannot be read within 30 s; try again .*, or raise the time limit"):
        read_video_info(path, time_limit_s=30.0)


def test_a_fault_that_passes_makes_no_bad_video(monkeypatch, path):
    tries = []

    def decode_later(path, *arguments):
        tries.append(path)
        if len(tries) == 1:
            raise VideoError(f"{path}: cannot be read as video (Stale file handle)")
        return decode_frames(path, *arguments)

    loader = VideoLoader(scan_videos([(path, "a")]), **OPTIONS)
    monkeypatch.setattr(source_module, "decode_frames", decode_later)
    assert len(next(iter(loader))) == 1 and not loader.bad_videos


def test_transcode_does_not_advise_to_transcode(monkeypatch, tmp_path, path):
    reasons = iter([(0, NoResult(too_slow(5.0)))])
    monkeypatch.setattr(transcode_module, "map_isolated", lambda *_, **__: (reason for reason in reasons))
    (outcome,) = transcode_folder(tmp_path / "in", tmp_path / "out", CopySettings())
    expected = "takes more than 5 s of CPU time to read; raise the time limit"
    assert (outcome.result, outcome.reason) == ("refused", expected)


def test_transcode_asks_a_disk_once_more(tmp_path, opened, path):
    opened[1][:] = [0]
    outcome = transcode_module._transcode(path, str(tmp_path / "copy.mp4"), CopySettings(), 30.0)
    assert (outcome.result, outcome.frames_read, outcome.frames_written) == ("made", 20, 20)


def test_a_copy_that_was_killed_is_made_anew(monkeypatch, tmp_path, path):
    monkeypatch.setattr(transcode_module, "_transcode", fragile.transcode_killed_once)
    (outcome,) = transcode_folder(tmp_path / "in", tmp_path / "out", CopySettings(), workers=1)
    assert (outcome.result, outcome.frames_written) == ("made", 20)
    assert read_video_info(outcome.target).num_frames == 20 and not list((tmp_path / "out").rglob(f".*{DRAFT}"))
