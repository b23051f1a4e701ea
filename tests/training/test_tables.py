"""The paper's tables: the catalogue is the paper's, and trainings are started, stopped, continued, retried and reported."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.test_run import ROOT, metrics
from train import demo_data, recipes, table_jobs
from train.command_line import parse
from train.config import Config
from train.demo_data import MOTIONS, Scene, make_missing
from train.recipes import RECIPES, TABLES, Row
from train.stop import StopRequest
from train.table_jobs import Job, Runner, as_arguments, jobs_of, last_line
from train.table_report import figures_of
from train.tables import main

TINY = ("--dataset folder --model mc3_18 --frames 8 --crop 40 --batch-size 4 --eval-clips 1 --epochs 2 --device cpu --workers 1 "
        "--no-tensorboard --checkpoint-minutes 0").split()  # fmt: skip
COMMAND = [sys.executable, "-m", "train.tables"]


# the catalogue


def test_every_recipe_is_a_valid_training_and_its_command_line_says_the_same():
    for recipe, settings in RECIPES.items():
        given, _ = parse(list(as_arguments({"data": "x"} | settings)))
        assert given == {"data": "x"} | settings, recipe
        Config(**given)


def test_every_row_has_its_own_name_and_known_recipes():
    for table in TABLES.values():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        for row in table.rows:
            assert {*row.recipes, *row.rivals} <= set(RECIPES) and (len(row.recipes) == 1) == (row.combine == "only")


def test_hmdb51s_averages_are_those_of_its_splits():
    """Also a check of every figure of Table 6 against a slip of the pen."""
    rows = {row.name: row for row in TABLES["table6"].rows}
    averages = [row for row in rows.values() if row.combine == "mean"]
    assert len(averages) == 14 and len(rows) == 4 * 14
    for row in averages:
        for figure in (0, 1):
            of_splits = [rows[f"{row.name}_{split}"].paper[figure] for split in (1, 2, 3)]
            assert statistics.mean(of_splits) == pytest.approx(row.paper[figure], abs=0.0101), row.name


def test_the_papers_best_rows():
    """Section 4: what the text says about the tables."""

    def best(table):
        rows = [row for row in TABLES[table].rows if row.paper[0] is not None and not row.test]
        return max(rows, key=lambda row: row.paper[0]).name

    assert [best(f"table{number}") for number in (2, 3, 4, 5, 7)] == [
        "temporal+", "baseline", "framecutmix", "framecutmixup", "randaug_t+framecutmixup"]  # fmt: skip
    assert {TABLES[f"table{number}"].rows[0].paper for number in (2, 3, 4, 5, 7)} == {(49.37, 73.62)}
    assert RECIPES["vipriors/framecutmix"]["mix_alpha"] == 5 and RECIPES["vipriors/framecutmix2"]["mix_alpha"] == 2
    assert [RECIPES[f"hmdb51_{split}/mixup"]["split"] for split in (1, 2, 3)] == ["1", "2", "3"]
    assert len(TABLES["grid"].rows) == 4 * 3 * 3


def test_recipes_are_the_papers_settings_but_for_how_often_they_are_evaluated():
    assert {name for name, value in RECIPES["vipriors/baseline"].items() if getattr(Config, name) != value} == {
        "dataset", "split", "aug", "eval_every"}  # fmt: skip


# what a user may ask for


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show", "table8"], "unknown table 'table8': choose one of table2, table3"),
        (["show", "table2", "--rows", "temporel"], "unknown row of table2 'temporel': choose one of baseline, spatial"),
        (["run", "table2"], "--data is missing: the folder of vipriors"),
        (
            ["show", "table2", "table3", "--rows", "cut"],
            "unknown row of table2 or table3 'cut': choose one of baseline",
        ),
        (["run", "table2", "--data", "x", "--aug", "none"], "--aug: is what the rows of a table choose"),
        (["run", "table2", "--data", "x", "--seeds", "0"], "--seeds is 0, it must be at least 1"),
        (["run", "table2", "--data", "x", "--jobs", "-1"], "--jobs is -1, it must be at least 1"),
        (["run", "table2", "--data", "x", "--resume"], "tables resume by themselves"),
        (["run", "table2", "--data", "x", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["run", "table2", "--data", "x", "--epochs", "0"], "--epochs is 0, it must be at least 1"),
        (["report", "table2", "--out", "nowhere"], "nowhere: no such folder"),
        (["report", "table2", "--epochs", "3"], "--epochs: of no use in a report"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_list_and_show(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in TABLES)
    assert main(["show", "table7", "--rows", "randaug*", "test_ensemble", "--data", "DIR"]) == 0
    shown = capsys.readouterr().out
    assert "randaug_t+fademixup: RandAug-T, FadeMixUp; in the paper 68.73 / 89.27" in shown
    assert "--mix fademixup" in shown and "--data DIR" in shown and "baseline:" not in shown
    assert shown.count("--split train+val") == 9 and "submission.txt" in shown


def test_a_recipes_data_gives_way_to_the_users_own():
    assert table_jobs.settings_of("hmdb51_2/mixup", {"data": "x"}) == RECIPES["hmdb51_2/mixup"] | {"data": "x"}
    given = {"data": "x", "dataset": "folder", "epochs": 3}
    found = table_jobs.settings_of("hmdb51_2/mixup", given)
    assert found == {name: value for name, value in RECIPES["hmdb51_2/mixup"].items() if name != "split"} | given
    made = table_jobs.settings_of("hmdb51_2/mixup", {"data": "demo"})  # at the preset of this machine
    assert made == {"data": "demo", "aug": "none", "mix": "mixup", "mix_alpha": 1.0}


def test_rows_share_trainings():
    rows = [row for name in ("table2", "table3", "table4", "table5") for row in TABLES[name].rows]
    jobs = jobs_of(rows, range(3), {"data": "x"}, Path("out"))
    assert len(jobs) == 3 * (1 + 4 + 3 + 5 + 5) and len({job.folder for job in jobs}) == len(jobs)
    assert sum("baseline" in job.name for job in jobs) == 3
    assert [job.settings["seed"] for job in jobs[:18]] == [0] * 18  # a first figure of every row comes first


# the runner, on programs that are no trainings


def stub(tmp_path, name: str, script: str, needs=()) -> Job:
    class Stub(Job):
        command = ["bash", "-c", script]

    return Stub(name, tmp_path / name / "seed-0", {}, (), tuple(needs))


def run_all(jobs, slots=2, retry=False):
    said = []
    runner = Runner(jobs, slots, retry, said.append)
    with StopRequest() as stop:
        runner.run(stop)
    return runner, said


def test_what_someone_else_stopped_is_no_failure(tmp_path):
    job = stub(tmp_path, "job", "test -e again && exit; touch again; kill $$".replace("again", str(tmp_path / "again")))
    runner, _ = run_all([job])
    assert "was stopped by someone else" in runner.failed[job.folder]
    runner, _ = run_all([job])
    assert not runner.failed


def test_failures_are_told_and_retried_on_demand_only(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    jobs = [
        stub(tmp_path, "good", "echo all is well"),
        stub(tmp_path, "bad", f"echo error: no such luck; test ! -e {broken}"),
        stub(tmp_path, "shot", "kill -9 $$"),
    ]
    jobs.append(stub(tmp_path, "last", "true", needs=[jobs[1]]))
    runner, said = run_all(jobs)
    reasons = {folder.parent.name: reason for folder, reason in runner.failed.items()}
    assert set(reasons) == {"bad", "shot", "last"}
    assert reasons["bad"].startswith("exit code 1") and reasons["bad"].endswith("error: no such luck")
    assert reasons["shot"].startswith("killed by signal 9 (out of memory?)")
    assert reasons["last"] == "needs bad, which failed"
    assert any("good: done in" in line and line.endswith("all is well") for line in said)

    broken.unlink()
    runner, said = run_all(jobs)
    assert set(runner.failed) == {job.folder for job in jobs[1:]} and "good: was done before" in " ".join(said)
    assert "failed before, try again with --retry: exit code 1" in runner.failed[jobs[1].folder]
    runner, said = run_all(jobs, retry=True)
    assert set(runner.failed) == {jobs[2].folder} and sum("done in" in line for line in said) == 2


def test_so_many_at_once_and_each_after_what_it_needs(tmp_path):
    log = tmp_path / "log"
    script = "echo start >> {0}; sleep 0.7; echo end >> {0}"
    jobs = [stub(tmp_path, str(number), script.format(log)) for number in range(5)]
    jobs.insert(0, stub(tmp_path, "after", f"echo after >> {log}", needs=jobs[:2]))
    runner, _ = run_all(jobs, slots=3)
    assert not runner.failed
    depth = deepest = 0
    lines = log.read_text().split()
    for line in lines:
        depth += {"start": 1, "end": -1, "after": 0}[line]
        deepest = max(deepest, depth)
    assert deepest == 3 and lines.index("after") > [i for i, line in enumerate(lines) if line == "end"][1]


def test_a_job_of_another_process_is_left_to_it(tmp_path):
    job = stub(tmp_path, "job", "sleep 60")
    first = Runner([job], 1, False, lambda line: None)
    first._start_what_can_be()
    try:
        runner, _ = run_all([job])
        assert runner.failed[job.folder] == "is at work in another process, which it is left to"
    finally:
        first.running[0].process.kill()
        first.running[0].process.wait()


def test_an_evaluation_is_done_again_after_its_networks(tmp_path):
    training = stub(tmp_path, "training", "true")
    evaluation = stub(tmp_path, "evaluation", "true", needs=[training])
    run_all([training, evaluation])
    assert table_jobs.state_of(evaluation)[0] == "done"
    os.utime(training.end, (time.time() + 5, time.time() + 5))
    assert table_jobs.state_of(evaluation) == ("", "")


def test_each_job_gets_a_gpu_of_its_own_or_its_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(table_jobs.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(table_jobs.torch.cuda, "device_count", lambda: 0)
    assert table_jobs.environment_of(1, 3)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in table_jobs.environment_of(0, 1)
    monkeypatch.setattr(table_jobs.torch.cuda, "device_count", lambda: 2)
    seen = [table_jobs.environment_of(slot, 4)["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert seen == ["0", "1", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert table_jobs.environment_of(1, 2)["CUDA_VISIBLE_DEVICES"] == "7"


def test_the_last_line_is_what_a_terminal_would_show(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 9000 + b"\nepoch 1\rbar 50 %\rbar 99 %\n\n")
    assert last_line(log) == "bar 99 %" and last_line(tmp_path / "none") == ""


# the whole, on a few of the demo's videos


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Of three motions two training videos and one to validate, short."""
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "FRAMES", (12, 16))
        make_missing(
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


def report(table: str, out: Path, *rows: str) -> tuple[str, dict[str, dict]]:
    assert main(["report", table, "--out", str(out), *(["--rows", *rows] if rows else [])]) == 0
    with open(out / f"{table}.csv") as file:
        return (out / f"{table}.md").read_text(), {row["row"]: row for row in csv.DictReader(file)}


def test_a_cut_down_table_2_and_a_grid_interrupted_continued_reported(demo, tmp_path, capsys, monkeypatch):
    out = tmp_path / "tables"
    options = ["--out", str(out), "--data", str(demo), *TINY]
    table2 = ["run", "table2", "--rows", "baseline", "temporal+", "--seeds", "1", "--jobs", "2", *options]
    process = subprocess.Popen(
        [*COMMAND, *table2], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.monotonic() + 120
    while not list(out.rglob("last.pt")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM and "the same command goes on from here" in said
    assert not [path for path in out.rglob("seed-*.json") if json.loads(path.read_text())["state"] == "failed"]

    assert main(table2) == 0
    said = capsys.readouterr().out
    assert "goes on" in said and "2 of 2 done" in said
    for method in ("baseline", "temporal+_n2_m5"):
        assert [row["epoch"] for row in metrics(out / "vipriors" / method / "seed-0")] == ["1", "2"]

    # a second seed of one row, and two points of the grid, of which one is done
    assert main(["run", "table2", "--rows", "baseline", "--seeds", "2", *options]) == 0
    assert capsys.readouterr().out.count("was done before") == 1
    assert json.loads((out / "vipriors" / "baseline" / "seed-1" / "config.json").read_text())["seed"] == 1
    assert main(["run", "grid", "--rows", "temporal+_n[12]_m5", "--seeds", "1", *options]) == 0
    assert capsys.readouterr().out.count("was done before") == 1

    text, rows = report("table2", out, "baseline", "temporal+", "mix")
    assert capsys.readouterr().out.strip() == text.strip()
    last = [[float(metrics(out / "vipriors" / method / f"seed-{seed}")[-1]["val_top1"]) for seed in seeds]
            for method, seeds in (("baseline", (0, 1)), ("temporal+_n1_m5", (0,)), ("temporal+_n2_m5", (0,)))]  # fmt: skip
    assert float(rows["baseline"]["top1_mean"]) == pytest.approx(statistics.mean(last[0]), abs=1e-3)
    assert float(rows["baseline"]["top1_sd"]) == pytest.approx(statistics.stdev(last[0]), abs=1e-3)
    assert float(rows["baseline"]["difference_top1"]) == pytest.approx(statistics.mean(last[0]) - 49.37, abs=1e-3)
    assert float(rows["temporal+"]["top1_mean"]) == pytest.approx(max(map(statistics.mean, last[1:])), abs=1e-3)
    assert "the best of 2 points of the grid: temporal+_n" in rows["temporal+"]["note"]
    assert rows["mix"]["note"] == "not trained" and rows["mix"]["top1_mean"] == ""
    assert f"| Baseline | {statistics.mean(last[0]):.2f} +- {statistics.stdev(last[0]):.2f} |" in text
    assert "--epochs 2, not 150" in text and "--model mc3_18, not slowfast50" in text and f"--data {demo}" in text

    assert main([*table2, "--epochs", "3"]) == 1
    assert "was trained with --epochs 2, not 3" in capsys.readouterr().out
    assert len(metrics(out / "vipriors" / "baseline" / "seed-0")) == 2

    # an ensemble of the two trainings, as Table 7's of nine; these have labels, whether they are called test or not
    pair = Row(name="pair", title="Pair", recipes=("vipriors/baseline", "vipriors/temporal+_n2_m5"), combine="ensemble")
    monkeypatch.setitem(TABLES, "table7", recipes.Table("Table 7", (pair,)))
    assert main(["run", "table7", "--seeds", "1", *options]) == 0
    _, rows = report("table7", out)
    with open(out / "vipriors" / "pair" / "seed-0" / "val_predictions.csv") as file:
        predicted = list(csv.DictReader(file))
    right = statistics.mean(row["label"] == row["class_1"] for row in predicted)
    assert float(rows["pair"]["top1_mean"]) == pytest.approx(100 * right, abs=1e-3) and len(predicted) == 3
    assert float(rows["pair"]["top5_mean"]) == 100  # of three classes


def test_predictions_of_unlabelled_videos_are_reported_without_a_figure(tmp_path):
    row = next(row for row in TABLES["table7"].rows if row.name == "test_baseline")
    job = table_jobs.evaluation(row, 0, {}, tmp_path)
    assert job.arguments[:2] == ("--eval-only", str(job.needs[0].folder / "last.pt"))
    assert "--predict" in job.arguments and job.arguments[job.arguments.index("--split") + 1] == "test"
    job.folder.mkdir(parents=True)
    (job.folder / "submission.txt").touch()
    job.end.write_text(json.dumps({"state": "done", "reason": ""}))
    figures = figures_of(row, tmp_path)
    assert not figures.of_seed and "predictions in vipriors_train+val/test_baseline/seed-0" in figures.notes[0]


def test_a_killed_program_leaves_no_job_behind(tmp_path):
    """They are asked to end, so that trainings write their checkpoints."""
    script = "trap 'echo asked to end; exit' TERM; echo at work; while true; do sleep 0.1; done"
    program = (
        "from pathlib import Path\n"
        "from train.table_jobs import Job, Runner\nfrom train.stop import StopRequest\n"
        f"class Stub(Job): command = ['bash', '-c', {script!r}]\n"
        f"job = Stub('job', Path({str(tmp_path)!r}) / 'seed-0', {{}}, ())\n"
        "with StopRequest() as stop: Runner([job], 1, False).run(stop)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    log, end = tmp_path / "seed-0.log", time.monotonic() + 120

    def wait_for(line: str) -> None:
        while not (log.exists() and line in log.read_text().splitlines()):
            assert time.monotonic() < end, f"no line {line!r}"
            time.sleep(0.05)

    wait_for("at work")
    process.kill()
    process.communicate()
    wait_for("asked to end")
