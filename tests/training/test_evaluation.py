"""Evaluation and predictions of trained networks, alone and together, through the app's ``main`` on tiny videos."""

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from dali_pipes import Manifest, VideoLoader, scan_videos
from tests.training.narrow import narrow_network
from tests.training.test_run import metrics
from tests.videos import write_lossless, write_video
from train.evaluation import average, write_predictions, write_submission
from train.models import build_model
from train.run import main

CLASSES = ["bright", "dark", "striped"]
NETWORK = "--frames 16 --crop 40 --batch-size 4 --eval-clips 2 --lr 5e-3".split()
HERE = "--device cpu --workers 0".split()  # decoding processes would import pytest's main module again


def write_pattern(path: Path, label: str, length: int, size_hw, seed: int, **options) -> Path:
    """Every frame and every part of it differs, so that clips and crops do."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    base = {"bright": 150, "dark": 30, "striped": 90}[label] + x + (60 * (x // 6 % 2) if label == "striped" else 0)

    def frames():
        for index in range(length):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = np.clip(base + 3 * index - y / 2 + rng.normal(0, 12, size_hw), 16, 235)
            yield planes

    return write_video(path, frames(), size_hw, **options)


@pytest.fixture(scope="module", autouse=True)
def small_and_alone():
    """A small network; and one thread, as several would mostly wait for each other with clips this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with narrow_network():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def split_videos(tmp_path_factory) -> Path:
    """Two videos of each of three classes to train on, and two to validate."""
    root = tmp_path_factory.mktemp("split")
    for split in ("train", "val"):
        for label in CLASSES:
            for number, size in enumerate([(48, 80), (72, 48)]):
                seed = len(list(root.rglob("*.avi")))
                write_pattern(root / split / label / f"{number}.avi", label, 8 + 2 * seed, size, seed)
    return root


@pytest.fixture(scope="module")
def networks(split_videos, tmp_path_factory) -> Path:
    """a/ and b/: two short trainings with different seeds, the second with averaged weights."""
    root = tmp_path_factory.mktemp("networks")
    options = ["--data", split_videos, *NETWORK, *HERE, "--aug", "none", "--max-steps", 2, "--no-tensorboard"]
    for name, own in (("a", []), ("b", ["--seed", 1, "--ema", 0.5])):
        assert main([str(word) for word in (*options, *own, "--out", root / name)]) == 0
    return root


class Said(NamedTuple):
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        errors = [line for line in re.split("[\r\n]", self.err) if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in self.err, self.err
        return errors[0]

    def accuracy(self, name) -> dict[str, float]:
        """The numbers that stand after the name of a checkpoint, or of an ensemble."""
        line = next(line for line in self.out.splitlines() if line.startswith(f"{name}: top-1"))
        words = {"top1": "top-1", "top5": "top-5", "by_class": "mean of the classes", "loss": "loss"}
        return {key: float(re.search(rf"{word} ([\d.]+)", line)[1]) for key, word in words.items()}


@pytest.fixture
def app(capsys):
    """Call the app as from the command line."""

    def call(*arguments, expect=0) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in (*arguments, *HERE)])
        said = Said(*capsys.readouterr())
        assert code == expect, said.err
        return said

    return call


def predictions(folder: Path) -> list[dict]:
    with open(folder / "predictions.csv", newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def scores_of(folder: Path, classes=CLASSES) -> torch.Tensor:
    """(V, K), of a predictions.csv that has all classes."""
    rows = []
    for line in predictions(folder):
        found = {line[f"class_{n}"]: float(line[f"probability_{n}"]) for n in range(1, len(classes) + 1)}
        rows.append([found[name] for name in classes])
    return torch.tensor(rows, dtype=torch.float64)


def with_changes(checkpoint: Path, path: Path, **changes) -> Path:
    """A copy of a checkpoint with other values, as small as best.pt."""
    state = torch.load(checkpoint, weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: state[name] for name in ("model", "config", "classes")} | changes, path)
    return path


def assert_same_accuracy(said: dict[str, float], row: dict[str, str]) -> None:
    for name, digits in (("top1", 2), ("top5", 2), ("loss", 4)):
        assert said[name] == pytest.approx(float(row[f"val_{name}"]), abs=0.51 * 10**-digits), name


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


def scores_by_hand(checkpoint: Path, videos: Path, clips: int, crops: int) -> torch.Tensor:
    state = torch.load(checkpoint, weights_only=True)
    model = build_model("slowfast50", len(CLASSES), frames=16, side=40).eval()
    model.load_state_dict(state["model"])
    items = sorted((str(path), path.parent.name) for path in videos.rglob("*.avi"))
    manifest = scan_videos(items, classes=CLASSES, workers=1)
    loader = VideoLoader(manifest, batch_size=1, side_px=40, device="cpu", workers=0, num_frames=16, keep_every=2,
                         clips_per_video=clips, crops_per_video=crops, training=False)  # fmt: skip
    views = {video: [] for video in range(len(items))}
    with torch.no_grad():
        for batch in loader:
            for clip_CTHW, video in zip(batch.clips_BCTHW, batch.videos_B.tolist(), strict=True):
                views[video].append(model(clip_CTHW[None])[0].double().softmax(0))
    loader.close()
    assert all(len(scores) == clips * crops for scores in views.values())
    return torch.stack([torch.stack(scores).mean(0) for scores in views.values()])


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
        assert refused == f"error: {source}: has no labels to compare with, add --predict"
        training = [*NETWORK, "--data", source, "--dataset", "unlabelled", "--out", tmp_path / "trained"]
        refused = app(*training, expect=2).error
        assert "--dataset unlabelled has no labels to train on" in refused and "--eval-only" in refused


def test_videos_whose_names_are_not_utf_8_are_predicted(app, networks, split_videos, tmp_path):
    name = os.fsdecode(b"caf\xe9.avi")
    (tmp_path / "loose").mkdir()
    shutil.copy(split_videos / "val" / "dark" / "0.avi", tmp_path / "loose" / name)
    options = ["--dataset", "unlabelled", "--data", tmp_path / "loose", "--predict", "--out", tmp_path]
    app("--eval-only", networks / "a" / "last.pt", *options)
    assert [Path(row["path"]).name for row in predictions(tmp_path)] == [name]


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
    assert "Left out 1 of 4 files" in said.out and "v_t_7.avi: No such file" in said.out
    assert f"wrote predictions.csv, submission.txt to {out}" in said.out and "top-1" not in said.out
    rows = predictions(out)
    assert [Path(row["path"]).name for row in rows] == ["v_t_9.avi", "v_t_5.mp4", "v_t_2.avi"]
    lines = [line.split(" ") for line in (out / "submission.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["v_t_9.avi", "v_t_5.avi", "v_t_2.avi"]
    for line, row in zip(lines, rows, strict=True):
        assert sorted(line[1:]) == ["1", "2", "3"]
        assert [IN_LIST_ORDER[int(number) - 1] for number in line[1:]] == [row[f"class_{n}"] for n in (1, 2, 3)]
    assert app(*options, expect=2).error == f"error: {root}: has no labels to compare with, add --predict"
    training = [*NETWORK, *options[2:], "--out", root / "trained"]
    assert "--split test has no labels to train on" in app(*training, expect=2).error


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
    for line, row in zip(lines, predictions(out), strict=True):
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
    assert f"1 videos could no longer be read and have no scores, such as {path}" in said.out
    out = network.parent / "evaluation"
    assert [line.split()[0] for line in (out / "submission.txt").read_text().splitlines()] == ["v_t_9.avi", "v_t_5.avi"]
    broken = predictions(out)[2]
    assert Path(broken["path"]).name == "v_t_2.avi" and not broken["class_1"] and not broken["probability_1"]


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


def wrong_uses(folder: Path, networks: Path) -> dict[str, tuple[list, str]]:
    last, other = networks / "a" / "last.pt", networks / "b" / "last.pt"
    (folder / "text.pt").write_text("Hello, this is not a checkpoint.\n")
    (folder / "cut").mkdir()
    with open(last, "rb") as file:
        (folder / "cut" / "last.pt").write_bytes(file.read(last.stat().st_size // 2))
    (folder / "cut" / "previous.pt").symlink_to(last)
    torch.save({"a": 1}, folder / "foreign.pt")
    write_lossless(folder / "data" / "dark" / "a.avi", 10)
    write_lossless(folder / "data" / "walking" / "b.avi", 10)
    pair = ["--ensemble", last, other]
    return {
        "missing file": (["--eval-only", folder / "no.pt"], "no.pt: No such file or directory"),
        "a folder": (["--eval-only", folder], f"{folder}: Is a directory"),
        "text file": (["--eval-only", folder / "text.pt"], "text.pt: is cut off, damaged or not a checkpoint"),
        "cut off": (["--eval-only", folder / "cut" / "last.pt"], "last.pt: is cut off, damaged or not a checkpoint"),
        "cut off, with another": (["--eval-only", folder / "cut" / "last.pt"], f"there is also {folder}/cut/previous.pt"),
        "foreign": (["--eval-only", folder / "foreign.pt"], "foreign.pt: is not a checkpoint of train/run.py"),
        "--predict alone": (["--predict"], "--predict needs a network: --eval-only CHECKPOINT or --ensemble"),
        "--lr": (["--eval-only", last, "--lr", 1e-3], "--lr: of no use in an evaluation"),
        "two of no use": (["--eval-only", last, "--epochs", 1, "--model", "s3d"], "--epochs, --model: of no use"),
        "--resume": (["--eval-only", last, "--resume", last], "--resume and --eval-only exclude each other"),
        "both": ([*pair, "--eval-only", last], "--eval-only and --ensemble exclude each other"),
        "unknown class": (["--eval-only", last, "--data", folder / "data"],
                          f"{folder}/data: has the class 'walking', which the checkpoint does not know: it knows bright, dark"),
        "missing data": (["--eval-only", last, "--data", folder / "gone"], "gone: no such folder or file"),
        "few weights": ([*pair, "--ensemble-weights", 1], "--ensemble-weights has 1 numbers, --ensemble has 2 checkpoints"),
        "many weights": ([*pair, "--ensemble-weights", 1, 1, 1], "--ensemble-weights has 3 numbers"),
        "weights alone": (["--eval-only", last, "--ensemble-weights", 1], "--ensemble-weights has 1 numbers, --ensemble has 0"),
        "negative weight": ([*pair, "--ensemble-weights", 2, -1], "--ensemble-weights are 2 -1, they must be finite, not negative"),
        "no weight": ([*pair, "--ensemble-weights", 0, 0], "--ensemble-weights are 0 0, they must be finite, not negative, and not all 0"),
        "not a number": ([*pair, "--ensemble-weights", "nan", 1], "--ensemble-weights are nan 1"),
        "two crops": (["--eval-only", last, "--eval-crops", 2], "argument --eval-crops: invalid choice: 2"),
        "split": (["--eval-only", last, "--split", "test"], "--split test needs a --dataset with official splits"),
        "another version": (["--eval-only", with_changes(last, folder / "v.pt", config={"colour": 1})],
                            "v.pt: was written by another version, with the unknown settings colour"),
    }  # fmt: skip


def test_wrong_uses_are_one_sentence_and_exit_code_2(app, networks, tmp_path):
    for what, (arguments, sentence) in wrong_uses(tmp_path, networks).items():
        error = app(*arguments, expect=2).error
        assert sentence in error, (what, error)


@pytest.mark.parametrize("content", [b"", b"text that starts with a t", b"X is no checkpoint"])
def test_a_small_file_of_something_else_is_no_checkpoint(app, tmp_path, content):
    (tmp_path / "small.pt").write_bytes(content)
    error = app("--eval-only", tmp_path / "small.pt", expect=2).error
    assert "small.pt: is cut off, damaged or not a checkpoint" in error
