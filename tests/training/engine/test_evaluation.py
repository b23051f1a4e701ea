"""Evaluation and predictions of trained networks, alone and together, through the app's ``main`` on tiny videos."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from dali_pipes import Manifest, scan_videos
from tests.training.evaluated import (
    CLASSES,
    NETWORK,
    assert_same_accuracy,
    predictions,
    scores_by_hand,
    scores_of,
    with_changes,
)
from tests.training.test_run import metrics
from train.engine.evaluation import average, write_predictions, write_submission

pytestmark = pytest.mark.usefixtures("narrow")


def test_eval_only_says_what_the_training_said_and_writes_beside_the_checkpoint(app, networks):
    last = networks / "a" / "last.pt"
    said = app("--eval-only", last)
    assert "6 videos, 2 x 1 views" in said.out
    assert_same_accuracy(said.accuracy(last), metrics(networks / "a")[-1])
    out = last.parent / "evaluation"
    assert f"wrote val_classes.csv, val_confusion.png, val_predictions.csv to {out}" in said.out
    written = ["val_classes.csv", "val_confusion.png", "val_predictions.csv"]
    assert sorted(path.name for path in out.iterdir()) == written
    assert imread(out / "val_confusion.png").std() > 0
    with open(out / "val_classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == CLASSES and [row["videos"] for row in rows] == ["2"] * 3
    correct = sum(int(row["correct"]) for row in rows)
    assert said.accuracy(last)["top1"] == pytest.approx(100 * correct / 6, abs=0.006)
    # the training wrote the same tables of its best epoch, which is the only one
    for name in written:
        assert (out / name).read_bytes() == (networks / "a" / name).read_bytes()


def test_three_clips_of_three_crops_are_averaged(app, networks, split_videos, tmp_path):
    last = networks / "a" / "last.pt"
    said = app("--eval-only", last, "--eval-clips", 3, "--eval-crops", 3, "--predict", "--out", tmp_path)
    assert "6 videos, 3 x 3 views" in said.out
    expected, found = scores_by_hand(last, split_videos / "val", 3, 3), scores_of(tmp_path)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (scores_by_hand(last, split_videos / "val", 3, 1) - expected).abs().max() > 1e-4  # the crops do matter


def test_predictions_have_a_line_per_video_with_the_most_probable_classes_first(app, networks, split_videos, tmp_path):
    last = networks / "a" / "last.pt"
    said = app("--eval-only", last, "--predict", "--out", tmp_path)
    assert f"wrote val_classes.csv, val_confusion.png, val_predictions.csv, predictions.csv to {tmp_path}" in said.out
    rows, videos = predictions(tmp_path), sorted((split_videos / "val").rglob("*.avi"))
    assert list(rows[0]) == ["path", "label", *(f"{name}_{n}" for n in (1, 2, 3) for name in ("class", "probability"))]
    assert [row["path"] for row in rows] == [str(path) for path in videos]
    assert [row["label"] for row in rows] == [path.parent.name for path in videos]
    for row in rows:
        chances = [float(row[f"probability_{n}"]) for n in (1, 2, 3)]
        assert chances == sorted(chances, reverse=True) and sum(chances) == pytest.approx(1, abs=3e-6)
    expected = scores_by_hand(last, split_videos / "val", 2, 1)
    assert [row["class_1"] for row in rows] == [CLASSES[k] for k in expected.argmax(1)]
    torch.testing.assert_close(scores_of(tmp_path), expected, rtol=0, atol=1e-6)
    right = sum(row["class_1"] == row["label"] for row in rows)
    assert said.accuracy(last)["top1"] == pytest.approx(100 * right / len(rows), abs=0.006)
    assert (tmp_path / "val_predictions.csv").read_bytes() == (tmp_path / "predictions.csv").read_bytes()


def manifest_of(split_videos, names) -> Manifest:
    paths = sorted((split_videos / "val").rglob("*.avi"))
    return scan_videos([(str(path), None) for path in paths[:3]], classes=names, workers=1)


def test_five_of_many_classes_are_predicted_and_nothing_of_a_video_without_scores(split_videos, tmp_path):
    names = list("abcdefg")
    manifest = manifest_of(split_videos, names)
    scores = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [0] * 7, [9, 1, 8, 2, 7, 3, 6]], dtype=torch.float64) / 36
    write_predictions(tmp_path / "predictions.csv", scores, manifest)
    first, unseen, third = predictions(tmp_path)
    assert [first[f"class_{n}"] for n in range(1, 6)] == list("gfedc") and "class_6" not in first
    assert [third[f"class_{n}"] for n in range(1, 6)] == list("acegf") and third["probability_1"] == "0.250000"
    assert unseen["path"] == manifest.videos[1].path and not unseen["label"]
    assert not any(unseen[name] for name in first if name.startswith(("class", "probability")))
    write_submission(tmp_path / "submission.txt", scores, manifest)
    assert (tmp_path / "submission.txt").read_text() == "0.avi 7 6 5 4 3\n0.avi 1 3 5 7 6\n"


def test_videos_without_classes_are_predicted(app, networks, split_videos, tmp_path):
    loose, last = tmp_path / "loose", networks / "a" / "last.pt"
    sources = sorted((split_videos / "val").rglob("*.avi"))
    for name, source in zip(("z.avi", "deep/er/a.avi", "deep/b.avi"), sources, strict=False):
        (loose / name).parent.mkdir(parents=True, exist_ok=True)
        (loose / name).symlink_to(source)
    (loose / "deep" / "notes.txt").write_text("no video")
    (tmp_path / "list.csv").write_text("path\nloose/z.avi\nloose/deep/er/a.avi\nloose/deep/b.avi\n")
    options = ["--eval-only", last, "--dataset", "unlabelled"]
    known = scores_by_hand(last, split_videos / "val", 2, 1)[:3]  # of z, a, b
    for source, order in ((loose, [2, 1, 0]), (tmp_path / "list.csv", [0, 1, 2])):
        out = tmp_path / f"out of {source.stem}"
        said = app(*options, "--data", source, "--predict", "--out", out)
        assert "top-1" not in said.out and f"wrote predictions.csv to {out}" in said.out
        assert [path.name for path in out.iterdir()] == ["predictions.csv"]
        names = [("z.avi", "deep/er/a.avi", "deep/b.avi")[number] for number in order]
        assert [row["path"] for row in predictions(out)] == [str(loose / name) for name in names]
        assert {row["label"] for row in predictions(out)} == {""}
        torch.testing.assert_close(scores_of(out), known[order], rtol=0, atol=1e-6)
        refused = app(*options, "--data", source, expect=2).error
        assert refused == f"error: {source}: has no labels, so the accuracy cannot be computed; add --predict"
        training = [*NETWORK, "--data", source, "--dataset", "unlabelled", "--out", tmp_path / "trained"]
        refused = app(*training, expect=2).error
        assert (
            "Invalid --dataset unlabelled: has no labels, so it cannot be used for training" in refused
            and "--eval-only" in refused
        )


def test_each_row_of_a_list_has_its_line(app, networks, split_videos, tmp_path):
    """In the list's order: also one that is there twice, a segment, and a file that cannot be read."""
    b, a = sorted((split_videos / "val").rglob("*.avi"))[1::-1]
    rows = [f"{b},,", f"{a},,", f"{tmp_path}/gone.avi,,", f"{b},,", f"{a},2,6", f"{a},900,"]
    (tmp_path / "list.csv").write_text("\n".join(["path,start_frame,end_frame", *rows]) + "\n")
    options = ["--dataset", "unlabelled", "--data", tmp_path / "list.csv", "--predict", "--out", tmp_path]
    last = networks / "a" / "last.pt"
    said = app("--eval-only", last, *options)
    assert "Left out 2 of 6 videos" in said.out and f"{a} (frames 900 to the end): its segment starts" in said.out
    found = predictions(tmp_path)
    assert [row["path"] for row in found] == [line.split(",")[0] for line in rows]
    assert [bool(row["class_1"]) for row in found] == [True, True, False, True, True, False]
    assert [(row["start_frame"], row["end_frame"]) for row in found[3:5]] == [("", ""), ("2", "6")]
    assert {name: found[0][name] for name in found[0]} == {name: found[3][name] for name in found[3]} != found[4]
    assert found[4]["probability_1"] != found[1]["probability_1"]


def test_videos_whose_names_are_not_utf_8_are_predicted(app, networks, split_videos, tmp_path):
    name = os.fsdecode(b"caf\xe9.avi")
    (tmp_path / "loose").mkdir()
    shutil.copy(split_videos / "val" / "dark" / "0.avi", tmp_path / "loose" / name)
    options = ["--dataset", "unlabelled", "--data", tmp_path / "loose", "--predict", "--out", tmp_path]
    app("--eval-only", networks / "a" / "last.pt", *options)
    assert [Path(row["path"]).name for row in predictions(tmp_path)] == [name]


def test_videos_of_the_command_line_are_predicted_in_its_order_and_printed(app, networks, split_videos, tmp_path):
    last, videos = networks / "a" / "last.pt", sorted((split_videos / "val").rglob("*.avi"))
    chosen, expected = [videos[number] for number in (4, 0, 3)], scores_by_hand(last, split_videos / "val", 2, 1)
    said = app("--eval-only", last, "--predict", *chosen, "--out", tmp_path / "out")
    assert [row["path"] for row in predictions(tmp_path / "out")] == [str(path) for path in chosen]
    torch.testing.assert_close(scores_of(tmp_path / "out"), expected[[4, 0, 3]], rtol=0, atol=1e-6)
    for path, row in zip(chosen, predictions(tmp_path / "out"), strict=True):
        pairs = ", ".join(f"{row[f'class_{n}']} {float(row[f'probability_{n}']):.3f}" for n in (1, 2, 3))
        assert f"{path}: {pairs}\n" in said.out
    assert os.listdir(tmp_path / "out") == ["predictions.csv"] and "top-1" not in said.out
    both = app("--ensemble", last, networks / "b" / "last.pt", "--predict", chosen[0], "--out", tmp_path / "one")
    assert f"{chosen[0]}: " in both.out and len(predictions(tmp_path / "one")) == 1


def test_a_few_videos_are_predicted_whatever_the_checkpoint_was_validated_with(app, networks, split_videos, tmp_path):
    config = torch.load(networks / "a" / "last.pt", weights_only=True)["config"]
    gone = {"data": str(tmp_path / "gone"), "dataset": "vipriors", "split": "train+val"}
    one = with_changes(networks / "a" / "last.pt", tmp_path / "one.pt", config=config | gone)
    (path,) = (split_videos / "val" / "dark").glob("0.avi")
    app("--ensemble", one, networks / "b" / "last.pt", "--predict", path, "--out", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["predictions.csv"]  # no challenge's submission


@pytest.fixture
def published(networks, tmp_path) -> Path:
    """The weights of a network alone, by its own names: no classes, no settings."""
    weights = torch.load(networks / "a" / "last.pt", weights_only=True)["model"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


CLIPS = "--num-frames 16 --crop-px 40 --eval-clips 2".split()


def test_published_weights_are_evaluated_without_training(app, networks, published, split_videos, tmp_path):
    last = networks / "a" / "last.pt"
    overrides = ["--init", published, "--data", split_videos, *CLIPS]
    said = app(*overrides, "--eval-only", "--predict")
    assert "assigned to the classes in this order: 0 bright, 1 dark, 2 striped;" in said.out
    assert "Clips of 16 frames, 40x40 pixels" in said.out and "6 videos, 2 x 1 views" in said.out
    trained = app("--eval-only", last, "--out", tmp_path / "trained")
    assert said.accuracy(published) == trained.accuracy(last)
    out = tmp_path / "evaluation"
    assert sorted(os.listdir(out)) == ["predictions.csv", "val_classes.csv", "val_confusion.png", "val_predictions.csv"]
    torch.testing.assert_close(scores_of(out), scores_by_hand(last, split_videos / "val", 2, 1), rtol=0, atol=1e-6)
    other = app(*overrides, "--crop-px", 48, "--predict", "--out", tmp_path / "larger", "--eval-only")
    assert scores_of(tmp_path / "larger").ne(scores_of(out)).any() and "6 videos" in other.out


def test_published_weights_must_have_the_classes_of_the_videos(app, networks, published, split_videos, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for name in CLASSES[:2]:
        (folder / name).symlink_to(split_videos / "val" / name)
    error = app("--init", published, "--eval-only", "--data", folder, *CLIPS, expect=2).error
    start = f"error: {published}: its classifier has 3 classes, but the videos have 2 classes; "
    assert error == f"{start}give weights with a classifier for the same number of classes"
    weights = torch.load(published, weights_only=True)["state_dict"]
    torch.save({name: value for name, value in weights.items() if "classifier" not in name}, tmp_path / "body.pt")
    error = app("--init", tmp_path / "body.pt", "--eval-only", "--data", split_videos, *CLIPS, expect=2).error
    assert "body.pt: it has no classifier, but the videos have 3 classes" in error
    last = networks / "a" / "last.pt"
    error = app("--init", last, "--eval-only", "--data", split_videos, *CLIPS, expect=2).error
    assert f"{last}: is a checkpoint of this program; evaluate it with --eval-only {last}, without --init" in error


def test_data_with_fewer_classes_keeps_the_checkpoints_numbers(app, networks, split_videos, tmp_path):
    """Only the last class: by its name, not by its place among the classes of this folder."""
    last = networks / "a" / "last.pt"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "striped").symlink_to(split_videos / "val" / "striped")
    said = app("--eval-only", last, "--data", tmp_path / "data", "--predict", "--out", tmp_path / "out")
    assert {row["label"] for row in predictions(tmp_path / "out")} == {"striped"}
    expected = scores_by_hand(last, split_videos / "val", 2, 1)[4:]
    torch.testing.assert_close(scores_of(tmp_path / "out"), expected, rtol=0, atol=1e-6)
    accuracy = said.accuracy(last)
    assert accuracy["loss"] == pytest.approx(float(-expected[:, 2].log().mean()), abs=1e-4)
    assert accuracy["top1"] == accuracy["by_class"] == 100 * (expected.argmax(1) == 2).double().mean()
    with open(tmp_path / "out" / "val_classes.csv") as file:
        assert [(row["videos"], row["accuracy"] == "") for row in csv.DictReader(file)] == [("0", True)] * 2 + [
            ("2", False)
        ]


def test_an_ensemble_averages_softmax_scores(app, networks, tmp_path):
    a, b = networks / "a" / "last.pt", networks / "b" / "last.pt"
    pair = ["--ensemble", a, b, "--predict", "--out"]
    said = app(*pair, tmp_path / "ab")
    assert "6 videos, 2 x 1 views" in said.out and said.accuracy("ensemble of 2")["top5"] == 100
    for name in "ab":
        alone = app("--eval-only", networks / name / "last.pt", "--predict", "--out", tmp_path / name)
        assert said.accuracy(networks / name / "last.pt") == alone.accuracy(networks / name / "last.pt")
    one, two = scores_of(tmp_path / "a"), scores_of(tmp_path / "b")
    assert (one - two).abs().max() > 1e-2
    torch.testing.assert_close(scores_of(tmp_path / "ab"), (one + two) / 2, rtol=0, atol=1e-5)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = float(-((one + two) / 2).gather(1, labels[:, None]).log().mean())
    assert said.accuracy("ensemble of 2")["loss"] == pytest.approx(loss, abs=1e-4)
    app(*pair, tmp_path / "weighted", "--ensemble-weights", 3, 1)
    torch.testing.assert_close(scores_of(tmp_path / "weighted"), (3 * one + two) / 4, rtol=0, atol=1e-5)
    app(*pair, tmp_path / "first", "--ensemble-weights", 1, 0)
    assert predictions(tmp_path / "first") == predictions(tmp_path / "a")


def test_a_video_that_one_network_of_an_ensemble_lacks_has_no_scores():
    first = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert average([first, second], []).tolist() == [[0.25, 0.75], [0, 0], [0, 0]]
    assert average([first, second], [1.0, 3.0]).tolist() == [[0.125, 0.875], [0, 0], [0, 0]]
    assert average([first], [7.0]).tolist() == first.tolist()


@pytest.mark.parametrize("classes", [["bright", "dark", "grey"], ["dark", "bright", "striped"]])
def test_an_ensemble_of_networks_with_other_classes_is_refused(app, networks, tmp_path, classes):
    other = with_changes(networks / "a" / "last.pt", tmp_path / "other.pt", classes=classes)
    error = app("--ensemble", networks / "a" / "last.pt", other, "--out", tmp_path, expect=2).error
    assert str(other) in error and str(networks / "a" / "last.pt") in error and "classes" in error
    assert not (tmp_path / "val_classes.csv").exists()


def test_an_ensemble_is_scored_on_videos_that_none_was_trained_on(app, networks, split_videos, tmp_path):
    last, out = networks / "a" / "last.pt", ["--out", tmp_path / "out"]
    config = torch.load(last, weights_only=True)["config"]
    same, other = (
        with_changes(last, tmp_path / f"{name}.pt", config=config | {"data": str(data)})
        for name, data in (("same", f"{split_videos}/../{split_videos.name}/"), ("other", tmp_path))
    )
    app("--ensemble", last, same, *out)
    error = app("--ensemble", last, other, *out, expect=2).error
    assert f"other.pt: was validated with --data {tmp_path}, but {last} with --data {split_videos}; use --data" in error
    app("--ensemble", last, other, "--data", split_videos / "val", *out)


def test_all_checkpoints_of_an_ensemble_are_looked_at_before_the_first_is_evaluated(app, networks, tmp_path):
    said = app("--ensemble", networks / "a" / "last.pt", tmp_path / "gone.pt", "--out", tmp_path, expect=2)
    assert "gone.pt: No such file" in said.error and "top-1" not in said.out


def test_averaged_weights_are_evaluated_where_a_checkpoint_has_them(app, networks, tmp_path):
    state = torch.load(networks / "a" / "last.pt", weights_only=True)
    other = {name: value * 0.9 if value.is_floating_point() else value for name, value in state["model"].items()}
    config = state["config"] | {"ema": 0.9}
    wrapped = {f"module.{name}": value for name, value in other.items()} | {"n_averaged": torch.tensor(1)}
    changes = {"averaged": {"config": config, "ema": wrapped}, "plain": {"model": other}, "none": {"ema": None}}
    for name, change in changes.items():
        path = with_changes(networks / "a" / "last.pt", tmp_path / f"{name}.pt", **change)
        app("--eval-only", path, "--predict", "--out", tmp_path / name)
    assert predictions(tmp_path / "averaged") == predictions(tmp_path / "plain")
    assert (scores_of(tmp_path / "averaged") - scores_of(tmp_path / "none")).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_training_with_averaged_weights_is_evaluated_with_them(app, networks, tmp_path, name):
    folder = networks / "b"
    state = torch.load(folder / "last.pt", weights_only=True)
    assert any((state["ema"][f"module.{key}"] != value).any() for key, value in state["model"].items())
    said = app("--eval-only", folder / name, "--out", tmp_path)
    assert_same_accuracy(said.accuracy(folder / name), metrics(folder)[-1])


def test_evaluation_changes_nothing_of_the_run(app, networks, tmp_path):
    folder = networks / "a"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "evaluation"}
    app("--eval-only", folder / "last.pt", "--batch-size", 1, "--out", tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "evaluation"}
    assert after == before and json.loads((folder / "config.json").read_text())["batch_size"] == 4
