"""Accuracy over videos, the CSV and the learning curve."""

import csv
import math

import pytest
import torch

from train.metrics import VideoScores, draw_curves, top1_credit, topk_correct, write_csv


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
    scores.add(logits[:2], torch.tensor([0, 0]), torch.tensor([0, 0]))
    scores.add(logits[2:], torch.tensor([0, 0]), torch.tensor([0, 1]))
    summary = scores.summary()
    softmax = logits.double().softmax(1)
    expected = -(softmax[:3, 0].mean().log() + softmax[3, 0].log()) / 2
    assert summary["val_loss"] == pytest.approx(float(expected))
    assert summary["val_top1"] == 50 and summary["val_top5"] == 100


def test_csv_and_curves(tmp_path):
    rows = [
        {"epoch": 1, "train_loss": 1.5, "train_top1": 30.0, "lr": 1e-3, "clips_per_s": 9.0, "data_wait_fraction": 0.1, "epoch_s": 2.0},
        {"epoch": 2, "train_loss": 1.0, "train_top1": 40.0, "val_loss": 1.2, "val_top1": 50.0, "val_top5": 90.0, "lr": 1e-4,
         "clips_per_s": 9.0, "data_wait_fraction": 0.1, "epoch_s": 2.0},
    ]  # fmt: skip
    write_csv(tmp_path / "metrics.csv", rows)
    with open(tmp_path / "metrics.csv") as file:
        read = list(csv.DictReader(file))
    assert {"epoch", "train_loss", "val_top1", "val_top5", "clips_per_s", "data_wait_fraction"} <= set(read[0])
    assert read[0]["val_top1"] == "" and float(read[1]["val_top1"]) == 50 and math.isclose(float(read[1]["lr"]), 1e-4)
    draw_curves(tmp_path / "curves.png", rows)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]
