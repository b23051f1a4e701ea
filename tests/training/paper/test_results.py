"""Tables of runs that are made up: means, spreads, the grid's best, and what is missing."""

import csv
import json
from pathlib import Path

import pytest

from train.config.options import Config
from train.engine.metrics import write_csv
from train.paper import jobs as table_jobs
from train.paper.results import row_result
from train.paper.rows import RECIPES, TABLES
from train.paper.tables import main


def report(table: str, out: Path, *rows: str) -> tuple[str, dict[str, dict]]:
    assert main(["report", table, "--out", str(out), *(["--rows", *rows] if rows else [])]) == 0
    with open(out / f"{table}.csv") as file:
        return (out / f"{table}.md").read_text(), {row["row"]: row for row in csv.DictReader(file)}


def made_up(out: Path, recipe: str, seed: int, top1: float, epochs: int = 150, done: bool = True, **settings) -> None:
    folder = out / recipe / f"seed-{seed}"
    folder.mkdir(parents=True)
    Config(**{"data": "x"} | RECIPES[recipe] | {"epochs": epochs, "seed": seed} | settings).save(folder / "config.json")
    last = epochs if done else epochs - 1
    rows = [
        {"epoch": last - 1, "val_top1": top1 + 5, "val_top5": 90},
        {"epoch": last, "val_top1": top1, "val_top5": 80},
    ]
    write_csv(folder / "metrics.csv", rows if done else rows[:1])


def figures(table: str, name: str, out: Path):
    return row_result(next(row for row in TABLES[table].rows if row.name == name), out)


def test_a_mean_over_seeds_the_spread_and_the_difference(tmp_path):
    for seed, top1 in enumerate((48.0, 50.0, 55.0)):
        made_up(tmp_path, "vipriors/baseline", seed, top1)
    text, rows = report("table3", tmp_path)
    assert "| Baseline | 51.00 +- 3.61 | 80.00 +- 0.00 | 3 | 49.37 | 73.62 | +1.63 |" in text
    assert rows["baseline"]["best_epoch_top1_mean"] == "56.0000" and rows["baseline"]["difference_top5"] == "6.3800"
    assert "Trained otherwise" not in text


def test_seeds_that_were_trained_otherwise_are_not_averaged(tmp_path):
    for seed, epochs in enumerate((150, 150, 150, 2)):
        made_up(tmp_path, "vipriors/baseline", seed, 50.0 if epochs == 150 else 10.0, epochs)
    found = figures("table2", "baseline", tmp_path)
    assert found.mean("top1") == 50 and list(found.of_seed) == [0, 1, 2]
    assert found.notes == (
        "seed 3 left out, because it was trained with --epochs 2, but the others with the recipe's settings",
    )


def test_the_grids_best_is_of_the_points_with_most_seeds(tmp_path):
    for seed in range(3):
        made_up(tmp_path, "vipriors/temporal+_n2_m5", seed, 60.0)
        made_up(tmp_path, "vipriors/temporal+_n1_m3", seed, 62.0)
    made_up(tmp_path, "vipriors/temporal+_n3_m3", 0, 99.0)
    found = figures("table2", "temporal+", tmp_path)
    assert found.mean("top1") == 62
    assert found.notes == (
        "best of 2 points of the N x M grid: temporal+_n1_m3; points left out because they have fewer seeds: 1",
    )


def test_what_lacks_of_an_average_is_said(tmp_path):
    for split in (1, 2):
        for seed in range(split):
            made_up(tmp_path, f"hmdb51_{split}/mixup", seed, 40.0 + split)
    found = figures("table6", "mixup", tmp_path)
    assert not found.of_seed and "hmdb51_3/mixup: not trained" in found.notes
    made_up(tmp_path, "hmdb51_3/mixup", 0, 46.0)
    found = figures("table6", "mixup", tmp_path)
    assert found.mean("top1") == pytest.approx((41 + 42 + 46) / 3) and list(found.of_seed) == [0]
    assert found.notes == ("hmdb51_2/mixup: seed 1 is left out, because other trainings of this row do not have it",)


def test_what_is_not_done_or_failed_is_said(tmp_path):
    made_up(tmp_path, "vipriors/baseline", 0, 50.0, done=False)
    (tmp_path / "vipriors" / "baseline" / "seed-1.json").write_text('{"state": "failed", "reason": "no luck"}')
    found = figures("table2", "baseline", tmp_path)
    assert found.notes == ("seed 0 is not done: 148 of 150 epochs", "seed 1 failed: no luck") and not found.of_seed


def test_predictions_of_unlabelled_videos_are_reported_without_a_figure(tmp_path):
    row = next(row for row in TABLES["table7"].rows if row.name == "test_baseline")
    job = table_jobs.evaluation(row, 0, {}, tmp_path)
    assert job.arguments[:2] == ("--eval-only", str(job.needs[0].folder / "last.pt"))
    assert "--predict" in job.arguments and job.arguments[job.arguments.index("--split") + 1] == "test"
    job.folder.mkdir(parents=True)
    (job.folder / "submission.txt").touch()
    (job.folder / "predictions.csv").touch()
    job.end.write_text(json.dumps({"state": "done", "reason": ""}))
    found = row_result(row, tmp_path)
    assert not found.of_seed and "the predictions are in vipriors_train+val/test_baseline/seed-0" in found.notes[0]
