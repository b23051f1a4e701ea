"""The table of perturbations: draws, values, order of frames, and what they do to a clip."""

from pathlib import Path

import numpy as np
import pytest

from dali_pipes import InputError
from dali_pipes.augment import PERTURBATIONS, STRENGTHS, Perturbations, perturb_clip
from dali_pipes.augment.perturbations import IN_SIDES, RANGES, levels_of
from dali_pipes.plan.sampling import perturbed_name
from tests.videos import natural_clip

FRAMES = 32
VIDEOS = [f"{number}.avi" for number in range(20)]
CLIP = natural_clip(FRAMES, 48, 48)


def drawn(kind: str, strength: int, video: str = "a.avi", clip: int = 0, num_frames: int = FRAMES, seed: int = 0):
    policy = Perturbations(conditions=[(kind, strength)], crop_px=48, seed=seed)
    return policy.perturb(0, video, clip, num_frames)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_draws_are_those_of_the_seed_the_video_and_the_clip(kind):
    assert same(drawn(kind, 3), drawn(kind, 3))
    for other in ({"seed": 1}, {"video": "b.avi"}, {"clip": 1}):
        assert not same(drawn(kind, 3), drawn(kind, 3, **other))


def test_draws_do_not_depend_on_the_other_conditions():
    policy = Perturbations(conditions=[("pan", 2), ("shake", 3)], crop_px=48)
    for epoch in (1, 3):
        assert same(policy.perturb(epoch, "a.avi", 0, FRAMES), drawn("shake", 3))


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_values_are_within_the_ranges_of_the_levels(kind):
    """Beyond them, levels would be cut off."""
    row = PERTURBATIONS[kind]
    assert len(row.sizes) == len(STRENGTHS) and (row.values is None) != (row.positions is None)
    for seed in range(50):
        for num_frames in (1, 2, 7, FRAMES, 64):
            rng = np.random.default_rng(seed)
            if row.positions is not None:
                positions = row.positions(rng, num_frames, row.sizes[-1])
                assert positions.shape == (num_frames,) and positions[0] == 0
                assert positions.min() >= 0 and positions.max() < num_frames and (np.diff(positions) >= 0).all()
                continue
            values_NF = row.values(rng, num_frames, row.sizes[-1])
            assert values_NF.shape == (len(row.ops), num_frames)
            for op, values_F in zip(row.ops, values_NF, strict=True):
                assert values_F.min() >= RANGES[op].low and values_F.max() <= RANGES[op].high


@pytest.mark.parametrize("name", RANGES)
def test_levels_give_their_values_back(name):
    range_ = RANGES[name]
    values = np.linspace(range_.low, range_.high, 61)
    np.testing.assert_allclose(range_.value(levels_of(name, values)), values, atol=1e-5 * range_.high)
    neutral = {"brightness": 1, "contrast": 1, "color": 1, "jpeg": 100}.get(name, 0)
    assert range_.value(levels_of(name, np.array([neutral])).astype(np.float64))[0] == neutral  # exactly


@pytest.mark.parametrize("kind", [kind for kind, row in PERTURBATIONS.items() if row.values])
def test_levels_change_over_time(kind):
    for video in VIDEOS:
        levels_NF = drawn(kind, 3, video).levels_NF[: len(PERTURBATIONS[kind].ops)]
        assert (np.ptp(levels_NF, axis=1) > 0).all()


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_a_stronger_perturbation_changes_more(kind):
    changes = []
    for strength in (0, *STRENGTHS):
        found = [perturb_clip(CLIP, kind, strength, video=video).astype(int) for video in VIDEOS[:2]]
        changes.append(np.mean([np.abs(clip - CLIP).mean() for clip in found]))
    assert changes[0] == 0 and (np.diff(changes) > 0).all(), changes


def test_shifts_and_blur_are_in_proportion_to_the_crop():
    small, large = (
        dict(zip(policy.op_names, policy.table("cpu").ranges_O4, strict=True))
        for policy in (Perturbations(conditions=[("pan", 1)], crop_px=side) for side in (48, 96))
    )
    for name in small:
        np.testing.assert_array_equal(large[name][:2], small[name][:2] * (2 if name in IN_SIDES else 1))


def dropped_by_hand(num_frames: int, lost: set[int]) -> list[int]:
    left = [frame for frame in range(num_frames) if frame not in lost]
    return [left[int(place / num_frames * len(left) + 1e-9)] for place in range(num_frames)]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_dropped_frames_are_those_of_a_slow_loop(strength):
    share = PERTURBATIONS["dropped_frames"].sizes[strength - 1]
    for video in VIDEOS:
        positions = drawn("dropped_frames", strength, video).positions_F.tolist()
        lost = set(range(FRAMES)) - set(positions)
        assert len(lost) == round(share * FRAMES) and 0 not in lost
        assert positions == dropped_by_hand(FRAMES, lost)
    weak, strong = (set(drawn("dropped_frames", number).positions_F.tolist()) for number in (1, 5))
    assert strong < weak  # what a weak one loses a strong one loses too


@pytest.mark.parametrize("strength", STRENGTHS)
def test_frozen_frames_are_those_of_a_slow_loop(strength):
    share = PERTURBATIONS["frozen_frames"].sizes[strength - 1]
    for video in VIDEOS:
        positions, frozen, expected = drawn("frozen_frames", strength, video).positions_F.tolist(), 0, []
        for place in range(FRAMES):
            repeats = place > 0 and positions[place] == positions[place - 1]
            frozen += repeats
            expected.append(expected[-1] if repeats else place)  # after a run it shows the frame of that time
        assert positions == expected
        assert frozen == pytest.approx(share * (FRAMES - 3), abs=1.5)


def test_frames_are_only_repeated_where_they_are_shown_in_another_order():
    for kind in ("dropped_frames", "frozen_frames"):
        positions = drawn(kind, 3, perturbed_name("x", 7)).positions_F
        np.testing.assert_array_equal(perturb_clip(CLIP, kind, 3, video="x", first_frame=7), CLIP[positions])


def test_clips_of_other_lengths_and_sizes_in_turn():
    """One pipeline serves them all."""
    wide, short = natural_clip(FRAMES, 96, 96), CLIP[:7]
    for kind in ("shake", "noise", "blur", "recompression"):
        first = [perturb_clip(clip, kind, 3) for clip in (CLIP, wide, short)]
        assert [clip.shape for clip in first] == [CLIP.shape, wide.shape, short.shape]
        for clip, expected in zip((short, wide, CLIP), reversed(first), strict=True):
            np.testing.assert_array_equal(perturb_clip(clip, kind, 3), expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"conditions": [("fog", 1)]}, "Invalid kind 'fog': choose one of shake, pan, roll"),
        ({"conditions": [("pan", 6)]}, "Invalid strength 6: choose one of 0, 1, 2, 3, 4, 5"),
        ({"conditions": []}, r"Invalid conditions \(\): must hold at least one pair \(kind, strength\)"),
        ({"conditions": [("pan", 1)], "seed": -1}, "Invalid seed -1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        Perturbations(**{"crop_px": 48} | options)


def test_the_page_has_the_table():
    page = (Path(__file__).resolve().parents[3] / "docs" / "robustness.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `") and ".py" not in line]
    documented = {name.strip("`"): cells for name, *cells in rows if name.strip("`") in PERTURBATIONS}
    assert list(documented) == list(PERTURBATIONS)
    for name, kind in PERTURBATIONS.items():
        assert documented[name] == [kind.about, kind.unit, ", ".join(f"{size:g}" for size in kind.sizes)]


def test_videos_of_one_name_in_two_classes_are_perturbed_in_their_own_ways():
    """The folders above do not count, nor does where the data set lies."""
    names = [perturbed_name(path, 0) for path in ("/a/up/1.avi", "/b/up/1.avi", "/a/down/1.avi")]
    assert names[0] == names[1] == "up/1.avi 0" and names[2] == "down/1.avi 0"
    assert perturbed_name("/a/up/1.avi", 30) != names[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"interpolation": "cubic"}, "Invalid interpolation 'cubic'"),
        ({"fill": 300}, "Invalid fill 300: must be a grey level"),
        ({"conditions": ["shake"]}, r"Invalid conditions \['shake'\]: must be pairs"),
        ({"conditions": [("shake", 1.0)]}, "Invalid strength 1.0: must be a whole number"),
    ],
)
def test_wrong_perturbations_are_refused_at_once(given, message):
    with pytest.raises(InputError, match=message):
        Perturbations(**{"conditions": [("shake", 1)], "crop_px": 32} | given)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 16, 16, 3), np.float32), "type float32: must be uint8"),
        (np.zeros((16, 16, 3), np.uint8), "must be uint8 of shape"),
        (np.zeros((4, 16, 20, 3), np.uint8), "must be square"),
    ],
)
def test_frames_that_cannot_be_perturbed(frames, message):
    with pytest.raises(InputError, match=message):
        perturb_clip(frames, "shake", 1)
