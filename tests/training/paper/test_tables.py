"""``python -m train.paper.tables``: what a user may ask for; trainings are started, stopped, continued and reported."""

import csv
import json
import os
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.training.paper.test_results import report
from tests.training.test_run import NARROW, metrics
from train.data import demo_data
from train.data.demo_data import MOTIONS, Scene, make_missing
from train.paper import jobs as table_jobs
from train.paper.jobs import Job, evaluation, jobs_of
from train.paper.rows import RECIPES, TABLES, Table, TableRow
from train.paper.tables import main

TINY = (
    "--dataset folder --num-frames 16 --crop-px 40 --batch-size 4 --eval-clips 1 --epochs 2 --device cpu --workers 0 "
    "--no-tensorboard --checkpoint-minutes 0"
).split()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show", "table8"], "Invalid table 'table8': choose one of table7, table2, table3"),
        (
            ["show", "table2", "--rows", "temporel"],
            "Invalid row 'temporel' of table2: choose one of temporal, baseline",
        ),
        (["run", "table2"], "Invalid --data: is missing; give the folder of vipriors"),
        (
            ["show", "table2", "table3", "--rows", "cut"],
            "Invalid row 'cut' of table2 or table3: choose one of cutout, baseline",
        ),
        (
            ["run", "table2", "--data", "x", "--aug", "none"],
            "Invalid --aug: cannot be given for a table, because its rows set it",
        ),
        (["run", "table2", "--data", "x", "--accumulate", "0"], "Invalid --accumulate 0: must be at least 1"),
        (["run", "table2", "--data", "x", "--seeds", "0"], "Invalid --seeds 0: must be at least 1"),
        (["run", "table2", "--data", "x", "--first-seed", "-1"], "Invalid --first-seed -1: must be at least 0"),
        (["run", "table2", "--data", "x", "--jobs", "-1"], "Invalid --jobs -1: must be at least 1"),
        (["run", "table2", "--data", "x", "--resume"], "a table, whose trainings resume automatically"),
        (["run", "table2", "--data", "x", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["run", "table2", "--data", "x", "--epochs", "0"], "Invalid --epochs 0: must be at least 1"),
        (["report", "table2", "--out", "nowhere"], "nowhere: no such folder"),
        (["report", "table2", "--epochs", "3"], "Invalid --epochs: cannot be given for report"),
        (["list", "--epochs", "3"], "Invalid --epochs: cannot be given for list"),
        (
            ["run", "--data", "x", "table2"],
            "Invalid table 'x': choose one of table2, table3",
        ),
        (["run", "table2", "--data", "nowhere", "--dataset", "folder"], "nowhere: no such folder"),
        (["run", "table6", "--data", "nowhere"], "nowhere"),
        (
            ["run", "policies", "--randaug-interpolation", "linear"],
            "Invalid --randaug-interpolation linear: needs --aug randaug or randaug_t or dynaaugment, "
            "not --aug rand-m7-n4-mstd0.5-inc1 as in the row rand-m7-n4-mstd0.5-inc1; leave it out, or choose rows",
        ),
        (
            ["run", "policies", "--rows", "baseline", "dynaaugment", "--randaug-invert"],
            "Invalid --randaug-invert True: needs --aug randaug or randaug_t, not --aug dynaaugment as in the row",
        ),
        (["show", "policies", "--rows", "augmix", "--randaug-scale", "10"], "Invalid --randaug-scale 10.0: needs"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_options_that_all_chosen_policies_have_are_accepted(capsys):
    rows = ["--rows", "baseline", "spatial", "dynaaugment"]
    assert main(["show", "policies", *rows, "--randaug-interpolation", "linear"]) == 0
    assert capsys.readouterr().out.count("--randaug-interpolation linear") == 3


def test_list_and_show(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in TABLES)
    assert main(["show", "table7", "--rows", "randaug*", "test_ensemble", "--data", "DIR"]) == 0
    shown = capsys.readouterr().out
    assert "randaug_t+fademixup: RandAug-T, FadeMixUp; in the paper, %: 68.73 / 89.27" in shown
    assert "--mix fademixup" in shown and "--data DIR" in shown and "baseline:" not in shown
    assert shown.count("--split train+val") == 9 and "submission.txt" in shown


def test_a_recipes_data_gives_way_to_the_users_own():
    assert table_jobs.settings_of("hmdb51_2/mixup", {"data": "x"}) == RECIPES["hmdb51_2/mixup"] | {"data": "x"}
    overrides = {"data": "x", "dataset": "folder", "epochs": 3}
    found = table_jobs.settings_of("hmdb51_2/mixup", overrides)
    assert found == {name: value for name, value in RECIPES["hmdb51_2/mixup"].items() if name != "split"} | overrides
    made = table_jobs.settings_of("hmdb51_2/mixup", {"data": "demo"})  # at the preset of this machine
    assert made == {"data": "demo", "aug": "none", "mix": "mixup", "mix_alpha": 1.0}


def test_rows_share_trainings():
    rows = [row for name in ("table2", "table3", "table4", "table5") for row in TABLES[name].rows]
    jobs = jobs_of(rows, range(3), {"data": "x"}, Path("out"))
    assert len(jobs) == 3 * (1 + 4 + 3 + 5 + 5) and len({job.folder for job in jobs}) == len(jobs)
    assert sum("baseline" in job.name for job in jobs) == 3
    assert [job.settings["seed"] for job in jobs[:18]] == [0] * 18  # a first figure of every row comes first


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Of three motions two training videos and one to validate, short."""
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "FRAMES", (12, 16))
        make_missing(
            root,
            [
                Scene(root / split / motion / f"{number}.avi", motion, (number, len(motion), len(split)))
                for motion in list(MOTIONS)[:3]
                for split, count in (("train", 2), ("val", 1))
                for number in range(count)
            ],
            workers=2,
            title="making videos",
        )
    return root


def test_an_ensemble_is_scored_on_the_split_that_its_networks_did_not_see(tmp_path):
    of_split_2 = ("hmdb51_2/baseline", "hmdb51_2/cutmix")
    row = TableRow(name="both", title="two of one split", recipes=of_split_2, combine="ensemble")
    arguments = evaluation(row, 0, {"data": "videos"}, tmp_path).arguments
    assert arguments[arguments.index("--split") + 1] == "2" and arguments[arguments.index("--dataset") + 1] == "hmdb51"


def test_a_cut_down_table_2_and_a_grid_interrupted_continued_reported(demo, tmp_path, capsys, monkeypatch):
    out = tmp_path / "tables"
    options = ["--out", str(out), "--data", str(demo), *TINY]
    table2 = ["run", "table2", "--rows", "baseline", "temporal+", "--seeds", "1", "--jobs", "2", *options]
    monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, *NARROW, *job.arguments]))

    def stop_after_the_first_checkpoint():
        while not list(out.rglob("last.pt")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_after_the_first_checkpoint, daemon=True)
    thread.start()
    assert main(table2) == 128 + signal.SIGTERM
    thread.join()
    assert "run the same command again to continue" in capsys.readouterr().out
    assert not list(out.rglob("seed-*.json"))
    stopped = [
        path.parent
        for path in out.rglob("last.pt")
        if not (path.parent / "metrics.csv").exists() or len(metrics(path.parent)) < 2
    ]
    assert stopped  # in the midst of training

    assert main(table2) == 0
    said = capsys.readouterr().out
    assert "continues" in said and "2 of 2 done" in said
    for folder in stopped:
        assert f"Resuming from {folder / 'last.pt'}" in folder.with_name("seed-0.log").read_text()
        assert not list(folder.glob("earlier-*"))
    for method in ("baseline", "temporal+_n2_m5"):
        assert [row["epoch"] for row in metrics(out / "vipriors" / method / "seed-0")] == ["1", "2"]

    # a second seed of one row, and two points of the grid, of which one is done
    second = ["--first-seed", "1", "--seeds", "1"]
    assert main(["run", "table2", "--rows", "baseline", *second, *options]) == 0
    assert main(["run", "table2", "--rows", "baseline", "--seeds", "2", *options]) == 0
    assert capsys.readouterr().out.count("is already done") == 2
    assert json.loads((out / "vipriors" / "baseline" / "seed-1" / "config.json").read_text())["seed"] == 1
    assert main(["run", "grid", "--rows", "temporal+_n[12]_m5", "--seeds", "1", *options]) == 0
    assert capsys.readouterr().out.count("is already done") == 1

    text, rows = report("table2", out)
    assert capsys.readouterr().out.strip() == text.strip() and len(rows) == 5
    assert report("table2", out, "baseline")[1] == rows  # the file always holds all
    assert "RandAugment" not in capsys.readouterr().out
    last = [
        [float(metrics(out / "vipriors" / method / f"seed-{seed}")[-1]["val_top1"]) for seed in seeds]
        for method, seeds in (("baseline", (0, 1)), ("temporal+_n1_m5", (0,)), ("temporal+_n2_m5", (0,)))
    ]
    assert float(rows["baseline"]["top1_mean"]) == pytest.approx(statistics.mean(last[0]), abs=1e-3)
    assert float(rows["baseline"]["top1_sd"]) == pytest.approx(statistics.stdev(last[0]), abs=1e-3)
    assert rows["baseline"]["paper_top1"] == "49.3700" and rows["baseline"]["difference_top1"] == ""  # other videos
    assert "No difference is given where the videos" in text
    assert float(rows["temporal+"]["top1_mean"]) == pytest.approx(max(map(statistics.mean, last[1:])), abs=1e-3)
    assert "best of 2 points of the N x M grid: temporal+_n" in rows["temporal+"]["note"]
    assert rows["mix"]["note"] == "not trained" and rows["mix"]["top1_mean"] == ""
    assert f"| Baseline | {statistics.mean(last[0]):.2f} +- {statistics.stdev(last[0]):.2f} |" in text
    assert "--epochs 2, not 150" in text and "--num-frames 16, not 64" in text and f"--data {demo}" in text

    baseline = ["run", "table2", "--rows", "baseline", "--seeds", "1", *options]
    assert main([*baseline, "--epochs", "3"]) == 1
    assert "was trained with --epochs 2, not 3" in capsys.readouterr().out
    assert len(metrics(out / "vipriors" / "baseline" / "seed-0")) == 2

    # an ensemble of the two trainings, as Table 7's of nine; these have labels, whether they are called test or not
    pair = TableRow(
        name="pair", title="Pair", recipes=("vipriors/baseline", "vipriors/temporal+_n2_m5"), combine="ensemble"
    )
    monkeypatch.setitem(TABLES, "table7", Table("Table 7", (pair,)))
    assert main(["run", "table7", "--seeds", "1", *options]) == 0
    _, rows = report("table7", out)
    with open(out / "vipriors" / "pair" / "seed-0" / "val_predictions.csv") as file:
        predicted = list(csv.DictReader(file))
    right = statistics.mean(row["label"] == row["class_1"] for row in predicted)
    assert float(rows["pair"]["top1_mean"]) == pytest.approx(100 * right, abs=1e-3) and len(predicted) == 3
    assert float(rows["pair"]["top5_mean"]) == 100  # of three classes
