"""The policy, its statistics, and the three levels of entry into a graph."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipes import OPS, SCHEDULES, InputError, RandAugmentT, apply_ops, augment_clip, rand_augment_t
from tests.videos import natural_clip, noise_clip

NAMES = list(OPS)


def chi_square(counts, expected) -> float:
    return float((((np.asarray(counts) - expected) ** 2) / expected).sum())


def test_the_fourteen_operations():
    assert (
        NAMES
        == (
            "identity auto_contrast equalize rotate solarize color posterize contrast brightness sharpness shear_x shear_y "
            "translate_x translate_y"
        ).split()
    )


def test_draws_are_uniform_and_independent():
    rng = np.random.default_rng(0)
    draws = [RandAugmentT(n=2, schedule="temporal+").sample(rng, 8) for _ in range(11200)]
    first, second = (np.array([drawn.op_ids[i] for drawn in draws]) for i in range(2))
    pairs = np.histogram2d(first, second, bins=(range(15), range(15)))[0]
    assert chi_square(pairs, len(draws) / 196) < 300  # 195 degrees of freedom, about one in a million
    signs = np.array([drawn.signs[0] > 0 for drawn in draws])
    rising = np.array([drawn.levels_NF[0, -1] > drawn.levels_NF[0, 0] for drawn in draws])
    joint = np.bincount(first * 4 + signs * 2 + rising, minlength=56)
    assert chi_square(joint, len(draws) / 56) < 118  # 55 degrees of freedom


def test_mix_settles_the_schedule_once_per_clip():
    rng = np.random.default_rng(0)
    constant = [np.ptp(RandAugmentT(n=3, schedule="mix").sample(rng, 8).levels_NF, axis=1) == 0 for _ in range(2000)]
    assert all(flags.all() or not flags.any() for flags in constant)
    assert abs(np.mean([flags.all() for flags in constant]) - 0.5) < 0.06


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n": 0}, "n of at least 1 operation, got 0"),
        ({"m": -1}, "level is -1"),
        ({"schedule": "wild"}, "unknown schedule 'wild': choose one of spatial"),
        ({"ranges": "big"}, "unknown range table 'big': choose one of paper, monotonic"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic': choose one of nearest, linear"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        RandAugmentT(**options)


def run_apply_ops(frames, op_ids, levels, signs, n=2):
    """A batch of clips through apply_ops in somebody's own pipeline."""
    batch = len(op_ids)

    @pipeline_def(batch_size=batch, num_threads=2, device_id=None, enable_conditionals=True)
    def pipeline():
        video = fn.external_source(lambda: [frames] * batch, layout="FHWC")
        inputs = [fn.external_source([list(array)], cycle=True) for array in (op_ids, levels, signs)]
        return apply_ops(video, *inputs, n=n)

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
