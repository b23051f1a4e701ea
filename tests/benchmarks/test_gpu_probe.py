"""What is known of a machine's decoders, tried on DALI's CPU decoder, which knows VP9."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from dali_pipes.decode import decode_frames
from dali_pipes.decode.dali import DALI_VERSION
from dali_pipes.loader.clip_reader import OLDEST_DECODER
from tests.videos import write_lossless

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import decoder_speed  # noqa: E402
import gpu_probe  # noqa: E402

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: benchmarks/gpu_suite.sh runs the program"),
    pytest.mark.skipif(DALI_VERSION < OLDEST_DECODER, reason="this DALI's decoder takes no frame numbers"),
]


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vp9")
    greys, colours = gpu_probe.write_kind(folder, ("libvpx-vp9", "webm", {"b": 0, "crf": 4, "cpu-used": 8}))
    return greys, colours, gpu_probe.scanned([greys])[greys]


def test_the_program(tmp_path):
    write_lossless(tmp_path / "actions" / "a" / "1.webm", 70, (64, 96), codec="libvpx-vp9", gop=20, b=0)
    found = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / "gpu_probe.py"), "--json", str(found)]
    result = subprocess.run(
        [*command, "--threads", "1,2", "--seconds", "0.05", "--limit-s", "90"],
        env=os.environ | {"DALI_PIPES_CLIPS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(found.read_text())
    assert all(check["good"] for check in report["checks"])
    names = [check["name"] for check in report["checks"]]
    assert "frames, libvpx-vp9 in webm" in names and "frames, 1.webm" in names
    rows = [(row["video"], row["decoder"], row["parallel"]) for row in report["speed"]]
    made = [("vp9", decoder, count) for count in (1, 2) for decoder in ("dali", "pyav")]
    assert rows == [*made, ("real", "dali", 2), ("real", "pyav", 2)]
    assert all(row["clips_per_s"] > 0 and row["on"] == "cpu" for row in report["speed"])
    assert "| vp9 (vp9, 320x240), dali | CPU |" in result.stdout


def test_wrong_frames_and_colours_are_seen(vp9, monkeypatch):
    greys, colours, video = vp9
    text, good = gpu_probe.check_frames(greys, colours, video)
    assert good and text.startswith("order right; colours ") and "WRONG" not in text

    def one_late(path, plan):
        return decode_frames(path, [max(0, index - 1) for index in plan])

    monkeypatch.setattr(gpu_probe, "frames_by_dali", one_late)
    text, good = gpu_probe.check_frames(greys, colours, video)
    assert not good and text.startswith("order WRONG at 44 of 46, such as [1, 2, 3, 4, 5, 6]")
    text, good = gpu_probe.check_clip(greys, 40)
    assert not good and text.startswith("WRONG, ")
    monkeypatch.setattr(gpu_probe, "frames_by_dali", lambda path, plan: decode_frames(path, plan) ^ 8)
    text, good = gpu_probe.check_frames(greys, colours, video)
    assert not good and "colours WRONG, " in text


def test_frames_that_are_left_to_pyav_may_be_wrong(vp9, monkeypatch):
    monkeypatch.setattr(gpu_probe, "frames_by_dali", lambda path, plan: decode_frames(path, plan[::-1]))
    monkeypatch.setattr(gpu_probe, "left_to_the_cpu", lambda video: "its times are odd")
    text, good = gpu_probe.check_frames(*vp9)
    assert good and "order WRONG" in text and text.endswith("; the loader leaves it to PyAV: its times are odd")


def test_a_probe_that_fails_is_one_line_and_the_next_follows(tmp_path, capsys):
    report = gpu_probe.Report(str(tmp_path / "found.json"))
    report.tried("first", partial(gpu_probe.check_clip, str(tmp_path / "missing.mp4"), 9))
    assert json.loads((tmp_path / "found.json").read_text())["checks"][0]["good"] is False
    report.tried("second", lambda: ("well", True))
    first, second = capsys.readouterr().out.splitlines()
    assert "first: FAILED, FileNotFoundError: " in first and second.endswith("second: well")
    assert report.failed == 1


def test_repeats_are_timed(vp9):
    text, good = gpu_probe.time_repeats(vp9[2])
    assert good and text.startswith("320 frames of ten views as planned ") and ", the 40 once " in text


def test_a_clip_is_every_second_frame_in_the_middle():
    assert decoder_speed.plan_in_the_middle(96) == list(range(16, 80, 2))
    assert decoder_speed.plan_in_the_middle(10) == [0, 2, 4, 6, 8]


def test_the_table_of_speed():
    row = {"video": "h264", "codec": "h264", "width": 320, "height": 240, "clips_per_s": 12.34}
    rows = [
        row | {"decoder": "dali", "on": "gpu", "parallel": 4},
        row | {"decoder": "dali", "on": "gpu", "parallel": 1},
        row | {"decoder": "pyav", "on": "cpu", "parallel": 4},
    ]
    assert decoder_speed.speed_table(rows)[2:] == [
        "| h264 (h264, 320x240), dali | GPU | 12.3 | 12.3 |",
        "| h264 (h264, 320x240), pyav | CPU | - | 12.3 |",
    ]


@pytest.mark.parametrize("threads", ["0,2", "four", ""])
def test_threads_are_numbers(threads, capsys):
    with pytest.raises(SystemExit):
        gpu_probe.parse(["--threads", threads])
    assert "such as 1,4,8,16" in capsys.readouterr().err
