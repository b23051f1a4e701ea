"""What the preview shows is what the graph made."""

import av
import cv2
import numpy as np
import pytest

from dali_pipes import OPS, RandAugmentT, augment_clip
from dali_pipes.pictures import charts, preview, sheets
from tests.videos import natural_clip, write_lossless, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(40, 96, 128)]
    return str(write_video(tmp_path_factory.mktemp("preview") / "video.avi", planes, (96, 128)))


def show(video, out, *options) -> int:
    return preview.main([video, "-o", str(out), "--num-frames", "20", "--crop-px", "96", *options])


def cell(image, row: int, column: int) -> np.ndarray:
    """The 96 x 96 frame in one place of a sheet."""
    y = row * (96 + sheets.CAPTION_PX + sheets.GAP_PX) + sheets.CAPTION_PX
    x = sheets.TITLE_PX + column * (96 + sheets.GAP_PX) + sheets.GAP_PX
    return image[y : y + 96, x : x + 96]


def test_a_sheet_holds_the_frames_of_the_graph(video, tmp_path):
    out = tmp_path / "sheet.png"
    assert show(video, out, "--ops", "rotate,equalize,posterize", "--columns", "3", "--sign", "-1") == 0
    image = cv2.imread(str(out))[..., ::-1]
    clip = sheets.load_clip(video, 20, 96, None)
    levels = np.linspace(0, 30, 20, dtype=np.float32)
    for row, name in enumerate(("rotate", "equalize", "posterize")):
        expected = augment_clip(clip, [name], [levels], [-1], translate_max_px=60)
        for column, frame in enumerate((0, 10, 19)):
            np.testing.assert_array_equal(cell(image, 0, column), clip[frame])
            np.testing.assert_array_equal(cell(image, row + 1, column), expected[frame])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_without_options_it_is_figure_3(video, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda rows, shown: seen.append(rows) or np.zeros((4, 4, 3), np.uint8))
    assert show(video, tmp_path / "sheet.png") == 0
    names = [row.curves[0][0] for row in seen[0]]
    assert names[0] == "original" and set(names[1:]) == {name for name, op in OPS.items() if op.ranges}
    assert all(row.curves[0][1][0] == 0 and row.curves[0][1][-1] == 30 for row in seen[0][1:])
    assert names[1:6] == ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]
    assert seen[0][1].captions[-1] == "level 30.0: 30 deg" and seen[0][4].captions[-1] == "level 30.0: 60 px"


@pytest.mark.parametrize("aug, rows", [("randaug_t", 4), ("randaug", 4), ("none", 1)])
def test_samples_of_a_policy(video, tmp_path, monkeypatch, aug, rows):
    seen = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda rows, shown: seen.append(rows) or np.zeros((4, 4, 3), np.uint8))
    assert (
        show(
            video, tmp_path / "sheet.jpg", "--aug", aug, "--samples", "3", "--n", "2", "--ops", "rotate,color,equalize"
        )
        == 0
    )
    assert len(seen[0]) == rows
    clip, rng = seen[0][0].frames_FHWC, np.random.default_rng(0)
    policy = RandAugmentT(
        n=2, schedule="spatial" if aug == "randaug" else "temporal+", ops=["rotate", "color", "equalize"]
    )
    for row in seen[0][1:]:
        drawn = policy.sample(rng, 20)
        names = [policy.ops[op_id] for op_id in drawn.op_ids]
        assert [title.split()[0] for title, _ in row.curves] == names
        assert all(len(caption.split("\n")) == 2 for caption in row.captions)
        if names[0] == "rotate":
            assert row.captions[3].startswith(
                f"level {drawn.levels_NF[0, 3]:.1f}: {drawn.signs[0] * drawn.levels_NF[0, 3]:.3g} deg"
            )
        np.testing.assert_array_equal(row.frames_FHWC, augment_clip(clip, names, drawn.levels_NF, drawn.signs))


def test_a_film_shows_before_and_after(video, tmp_path):
    out = tmp_path / "clip.mp4"
    assert show(video, out, "--ops", "brightness", "--fps", "10") == 0
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 20
    clip = sheets.load_clip(video, 20, 96, None)
    for frame in (0, 10, 19):
        assert np.abs(cell(frames[frame], 0, 0).astype(int) - clip[frame]).mean() < 6
    assert cell(frames[0], 1, 0).mean() < 30 < 120 < cell(frames[19], 1, 0).mean()


def test_the_schedules_are_drawn(tmp_path, capsys):
    out = tmp_path / "curves.png"
    assert preview.main(["-o", str(out)]) == 0
    image = cv2.imread(str(out))
    assert image.shape[0] > 300 and len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    assert capsys.readouterr().out.strip() == str(out)
    height, width = charts.CHART_PX
    shown = image[:height, :width, ::-1]  # spatial: six times the level 10, the middle of 20
    rows = np.flatnonzero((shown == sheets.CURVE_COLOURS[5]).all(axis=2).sum(axis=1) > 200)
    assert rows.size and abs(rows - (28 + height - 24) / 2).max() <= 2


@pytest.mark.parametrize(
    "options, message",
    [
        (["--ops", "spin"], "Invalid --ops 'spin': choose one of identity"),
        (["--level", "31"], "Invalid --level 31.0: must be a level between 0 and 30"),
        (["--start", "21"], "Invalid --start 21: must be between 0 and 20 for a window of 20 frames in .*video.avi"),
        (["--columns", "0"], "Invalid --columns 0: must be at least 1"),
        (["-o", "sheet.gif"], "Invalid suffix '.gif' of .*sheet.gif: choose one of .png, .jpg, .mp4"),
        (["-o", "/nowhere/sheet.png"], "/nowhere/sheet.png: cannot be written"),
        (["-o", "/etc/passwd/sheet.png"], "/etc/passwd/sheet.png: cannot be written"),
    ],
)
def test_wrong_options(video, tmp_path, capsys, options, message):
    import re

    assert show(video, tmp_path / "sheet.png", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not list(tmp_path.iterdir())


def test_a_missing_video(tmp_path, capsys):
    assert show(str(tmp_path / "no.avi"), tmp_path / "sheet.png") == 2
    assert "no.avi: No such file" in capsys.readouterr().err


def test_perturbations_are_shown_at_three_strengths(tmp_path):
    video, out = write_lossless(tmp_path / "v.avi", 20), tmp_path / "sheet.png"
    given = [str(video), "--num-frames", "8", "--columns", "2", "--crop-px", "32", "-o", str(out)]
    assert preview.main([*given, "--perturb", "flash,noise"]) == 0
    height = cv2.imread(str(out)).shape[0]
    assert preview.main([*given, "--perturb", "noise"]) == 0
    assert height / 7 == cv2.imread(str(out)).shape[0] / 4  # the original, and three rows of each kind


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--perturb", "fog"], "Invalid --perturb 'fog': choose one of shake"),
        (["--perturb", "pan", "--aug", "randaug"], "Invalid --perturb pan: cannot be combined with --aug;"),
        (["--perturb", "pan", "--level", "5"], "Invalid --perturb pan: cannot be combined with --level;"),
    ],
)
def test_wrong_perturbations(tmp_path, capsys, arguments, message):
    video = write_lossless(tmp_path / "v.avi", 20)
    assert preview.main([str(video), "--num-frames", "8", "-o", str(tmp_path / "x.png"), *arguments]) == 2
    assert message in capsys.readouterr().err
