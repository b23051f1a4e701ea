"""The policy, its statistics, and the three levels of entry into a graph."""

import hashlib

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types

from dali_pipes import OPS, SCHEDULES, InputError, RandAugmentT, apply_ops, augment_clip, rand_augment_t
from dali_pipes.augment.ops import AUTHORS_OPS
from dali_pipes.augment.randaugment import SCHEDULE_GRAPH, draw_ops
from dali_pipes.plan.magnitude import NUMBERS, curve
from tests.videos import natural_clip, noise_clip

NAMES = list(OPS)


def chi_square(counts, expected) -> float:
    return float((((np.asarray(counts) - expected) ** 2) / expected).sum())


def test_the_fourteen_operations():
    assert (
        NAMES
        == (
            "identity auto_contrast equalize rotate solarize color posterize contrast brightness sharpness shear_x "
            "shear_y translate_x translate_y"
        ).split()
    )


def draw_in_numpy(policy, seed, count):
    rng = np.random.default_rng(0 if seed is None else seed)
    return [np.stack(arrays) for arrays in zip(*(policy.sample(rng, 8) for _ in range(count)), strict=True)]


def draw_in_graph(policy, seed, count):
    @pipeline_def(batch_size=700, num_threads=2, device_id=None, enable_conditionals=True, seed=3)
    def pipeline():
        return draw_ops(policy, 8, seed)

    built = pipeline()
    built.build()
    batches = [[output.as_array().copy() for output in built.run()] for _ in range(count // 700)]
    return [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("draw", [draw_in_numpy, draw_in_graph])
def test_draws_are_uniform_and_independent(draw, seed):
    """Operation, sign, direction and schedule, jointly, of both operations of a clip."""
    policy, count = RandAugmentT(n=2, m=10, schedule="mix"), 33600
    op_ids, levels, signs = draw(policy, seed, count)
    assert op_ids.shape == signs.shape == (count, 2) and levels.shape == (count, 2, 8)
    assert op_ids.dtype == np.int32 and levels.dtype == signs.dtype == np.float32
    temporal = np.ptp(levels, axis=2) > 0
    assert (temporal[:, 0] == temporal[:, 1]).all()  # the schedule is settled once per clip
    rising = levels[:, :, -1] > levels[:, :, 0]

    def is_fair(*factors_and_sizes):
        """Chi-square over all combinations, at about one in a million."""
        index, size = np.zeros(len(factors_and_sizes[0][0]), int), 1
        for factor, choices in factors_and_sizes:
            index, size = index * choices + factor, size * choices
        expected = len(index) / size
        assert expected > 10
        return chi_square(np.bincount(index, minlength=size), expected) < (size - 1) + 7 * np.sqrt(2 * (size - 1))

    first, second = op_ids.T
    assert is_fair((first, 14), (second, 14))
    up = (signs > 0).astype(int)
    assert is_fair((first, 14), (up[:, 0], 2), (temporal[:, 0], 2), (up[:, 1], 2))
    assert is_fair((second, 14), (up[:, 1], 2), (temporal[:, 0], 2), (up[:, 0], 2))
    clips = temporal[:, 0]  # where a direction can be seen
    for op in (0, 1):
        assert is_fair(
            (op_ids[clips, op], 14), (up[clips, 0], 2), (up[clips, 1], 2), *((rising[clips, i], 2) for i in (0, 1))
        )
    strength = (np.ptp(levels[clips], axis=2) / 10 * 7).astype(int)
    assert strength.max() == 6
    assert is_fair((strength[:, 0], 7), (strength[:, 1], 7), (rising[clips, 0], 2), (rising[clips, 1], 2))


DIGESTS = {
    "spatial 1 5": "eac69babc5d335fb",
    "spatial 2 10": "3f368574b111f724",
    "spatial 3 24": "04afc17f7f90cb6f",
    "temporal 1 5": "94dcc89089c3a234",
    "temporal 2 10": "a708ae81366a678a",
    "temporal 3 24": "d0ac8a11773c7b4c",
    "temporal+ 1 5": "39e635c313b210aa",
    "temporal+ 2 10": "c28ffd3aac7e84ce",
    "temporal+ 3 24": "848b7bca25095b7e",
    "mix 1 5": "9eda85eceb0c9ce7",
    "mix 2 10": "80aba3fa9c8a6982",
    "mix 3 24": "6c29e6d74fa65e29",
    "random_walk 1 5": "d6a38b8081a3bf3c",
    "random_walk 2 10": "3a8b153aba40c5ce",
    "random_walk 3 24": "d0746b3e199e227b",
    "fourier 1 5": "debeb488ca4e70e7",
    "fourier 2 10": "e4651b3ee1d00301",
    "fourier 3 24": "d377d4d72341227c",
}
"""Schedule, n and m -> a digest of the draws for 50 clips of 16 frames. Trainings that are repeated need the same."""


@pytest.mark.parametrize("case", DIGESTS)
def test_draws_stay_the_same(case):
    schedule, n, m = case.split()
    policy = RandAugmentT(n=int(n), m=float(m), schedule=schedule, ops=AUTHORS_OPS if n == "3" else None)
    rng, digest = np.random.default_rng(7), hashlib.sha256()
    for _ in range(50):
        for array in policy.sample(rng, 16):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[case]


def test_draws_of_consecutive_clips_are_independent():
    for draw in (draw_in_numpy, draw_in_graph):
        op_ids, _, signs = draw(RandAugmentT(n=1), 1, 14000)
        code = op_ids[:, 0] * 2 + (signs[:, 0] > 0)
        pairs = np.histogram2d(code[:-1], code[1:], bins=(range(29), range(29)))[0]
        assert chi_square(pairs, (len(code) - 1) / 784) < 783 + 7 * np.sqrt(2 * 783)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_the_same_functions_in_graphs(schedule):
    numbers = np.random.default_rng(0).random((40, NUMBERS)).astype(np.float32)
    time = np.linspace(0, 1, 16, dtype=np.float32)

    @pipeline_def(batch_size=40, num_threads=1, device_id=None)
    def pipeline():
        u = fn.external_source(lambda: list(numbers), batch=True)
        return SCHEDULES[schedule](u, 12.0, types.Constant(time), SCHEDULE_GRAPH)

    built = pipeline()
    built.build()
    (levels,) = built.run()
    expected = [curve(schedule, 12.0, 16, u) for u in numbers.astype(float)]
    np.testing.assert_allclose(levels.as_array(), expected, atol=2e-4)


def test_every_operation_of_a_clip_has_its_own_curve():
    for schedule in ("temporal", "temporal+", "random_walk", "fourier"):
        drawn = RandAugmentT(n=3, schedule=schedule).sample(np.random.default_rng(0), 16)
        assert len({tuple(levels) for levels in drawn.levels_NF.tolist()}) == 3


def test_a_subset_of_operations():
    policy = RandAugmentT(n=2, ops=["solarize", "rotate", "equalize"])
    op_ids = np.concatenate([policy.sample(np.random.default_rng(i), 4).op_ids for i in range(60)])
    assert set(op_ids) == {0, 1, 2}
    frames, rng = natural_clip(4, 40, 48), np.random.default_rng(1)
    drawn = [policy.sample(rng, 4) for _ in range(12)]
    ours = run_apply_ops(frames, *(np.stack(arrays) for arrays in zip(*drawn, strict=True)), ops=policy.ops)
    for clip, one in zip(ours, drawn, strict=True):
        names = [policy.ops[op_id] for op_id in one.op_ids]
        np.testing.assert_array_equal(clip, augment_clip(frames, names, one.levels_NF, one.signs), err_msg=str(names))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n": 0}, "Invalid n 0: must be a whole number of at least 1"),
        ({"m": -1}, "Invalid m -1"),
        ({"schedule": "wild"}, "Invalid schedule 'wild': choose one of spatial"),
        ({"ops": ["rotate", "spin"]}, "Invalid operation 'spin': choose one of identity, auto_contrast"),
        ({"n": 2.0}, "Invalid n 2.0: must be a whole number"),
        ({"m": "10"}, "Invalid m '10': must be a level between"),
        ({"schedule": ["mix"]}, r"Invalid schedule \['mix'\]: must be a name or a function"),
        ({"translate_max_px": -5}, "Invalid translate_max_px -5: must be a finite number of at least 0"),
        ({"translate_max_px": float("inf")}, "Invalid translate_max_px inf: must be a finite number"),
        ({"fill": 300}, "Invalid fill 300: must be a grey level"),
        ({"ops": []}, r"Invalid ops \[\]: must name at least one of identity"),
        ({"ops": "rotate"}, "Invalid ops 'rotate': must be a list of names, not a string"),
        ({"ranges": "big"}, "Invalid ranges 'big': choose one of paper, monotonic"),
        ({"interpolation": "cubic"}, "Invalid interpolation 'cubic': choose one of nearest, linear"),
        ({"ops": ["rotate", "blend_in"]}, "Invalid operation 'blend_in': must have fixed places"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        RandAugmentT(**options)


def run_apply_ops(frames, op_ids, levels, signs, n=2, ops=None):
    """A batch of clips through apply_ops in somebody's own pipeline."""
    batch = len(op_ids)

    @pipeline_def(batch_size=batch, num_threads=2, device_id=None, enable_conditionals=True)
    def pipeline():
        video = fn.external_source(lambda: [frames] * batch, layout="FHWC")
        inputs = [fn.external_source([list(array)], cycle=True) for array in (op_ids, levels, signs)]
        return apply_ops(video, *inputs, n=n, ops=ops)

    built = pipeline()
    built.build()
    (output,) = built.run()
    return [np.array(output[i]) for i in range(batch)]


def test_apply_ops_on_a_mixed_batch_equals_one_clip_at_a_time():
    frames, rng = natural_clip(5, 40, 48), np.random.default_rng(1)
    op_ids = np.array([[i % 14, (5 * i + 3) % 14] for i in range(28)], np.int32)
    levels = rng.uniform(0, 30, (28, 2, 5)).astype(np.float32)
    signs = rng.choice(np.float32([-1, 1]), (28, 2))
    for i, ours in enumerate(run_apply_ops(frames, op_ids, levels, signs)):
        names = [NAMES[op_id] for op_id in op_ids[i]]
        np.testing.assert_array_equal(ours, augment_clip(frames, names, levels[i], signs[i]), err_msg=str(names))


def test_apply_ops_refuses_another_number_of_operations():
    arrays = np.zeros((1, 3), np.int32), np.zeros((1, 3, 5), np.float32), np.ones((1, 3), np.float32)
    with pytest.raises(RuntimeError):
        run_apply_ops(noise_clip(5), *arrays, n=2)


def in_a_foreign_pipeline(frames, batches=1, pipeline_seed=1, batch_size=8, **options):
    @pipeline_def(batch_size=batch_size, num_threads=2, device_id=None, enable_conditionals=True, seed=pipeline_seed)
    def pipeline():
        video = fn.external_source(lambda: [frames] * batch_size, layout="FHWC")
        return rand_augment_t(video, num_frames=len(frames), **options)

    built = pipeline()
    built.build()
    # copied at once: before DALI 2 a batch's memory is reused by the next
    return np.concatenate([built.run()[0].as_array().copy() for _ in range(batches)])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rand_augment_t_in_a_foreign_pipeline(schedule):
    frames = natural_clip(4, 32, 40)
    clips = in_a_foreign_pipeline(frames, batches=4, schedule=schedule, n=2, m=12)
    assert clips.shape == (32, *frames.shape) and clips.dtype == np.uint8
    assert len({clip.tobytes() for clip in clips}) > 16


def test_rand_augment_t_seeds():
    frames = natural_clip(4, 32, 40)
    a, b, c = (in_a_foreign_pipeline(frames, pipeline_seed=p, seed=s) for p, s in ((1, 7), (2, 7), (1, 8)))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    d, e = (in_a_foreign_pipeline(frames, pipeline_seed=p) for p in (1, 2))
    assert (d != e).any()


def pulse(u, m, time, xp):
    return m * (xp.abs(time - u[1]) > 0.25)


def test_a_users_own_schedule_in_a_foreign_pipeline():
    frames = np.repeat(natural_clip(1, 32, 40), 8, axis=0)
    clips = in_a_foreign_pipeline(frames, batches=2, n=1, ops=["rotate"], schedule=pulse, fill=255)
    kept = (clips == frames).all(axis=(2, 3, 4))
    assert kept.any() and not kept.all() and set(np.unique(kept.sum(axis=1))) <= {2, 3, 4, 5}


@pytest.mark.parametrize("seed", [None, 5])
def test_rand_augment_t_draws_are_fair(seed):
    """Which operation, sign and direction were drawn, read back from the pixels of one translated dot."""
    frames = np.zeros((2, 9, 65, 3), np.uint8)
    frames[:, 4, 32] = (255, 200, 150)
    clips = in_a_foreign_pipeline(
        frames, batches=40, batch_size=70, n=1, m=20, schedule="temporal", translate_max_px=24, seed=seed
    )
    x = clips[:, :, 4].sum(axis=-1).argmax(axis=-1) - 32  # where the dot is in either frame
    only_x = (clips.sum(axis=(2, 3, 4)) == frames[0].sum()).all(axis=1) & (np.abs(x).max(axis=1) > 1)
    count = only_x.sum()  # translate_x alone moves the dot along its row and keeps it as it is
    assert abs(count - len(clips) / 14) < 5 * np.sqrt(len(clips) / 14)
    right, growing = x[only_x].sum(axis=1) > 0, np.abs(x[only_x, 1]) > np.abs(x[only_x, 0])
    joint = np.bincount(right * 2 + growing, minlength=4)
    assert chi_square(joint, count / 4) < 31


def test_zero_slope_is_plain_randaugment_bit_for_bit():
    frames, levels = natural_clip(), np.full((1, 6), 9.0)
    for name in NAMES:
        whole = augment_clip(frames, [name], levels)
        single = np.concatenate([augment_clip(frames[i : i + 1], [name], levels[:, :1]) for i in range(len(frames))])
        np.testing.assert_array_equal(whole, single, err_msg=name)
