"""Schedules of levels over time: the paper's (section 4.2), the wandering ones, a user's own."""

import numpy as np
import pytest

from dali_pipes import SCHEDULES, InputError, RandAugmentT, schedule_levels
from dali_pipes.plan.magnitude import NUMBERS, RandomLevel, curve

M, F, DRAWS = 10.0, 64, 4000


def draw(schedule, m=M, seed=0):
    rng = np.random.default_rng(seed)
    levels = np.stack([schedule_levels(schedule, m, F, rng) for _ in range(DRAWS)])
    assert levels.shape == (DRAWS, F) and levels.dtype == np.float32
    return levels


def ends(schedule, m=M, seed=0):
    levels = draw(schedule, m, seed)
    np.testing.assert_allclose(levels, np.linspace(levels[:, 0], levels[:, -1], F, axis=1), rtol=0, atol=1e-5)
    return levels[:, 0], levels[:, -1]


def is_uniform(values, low, high) -> bool:
    """A chi-square test over 20 bins at about one in a million."""
    counts, _ = np.histogram(values, bins=20, range=(low, high))
    assert counts.sum() == len(values)
    expected = len(values) / 20
    return ((counts - expected) ** 2 / expected).sum() < 65


def test_spatial_is_constant():
    first, last = ends("spatial")
    assert (first == M).all() and (last == M).all()


def test_temporal_runs_between_a_random_level_and_m():
    first, last = ends("temporal")
    assert (np.maximum(first, last) == M).all()
    assert is_uniform(np.minimum(first, last), 0.1, M)


def test_temporal_plus_is_symmetric_about_m():
    first, last = ends("temporal+")
    np.testing.assert_allclose(first + last, 2 * M, rtol=1e-6)
    assert is_uniform(np.abs(last - first) / 2, 0, 0.5 * M)


def test_mix_is_spatial_or_temporal_plus_with_equal_chance():
    first, last = ends("mix")
    constant = first == last
    assert abs(constant.mean() - 0.5) < 0.04
    assert is_uniform(np.abs(last - first)[~constant] / 2, 0, 0.5 * M)


@pytest.mark.parametrize("schedule", ["temporal", "temporal+"])
def test_time_runs_either_way(schedule):
    first, last = ends(schedule)
    assert abs((first < last).mean() - 0.5) < 0.04


def test_random_walk_is_uniform_about_m_at_every_moment_and_turns():
    levels = draw("random_walk")
    for frame in (0, 17, 40, 63):
        assert is_uniform(levels[:, frame], 0.5 * M, 1.5 * M)
    steps = np.diff(levels, axis=1)
    assert np.abs(steps).max() < 0.5 * M * 0.6 * 8 / 63 + 1e-3  # no jumps: the steepest of 8 straight steps
    turns = (np.sign(steps[:, 1:]) != np.sign(steps[:, :-1])).sum(axis=1)
    assert 3 < turns.mean() < 9
    near, far = (np.corrcoef(levels[:, 0], levels[:, frame])[0, 1] for frame in (4, 60))
    assert near > 0.9 and abs(far) < 0.35


def test_fourier_is_smooth_symmetric_about_m_and_turns():
    levels = draw("fourier")
    assert abs(levels.mean() - M) < 0.1 and np.ptp(levels, axis=0).min() > 0.8 * M
    assert (np.abs(levels - M) <= 0.5 * M + 1e-4).all()
    steps = np.diff(levels, axis=1)
    assert np.abs(steps).max() <= 0.5 * M * 2 * np.pi * 1.5 / 63 + 1e-3  # 1.5 cycles at most
    turns = (np.sign(steps[:, 1:]) != np.sign(steps[:, :-1])).sum(axis=1)
    assert 1 < turns.mean() < 4 and turns.max() <= 6


def fourier_sampling(u, m, num_frames):
    """Fourier Sampling as its authors define it: slices of waves over 2 T frames, stretched and averaged."""
    frames, total = np.arange(2 * num_frames), np.zeros(num_frames)
    exponential = -np.log(1 - u[[1, 5, 9]])  # normalised, they are Dirichlet(1, 1, 1)
    for wave, weight in enumerate(exponential / exponential.sum()):
        frequency, amplitude, start = 0.2 + 1.3 * u[2 + 4 * wave], u[3 + 4 * wave], u[4 + 4 * wave]
        first = round(start * (num_frames - 1))
        sine = np.sin(2 * frequency * np.pi * frames / (num_frames - 1))[first : first + num_frames]
        unit = (sine - sine.min()) / (sine.max() - sine.min())
        total += weight * (m - amplitude * m + unit * 2 * amplitude * m)
    return total


def test_fourier_wide_is_the_sampling_of_dynaaugment():
    rng = np.random.default_rng(0)
    for _ in range(100):
        u = rng.random(NUMBERS)
        u[[4, 8, 12]] = rng.integers(F, size=3) / (F - 1)  # waves start at whole frames there
        u[[4, 8, 12]] = np.minimum(u[[4, 8, 12]], 1 - 1e-12)
        np.testing.assert_allclose(curve("fourier_wide", M, F, u), fourier_sampling(u, M, F), atol=1e-4)
    levels = draw("fourier_wide")
    assert levels.min() < 0.1 * M and levels.max() > 1.9 * M and abs(levels.mean() - M) < 0.5


def test_uniform_is_a_whole_level_up_to_m():
    first, last = ends("uniform", m=30.0)
    assert (first == last).all()
    counts = np.bincount(first.astype(int), minlength=31)
    assert len(counts) == 31 and ((counts - DRAWS / 31) ** 2 / (DRAWS / 31)).sum() < 90
    assert set(np.unique(draw("uniform", m=2.5))) == {0, 1, 2}


def test_uniform_ends_runs_between_two_independent_levels():
    first, last = ends("uniform_ends", m=3.0)
    pairs = np.bincount((first * 4 + last).round().astype(int), minlength=16)
    assert len(pairs) == 16 and ((pairs - DRAWS / 16) ** 2 / (DRAWS / 16)).sum() < 60


def test_a_level_from_a_normal_distribution():
    levels = draw(RandomLevel(std=1.5), m=21.0)
    assert (levels == levels[:, :1]).all()
    share_below = [(levels[:, 0] < 21 + 1.5 * z).mean() for z in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(share_below, [0.0228, 0.1587, 0.5, 0.8413, 0.9772], atol=0.03)
    clipped = draw(RandomLevel(std=9.0), m=27.0)[:, 0]
    assert clipped.max() == 30 and 0.3 < (clipped == 30).mean() < 0.44


def test_a_level_from_a_uniform_distribution():
    levels = draw(RandomLevel(low=0.3), m=9.0)
    assert (levels == levels[:, :1]).all() and is_uniform(levels[:, 0], 0.3, 9.0)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"std": -1}, "Invalid std -1: must be a finite number of at least 0, or None"),
        ({"std": float("inf")}, "Invalid std inf: must be a finite number"),
        ({"std": float("nan")}, "Invalid std nan: must be a finite number"),
        ({"low": 50}, "Invalid low 50: must be a level between 0 and 30"),
        ({"low": -0.5}, "Invalid low -0.5: must be a level"),
        ({"std": 1, "low": 3}, "Invalid low 3: must be 0 if std is given"),
        ({"swing": 1.5}, "Invalid swing 1.5: must be a share between 0 and 1"),
        ({"swing": "half"}, "Invalid swing 'half': must be a share"),
    ],
)
def test_wrong_random_levels(fields, message):
    with pytest.raises(InputError, match=message):
        RandomLevel(**fields)


def test_the_lowest_level_is_not_above_m():
    assert (draw(RandomLevel(low=9), m=9.0) == 9).all()
    with pytest.raises(InputError, match="Invalid low 20: must be at most m, 9"):
        RandAugmentT(m=9, schedule=RandomLevel(low=20))


def test_a_level_that_swings_about_the_drawn_one():
    levels = draw(RandomLevel(std=0.5, swing=0.5))
    first, last, centre = levels[:, 0], levels[:, -1], (levels[:, 0] + levels[:, -1]) / 2
    np.testing.assert_allclose(levels, np.linspace(first, last, F, axis=1), atol=1e-4)
    assert abs(centre.std() - 0.5) < 0.03 and abs((first < last).mean() - 0.5) < 0.04
    assert is_uniform(np.abs(last - first) / 2 / centre, 0, 0.5 + 1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("m", [0.0, 0.05, 3.0, 25.0, 30.0])
def test_levels_stay_on_the_scale_with_mean_m(schedule, m):
    levels = draw(schedule, m)
    assert levels.min() >= 0 and levels.max() <= 30
    if schedule not in ("temporal", "fourier_wide", "uniform", "uniform_ends"):
        assert levels.mean() == pytest.approx(m, abs=0.005 * m + 1e-4)


def pulse(u, m, time, xp):
    """A user's own: m, but 0 in a random half of the clip."""
    return m * (xp.abs(time - u[1]) > 0.25)


def test_a_users_own_function():
    levels = draw(pulse)
    assert set(np.unique(levels)) == {0, M} and 0.5 < (levels == M).mean() < 0.7


def test_one_frame():
    for schedule in SCHEDULES:
        assert schedule_levels(schedule, 5, 1, np.random.default_rng(0)).shape == (1,)


def test_wrong_input():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="Invalid schedule 'linear': choose one of spatial, temporal, temporal"):
        schedule_levels("linear", 5, 8, rng)
    with pytest.raises(InputError, match="Invalid m 31: must be a level between 0 and 30"):
        schedule_levels("spatial", 31, 8, rng)
    with pytest.raises(InputError, match="Invalid num_frames 0"):
        schedule_levels("spatial", 5, 0, rng)


def too_high(u, m, time, xp):
    return m + 25 * time


def too_short(u, m, time, xp):
    return time[:2]


@pytest.mark.parametrize(
    "schedule, message",
    [
        (
            too_high,
            "Invalid schedule too_high: must return levels between 0 and 30, but returns levels from 10 to 35 "
            "for m = 10",
        ),
        (
            too_short,
            r"Invalid schedule too_short: must return one level for each of the 7 frames, but returns an array "
            r"of shape \(2,\)",
        ),
    ],
)
def test_a_wrong_function_is_refused_before_training(schedule, message):
    with pytest.raises(InputError, match=message):
        RandAugmentT(m=10, schedule=schedule)
