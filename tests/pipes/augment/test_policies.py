"""The table of policies: what they draw, and that their ranges and formulas are those of their sources."""

import pickle

import numpy as np
import pytest

from dali_pipes import OPS, POLICIES, AugMix, InputError, RandAugmentT, augment_clip, make_policy
from dali_pipes.augment.ops import EXTRA_OPS, PAPER_OPS, op_named
from dali_pipes.augment.policies import TIMM_OPS, is_recipe, policy_row
from tests.pipes.augment.ways import without_kernels
from tests.videos import natural_clip

F, DRAWS = 8, 8000
VIDEOMAE, VIDEOMAE_T = "rand-m7-n4-mstd0.5-inc1", "rand_t-m7-n4-mstd0.5-inc1"


def draw(name: str, count: int = DRAWS):
    """The names (count, N), levels (count, N, F) and signs (count, N) of many clips."""
    policy, rng = make_policy(name), np.random.default_rng(3)
    op_ids, levels, signs = (
        np.stack(arrays) for arrays in zip(*(policy.sample(rng, F) for _ in range(count)), strict=True)
    )
    return np.array(policy.op_names)[op_ids], levels, signs


def is_fair(counts, shares) -> bool:
    """A chi-square test at about one in a million."""
    expected, freedom = np.asarray(shares) * np.sum(counts), len(counts) - 1
    assert expected.min() > 10
    return ((np.asarray(counts) - expected) ** 2 / expected).sum() < freedom + 7 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("name", POLICIES)
def test_each_policy_draws_what_it_says(name):
    policy = make_policy(name, crop_px=112)
    assert pickle.loads(pickle.dumps(policy)) == policy
    names, levels, signs = draw(name, 50)
    assert names.shape == signs.shape == (50, policy.n) and levels.shape == (50, policy.n, F)
    assert levels.dtype == signs.dtype == np.float32 and levels.min() >= 0 and levels.max() <= 30
    assert set(np.unique(signs)) <= {-1, 1}
    constant = np.ptp(levels, axis=2).max() < 1e-4
    assert constant == (POLICIES[name].over_time == "constant")


@pytest.mark.parametrize("name", POLICIES)
def test_kernels_and_graph_functions_give_nearly_the_same_clips(name, monkeypatch):
    frames, rng = natural_clip(F, 48, 64), np.random.default_rng(0)
    policy = make_policy(name, crop_px=48)
    drawn = [policy.sample(rng, F) for _ in range(6)]
    style = {key: value for key, value in policy.graph_options().items() if key not in ("n", "ops", "blend_at")}
    if name in POLICIES and style["interpolation"] == "linear":
        style["interpolation"] = "nearest"  # DALI blends the border of linear warps with the fill, PIL does not

    def apply_all():
        return np.stack(
            [
                augment_clip(frames, [policy.op_names[op] for op in one.op_ids], one.levels_NF, one.signs, **style)
                for one in drawn
            ]
        )

    kernels = apply_all()
    without_kernels(monkeypatch)
    difference = np.abs(kernels.astype(int) - apply_all())
    assert (difference > 4).mean() < 0.01 and difference.mean() < 0.5
    assert (kernels != frames).any()


def test_signs_are_fair_and_independent_of_operations():
    names, _, signs = draw("dynaaugment", 4000)
    ops = make_policy("dynaaugment").op_names
    assert ops == (*PAPER_OPS, "zoom", "hue", "erase")
    ids = np.array([ops.index(name) for name in names.ravel()])
    assert is_fair(np.bincount(ids * 2 + (signs.ravel() > 0), minlength=34), np.full(34, 1 / 34))


@pytest.mark.parametrize("name", [VIDEOMAE, VIDEOMAE_T])
def test_a_recipe_applies_half_of_the_operations(name):
    names, _, _ = draw(name)
    known = [*TIMM_OPS, "identity"]
    counts = [(names == op).sum() for op in known]
    assert sum(counts) == names.size and len(TIMM_OPS) == 15
    assert is_fair(counts, [1 / 30] * 15 + [1 / 2])
    applied = (names != "identity").sum(axis=1)
    assert is_fair(np.bincount(applied, minlength=5), np.array([1, 4, 6, 4, 1]) / 16)


def test_the_levels_of_a_recipe_are_normal_and_drawn_for_each_operation():
    _, levels, _ = draw(VIDEOMAE)
    first = levels[:, :, 0] / 3  # of 10
    assert abs(first.mean() - 7) < 0.02 and abs(first.std() - 0.5) < 0.01
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.05
    edges = 7 + 0.5 * np.array([-9, -1, 0, 1, 9])
    assert is_fair(np.histogram(first, edges)[0], [0.158655, 0.341345, 0.341345, 0.158655])


def test_the_levels_of_a_recipe_over_time_change_about_the_drawn_one():
    _, levels, _ = draw(VIDEOMAE_T)
    inside = (levels > 0).all(axis=2) & (levels < 30).all(axis=2)
    middle, change = levels.mean(axis=2)[inside], (levels[:, :, -1] - levels[:, :, 0])[inside]
    assert inside.mean() > 0.8 and abs((change > 0).mean() - 0.5) < 0.02
    assert (np.abs(change) <= middle + 1e-3).all() and abs(middle.mean() - 21) < 0.5
    assert np.abs(np.diff(levels[inside], n=2, axis=1)).max() < 1e-4  # linear


@pytest.mark.parametrize("level", np.arange(0, 10.05, 0.25))
def test_the_values_of_a_recipe_are_timms(level):
    """The formulas of timm/data/auto_augment.py, in huggingface/pytorch-image-models."""
    policy = make_policy(VIDEOMAE, crop_px=200)
    value = {
        name: op_named(name).range_in(policy.ranges, policy.translate_max_px).value(3 * level) for name in TIMM_OPS
    }
    share = level / 10
    assert max(1, int(value["posterize"])) == max(1, 4 - int(share * 4))
    assert np.ceil(value["solarize"]) == 256 - int(share * 256)
    assert int(value["solarize_add"] + 1e-9) == int(share * 110 + 1e-9)
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert value[name] == pytest.approx(1 + 0.9 * share)
    assert value["rotate"] == pytest.approx(30 * share)
    assert value["shear_x"] == value["shear_y"] == pytest.approx(0.3 * share)
    assert value["translate_x"] == value["translate_y"] == pytest.approx(0.45 * 200 * share)
    assert policy.fill == 128 and policy.interpolation == "linear"


def test_recipes_are_read():
    assert make_policy("rand-m7-n4-mstd0.5-inc1") == make_policy("rand-inc1-n4-mstd0.5-m7")
    default = make_policy("rand-m10")
    assert (default.n, default.m, default.ranges) == (2, 30.0, "paper")
    uniform = make_policy("rand-m9-mstd101-n1")
    first = [uniform.sample(np.random.default_rng(i), 2).levels_NF[0, 0] for i in range(300)]
    assert min(first) < 2 and 25 < max(first) <= 27 and uniform.schedule.std is None
    assert is_recipe("rand-x") and not is_recipe("randaug") and not is_recipe("rand")


@pytest.mark.parametrize(
    "name, message",
    [
        ("rand-m7-q3", "Invalid aug 'rand-m7-q3': must be rand .or rand_t, .*; 'q3' is wrong"),
        ("rand-m7-mmax20", "; 'mmax20' is wrong"),
        ("rand-m7-w0", "; 'w0' is wrong"),
        ("rand-m7-m8", "; 'm8' is wrong"),
        ("rand-", "; '' is wrong"),
        ("rand-m11", "Invalid aug 'rand-m11': must have m between 0 and 10"),
        ("rand-n0", "n a whole number of at least 1"),
        ("rand-n1.5", "n a whole number of at least 1"),
        ("rand-inc2", "and inc 0 or 1"),
        ("trivia", "Invalid aug 'trivia': choose one of trivial, none, randaug"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(InputError, match=message):
        make_policy(name)


@pytest.mark.parametrize(
    "name, chosen, message",
    [
        ("none", {"n": 3}, "Invalid n 3: needs the policy randaug or randaug_t or dynaaugment, not none"),
        ("trivial", {"n": 3}, "Invalid n 3: needs the policy randaug or randaug_t or dynaaugment, not trivial"),
        ("rand-m9", {"m": 3}, "Invalid m 3: needs the policy .*, not rand-m9"),
        ("randaug", {"schedule": "mix"}, "Invalid schedule 'mix': needs the policy randaug_t, not randaug"),
        ("trivial", {"bogus": 1}, "Invalid field 'bogus': choose one of n, m, ops, ranges, interpolation, schedule"),
        ("none", {"bogus": 1}, "Invalid field 'bogus': choose one of n, m"),
    ],
)
def test_fields_that_a_policy_does_not_leave_to_the_user(name, chosen, message):
    with pytest.raises(InputError, match=message):
        make_policy(name, **chosen)


def test_trivialaugment_draws_one_operation_with_any_level():
    names, levels, signs = draw("trivial")
    assert names.shape[1] == 1
    assert is_fair([(names == op).sum() for op in PAPER_OPS], [1 / 14] * 14)
    assert is_fair(np.bincount(levels[:, 0, 0].astype(int), minlength=31), [1 / 31] * 31)
    assert is_fair(np.bincount((signs[:, 0] > 0).astype(int), minlength=2), [1 / 2] * 2)
    _, levels, _ = draw("trivial_t")
    for frame in (0, -1):
        assert is_fair(np.bincount(levels[:, 0, frame].round().astype(int), minlength=31), [1 / 31] * 31)
    assert abs(np.corrcoef(levels[:, 0, 0], levels[:, 0, -1])[0, 1]) < 0.05
    assert np.abs(np.diff(levels, n=2, axis=2)).max() < 1e-4


def test_the_wide_ranges_are_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms.v2")
    space, policy = transforms.TrivialAugmentWide._AUGMENTATION_SPACE, make_policy("trivial", crop_px=224)
    assert len(space) == len(policy.op_names) == 14
    for theirs, (magnitudes, signed) in space.items():
        name = next(name for name in PAPER_OPS if name.replace("_", "") == theirs.lower())
        range_, expected = op_named(name).range_in(policy.ranges, policy.translate_max_px), magnitudes(31, 224, 224)
        if expected is None:
            assert not op_named(name).ranges
            continue
        assert range_.signed == signed
        ours = np.array([range_.value(float(level)) for level in range(31)]) - range_.base
        if name == "posterize":
            assert [int(bits) for bits in ours] == [  # theirs rounds 6.5 to the even 6
                int(bits) for bits in np.floor(8.5 - np.arange(31) / 5)
            ]
            assert np.abs(ours.astype(int) - expected.numpy()).max() <= 1
        elif name == "solarize":
            np.testing.assert_allclose(ours / 256, expected, atol=1e-6)
        else:
            np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_translations_scale_with_the_crop():
    shares = {name: make_policy(name, crop_px=80).translate_max_px / 80 for name in POLICIES}
    assert shares["randaug_t"] == 0.625 and shares[VIDEOMAE] == 0.45 and shares["augmix"] == pytest.approx(1 / 3)
    assert shares["trivial"] == pytest.approx(32 / 224)


def test_policies_of_earlier_versions_are_the_same_objects():
    assert make_policy("randaug") == RandAugmentT(schedule="spatial")
    assert make_policy("randaug_t", n=3, m=5.0) == RandAugmentT(n=3, m=5.0)
    assert make_policy("none") is None


def test_each_row_is_complete():
    for name, row in POLICIES.items():
        assert row.source and row.operations and row.count and row.magnitude
        assert set(row.free) <= set(row.kind.__dataclass_fields__)
        assert all(op in {**OPS, **EXTRA_OPS} for op in row.settings.get("ops", ()))
        assert policy_row(name) == row
    assert isinstance(make_policy("augmix"), AugMix)
