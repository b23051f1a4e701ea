"""The perturbed data: clean training videos; in validation each perturbation does as its name says."""

import av
import numpy as np
import pytest

from train.data import demo_data, perturbed_data
from train.data.demo_data import HEIGHT, MOTIONS, WIDTH, make_frames
from train.data.perturbed_data import PERTURBATIONS, perturbation_of

GEOMETRIC = ("shake", "pan", "roll")


def camera(kind: str, seed: int = 0, frames: int = 120):
    return PERTURBATIONS[kind](np.random.default_rng(seed), frames)


@pytest.fixture
def folder(monkeypatch):
    monkeypatch.setattr(demo_data, "FRAMES", (8, 9))
    monkeypatch.setattr(perturbed_data, "TRAIN_VIDEOS_PER_CLASS", 1)
    monkeypatch.setattr(perturbed_data, "VAL_VIDEOS_PER_CLASS_AND_PERTURBATION", 1)
    return perturbed_data.perturbed_folder()


def first_frame(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray").astype(float)


def test_every_class_and_perturbation_is_in_val_and_the_same_scene_without_it_in_clean_val(folder):
    names = {
        split: {str(path.relative_to(folder / split)) for path in (folder / split).rglob("*.avi")}
        for split in ("train", "val", "clean_val")
    }
    assert len(names["train"]) == len(MOTIONS) and names["val"] == names["clean_val"]
    pairs = sorted((name.split("/")[0], perturbation_of(name)) for name in names["val"])
    assert pairs == sorted((motion, kind) for motion in MOTIONS for kind in PERTURBATIONS)
    differing = {
        name
        for name in names["val"]
        if np.abs(first_frame(folder / "val" / name) - first_frame(folder / "clean_val" / name)).mean() > 3
    }
    assert {perturbation_of(name) for name in differing} >= {"shake", "exposure", "fade"}


def test_it_is_made_once(folder):
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.avi")}
    assert perturbed_data.perturbed_folder() == folder
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*.avi")}


def test_a_camera_that_stands_still_changes_nothing(monkeypatch):
    """Up to the tiles that a layer is sampled from: the same scene through the identity."""
    monkeypatch.setattr(demo_data, "FRAMES", (12, 12))
    still = np.zeros(12)

    def film(frames):
        return demo_data.Camera(perturbed_data._view_T23(still, still, still), lambda frame, t: frame)

    for motion in MOTIONS:
        plain, filmed = (list(make_frames(motion, np.random.default_rng(5), how)) for how in (None, film))
        for a, b in zip(plain, filmed, strict=True):
            assert (a != b).any(axis=-1).mean() < 0.002, motion


def test_the_camera_moves_all_of_the_scene(monkeypatch):
    """A shift of whole pixels shifts every pixel."""
    monkeypatch.setattr(demo_data, "FRAMES", (6, 6))
    monkeypatch.setitem(MOTIONS, "still", lambda time, rng: {})
    shift, still = np.arange(6) * 7.0, np.zeros(6)

    def film(frames):
        return demo_data.Camera(perturbed_data._view_T23(still, shift, -shift), lambda frame, t: frame)

    frames = list(make_frames("still", np.random.default_rng(2), film))
    for t in range(1, 6):
        x, y = 7 * t, 7 * t
        same = frames[t][y:, : WIDTH - x] == frames[0][: HEIGHT - y, x:]
        assert same.all(axis=-1).mean() > 0.995


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_it_is_geometric_or_of_light_and_changes_over_time(kind):
    found = camera(kind)
    grey = np.full((4, 4, 3), 90, np.uint8)
    levels = np.array([found.expose(grey, t)[0, 0, 0] for t in range(120)])
    moved = np.ptp(found.view_T23, axis=0).max()
    if kind in GEOMETRIC:
        assert moved > 0.1 and (levels == 90).all()
    else:
        assert moved == 0 and np.ptp(levels) > 10


def test_roll_turns_about_the_centre_and_pan_goes_straight():
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1])
    roll, pan = camera("roll"), camera("pan")
    np.testing.assert_allclose(roll.view_T23 @ centre, np.tile(centre[:2], (120, 1)), atol=1e-9)
    degrees = np.degrees(np.arcsin(roll.view_T23[:, 0, 1]))
    assert 8 <= np.abs(degrees).max() <= 16
    steps = np.diff(pan.view_T23[:, :, 2], axis=0)
    assert 1 <= np.hypot(*steps[0]) <= 3
    np.testing.assert_allclose(steps, np.tile(steps[0], (119, 1)), atol=1e-9)


def test_light_brightens_and_contrast_fades():
    dark, light = np.full((2, 2, 3), 60, np.uint8), np.full((2, 2, 3), 200, np.uint8)

    def series(kind, frame):
        found = camera(kind, seed=3)
        return np.array([found.expose(frame, t)[0, 0, 0] for t in range(120)], float)

    exposure = series("exposure", dark)
    assert 2.5 <= exposure.max() / exposure.min() <= 6.5
    assert (np.diff(exposure) >= 0).all() or (np.diff(exposure) <= 0).all()
    flash = series("flash", dark)
    assert set(np.unique(flash)) >= {60} and flash.max() >= 120 and 0.5 < (flash == 60).mean() < 0.98
    contrast = (series("fade", light) - series("fade", dark)) / 140
    assert contrast.max() > 0.98 and 0.08 < contrast.min() < 0.32


def test_scenes_and_perturbations_differ_from_video_to_video():
    views = [camera("pan", seed).view_T23[-1, :, 2] for seed in range(20)]
    angles = np.arctan2(*np.array(views).T)
    assert np.ptp(angles) > np.pi
