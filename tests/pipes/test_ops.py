"""Every operation against PIL, frame by frame; see tests/reference/pil_ops.py."""

import numpy as np
import pytest
from PIL import Image

from dali_pipes import OPS, InputError, augment_clip
from tests.reference import pil_ops
from tests.videos import natural_clip, noise_clip

CLIPS = {"noise": noise_clip(), "natural": natural_clip()}
LEVELS = (0, 3, 5, 10, 15, 30)
EXACT = {"identity", "solarize", "posterize", "shear_x", "shear_y", "translate_x", "translate_y"}
LARGEST_DIFFERENCE = {"auto_contrast": 1, "brightness": 1, "contrast": 1, "color": 2, "sharpness": 2}


def levels_over_time(level: float, shape: str, num_frames: int) -> np.ndarray:
    ends = {"constant": (level, level), "rising": (level / 2, level), "falling": (level, level / 2)}[shape]
    return np.linspace(*ends, num_frames, dtype=np.float32)


def check(name: str, ours: np.ndarray, expected: np.ndarray):
    difference = np.abs(ours.astype(int) - expected.astype(int))
    if name in EXACT:
        assert difference.max() == 0
    elif name == "rotate":  # PIL rounds coordinates to 1/65536 pixel: a few pixels on region edges may differ
        assert (difference.max(axis=-1) > 0).mean() <= 0.001
    elif name == "sharpness":  # PIL leaves a border of one pixel as it is, the DALI filter clamps there
        assert difference[:, 1:-1, 1:-1].max() <= LARGEST_DIFFERENCE[name]
    else:
        assert difference.max() <= LARGEST_DIFFERENCE[name]


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", [name for name in OPS if name != "equalize"])
def test_matches_pil(name, clip):
    frames = CLIPS[clip]
    for level in LEVELS:
        for shape in ("constant", "rising", "falling"):
            for sign in (1, -1):
                levels = [levels_over_time(level, shape, len(frames))]
                ours = augment_clip(frames, [name], levels, [sign])
                check(name, ours, pil_ops.apply_to_clip(frames, [name], levels, [sign]))


@pytest.mark.parametrize("name", [name for name in OPS if name != "equalize"])
def test_monotonic_ranges_match_pil(name):
    frames = CLIPS["natural"]
    for sign in (1, -1):
        levels = [np.linspace(0, 30, len(frames), dtype=np.float32)]
        ours = augment_clip(frames, [name], levels, [sign], ranges="monotonic")
        check(name, ours, pil_ops.apply_to_clip(frames, [name], levels, [sign], "monotonic"))


def test_equalize_flattens_the_histogram():
    dull = (CLIPS["natural"] // 4 + 90).astype(np.uint8)
    ours = augment_clip(dull, ["equalize"], np.zeros((1, len(dull))))
    assert np.ptp(dull) < 70 and np.ptp(ours) > 250


@pytest.mark.parametrize("clip", [noise_clip(4, 160, 160), natural_clip(4, 160, 160), natural_clip(4, 160, 160) // 3 + 90])
def test_equalize_differs_from_pil_by_its_whole_step_alone(clip):
    clip[0] = 93  # one grey stays as it is
    clip[1, :40] = 255  # many pixels of the highest value make PIL's step smaller
    ours = augment_clip(clip, ["equalize"], np.zeros((1, 4)))
    expected = pil_ops.apply_to_clip(clip, ["equalize"], np.zeros((1, 4)), [1])
    difference = np.abs(ours.astype(int) - expected.astype(int))
    steps = (160 * 160 - (clip == clip.max(axis=(1, 2), keepdims=True)).sum(axis=(1, 2))) // 255
    assert difference[0].max() == 0
    assert (difference[1:].max(axis=(1, 2)) <= 1 + 255 / steps[1:]).all() and difference.mean() < 1.5


def test_cascade_matches_pil():
    frames = CLIPS["natural"]
    ops = ["translate_x", "solarize", "shear_y", "posterize"]
    levels = np.stack(
        [levels_over_time(12, shape, len(frames)) for shape in ("rising", "falling", "rising", "constant")]
    )
    signs = [1, 1, -1, 1]
    np.testing.assert_array_equal(
        augment_clip(frames, ops, levels, signs), pil_ops.apply_to_clip(frames, ops, levels, signs)
    )


def test_fill_matches_pil():
    frames, levels = CLIPS["natural"], [np.full(6, 20.0)]
    ours = augment_clip(frames, ["translate_y"], levels, fill=77)
    np.testing.assert_array_equal(ours, pil_ops.apply_to_clip(frames, ["translate_y"], levels, [1], fill=77))


def test_linear_interpolation_is_close_to_pil():
    frames, levels = CLIPS["natural"], [np.full(6, 11.0)]
    for name in ("rotate", "shear_x"):
        ours = augment_clip(frames, [name], levels, interpolation="linear")
        expected = pil_ops.apply_to_clip(frames, [name], levels, [1], resample=Image.BILINEAR)
        difference = np.abs(ours.astype(int) - expected.astype(int))
        assert np.quantile(difference, 0.98) <= 1  # PIL leaves out pixels half outside, DALI blends them with the fill


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.ranges])
def test_strength_changes_from_frame_to_frame(name):
    frames = np.repeat(CLIPS["natural"][:1], 6, axis=0)
    ours = augment_clip(frames, [name], [np.linspace(2, 28, 6)])
    assert len({frame.tobytes() for frame in ours}) >= (4 if name == "posterize" else 6) - 1
    constant = augment_clip(frames, [name], [np.full(6, 17.0)])
    assert len({frame.tobytes() for frame in constant}) == 1


def test_translation_is_in_pixels_of_the_frame():
    frames = CLIPS["noise"]
    moved = augment_clip(frames, ["translate_x"], [np.full(6, 30.0)], translate_max_px=7)
    np.testing.assert_array_equal(moved[:, :, :-7], frames[:, :, 7:])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((["spin"], [[1] * 6]), "unknown operation 'spin': choose one of identity, auto_contrast"),
        ((["rotate"], [[1] * 5]), r"levels must have shape \(1, 6\)"),
        ((["rotate"], [[31] * 6]), "levels must lie between 0 and 30"),
        ((["rotate"], [[1] * 6], [2]), "signs must be 1 numbers of"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        augment_clip(CLIPS["noise"], *arguments)


def test_wrong_frames():
    with pytest.raises(InputError, match="must be non-empty"):
        augment_clip(CLIPS["noise"].astype(np.float32), ["rotate"], [[1] * 6])


def test_no_operations_is_a_copy():
    frames = CLIPS["noise"]
    result = augment_clip(frames, [], [])
    np.testing.assert_array_equal(result, frames)
    assert result is not frames
