"""The robustness measure: plain is the plain evaluation, intervals of known cases, resuming, the command."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dali_pipes import Manifest
from dali_pipes.loader.clip_reader import ClipReader
from tests.training.planted import guessing_checkpoint
from tests.videos import dark_and_bright
from train.analysis import robustness
from train.analysis.robustness import Evaluated, conditions_of, main, subset
from train.analysis.robustness_results import MEAN, PLAIN, RELATIVE, RESAMPLES, Measured, curve_of, interval, resample
from train.config.options import Config
from train.data.loaders import make_eval_loader
from train.data.videos import load_for_evaluation
from train.engine.evaluation import evaluate
from train.runtime.processes import Processes
from train.runtime.stop import StopRequest
from train.weights.checkpoint import saved_config

CLASSES = ["bright", "dark"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, narrow):
    root = dark_and_bright(tmp_path_factory.mktemp("robust"), val=(3, 2))
    for name, seed, own in (("a", 0, {}), ("b", 1, {}), ("longer", 2, {"num_frames": 32})):
        own = {"num_frames": 16, "eval_clips": 2, "batch_size": 4} | own
        config = Config(crop_px=40, device="cpu", workers=0, data=str(root / "val"), **own)
        guessing_checkpoint(root / f"{name}.pt", CLASSES, config, seed)
    return root


def call(folder, out, *arguments, names=("a", "b")) -> int:
    given = ["--workers", "0", "--device", "cpu", "--kinds", "flash,noise", "--strengths", "1,5", "-o", str(out)]
    return main([*(str(folder / f"{name}.pt") for name in names), *given, *arguments])


def rows(out) -> list[dict]:
    with open(out / "robustness.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command(folder, tmp_path, capsys):
    assert call(folder, tmp_path) == 0
    said, found = capsys.readouterr().out, rows(tmp_path)
    summary = json.loads((tmp_path / "robustness.json").read_text())
    assert len(found) == 2 * 5 * 5 and {row["kind"] for row in found} == {PLAIN, "flash", "noise"}
    for one in summary["checkpoints"]:
        own = [row for row in found if row["checkpoint"] == one["checkpoint"]]
        perturbed = [row["right"] == "yes" for row in own if row["kind"] != PLAIN]
        plain = [row["right"] == "yes" for row in own if row["kind"] == PLAIN]
        assert all((row["label"] == row["prediction"]) == (row["right"] == "yes") for row in own)
        figures = one["figures"]
        assert figures[MEAN][0] == pytest.approx(100 * np.mean(perturbed))
        right = [digit == "1" for row in one["conditions"] for digit in row["right"]]
        assert right == [row["right"] == "yes" for row in own]
        assert figures[PLAIN][0] == pytest.approx(100 * np.mean(plain))
        assert figures[RELATIVE][0] == pytest.approx(100 * np.mean(perturbed) / np.mean(plain))
        assert f"{figures[MEAN][0]:.1f} ({figures[MEAN][1]:.1f} to {figures[MEAN][2]:.1f})" in said
    assert "b.pt - a.pt" in said and f"{RESAMPLES} resamples, seed 0" in said
    assert (tmp_path / "robustness.png").stat().st_size > 5000


def test_plain_is_the_plain_evaluation_to_the_last_bit(folder, monkeypatch, tmp_path):
    """As are the scores of each of several networks that see the same clips."""
    kept = {}
    real = robustness.evaluate_networks

    def keep(networks, loader, title, stop):
        kept[title] = real(networks, loader, title, stop)
        return kept[title]

    monkeypatch.setattr(robustness, "evaluate_networks", keep)
    assert call(folder, tmp_path) == 0
    plain = next(scores for title, scores in kept.items() if title.startswith(PLAIN))
    for name, scores_VK in zip(("a", "b"), plain, strict=True):
        state = torch.load(folder / f"{name}.pt", weights_only=True)
        config = saved_config(state, "")
        manifest, *_ = load_for_evaluation(config, CLASSES, predict=False)
        network = robustness.load_network(state, config, torch.device("cpu"))
        with StopRequest() as stop:
            expected = evaluate(network, make_eval_loader(config, manifest, Processes()), config, Processes(), stop)
        assert torch.equal(scores_VK, expected)
    assert sum(not torch.equal(scores[0], plain[0]) for scores in kept.values()) == 4


def test_what_is_evaluated_is_not_evaluated_again(folder, monkeypatch, tmp_path, capsys):
    """After a stop the rest is evaluated, with the same result; of other seeds or videos all is."""
    real, done, stops_after = robustness.evaluate_networks, [], 2

    def counted(networks, loader, title, stop):
        if len(done) == stops_after:
            stop.number = 15
        result = real(networks, loader, title, stop)
        done.append(title)
        return result

    monkeypatch.setattr(robustness, "evaluate_networks", counted)
    assert call(folder, tmp_path / "stopped") == 128 + 15
    assert "stopped by SIGTERM; the same command continues" in capsys.readouterr().err
    assert not (tmp_path / "stopped" / "robustness.csv").exists()
    stops_after = -1
    assert call(folder, tmp_path / "stopped") == 0 and len(done) == 5
    assert call(folder, tmp_path / "at once") == 0 and len(done) == 10
    assert rows(tmp_path / "stopped") == rows(tmp_path / "at once")
    assert call(folder, tmp_path / "at once") == 0 and len(done) == 10
    assert call(folder, tmp_path / "at once", "--seed", "1") == 0 and len(done) == 15
    assert call(folder, tmp_path / "at once", "--videos", "3") == 0 and len(done) == 20
    assert len(rows(tmp_path / "at once")) == 2 * 5 * 3
    os.utime(folder / "b.pt", (1, 1))  # another checkpoint of that name
    assert call(folder, tmp_path / "at once") == 0 and len(done) == 25


def changed(manifest: Manifest, **facts) -> Manifest:
    """The first video has other properties."""
    first, *others = manifest.videos
    return Manifest([replace(first, **facts), *others], manifest.classes)


@pytest.mark.parametrize(
    "facts",
    [{"end_frame": 8}, {"num_frames": 9}, {"size_bytes": 1}, {"mtime_ns": 1}, {"start_frame": 1}, {"label": 0}],
    ids=lambda facts: next(iter(facts)),
)
def test_predictions_of_another_video_are_not_taken(folder, facts):
    config = Config(device="cpu", workers=0, data=str(folder / "val"))
    manifest, *_ = load_for_evaluation(config, CLASSES, predict=False)
    manifest = changed(manifest, label=1)
    one = Evaluated.here(str(folder / "a.pt"), config, manifest)
    name = one.part(folder, ("flash", 1), 0, manifest)
    assert one.part(folder, ("flash", 1), 0, changed(manifest)) == name
    assert one.part(folder, ("flash", 1), 0, changed(manifest, **facts)) != name


def test_predictions_of_another_device_are_not_taken(folder, monkeypatch):
    """``auto`` is resolved: what was measured on a CPU is not continued on a GPU."""
    config = Config(device="auto", precision="auto", decoder="auto", workers=0, data=str(folder / "val"))
    manifest, *_ = load_for_evaluation(config, CLASSES, predict=False)

    def part(device: str, precision: str, decoder: str):
        monkeypatch.setattr(robustness, "choose_device", lambda _: torch.device(device))
        monkeypatch.setattr(robustness, "choose_precision", lambda *_: precision)
        monkeypatch.setattr(ClipReader, "choose_decoder", staticmethod(lambda *_: decoder))
        one = Evaluated.here(str(folder / "a.pt"), config, manifest)
        return one.part(folder, ("flash", 1), 0, manifest)

    places = [("cpu", "fp32", "cpu"), ("cuda:0", "fp32", "cpu"), ("cuda:0", "bf16", "cpu"), ("cuda:0", "bf16", "gpu")]
    assert len({part(*place) for place in places}) == 4
    assert part("cuda:1", "bf16", "gpu") == part("cuda:0", "bf16", "gpu")


def test_the_summary_says_what_was_measured(folder, tmp_path):
    """And with it, which results can be compared: equal videos in another folder are the same videos."""
    out, other = tmp_path / "out", tmp_path / "other"
    assert call(folder, out, "--strengths", "5", "--kinds", "flash", "--seed", "3", names=("a", "longer")) == 0
    first, second = json.loads((out / "robustness.json").read_text())["checkpoints"]
    stat = (folder / "a.pt").stat()
    assert (out / first["file"]["path"]).resolve() == (folder / "a.pt").resolve()
    assert (first["file"]["size_bytes"], first["file"]["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    assert (first["settings"]["seed"], first["settings"]["eval_clips"], first["settings"]["crop_px"]) == (3, 2, 40)
    assert [first["settings"][name] for name in ("device", "precision", "decoder")] == ["cpu", "fp32", "cpu"]
    assert {name for name, value in first["settings"].items() if value != second["settings"][name]} == {"num_frames"}
    assert first["videos"] == second["videos"] and first["videos"]["count"] == 5
    shutil.copytree(folder / "val", other)
    for data, count, same in ((other, "5", True), (folder / "val", "4", False)):
        options = ("--strengths", "5", "--kinds", "flash", "--data", str(data), "--videos", count)
        assert call(folder, out, *options, names=("a",)) == 0
        (again,) = json.loads((out / "robustness.json").read_text())["checkpoints"]
        assert (again["videos"] == first["videos"]) == same


def test_checkpoints_of_other_clips_have_a_loader_of_their_own(folder, tmp_path):
    assert call(folder, tmp_path, "--strengths", "5", names=("a", "longer")) == 0
    assert call(folder, tmp_path / "alone", "--strengths", "5", names=("longer",)) == 0
    both, alone = rows(tmp_path), rows(tmp_path / "alone")
    assert [row for row in both if row["checkpoint"].endswith("longer.pt")] == alone


def measured(right_NPV) -> Measured:
    """All videos are of class 0."""
    right_NPV = np.array(right_NPV)
    videos = [SimpleNamespace(path=f"{v}.avi", label=0) for v in range(right_NPV.shape[2])]
    conditions = [(PLAIN, 0), *(("pan", p) for p in range(1, right_NPV.shape[1]))]
    return Measured(["a", "b"], [{}, {}], conditions, Manifest(videos, ["x", "y"]), np.where(right_NPV, 0, 1))


def test_the_interval_of_a_known_case():
    """60 of 200 videos are right: the binomial distribution has its 2.5 and 97.5 % points at 48 and 73."""
    right_V = np.arange(200) < 60
    low, high = interval(100 * resample(200) @ right_V)
    assert low == pytest.approx(24, abs=0.76) and high == pytest.approx(36.5, abs=0.76)
    assert resample(200).sum(axis=1) == pytest.approx(np.ones(RESAMPLES))
    np.testing.assert_array_equal(resample(200), resample(200))


def test_differences_are_of_the_same_resampled_videos():
    """A network that is right wherever the other is, and on one more video in ten, differs by nearly as much always."""
    right_V = np.arange(200) % 2 == 0
    better_V = right_V | (np.arange(200) % 10 == 1)
    own = measured([[right_V] * 3, [better_V] * 3]).summary()["checkpoints"]
    value, low, high = own[1]["differences"][MEAN]
    assert value == pytest.approx(10) and 5 < low < 8 and 12 < high < 15  # alone, each is known to +- 7 points
    assert own[0]["differences"][MEAN] == [0, 0, 0]
    assert own[1]["figures"][RELATIVE] == [100, 100, 100]


def test_the_share_of_nothing_is_left_out():
    own = measured([[[False] * 5] * 2] * 2).summary()["checkpoints"]
    assert own[0]["figures"][RELATIVE] == [None] * 3 and own[0]["figures"][MEAN] == [0, 0, 0]


def test_subsets_are_balanced_and_the_seeds_own():
    labels = [0] * 50 + [1] * 6 + [2] * 20
    chosen = subset(labels, 30, seed=0)
    assert chosen == sorted(set(chosen)) == subset(labels, 30, seed=0) != subset(labels, 30, seed=1)
    assert np.bincount(np.array(labels)[chosen]).tolist() == [12, 6, 12]
    assert subset(labels, 100, seed=0) == list(range(76))


def test_curves_run_from_plain_to_the_highest_strength():
    rows = [{"kind": "pan", "strength": n, "accuracy": [n, n, n]} for n in (5, 1, 3)]
    one = {"conditions": [*rows, {"kind": PLAIN, "strength": 0, "accuracy": [0, 0, 0]}]}
    assert [strength for strength, _ in curve_of(one, "pan")] == [0, 1, 3, 5]


def test_conditions():
    assert conditions_of("pan,shake", "3,1,3") == [("pan", 1), ("pan", 3), ("shake", 1), ("shake", 3)]
    assert len(conditions_of(None, "1,2,3,4,5")) == 65


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--kinds", "fog"], "Invalid --kinds 'fog': choose one of shake, pan, roll"),
        (["--strengths", "1,6"], "Invalid --strengths '6': choose one of 1, 2, 3, 4, 5"),
        (["--seed", "-1"], "Invalid --seed -1: must be at least 0"),
        (["--videos", "0"], "Invalid --videos 0: must be at least 1"),
    ],
)
def test_what_is_wrong_is_said(folder, tmp_path, capsys, arguments, message):
    assert call(folder, tmp_path / "out", *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("robustness: ")]
    assert re.search(message, line) and not (tmp_path / "out").exists()
