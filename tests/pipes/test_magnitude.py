"""Schedules of levels over time, paper section 4.2."""

import numpy as np
import pytest

from dali_pipes import SCHEDULES, InputError, schedule_levels

M, F, DRAWS = 10.0, 64, 4000


def ends(schedule, m=M, seed=0):
    rng = np.random.default_rng(seed)
    levels = np.stack([schedule_levels(schedule, m, F, rng) for _ in range(DRAWS)])
    assert levels.shape == (DRAWS, F) and levels.dtype == np.float32
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


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("m", [0.0, 0.05, 3.0, 25.0, 30.0])
def test_levels_stay_on_the_scale(schedule, m):
    first, last = ends(schedule, m)
    assert min(first.min(), last.min()) >= 0 and max(first.max(), last.max()) <= 30
    if schedule != "temporal":
        assert (first + last).mean() / 2 == pytest.approx(m, abs=1e-4)


def test_one_frame():
    assert schedule_levels("temporal+", 5, 1, np.random.default_rng(0)).shape == (1,)


def test_wrong_input():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="unknown schedule 'linear': choose one of spatial, temporal, temporal"):
        schedule_levels("linear", 5, 8, rng)
    with pytest.raises(InputError, match="level is 31, it must lie between 0 and 30"):
        schedule_levels("spatial", 31, 8, rng)
    with pytest.raises(InputError, match="num_frames is 0"):
        schedule_levels("spatial", 5, 0, rng)
