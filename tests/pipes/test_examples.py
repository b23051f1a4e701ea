"""The files in examples/ run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from nvidia import dali

from tests.videos import natural_clip, write_video

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(example, folder):
    command = [sys.executable, str(EXAMPLES / example), str(folder)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.skipif(int(dali.__version__.split(".")[0]) < 2, reason="DALI's CPU decoder reads VP9 since 2.0")
def test_own_pipeline(tmp_path):
    for label in ("a", "b"):
        for number, length in enumerate((40, 20)):  # the second is shorter than a clip
            planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(length, 96, 128)]
            write_video(tmp_path / label / f"{number}.webm", planes, (96, 128), codec="libvpx-vp9", b=0, crf=20)
    lines = run("own_pipeline.py", tmp_path)
    assert [line[:20] for line in lines] == ["[4, 3, 32, 112, 112]"] * 2
    assert [sorted(line[21:]) for line in lines] == [sorted("[0, 0, 1, 1]")] * 2


def test_own_operation(class_folders):
    pytest.importorskip("torch")
    lines = run("own_operation.py", class_folders)
    assert [line.rsplit(") ", 1)[0] for line in lines] == ["(2, 3, 32, 112, 112", "(3, 3, 32, 112, 112"]
    assert "left" in lines[0] + lines[1] and "right" in lines[0] + lines[1]
