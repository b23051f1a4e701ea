"""The report on a run of the app itself."""

import csv
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.training.evaluated import HERE, NETWORK
from tests.training.report_pages import Page, assert_stands_alone
from train.report import data as report_data
from train.report import page as report
from train.run import main as train
from train.runtime.run_folder import move_earlier_run

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def trained(split_videos, tmp_path_factory) -> Path:
    """A run of the app, stopped after an epoch and resumed."""
    out = tmp_path_factory.mktemp("trained") / "latest"
    options = ["--data", split_videos, *NETWORK, *HERE, "--no-tensorboard", "--out", out]
    for own in (["--epochs", 3, "--eval-every", 2], ["--resume"]):
        assert train([str(word) for word in (*options, *own)]) == 0
    return out


def test_a_real_run_from_the_app(trained, capsys):
    assert report.main([str(trained)]) == 0
    path = trained / "report.html"
    assert capsys.readouterr().out == f"{path}\n" and path.stat().st_size < 400_000
    page = Page(path)
    assert_stands_alone(page)
    rows = report_data.read_metrics(trained / "metrics.csv")
    best = max((row for row in rows if "val_top1" in row), key=lambda row: row["val_top1"])
    texts = [text for text, _ in page.table("run")[1]]
    assert texts[1:4] == [f"{best['epoch']:.0f}", f"{best['val_top1']:.1f} %", f"{best['val_top5']:.1f} %"]
    assert texts[4] == texts[2] and texts[6:8] == ["3", "3"]  # each class has as many videos
    with open(trained / "val_classes.csv") as file:
        expected = [(row["class"], row["videos"], row["correct"]) for row in csv.DictReader(file)]
    matrix = page.table("")[1:]
    found = [(row[0][0], row[-2][0], row[1 + index][0] or "0") for index, row in enumerate(matrix)]
    assert found == expected
    wrong = sum(int(videos) - int(right) for _, videos, right in expected)
    assert len(page.strips()) == wrong > 0 and "No picture" not in page.text
    assert "6 training and 6 validation videos of 3 classes." in page.text and "In progress" not in page.text
    assert "Start 2 of 2" in page.text and "sample clips of training" in page.html
    aside = move_earlier_run(shutil.copytree(trained, trained.parent / "copy"))
    assert {"report.html", "val_predictions.csv"} <= set(os.listdir(aside))


def test_the_command_for_earlier_versions_makes_what_is_missing(trained, tmp_path, reported):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "val_predictions.csv").unlink()
    (command,) = re.findall(r"To write the file, run: python train/run.py ([^<]*)", reported(run).html)
    assert train([*shlex.split(command), *HERE]) == 0
    for name in ("val_predictions.csv", "val_classes.csv"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()
