"""Accuracy over videos, the tables and pictures of it, the CSV and the learning curve."""

import csv
import math
import os

import pytest
import torch
from matplotlib.image import imread

from train.engine.metrics import (
    VideoScores,
    confusion,
    draw_confusion,
    draw_curves,
    known_videos,
    mean_class_accuracy,
    summarise,
    top1_credit,
    topk_correct,
    write_class_accuracy,
    write_csv,
)


def test_topk():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]])
    labels = torch.tensor([2, 1])
    assert topk_correct(scores, labels, 1).tolist() == [False, False]
    assert topk_correct(scores, labels, 2).tolist() == [True, False]
    assert topk_correct(scores, labels, 5).tolist() == [True, True]


def test_credit_of_clips_that_hold_several_classes():
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 9.0], [9.0, 0.0, 0.0]])
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.0, 0.5, 0.5]])
    hit, most = top1_credit(scores, mixed).tolist()
    assert hit == pytest.approx(0.7 + 0.4 + 0.0) and most == pytest.approx(0.7 + 0.6 + 0.5)
    best = top1_credit(mixed, mixed)
    assert best[0] == best[1]
    labels = torch.tensor([0, 1, 0])
    hit, most = top1_credit(scores, torch.eye(3)[labels]).tolist()
    assert most == 3 and hit == int(topk_correct(scores, labels, 1).sum()) == 2


def test_softmax_is_averaged_over_the_clips_of_a_video():
    scores = VideoScores(num_videos=3, num_classes=2)
    # video 0: one sure clip outweighs two unsure ones; video 2 is never seen
    logits = torch.tensor([[4.0, 0.0], [0.0, 0.4], [0.0, 0.4], [0.0, 1.0]])
    scores.add(logits[:2], torch.tensor([0, 0]))
    scores.add(logits[2:], torch.tensor([0, 1]))
    softmax, means = logits.double().softmax(1), scores.means_VK()
    torch.testing.assert_close(means, torch.stack([softmax[:3].mean(0), softmax[3], torch.zeros(2)]))
    summary = summarise(means, torch.tensor([0, 0, 0]))
    expected = -(softmax[:3, 0].mean().log() + softmax[3, 0].log()) / 2
    assert summary["val_loss"] == pytest.approx(float(expected))
    assert summary["val_top1"] == 50 and summary["val_top5"] == 100


def of_processes(shares) -> torch.Tensor:
    """What the sums of several processes give when they are added up."""
    parts = []
    for logits, videos in shares:
        parts.append(VideoScores(num_videos=2, num_classes=3))
        parts[-1].add(logits, videos)
    whole = VideoScores(num_videos=2, num_classes=3)
    for part in parts:
        whole.sums_VK += part.sums_VK
        whole.counts_V += part.counts_V
    return whole.means_VK()


def test_the_clips_may_be_counted_in_any_order_and_by_several_processes():
    logits, videos = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 1, 0])
    alone = of_processes([(logits, videos)])
    torch.testing.assert_close(of_processes([(logits.flip(0), videos.flip(0))]), alone)
    torch.testing.assert_close(of_processes([(logits[::2], videos[::2]), (logits[1::2], videos[1::2])]), alone)
    torch.testing.assert_close(alone.sum(1), torch.ones(2, dtype=torch.float64))


# seven videos of classes a to g; the sixth gave no clip, the seventh has no label
SCORES = torch.tensor(
    [
        [0.50, 0.20, 0.10, 0.08, 0.06, 0.04, 0.02],  # a as a
        [0.50, 0.20, 0.10, 0.08, 0.06, 0.04, 0.02],  # b as a
        [0.50, 0.20, 0.10, 0.08, 0.06, 0.04, 0.02],  # g as a: not even among five
        [0.05, 0.80, 0.05, 0.05, 0.03, 0.01, 0.01],  # b as b
        [0.01, 0.01, 0.03, 0.05, 0.05, 0.05, 0.80],  # b as g
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00],
        [0.90, 0.10, 0.00, 0.00, 0.00, 0.00, 0.00],
    ],
    dtype=torch.float64,
)
LABELS = torch.tensor([0, 1, 6, 1, 1, 0, -1])


def test_videos_without_a_label_or_without_clips_count_nowhere():
    assert known_videos(SCORES, LABELS).tolist() == [True] * 5 + [False] * 2
    summary = summarise(SCORES, LABELS)
    likelihoods = (0.5, 0.2, 0.02, 0.8, 0.01)
    assert summary["val_loss"] == pytest.approx(-sum(map(math.log, likelihoods)) / 5)
    assert summary["val_top1"] == pytest.approx(40) and summary["val_top5"] == pytest.approx(60)
    assert summary == summarise(SCORES[:5], LABELS[:5])
    assert confusion(SCORES, LABELS).equal(confusion(SCORES[:5], LABELS[:5])) and confusion(SCORES, LABELS).sum() == 5


def test_a_score_of_zero_costs_much_but_not_infinitely_much():
    loss = summarise(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([1]))["val_loss"]
    assert 20 < loss < 100


def test_confusion_has_the_classes_in_rows_and_what_they_were_taken_for_in_columns():
    table = confusion(SCORES, LABELS)
    expected = torch.zeros(7, 7, dtype=torch.int64)
    expected[0, 0] = expected[1, 0] = expected[1, 1] = expected[1, 6] = expected[6, 0] = 1
    assert table.equal(expected)


def test_each_class_counts_the_same_in_the_mean_of_the_classes():
    assert mean_class_accuracy(torch.tensor([[8, 2], [1, 1]])) == pytest.approx((80 + 50) / 2)
    # of seven classes four have no videos: 100 % of a, a third of b, nothing of g
    assert mean_class_accuracy(confusion(SCORES, LABELS)) == pytest.approx((100 + 100 / 3 + 0) / 3)


def test_the_table_of_classes_names_what_each_is_most_often_taken_for(tmp_path):
    table = torch.tensor([[3, 0, 0, 0], [1, 2, 4, 0], [0, 0, 0, 0], [0, 5, 0, 0]])
    write_class_accuracy(tmp_path / "classes.csv", table, ["all right", "b, with a comma", "no videos", "all wrong"])
    with open(tmp_path / "classes.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "videos", "correct", "accuracy", "most_often_taken_for"],
        ["all right", "3", "3", "100", ""],
        ["b, with a comma", "7", "2", "28.5714", "no videos"],
        ["no videos", "0", "0", "", ""],
        ["all wrong", "5", "0", "0", "b, with a comma"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["classes.csv"]


def darkness(path) -> float:
    """How much of the picture's blue is dark: that of full cells."""
    red, _, blue = imread(path)[..., :3].transpose(2, 0, 1)
    return float(((red < 0.1) & (blue > 0.3)).sum())


def test_the_picture_of_the_confusion_shows_shares_and_grows_with_the_classes(tmp_path):
    def draw(table, names):
        draw_confusion(tmp_path / "confusion.png", torch.as_tensor(table), names)
        return darkness(tmp_path / "confusion.png"), imread(tmp_path / "confusion.png").shape

    none, small = draw([[0, 0], [0, 0]], ["a", "b"])  # no video at all: nothing is divided by
    half, _ = draw([[7, 0], [5, 5]], ["a", "b"])
    full, _ = draw([[1, 0], [0, 1000]], ["a", "b"])  # a class with few videos is as dark as one with many
    assert full > 1.7 * (half - none) + none > none
    _, large = draw(torch.eye(40, dtype=torch.int64), [f"class_{number}" for number in range(40)])
    assert large[0] > 1.5 * small[0] and large[1] > 1.5 * small[1]
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


@pytest.mark.parametrize("name", ["under_score", "a$b$", r"broken $\frac$", os.fsdecode(b"caf\xe9")])
def test_any_folder_name_may_be_a_class(tmp_path, name):
    table, names = torch.eye(2, dtype=torch.int64), [name, "other"]
    write_class_accuracy(tmp_path / "classes.csv", table, names)
    with open(tmp_path / "classes.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["class"] for row in csv.DictReader(file)] == names
    draw_confusion(tmp_path / "confusion.png", table, names)
    assert imread(tmp_path / "confusion.png").std() > 0


def test_csv_and_curves(tmp_path):
    speed = {"clips_per_s": 9.0, "data_wait_fraction": 0.1, "epoch_s": 2.0}
    validation = {"val_loss": 1.2, "val_top1": 50.0, "val_top5": 90.0}
    rows = [
        {"epoch": 1, "train_loss": 1.5, "train_top1": 30.0, "lr": 1e-3, **speed},
        {"epoch": 2, "train_loss": 1.0, "train_top1": 40.0, **validation, "lr": 1e-4, **speed},
    ]
    write_csv(tmp_path / "metrics.csv", rows)
    with open(tmp_path / "metrics.csv") as file:
        read = list(csv.DictReader(file))
    assert {"epoch", "train_loss", "val_top1", "val_top5", "clips_per_s", "data_wait_fraction"} <= set(read[0])
    assert read[0]["val_top1"] == "" and float(read[1]["val_top1"]) == 50 and math.isclose(float(read[1]["lr"]), 1e-4)
    draw_curves(tmp_path / "curves.png", rows)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]
