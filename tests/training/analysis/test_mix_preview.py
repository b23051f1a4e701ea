"""The mixes' preview shows what training gets, and the true weights."""

import re

import cv2
import numpy as np
import pytest

from dali_pipes.pictures import sheets
from dali_pipes.pictures.sheets import load_clip
from tests.videos import natural_clip, write_video
from train.analysis import mix_preview
from train.mixing.params import MIXES


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("mixes"), []
    for seed in (1, 2):
        clip = natural_clip(30, 96, 128)
        clip = 255 - clip if seed == 2 else clip
        planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in clip]
        paths.append(str(write_video(folder / f"{seed}.avi", planes, (96, 128))))
    return paths


@pytest.fixture
def rows(monkeypatch):
    seen = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda rows, shown: seen.extend(rows) or np.zeros((4, 4, 3), np.uint8))
    return seen


def test_all_operations_with_the_share_of_each_frame(videos, rows, tmp_path):
    assert mix_preview.main([*videos, "-o", str(tmp_path / "sheet.png"), "--num-frames", "20", "--size", "64"]) == 0
    assert [row.curves[0][0] for row in rows] == ["clip A", "clip B", *MIXES]
    a, b = (load_clip(path, 20, 64, None).astype(float) for path in videos)
    np.testing.assert_array_equal(rows[0].frames_FHWC, a)
    for row in rows[2:]:
        (name, _), (title, shares_T) = row.curves
        assert [f"A {share:.2f}" for share in shares_T] == list(row.captions) and row.top == 1
        shown = row.frames_FHWC.astype(float)
        other = np.full_like(b, 128.0) if name.endswith("cutout") else b
        # the share of A in a frame: what least squares finds, for a blend of whole frames
        if name in ("mixup", "fademixup", "framecutmix", "framecutout", "framecutmixup"):
            found = ((shown - other) * (a - other)).sum(axis=(1, 2, 3)) / ((a - other) ** 2).sum(axis=(1, 2, 3))
            np.testing.assert_allclose(found, shares_T, atol=0.02)
        elif name.endswith(("cutout", "cutmix")):
            kept = (shown == a).all(axis=3).mean(axis=(1, 2))
            np.testing.assert_allclose(kept, shares_T, atol=0.03)  # few pixels are alike in both clips
        weight = 1.0 if name.endswith("cutout") else shares_T.mean()
        assert title.startswith(f"label A {weight:.2f}")
        assert title.endswith(f"B {1 - weight:.2f}") != name.endswith("cutout")


def test_samples_of_one_operation_and_a_film(videos, rows, tmp_path):
    options = "--num-frames 9 --mix fademixup --samples 4 --alpha 5".split()
    assert mix_preview.main([*videos, "-o", str(tmp_path / "s.jpg"), *options]) == 0
    assert len(rows) == 6 and len({row.curves[1][0] for row in rows[2:]}) > 1
    assert mix_preview.main([*videos, "-o", str(tmp_path / "clip.mp4"), "--num-frames", "9", "--mix", "mixup"]) == 0
    assert (tmp_path / "clip.mp4").stat().st_size > 200


@pytest.mark.parametrize(
    "options, message",
    [
        (["--mix", "spin"], "Invalid --mix 'spin': choose one of cutout"),
        (["--alpha", "-1"], "Invalid --alpha -1.0: must be above 0"),
        (["--mix", "cutout", "--alpha", "2"], "Invalid --alpha 2: is not used by cutout"),
        (["third.avi"], "Invalid VIDEO .*third.avi: must be two video files, A and B, not 3"),
        (["-o", "sheet.gif"], "Invalid suffix '.gif' of .*sheet.gif"),
        (["--samples", "0"], "Invalid --samples 0: must be at least 1"),
    ],
)
def test_wrong_options(videos, tmp_path, capsys, options, message):
    assert mix_preview.main([*videos, *options, *([] if "-o" in options else ["-o", str(tmp_path / "s.png")])]) == 2
    assert re.search("preview: " + message, capsys.readouterr().err)
