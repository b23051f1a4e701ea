"""AugMix: its draws, and that the clip is the weighted mean that the formula says."""

import numpy as np
import pytest

from dali_pipes import (
    AugMix,
    ClipSampler,
    InputError,
    RandAugmentT,
    VideoLoader,
    augment_clip,
    find_videos,
    scan_videos,
)
from dali_pipes.augment.augmix import AUGMIX_OPS, blend_shares
from dali_pipes.plan.magnitude import RandomLevel
from tests.pipes.augment.ways import without_kernels
from tests.reference import pil_ops
from tests.videos import natural_clip, noise_clip

F, DRAWS = 8, 4000


def chi_square(counts, shares) -> float:
    expected = np.asarray(shares) * np.sum(counts)
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def draw(policy: AugMix, count: int = DRAWS):
    rng = np.random.default_rng(1)
    return [np.stack(arrays) for arrays in zip(*(policy.sample(rng, F) for _ in range(count)), strict=True)]


def weights_of(policy: AugMix, levels: np.ndarray) -> np.ndarray:
    """The (count, 1 + C, F) weights of the clip and of each chain, from the levels of ``blend_in``."""
    weights = np.ones((len(levels), 1, F))
    for place in policy.blend_at:
        share = levels[:, place, None] / 30
        weights = np.concatenate([weights * (1 - share), share], axis=1)
    return weights


def test_operations_and_depths_are_uniform():
    policy = AugMix()
    op_ids, levels, signs = draw(policy)
    assert op_ids.shape == signs.shape == (DRAWS, 12) and levels.shape == (DRAWS, 12, F)
    assert policy.blend_at == (3, 7, 11) and policy.op_names == (*AUGMIX_OPS, "identity", "blend_in")
    chains = op_ids.reshape(DRAWS, 3, 4)
    assert (chains[..., 3] == 10).all() and chains[..., :3].max() == 9
    depths = (chains[..., :3] < 9).sum(axis=2)
    assert chi_square(np.bincount(depths.ravel(), minlength=4)[1:], [1 / 3] * 3) < 30
    pairs = np.bincount(depths[:, 0] * 4 + depths[:, 1])
    assert chi_square(pairs[pairs > 0], [1 / 9] * 9) < 45  # chains are independent
    drawn = chains[..., :3][chains[..., :3] < 9]
    assert chi_square(np.bincount(drawn, minlength=9), [1 / 9] * 9) < 45
    assert chi_square([(signs == sign).sum() for sign in (-1.0, 1.0)], [15 / 40, 25 / 40]) < 25  # blend_in has +1
    of_ops = levels.reshape(DRAWS, 3, 4, F)[:, :, :3, 0].ravel()
    assert chi_square(np.histogram(of_ops, 20, (0.3, 9))[0], [1 / 20] * 20) < 65


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_weights_are_from_beta_and_dirichlet(alpha):
    policy = AugMix(alpha=alpha)
    weights = weights_of(policy, draw(policy)[1])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(weights, axis=2).max() < 1e-5
    share = 1 - weights[:, 0, 0]
    rng = np.random.default_rng(9)
    edges = np.quantile(rng.beta(alpha, alpha, 200_000), np.linspace(0, 1, 11))
    assert chi_square(np.histogram(share, [-1, *edges[1:-1], 2])[0], [1 / 10] * 10) < 45
    of_chains = weights[:, 1:, 0] / share[:, None]
    edges = np.quantile(rng.beta(alpha, 2 * alpha, 200_000), np.linspace(0, 1, 11))  # what Dirichlet's parts have
    for chain in range(3):
        assert chi_square(np.histogram(of_chains[:, chain], [-1, *edges[1:-1], 2])[0], [1 / 10] * 10) < 45
    assert abs(np.corrcoef(share, of_chains[:, 0])[0, 1]) < 0.06


def test_a_fading_share_is_linear_and_keeps_its_mean():
    policy = AugMix(fade=True, schedule=RandomLevel(low=0.3, swing=1.0))
    levels = draw(policy, 1000)[1]
    share = 1 - weights_of(policy, levels)[:, 0]
    np.testing.assert_allclose(share, np.linspace(share[:, 0], share[:, -1], F, axis=1), atol=1e-5)
    assert share.min() > -1e-6 and share.max() < 1 + 1e-6
    assert abs((share[:, -1] > share[:, 0]).mean() - 0.5) < 0.08 and np.ptp(share, axis=1).max() > 0.8
    of_ops = levels[:, 0]
    assert np.abs(np.diff(of_ops, n=2, axis=1)).max() < 1e-4 and np.ptp(of_ops, axis=1).max() > 10


def test_blend_shares_by_hand():
    np.testing.assert_allclose(
        blend_shares(np.array([0.5, 0.5]), np.array([0.5, 1.0, 0.0])), [[1 / 3, 1, 0], [1 / 4, 0.5, 0]]
    )


@pytest.mark.parametrize("way", ["kernels", "graph"])
@pytest.mark.parametrize("fade", [False, True])
def test_the_clip_is_the_weighted_mean_of_its_chains(way, fade, monkeypatch):
    """Against PIL for each chain by itself, and the formula of the paper in float64."""
    if way == "graph":
        without_kernels(monkeypatch)
    frames, rng = natural_clip(F, 40, 56), np.random.default_rng(4)
    exact = "posterize solarize shear_x shear_y translate_x translate_y".split()  # in the graph too
    options = {"ops": exact} if way == "graph" else {}
    policy = AugMix(fade=fade, translate_max_px=18.0, schedule=RandomLevel(low=3, swing=1.0), **options)
    for _ in range(8):
        drawn = policy.sample(rng, F)
        names = [policy.op_names[op_id] for op_id in drawn.op_ids]
        ours = augment_clip(
            frames, names, drawn.levels_NF, drawn.signs, ranges=policy.ranges, translate_max_px=policy.translate_max_px
        )
        weights = weights_of(policy, drawn.levels_NF[None])[0, :, :, None, None, None]
        expected = weights[0] * frames
        for chain in range(3):
            steps = slice(4 * chain, 4 * chain + 3)
            levels = drawn.levels_NF[steps].copy()
            levels[[name.startswith("translate") for name in names[steps]]] *= 18 / 100  # PIL's are of 100 pixels
            made = pil_ops.apply_to_clip(frames, names[steps], levels, drawn.signs[steps], policy.ranges)
            expected = expected + weights[1 + chain] * made
        assert np.abs(ours - expected).max() <= 0.51, names  # rounded once


def test_chains_start_from_the_clip(monkeypatch):
    frames, levels = noise_clip(), np.array([[30.0] * 6, [15.0] * 6, [30.0] * 6, [15.0] * 6])
    ops = ["invert", "blend_in", "translate_x", "blend_in"]
    half = np.rint((frames.astype(float) + (255 - frames)) / 2)
    moved = augment_clip(frames, ["translate_x"], levels[2:3], translate_max_px=7)
    for way in ("kernels", "graph"):
        if way == "graph":
            without_kernels(monkeypatch)
        ours = augment_clip(frames, ops, levels, translate_max_px=7)
        assert np.abs(ours - (half + moved) / 2.0).max() <= 1


def test_shares_of_zero_and_one():
    frames, steps = noise_clip(), ["solarize", "blend_in"]
    of = lambda share: augment_clip(frames, steps, [[15.0] * 6, [30.0 * share] * 6])  # noqa: E731
    np.testing.assert_array_equal(of(0.0), frames)
    np.testing.assert_array_equal(of(1.0), augment_clip(frames, ["solarize"], [[15.0] * 6]))


def test_the_loader_applies_it(shared_clips):
    manifest = scan_videos(find_videos(shared_clips / "actions")[:4])
    options = {"batch_size": 4, "num_frames": 8, "crop_px": 48, "workers": 0, "device": "cpu"}
    policy = AugMix(translate_max_px=16.0, interpolation="nearest")
    plain, mixed, again = (
        next(iter(VideoLoader(manifest, augment=augment, **options))).clips_BCTHW.numpy()
        for augment in (None, policy, policy)
    )
    np.testing.assert_array_equal(mixed, again)
    assert mixed.shape == plain.shape and (mixed != plain).any()
    plan = ClipSampler(videos=manifest.videos, num_frames=8, augment=policy).plan(0, 0)
    names = [policy.op_names[op_id] for op_id in plan.op_ids]
    frames, ours = (np.rint(clips[0].transpose(1, 2, 3, 0) * 128 + 128).astype(np.uint8) for clips in (plain, mixed))
    style = {"ranges": policy.ranges, "translate_max_px": 16.0}
    np.testing.assert_array_equal(ours, augment_clip(frames, names, plan.levels_NK, plan.signs, **style))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"chains": 0}, "Invalid chains 0: must be"),
        ({"depth": 0}, "Invalid depth 0: must be"),
        ({"alpha": 0}, "Invalid alpha 0: must be a number between 0.001 and 1e"),
        ({"alpha": float("inf")}, "Invalid alpha inf: must be a number between 0.001 and 1e"),
        ({"alpha": 1e308}, "Invalid alpha 1e"),
        ({"m": 31}, "Invalid m 31: must be a level between 0 and 30"),
        ({"ops": ["spin"]}, "Invalid operation 'spin'"),
        ({"ops": ["blend_in"]}, "Invalid operation 'blend_in': must have fixed places"),
        ({"ranges": "big"}, "Invalid ranges 'big'"),
        ({"interpolation": "cubic"}, "Invalid interpolation 'cubic'"),
        ({"translate_max_px": -1}, "Invalid translate_max_px -1"),
        ({"translate_max_px": float("inf")}, "Invalid translate_max_px inf: must be a finite number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        AugMix(**options)


def test_its_protocol_is_that_of_randaugment_t():
    for policy in (AugMix(), RandAugmentT()):
        assert len(policy.sample(np.random.default_rng(0), 4).op_ids) == policy.n
        assert max(policy.blend_at, default=0) < policy.n
