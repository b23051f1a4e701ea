"""The temporal localisation score: 1 for a network that tells when, 0.5 for one that does not."""

import csv
import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from dali_pipes.errors import InputError
from tests.training.planted import guessing_checkpoint, plain_clips, planted, shaken
from tests.videos import dark_and_bright
from train.analysis.cam import read_clips
from train.analysis.localisation import Localisation, draw_pairs, main, score_pair, separation, swap_halves
from train.config.options import Config

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
    with pytest.raises(InputError, match="r3d_18 have a single time step for all 8 frames.* larger --num-frames"):
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
    first, second = swap_halves(clips)
    assert first[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1] and torch.equal(second, 1 - first)
    assert torch.equal(clips[0], torch.zeros(3, 7, 4, 4))  # not in place


def test_pairs_are_different_ones_of_two_classes_and_the_seeds_own():
    labels = [0] * 60 + [1] * 30 + [2] * 10 + [-1] * 4
    pairs = draw_pairs(labels, 600, seed=1)
    assert pairs == draw_pairs(labels, 600, seed=1) != draw_pairs(labels, 600, seed=2)
    assert len({frozenset(pair) for pair in pairs}) == 600
    drawn = Counter(tuple(sorted((labels[a], labels[b]))) for a, b in pairs)
    assert set(drawn) == set(itertools.combinations(range(3), 2))  # never unlabelled ones, never one class
    for (one, other), count in drawn.items():  # as often as there are such pairs: 1800, 600 and 300
        assert count == pytest.approx(600 * labels.count(one) * labels.count(other) / 2700, rel=0.25)


def test_no_more_pairs_than_there_are():
    labels = [0, 1, 1, -1, 2]
    for count in (5, 200):
        pairs = draw_pairs(labels, count, seed=3)
        assert sorted(map(tuple, map(sorted, pairs))) == [(0, 1), (0, 2), (0, 4), (1, 4), (2, 4)]
    assert len(draw_pairs(labels, 3, seed=3)) == 3
    for one_class in ([0, 0, -1], [-1, -1]):
        with pytest.raises(InputError, match="Cannot form pairs: .* belong to [01] class; give videos of at least two"):
            draw_pairs(one_class, 3, seed=0)


def test_mean_and_standard_error():
    found = Localisation(np.array([1.0, 0.5, 0.75, 0.75]), np.array([True, False, True, False]))
    assert found.mean() == pytest.approx((75.0, 100 * 0.2041241 / 2))
    assert found.mean(found.recognised_N) == pytest.approx((87.5, 12.5))
    nothing = found.mean(np.zeros(4, bool))
    assert np.isnan(nothing).all()


def test_the_command(tmp_path, capsys):
    """Two checkpoints on the same pairs; what it prints and writes is what the clips give when read one by one."""
    root = dark_and_bright(tmp_path, val=(2, 2))
    config, classes = Config(num_frames=32, crop_px=40, device="cpu", workers=0), ["bright", "dark"]
    networks = {}
    for seed in (0, 1):
        path = str(tmp_path / f"{seed}.pt")
        networks[path] = guessing_checkpoint(tmp_path / f"{seed}.pt", classes, config, seed)
    table = tmp_path / "new" / "scores.csv"
    given = ["--data", str(root / "val"), "--pairs", "4", "--workers", "0", "--layer", "fast", "-o", str(table)]
    assert main([*networks, *given]) == 0
    out = capsys.readouterr().out
    with open(table, newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["checkpoint"] for line in lines] == [path for path in networks for _ in range(4)]
    pairs = [(line["video_a"], line["video_b"]) for line in lines]
    assert pairs[:4] == pairs[4:] and all((root / "val").as_posix() in path for pair in pairs for path in pair)
    for path, network in networks.items():
        own = [line for line in lines if line["checkpoint"] == path]
        for line in own:
            pair = read_clips(replace(config, batch_size=1, eval_clips=1), classes, [line["video_a"], line["video_b"]])
            clips, labels = torch.stack([clip.clip_CTHW for clip in pair]), [clip.label for clip in pair]
            score, recognised = score_pair(network, clips, tuple(labels), "fast")
            assert sorted(labels) == [0, 1] and float(line["score"]) == pytest.approx(score, abs=1e-6)
            assert line["recognised"] == ("yes" if recognised else "no")
        mean = 100 * np.mean([float(line["score"]) for line in own])
        assert f"{path}: temporal localisation {mean:.1f} +- " in out
    assert "4 pairs from 4 videos; chance is 50 %" in out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = dark_and_bright(tmp_path_factory.mktemp("wrong"), val=(1, 1), more=(1, 1))
    config = Config(num_frames=32, crop_px=40, device="cpu", data=str(root / "val"))
    for name, classes, own in (
        ("a", ["bright", "dark"], {}),
        ("other", ["bright", "dark", "x"], {}),
        ("more", ["bright", "dark"], {"data": str(root / "more")}),
    ):
        network = guessing_checkpoint(root / f"{name}.pt", classes, replace(config, **own))
    with torch.no_grad():
        network.backbone.classifier.weight.fill_(float("nan"))
    state = torch.load(root / "a.pt", weights_only=True)
    torch.save({**state, "model": network.state_dict()}, root / "nan.pt")
    return root


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--pairs", "0"], "Invalid --pairs 0: must be at least 1"),
        (["--seed", "-1"], "Invalid --seed -1: must be at least 0"),
        (["--layer", "both"], "--layer.*'both'.*slow, fast"),
        (["--data", "{}/val/dark"], "val/dark"),
        (["--data", "{}/val/dark", "--dataset", "unlabelled"], "the 0 videos with a label belong to 0 class"),
        (["{}/other.pt"], "other.pt: its 3 classes differ from the 2 classes of"),
        (["{}/more.pt"], "more.pt: was validated with --data .*/more, but .*/a.pt with --data .*/val; use --data"),
        (["-o", "{}"], "is a folder; --out must name a .csv file"),
        (["{}/nan.pt"], "the scores of this slowfast50 are not finite numbers"),
    ],
)
def test_what_is_wrong_is_said(folder, capsys, arguments, message):
    given = [word.format(folder) for word in arguments]
    out = ["-o", str(folder / "out.csv")] if "-o" not in given else []
    assert main([str(folder / "a.pt"), *given, "--workers", "0", *out]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("localisation: ")]
    assert re.search(message, line) and not (folder / "out.csv").exists()


def test_checkpoints_of_other_data_on_the_same_videos(folder, capsys):
    given = ["--data", str(folder / "val"), "--workers", "0", "--pairs", "9"]
    assert main([str(folder / "a.pt"), str(folder / "more.pt"), *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 pairs from 2 videos" in lines[1] and len(lines) == 4  # the first says that all videos are evaluated on
    assert lines[2].split(": temporal")[1] == lines[3].split(": temporal")[1] and "nan" not in lines[2]
