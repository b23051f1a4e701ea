"""The temporal localisation score: 1 for a network that tells when, 0.5 for one that does not."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from dali_pipes.errors import InputError
from tests.training.planted import plain_clips, planted, shaken
from train.localisation import Localisation, cut_together, draw_pairs, score_pair, separation

RED_AND_BLUE = (0, 2)


@pytest.mark.parametrize(
    "options, score",
    [({}, 1.0), ({"sign": -1.0}, 0.0), ({"same_at_all_times": True}, 0.5)],
    ids=["tells when", "the wrong way round", "blind to time"],
)
def test_planted_networks(options, score):
    assert score_pair(planted(**options), plain_clips(*RED_AND_BLUE), RED_AND_BLUE)[0] == score


def test_a_preference_for_early_times_is_no_localisation():
    """It finds A in the first half, and misses it in the second."""
    mask_THW = torch.linspace(2, 1, 8)[:, None, None].expand(8, 4, 4)
    clips = plain_clips(0, 0)  # red both: what differs is time alone
    assert score_pair(planted(mask_THW), clips, RED_AND_BLUE)[0] == 0.5


def test_half_blind():
    """Of the four times of each half it sees three; the others tie with each other, and are between the halves."""
    mask_THW = torch.ones(8, 4, 4)
    mask_THW[[0, 7]] = 0
    score, _ = score_pair(planted(mask_THW), plain_clips(*RED_AND_BLUE), RED_AND_BLUE)
    assert score == (9 + 3 + 3 + 0.5) / 16


def test_recognised_when_pure():
    for labels, recognised in ((RED_AND_BLUE, True), ((0, 1), False)):
        assert score_pair(planted(), plain_clips(*RED_AND_BLUE), labels)[1] is recognised
    # the same holds of a network that is confident only of one
    assert not score_pair(planted(sign=-1.0), plain_clips(*RED_AND_BLUE), RED_AND_BLUE)[1]


def test_a_map_without_times_is_refused():
    with pytest.raises(InputError, match="r3d_18 have one time for all 8 frames .* more --frames"):
        score_pair(shaken("r3d_18"), torch.zeros(2, 3, 8, 64, 64), (0, 1))


def test_a_network_knows_nothing_before_it_has_learned():
    """Random maps separate nothing on average."""
    rng = np.random.default_rng(0)
    scores = [separation(rng.normal(size=8), np.arange(8) < 4) for _ in range(2000)]
    assert abs(np.mean(scores) - 0.5) < 0.02


@pytest.mark.parametrize(
    "differences, expected",
    [([3, 4, 1, 2], 1.0), ([1, 2, 3, 4], 0.0), ([1, 3, 2, 4], 0.25), ([1, 1, 1, 1], 0.5), ([1, 2, 1, 0], 0.875)],
)
def test_separation_by_hand(differences, expected):
    assert separation(np.array(differences, float), np.array([True, True, False, False])) == expected


def test_clips_are_cut_in_the_middle_in_both_orders():
    clips = torch.arange(2.0)[:, None, None, None, None].expand(2, 3, 7, 4, 4).contiguous()
    first, second = cut_together(clips)
    assert first[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1] and torch.equal(second, 1 - first)
    assert torch.equal(clips[0], torch.zeros(3, 7, 4, 4))  # not in place


def test_pairs_are_of_different_classes_and_the_seeds_own():
    labels = [0] * 50 + [1] * 2 + [2] * 3 + [-1] * 4
    pairs = draw_pairs(labels, 600, seed=1)
    assert pairs == draw_pairs(labels, 600, seed=1) != draw_pairs(labels, 600, seed=2)
    drawn = Counter((labels[a], labels[b]) for a, b in pairs)
    assert set(drawn) == set(itertools.permutations(range(3), 2))  # never unlabelled ones, never one class
    assert all(70 < count < 130 for count in drawn.values())  # 100 each, however many videos a class has
    with pytest.raises(InputError, match="of 1 class"):
        draw_pairs([0, 0, -1], 3, seed=0)


def test_mean_and_standard_error():
    found = Localisation(np.array([1.0, 0.5, 0.75, 0.75]), np.array([True, False, True, False]))
    assert found.mean() == pytest.approx((75.0, 100 * 0.2041241 / 2))
    assert found.mean(found.recognised_N) == pytest.approx((87.5, 12.5))
    nothing = found.mean(np.zeros(4, bool))
    assert np.isnan(nothing).all()
