"""The chances of everything that is drawn for a mix."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from dali_pipes import InputError
from tests.mixes import MIXING, NAMES, both_ways, draws, is_applied
from train.mixing import params as mix_params
from train.mixing.apply import apply_mix, mix_targets
from train.mixing.params import MIXES, draw_mix


def test_the_eleven_operations_and_the_papers_numbers():
    table = {name: (mix.axes, mix.alpha, mix.prob) for name, mix in MIXES.items()}
    assert table == {
        "cutout": ("HW", None, 1),
        "framecutout": ("T", None, 1),
        "cubecutout": ("THW", None, 1),
        "cutmix": ("HW", 2, 0.5),
        "framecutmix": ("T", 5, 0.5),
        "cubecutmix": ("THW", 2, 0.5),
        "mixup": ("", 1, 1),
        "fademixup": ("T", 1, 1),
        "cutmixup": ("HW", 1, 1),
        "framecutmixup": ("T", 1, 1),
        "cubecutmixup": ("THW", 1, 1),
    }
    assert [name for name, mix in MIXES.items() if mix.deletes] == ["cutout", "framecutout", "cubecutout"]


def chi_square_is_fair(counts, expected) -> bool:
    """At about one in a million."""
    counts = np.asarray(counts)
    free = len(counts) - 1
    return ((counts - expected) ** 2 / expected).sum() < free + 7 * np.sqrt(2 * free)


@pytest.mark.parametrize("alpha, cdf", [(1.0, lambda x: x), (2.0, lambda x: 3 * x**2 - 2 * x**3)])
@pytest.mark.parametrize("name", MIXING)
def test_lambda_is_beta_distributed(monkeypatch, name, alpha, cdf):
    seen = []
    real = MIXES[name].draw
    noting = replace(MIXES[name], draw=lambda lam_P, *rest: seen.append(lam_P) or real(lam_P, *rest))
    monkeypatch.setitem(MIXES, name, noting)
    draws(name, 500, (4, 4, 4), 8, alpha=alpha, per_sample=True)
    assert chi_square_is_fair(np.histogram(cdf(np.concatenate(seen)), 20, (0, 1))[0], 200)


def test_lambda_2_is_drawn_from_beta_2_2(monkeypatch):
    seen = []
    real = mix_params._box
    monkeypatch.setattr(mix_params, "_box", lambda share_P, *rest: seen.append(share_P) or real(share_P, *rest))
    draws("framecutmixup", 500, (4, 4, 4), 8, per_sample=True)
    share = np.concatenate(seen)
    assert chi_square_is_fair(np.histogram(3 * share**2 - 2 * share**3, 20, (0, 1))[0], 200)


@pytest.mark.parametrize("size_THW, share", [((16, 20, 24), 0.3), ((5, 7, 9), 0.6), ((4, 33, 2), 0.05)])
@pytest.mark.parametrize("axes", ["T", "HW", "THW"])
def test_a_box_covers_each_place_as_often_as_geometry_says(axes, size_THW, share):
    """Its centre is anywhere alike, so a pixel is covered as often as a centre falls within half a side of it."""
    count = 40000
    start_P3, stop_P3 = mix_params._box(np.full(count, share), axes, size_THW, np.random.default_rng(7))
    assert (start_P3 >= 0).all() and (stop_P3 <= size_THW).all() and (start_P3 <= stop_P3).all()
    for axis, size in enumerate(size_THW):
        if "THW"[axis] not in axes:
            assert (start_P3[:, axis] == 0).all() and (stop_P3[:, axis] == size).all()
            continue
        half, middles = share ** (1 / len(axes)) * size / 2, np.arange(size) + 0.5
        expected = (np.minimum(middles + half, size) - np.maximum(middles - half, 0)) / size
        covered = ((start_P3[:, axis, None] <= np.arange(size)) & (np.arange(size) < stop_P3[:, axis, None])).mean(
            axis=0
        )
        assert np.abs(covered - expected).max() < 5 * np.sqrt(0.25 / count)
    if axes == "THW":  # the axes are drawn independently
        middle = (start_P3 + stop_P3)[:, np.array(size_THW) > 4].T
        assert np.abs(np.corrcoef(middle) - np.eye(len(middle))).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["cutmix", "framecutmix", "cubecutmix"])
def test_the_box_is_one_minus_lambda_before_the_border_clips_it(name, lam):
    axes, size, count = MIXES[name].axes, 40, 20000
    lam_P, rng = np.full(count, lam), np.random.default_rng(0)
    start_P3, stop_P3, inside_P2, outside_P = MIXES[name].draw(lam_P, axes, (size,) * 3, rng)
    assert (inside_P2 == 0).all() and (outside_P == 1).all()
    side = (1 - lam) ** (1 / len(axes))
    kept = side - side**2 / 4  # of a side with its centre anywhere
    assert np.prod((stop_P3 - start_P3) / size, axis=1).mean() == pytest.approx(kept ** len(axes), abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_each_clip_draws_for_itself_where_asked(name):
    drawn = draw_mix(name, 200, (20, 20, 20), rng=np.random.default_rng(0), prob=0.5, per_sample=True)
    applied = is_applied(drawn)
    assert 60 < applied.sum() < 140
    numbers = np.concatenate([drawn.start_P3, drawn.stop_P3, drawn.inside_P2], axis=1)[applied]
    assert len(np.unique(numbers, axis=0)) > 10
    assert np.ptp(numbers, axis=0).any()
    for column in numbers[:, np.ptp(numbers, axis=0) > 0].T:
        assert abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 0.5


@pytest.mark.parametrize("name, cut", [("cutout", (1, 2)), ("framecutout", (0,)), ("cubecutout", (0, 1, 2))])
def test_deleted_regions_have_the_papers_size_and_lie_anywhere_alike(name, cut):
    (paper,) = draws(name, 8, (64, 160, 160), 1)
    expected = [
        side if axis in cut else full
        for axis, (side, full) in enumerate(zip((16, 80, 80), (64, 160, 160), strict=True))
    ]
    assert (paper.stop_P3 - paper.start_P3).tolist() == [expected] and paper.partners_B is None
    drawn = (
        draws(name, 1, (16, 11, 8), 1)[0],
        draw_mix(name, 9000, (16, 11, 8), rng=np.random.default_rng(1), prob=1.0, per_sample=True),
    )
    lengths = (drawn[0].stop_P3 - drawn[0].start_P3)[0]
    assert all(lengths[axis] == (4, 6, 4)[axis] for axis in cut)
    for axis in cut:
        places = (16, 11, 8)[axis] - lengths[axis] + 1
        counts = np.bincount(drawn[1].start_P3[:, axis], minlength=places)
        assert len(counts) == places and chi_square_is_fair(counts, 9000 / places)
    clips = torch.ones(1, 1, 16, 11, 8)
    assert int((apply_mix(clips, drawn[0]) == 0).sum()) == np.prod(lengths)
    (one_frame,) = draws(name, 1, (1, 8, 8), 1)
    assert (apply_mix(torch.ones(1, 1, 1, 8, 8), one_frame) == 0).float().mean() == (0.25 if name == "cutout" else 0)


def test_fades_go_either_way_and_as_far_as_they_can():
    drawn = draw_mix("fademixup", 20000, (8, 2, 2), rng=np.random.default_rng(2), alpha=2.0, prob=1.0, per_sample=True)
    first, last = drawn.inside_P2.T
    lam = (first + last) / 2
    assert abs((last > first).mean() - 0.5) < 5 * 0.5 / np.sqrt(20000)
    assert drawn.inside_P2.min() >= 0 and drawn.inside_P2.max() <= 1
    reach = np.abs(last - first) / 2 / np.minimum(lam, 1 - lam)
    assert chi_square_is_fair(np.histogram(reach, 20, (0, 1))[0], 1000)
    steps = np.diff(drawn.inside_PT, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(7, axis=1), atol=1e-12)
    np.testing.assert_allclose(drawn.label_weights_P(), lam, atol=1e-12)


def test_partners_are_any_permutation_alike():
    codes = [params.partners_B @ [9, 3, 1] for params in draws("mixup", 3, (2, 2, 2), 3000)]
    values, counts = np.unique(codes, return_counts=True)
    assert len(values) == 6 and chi_square_is_fair(counts, 500)


@both_ways
@pytest.mark.parametrize("name", ["cutout", "framecutmix", "cubecutmixup"])
def test_probability_and_defaults(name, per_sample):
    def changed(prob):
        drawn = draws(name, 10, (8, 8, 8), 400, prob=prob, per_sample=per_sample)
        return np.concatenate([is_applied(params) for params in drawn])

    assert changed(0.0).mean() == 0 and changed(1.0).mean() > 0.99
    quarter, default = changed(0.25), changed(None)
    assert abs(quarter.mean() - 0.25) < 5 * 0.5 / np.sqrt(len(quarter))
    assert abs(default.mean() - MIXES[name].prob) < 5 * 0.5 / np.sqrt(len(default))


def test_parameters_are_frozen_and_fit_one_batch_only():
    (params,) = draws("cutmix", 4, (4, 8, 8), 1)
    with pytest.raises(FrozenInstanceError):
        params.batch_size = 2
    with pytest.raises(ValueError, match="read-only"):
        params.start_P3[0] = 1
    with pytest.raises(InputError, match=r"Invalid labels_B of shape \(3,\): must be \(4,\), one label for each clip"):
        mix_targets(torch.tensor([0, 1, 2]), params, 3)
    with pytest.raises(InputError, match="Invalid inside_P2 of 2 rows: must have 1 for a batch of 4"):
        replace(params, inside_P2=np.zeros((2, 2)))
    with pytest.raises(
        InputError, match=r"Invalid partners_B \[0, 1, 1, 3\]: must contain each number from 0 to 3 exactly once"
    ):
        replace(params, partners_B=np.array([0, 1, 1, 3]))
    with pytest.raises(
        InputError,
        match=r"Invalid clips_BCTHW of shape \(4, 3, 4, 8, 9\): must be .* B, T, H, W = \(4, 4, 8, 8\), the size",
    ):
        apply_mix(torch.zeros(4, 3, 4, 8, 9), params)
