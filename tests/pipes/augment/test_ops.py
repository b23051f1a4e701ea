"""Every operation against PIL, frame by frame; see tests/reference/pil_ops.py.

The kernels give PIL's pixels. The graph functions, for GPUs and where kernels cannot run, may differ as said here.
"""

import numpy as np
import pytest
from nvidia.dali import types
from PIL import Image

from dali_pipes import OPS, PAPER_OPS, Affine, InputError, RandAugmentT, Range, augment_clip, find_videos, register_op
from dali_pipes.augment.ops import AUTHORS_OPS, EXTRA_OPS, RANGE_TABLES, op_named
from dali_pipes.decode.frames import decode_frames
from tests.pipes.augment.ways import without_kernels
from tests.reference import pil_ops
from tests.videos import natural_clip, noise_clip

CLIPS = {"noise": noise_clip(), "natural": natural_clip()}
NAMES = [*OPS, *(name for name, op in EXTRA_OPS.items() if op.kernel is not None)]
LEVELS = (0, 3, 5, 10, 15, 30)
EXACT = {"identity", "invert", "solarize", "posterize", "shear_x", "shear_y", "translate_x", "translate_y"} | {
    "solarize_add",
    "erase",
}
LARGEST_DIFFERENCE = {"auto_contrast": 1, "equalize": 1, "brightness": 1, "contrast": 1, "color": 2, "sharpness": 2} | {
    "hue": 1
}


def levels_over_time(level: float, shape: str, num_frames: int) -> np.ndarray:
    ends = {"constant": (level, level), "rising": (level / 2, level), "falling": (level, level / 2)}[shape]
    return np.linspace(*ends, num_frames, dtype=np.float32)


def check_pixels(way: str, name: str, ours: np.ndarray, expected: np.ndarray):
    difference = np.abs(ours.astype(int) - expected.astype(int))
    if way == "kernels" or name in EXACT:
        assert difference.max() == 0
    elif name == "zoom":  # of a column or row that falls exactly between two, either
        assert (difference.max(axis=-1) > 0).mean() <= 0.1
    elif name == "rotate":  # a few pixels on region edges may differ
        assert (difference.max(axis=-1) > 0).mean() <= 0.001
    elif name == "sharpness":  # PIL leaves a border of one pixel as it is, see the test of it
        assert difference[:, 1:-1, 1:-1].max() <= LARGEST_DIFFERENCE[name]
    else:
        assert difference.max() <= LARGEST_DIFFERENCE[name]


@pytest.fixture(params=["kernels", "graph", pytest.param("gpu", marks=pytest.mark.gpu)])
def way(request, monkeypatch):
    """How operations run: as kernels or DALI's graph functions on the CPU, or as these on the GPU."""
    if request.param == "graph":
        without_kernels(monkeypatch)
    return request.param


def augment(way: str, *arguments, **options) -> np.ndarray:
    return augment_clip(*arguments, **options, device="gpu" if way == "gpu" else "cpu")


def check_all_levels(way, name, frames):
    """With the signs that the operation has; the test of monotonic ranges gives both to all of them."""
    for level in LEVELS:
        for shape in ("constant", "rising", "falling") if level else ("constant",):
            for sign in pil_ops.signs_of(name, "paper"):
                levels = [levels_over_time(level, shape, len(frames))]
                ours = augment(way, frames, [name], levels, [sign])
                check_pixels(way, name, ours, pil_ops.apply_to_clip(frames, [name], levels, [sign]))


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", NAMES)
def test_matches_pil(name, clip, way):
    check_all_levels(way, name, CLIPS[clip])


@pytest.mark.parametrize("name", NAMES)
def test_matches_pil_on_real_clips(name, way, shared_clips):
    for path, _ in find_videos(shared_clips / "actions")[::3]:
        check_all_levels(way, name, decode_frames(path, range(0, 40, 10), (20, 0, 120, 100), 96))


@pytest.mark.parametrize("name", NAMES)
def test_monotonic_ranges_match_pil(name, way):
    frames = CLIPS["natural"]
    for sign in (1, -1):
        levels = [np.linspace(0, 30, len(frames), dtype=np.float32)]
        ours = augment(way, frames, [name], levels, [sign], ranges="monotonic")
        check_pixels(way, name, ours, pil_ops.apply_to_clip(frames, [name], levels, [sign], "monotonic"))


@pytest.mark.parametrize("name", ["equalize", "auto_contrast"])
def test_frames_with_unusual_histograms_match_pil(name, way):
    clip = natural_clip(8, 160, 160)
    clip[0] = 93  # one grey stays as it is
    clip[1, :40] = 255  # many pixels of the highest value
    clip[2] = clip[2] // 3 + 90
    clip[3] = 40
    clip[3, 7, :100] = (10, 90, 39)  # fewer than 255 pixels of another value, above or below
    clip[4, :, :, 1] = 7  # one flat channel
    clip[5] = np.where(clip[5] > 100, 200, 30)
    clip[6] = 0
    clip[7] = 255
    ours = augment(way, clip, [name], np.zeros((1, 8)))
    check_pixels(way, name, ours, pil_ops.apply_to_clip(clip, [name], np.zeros((1, 8)), [1]))
    np.testing.assert_array_equal(ours[[0, 6, 7]], clip[[0, 6, 7]])


def test_the_border_of_sharpness_in_the_graph_is_that_of_a_frame_continued_by_its_edge(monkeypatch):
    """PIL copies the outermost pixels from the unsharpened frame instead."""
    without_kernels(monkeypatch)
    frames, levels = CLIPS["natural"], [np.linspace(0, 30, 6, dtype=np.float32)]
    continued = np.pad(frames, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    expected = pil_ops.apply_to_clip(continued, ["sharpness"], levels, [1])[:, 2:-2, 2:-2]
    assert np.abs(augment_clip(frames, ["sharpness"], levels).astype(int) - expected).max() <= 2


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


@pytest.mark.parametrize("name", ["shear_x", "translate_y", "rotate"])
@pytest.mark.parametrize("fill", [77, 128.0])
def test_fill_matches_pil(name, fill, way):
    frames, levels = CLIPS["natural"], [np.full(6, 20.0)]
    ours = augment(way, frames, [name], levels, fill=fill)
    check_pixels(way, name, ours, pil_ops.apply_to_clip(frames, [name], levels, [1], fill=int(fill)))


@pytest.mark.parametrize("size", [(224, 224), (160, 320), (33, 47), (1, 1), (2, 300)])
def test_warps_match_pil_at_other_sizes(size, way):
    """Also where a coordinate falls exactly between two pixels, as half-pixel translations do."""
    frames, rng = noise_clip(12, *size), np.random.default_rng(0)
    for name in ("rotate", "zoom", "shear_x", "shear_y", "translate_x", "translate_y"):
        for levels in (rng.uniform(0, 30, 12), np.arange(12) * 2.25):
            levels = [levels.astype(np.float32)]
            for sign in (1, -1):
                ours = augment(way, frames, [name], levels, [sign])
                check_pixels(way, name, ours, pil_ops.apply_to_clip(frames, [name], levels, [sign]))


@pytest.mark.parametrize("size", [(40, 56), (33, 47), (1, 1), (2, 300)])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_pil_at_all_levels_and_sizes(name, size):
    """All range tables and signs that count, and for warps both interpolations, at levels of whole steps and others."""
    rng, count = np.random.default_rng(0), 121
    frames = noise_clip(count, *size) if size[0] % 2 else natural_clip(count, *size)
    levels_over = [np.arange(count) / 4, rng.uniform(0, 30, count)]
    resamples = [("nearest", Image.NEAREST)]
    if isinstance(op_named(name).graph, Affine):
        resamples += [("linear", Image.BILINEAR)]
    for levels in levels_over:
        levels_NF = [levels.astype(np.float32)]
        for ranges in RANGE_TABLES:
            for sign in pil_ops.signs_of(name, ranges):
                for interpolation, resample in resamples:
                    style = {"ranges": ranges, "interpolation": interpolation, "fill": 9}
                    ours = augment_clip(frames, [name], levels_NF, [sign], **style)
                    expected = pil_ops.apply_to_clip(
                        frames, [name], levels_NF, [sign], ranges, resample=resample, fill=9
                    )
                    if (name, ranges, interpolation) == ("rotate", "wide", "linear"):
                        far = levels_NF[0] * 4.5 > 30  # degrees; some sums fall next to whole numbers, and are cut off
                        difference = np.abs(ours[far].astype(int) - expected[far])
                        assert difference.max() <= 1 and (difference > 0).mean() < 1e-4
                        ours, expected = ours[~far], expected[~far]
                    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("ranges", RANGE_TABLES)
def test_signs_count_where_they_do_in_the_table(ranges):
    for name in NAMES:
        assert op_named(name).range_in(ranges).signed == (len(pil_ops.signs_of(name, ranges)) == 2), name


def test_linear_interpolation_in_the_graph_is_close_to_pil(monkeypatch):
    without_kernels(monkeypatch)
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
        ((["spin"], [[1] * 6]), "Invalid operation 'spin': choose one of identity, auto_contrast"),
        (
            (["rotate"], [[1] * 5]),
            r"Invalid levels of shape \(1, 5\): must have the shape \(operations, frames\) = \(1, 6\)",
        ),
        ((["rotate"], [[31] * 6]), "Invalid levels from 31 to 31: must be between 0 and 30"),
        ((["rotate"], [[1] * 6], [2]), r"Invalid signs \[2\]: must be 1 numbers"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        augment_clip(CLIPS["noise"], *arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ranges": "big"}, "Invalid ranges 'big': choose one of paper, monotonic"),
        ({"interpolation": "cubic"}, "Invalid interpolation 'cubic': choose one of nearest, linear"),
        ({"fill": (1, 2, 3)}, r"Invalid fill \(1, 2, 3\): must be a grey level between 0 and 255"),
        ({"device": "tpu"}, "Invalid device 'tpu': choose one of gpu, cpu"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        augment_clip(CLIPS["noise"], ["rotate"], [[1] * 6], **options)


def test_wrong_frames():
    with pytest.raises(InputError, match="Invalid frames_FHWC of shape .* and type .*: must be uint8 of shape"):
        augment_clip(CLIPS["noise"].astype(np.float32), ["rotate"], [[1] * 6])


def test_no_operations_is_a_copy():
    frames = CLIPS["noise"]
    result = augment_clip(frames, [], [])
    np.testing.assert_array_equal(result, frames)
    assert result is not frames


@pytest.fixture
def more_ops():
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


def test_a_new_operation_is_registered_in_one_place(more_ops):
    register_op("stretch", Affine(slope=(1, 0, 0, 0, 1, 0)), unit="share", ranges=Range(0.0, 0.5, signed=True))
    frames = CLIPS["noise"]
    ours = augment_clip(frames, ["stretch", "solarize"], [np.full(6, 30.0), np.full(6, 30.0)], [-1, 1])
    np.testing.assert_array_equal(ours, frames[:, np.arange(40) // 2][:, :, np.arange(56) // 2])


def test_policies_draw_the_papers_operations_unless_they_name_others(more_ops):
    register_op("half", lambda video, value, style: video)
    for name in ("half", "rotate", "zoom", "blend_in"):  # else built-in policies would draw the user's own
        with pytest.raises(InputError, match=f"Invalid name '{name}': is already the name of an operation"):
            register_op(name, lambda video, value, style: video)
    assert RandAugmentT().ops == PAPER_OPS and len(PAPER_OPS) == 14 and "half" not in PAPER_OPS
    assert RandAugmentT(ops=["half"]).ops == ("half",)
    assert RandAugmentT(ops=AUTHORS_OPS).ops == (*PAPER_OPS, "invert") and "invert" not in OPS


def test_ranges_in_pixels_scale_with_the_crop(more_ops):
    register_op(
        "slide", Affine((0, 0, 1, 0, 0, 0)), unit="pixels", ranges=Range(10, 50, signed=True), scales_with_crop=True
    )
    assert OPS["slide"].range_in("paper", translate_max_px=40) == Range(4, 20, signed=True)
    assert OPS["translate_y"].range_in("monotonic", translate_max_px=35) == Range(0, 35, signed=True)
    assert OPS["shear_x"].range_in("paper", translate_max_px=35) == OPS["shear_x"].ranges["paper"]


def test_the_names_of_a_graphs_arguments_are_free(more_ops):
    def half(v, x, s):
        return v & types.Constant(127).uint8()

    register_op("half", half)
    frames = CLIPS["noise"]
    ours = augment_clip(frames, ["half", "translate_x"], np.full((2, 6), 3.0), translate_max_px=20)
    np.testing.assert_array_equal(ours[:, :, :-2], (frames & 127)[:, :, 2:])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "rotate", "graph": Affine()}, "Invalid name 'rotate': is already the name of an operation"),
        (
            {"name": "fog", "graph": Affine(), "ranges": (0, 30)},
            r"Invalid ranges \(0, 30\) of operation 'fog': must be a Range, ",
        ),
        (
            {"name": "fog", "graph": Affine()},
            "Invalid ranges None of operation 'fog': must be a Range, because an Affine needs a value",
        ),
        (
            {"name": "fog", "graph": "fog.py"},
            "Invalid graph 'fog.py' of operation 'fog': must be a function of DALI nodes, or an Affine",
        ),
        (
            {"name": "fog", "graph": Affine(), "ranges": {"paper": Range(0, 1)}},
            "of operation 'fog': must be a Range, or a dict with a Range for paper and monotonic",
        ),
    ],
)
def test_wrong_registrations(more_ops, arguments, message):
    with pytest.raises(InputError, match=message):
        register_op(**arguments)


def test_an_affine_operation_has_six_numbers():
    with pytest.raises(InputError, match=r"Invalid slope \(1, 0\): must be 6 numbers \(a, b, c, d, e, f\)"):
        Affine(slope=(1, 0))
