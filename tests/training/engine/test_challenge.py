"""Test videos of the VIPriors challenge: the submission, and its classes' numbers."""

import os
from pathlib import Path

import pytest
import torch

from tests.training.evaluated import CLASSES, HERE, NETWORK, predictions, scores_by_hand, with_changes, write_pattern
from train.run import main

pytestmark = pytest.mark.usefixtures("narrow")
IN_LIST_ORDER = ["striped", "bright", "dark"]
"""The classes of the challenge's list; no alphabetical order."""


@pytest.fixture
def challenge(networks, split_videos, tmp_path) -> tuple[Path, Path]:
    """The layout of VIPriors, with a missing test video and one that was transcoded; and a network for its classes."""
    lists, videos = tmp_path / "mod-ucf101" / "annotations", tmp_path / "mod-ucf101" / "videos"
    lists.mkdir(parents=True)
    videos.mkdir()
    lines = {"train": [], "validation": []}
    for path in sorted(split_videos.rglob("*.avi")):
        part = "train" if path.parts[-3] == "train" else "validation"
        name = f"v_{part}_{len(lines[part])}.avi"
        (videos / name).symlink_to(path)
        lines[part].append(f"{name} {IN_LIST_ORDER.index(path.parent.name) + 1}")
    for name, label in (("v_t_9.avi", "bright"), ("v_t_2.avi", "dark"), ("v_t_5.mp4", "striped")):
        codec = "mpeg4" if name.endswith(".mp4") else "ffv1"
        write_pattern(videos / name, label, 20, (48, 80), 99, codec=codec)
    (lists / "mod-ucf101-classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(IN_LIST_ORDER, 1)))
    (lists / "mod-ucf101-train.txt").write_text("\n".join(lines["train"]))
    (lists / "mod-ucf101-validation.txt").write_text("\n".join(lines["validation"]))
    (lists / "mod-ucf101-test.txt").write_text("v_t_9.avi\nv_t_7.avi\nv_t_5.avi\nv_t_2.avi\n")
    network = with_changes(networks / "a" / "last.pt", tmp_path / "net" / "last.pt", classes=IN_LIST_ORDER)
    return tmp_path, network


def test_a_submission_to_the_challenge(app, challenge):
    root, network = challenge
    options = ["--eval-only", network, "--data", root, "--dataset", "vipriors", "--split", "test"]
    said = app(*options, "--predict")
    out = network.parent / "evaluation"
    assert "Left out 1 of 4 videos" in said.out and "v_t_7.avi: No such file" in said.out
    assert f"wrote predictions.csv, submission.txt to {out}" in said.out and "top-1" not in said.out
    rows = predictions(out)
    assert [Path(row["path"]).name for row in rows] == ["v_t_9.avi", "v_t_7.avi", "v_t_5.mp4", "v_t_2.avi"]
    assert not rows.pop(1)["class_1"]  # it is not there
    lines = [line.split(" ") for line in (out / "submission.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["v_t_9.avi", "v_t_5.avi", "v_t_2.avi"]
    for line, row in zip(lines, rows, strict=True):
        assert sorted(line[1:]) == ["1", "2", "3"]
        assert [IN_LIST_ORDER[int(number) - 1] for number in line[1:]] == [row[f"class_{n}"] for n in (1, 2, 3)]
    assert (
        app(*options, expect=2).error
        == f"error: {root}: has no labels, so the accuracy cannot be computed; add --predict"
    )
    training = [*NETWORK, *options[2:], "--out", root / "trained"]
    assert "Invalid --split test: has no labels, so it cannot be used for training" in app(*training, expect=2).error


def test_the_challenges_validation_list_is_compared_by_the_names_of_its_classes(app, challenge, split_videos):
    root, network = challenge
    said = app("--eval-only", network, "--data", root, "--dataset", "vipriors")
    expected = scores_by_hand(network, split_videos / "val", 2, 1)  # of two videos each of bright, dark, striped
    labels = torch.tensor([IN_LIST_ORDER.index(name) for name in CLASSES for _ in range(2)])
    right = expected.argmax(1) == labels
    accuracy = said.accuracy(network)
    assert accuracy["top1"] == pytest.approx(100 * float(right.double().mean()), abs=0.006)
    assert accuracy["loss"] == pytest.approx(float(-expected.gather(1, labels[:, None]).log().mean()), abs=1e-4)


@pytest.mark.parametrize("classes", [CLASSES, ["archery", "bowling", "surfing"]])
def test_no_submission_with_the_numbers_of_other_classes(app, challenge, networks, classes):
    """The numbers are those of the challenge's list: a network whose classes stand in another order, or are others,
    must be refused or have its numbers translated."""
    root, _ = challenge
    network = with_changes(networks / "a" / "last.pt", root / "other" / "last.pt", classes=classes)
    options = ["--data", root, "--dataset", "vipriors", "--split", "test", "--predict", *HERE]
    if main([str(word) for word in ("--eval-only", network, *options)]) == 2:
        return
    out = network.parent / "evaluation"
    lines = [line.split(" ") for line in (out / "submission.txt").read_text().splitlines()]
    rows = [row for row in predictions(out) if row["class_1"]]
    for line, row in zip(lines, rows, strict=True):
        assert [IN_LIST_ORDER[int(number) - 1] for number in line[1:]] == [row[f"class_{n}"] for n in (1, 2, 3)]


def test_a_test_video_that_broke_since_it_was_checked_has_no_scores(app, challenge):
    root, network = challenge
    options = ["--eval-only", network, "--data", root, "--dataset", "vipriors", "--split", "test", "--predict"]
    app(*options)
    path = root / "mod-ucf101" / "videos" / "v_t_2.avi"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "v_t_2.avi: cannot be read as video" in app(*options, expect=2).error
    said = app(*options, "--on-bad-video", "skip", "--max-bad-percent", 50)
    assert f"Videos that could no longer be read and have no scores: 1, for example {path}" in said.out
    out = network.parent / "evaluation"
    assert [line.split()[0] for line in (out / "submission.txt").read_text().splitlines()] == ["v_t_9.avi", "v_t_5.avi"]
    broken = predictions(out)[3]
    assert Path(broken["path"]).name == "v_t_2.avi" and not broken["class_1"] and not broken["probability_1"]
