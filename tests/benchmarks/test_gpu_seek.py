"""Where DALI's decoders seek, tried on the CPU, where they know VP8 and VP9."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dali_pipes import scan_videos
from dali_pipes.decode import decode_frames
from dali_pipes.loader.stream_reader import takes_frame_ranges
from tests.videos import write_lossless

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu_seek  # noqa: E402

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the program itself says what it shows"),
    pytest.mark.skipif(not takes_frame_ranges(), reason="this DALI's video reader takes no frame numbers"),
]
KIND = "vp9, webm"


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    codec, container, options = gpu_seek.KINDS[KIND]
    path = tmp_path_factory.mktemp("vp9") / f"video.{container}"
    write_lossless(path, gpu_seek.FRAMES, gpu_seek.SIZE_HW, codec=codec, gop=gpu_seek.GOP, **options)
    (video,) = scan_videos([(str(path), "a")]).videos
    return video


def test_the_program(vp9):
    command = [sys.executable, str(BENCHMARKS / "gpu_seek.py"), "--device", "cpu", "--kinds", KIND]
    result = subprocess.run(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith(KIND)]
    assert [line.split("  ")[-1].strip() for line in lines] == ["right"] * 5
    assert "1 of 1 kinds are shown right" in result.stdout


def test_wrong_frames_are_named(vp9, monkeypatch, capsys):
    def late(path, plans, device):  # as a decoder that shows every frame from the second key frame on one late
        shown = [[index + (30 <= index < 69) for index in plan] for plan in plans]
        return [decode_frames(path, plan).mean(axis=(1, 2, 3)) for plan in shown]

    monkeypatch.setattr(gpu_seek, "by_stream", late)
    assert gpu_seek.try_kind(KIND, vp9, "cpu", ["clips"])
    assert not gpu_seek.try_kind(KIND, vp9, "cpu", ["stream"])
    lines = capsys.readouterr().out.splitlines()
    assert "WRONG in 39 of 70 frames: 30>31 31>32" in next(line for line in lines if "stream whole" in line)
    assert "WRONG in 2 of 15 frames: 30>31 31>32" in next(line for line in lines if "17-31" in line)
    monkeypatch.setattr(gpu_seek, "why_not_stream", lambda video, decoder: f"{video.path} is too odd")
    assert gpu_seek.try_kind(KIND, vp9, "cpu", ["stream"])
    assert "(the loader does not read it so: is too odd)" in capsys.readouterr().out


def test_what_is_no_frame_or_fails(vp9, monkeypatch, capsys):
    assert gpu_seek.found([[3, 4]], [np.array([254.0, gpu_seek.rgb_of(4)])]) == {"3>?": 1}

    def failing(path, plans, device):
        raise RuntimeError('Critical error\nAssert on "piped" failed\nno longer valid')

    monkeypatch.setattr(gpu_seek, "by_clips", failing)
    assert not gpu_seek.try_kind(KIND, vp9, "cpu", ["clips"])
    assert 'FAILED: Assert on "piped" failed' in capsys.readouterr().out


def test_every_frame_has_its_own_grey():
    greys = sorted(gpu_seek.rgb_of(index) for index in range(gpu_seek.FRAMES))
    assert min(np.diff(greys)) > 1.7 * gpu_seek.MOST_APART
    assert (
        max(map(max, (plan for _, _, plans in gpu_seek.ways(["clips", "stream"]) for plan in plans))) < gpu_seek.FRAMES
    )


def test_unknown_kind(capsys):
    with pytest.raises(SystemExit):
        gpu_seek.parse(["--device", "cpu", "--kinds", "theora"])
    assert (
        "Invalid --kinds 'theora': must be a part of one of the names vp9, webm; vp8, webm" in capsys.readouterr().err
    )
