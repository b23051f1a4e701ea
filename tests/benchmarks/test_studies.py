"""The studies: intervals over seeds, the choice of N and M by its rule, pages whose words go with their figures."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dali_pipes.errors import InputError
from train.paper.recipes import DATA, PERTURBED_CHOICE, PERTURBED_CHOICES, PERTURBED_TRIALS
from train.paper.results import Accuracy, RowResult
from train.paper.rows import TABLES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "studies"))
import localisation  # noqa: E402
import perturbed  # noqa: E402
import robustness  # noqa: E402
import seeds  # noqa: E402


def test_the_interval_is_students():
    """Of 1, 2, 3: mean 2, standard error 1/sqrt(3), 4.30 of them."""
    low, high = seeds.interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.30 / 3**0.5, 2 + 4.30 / 3**0.5), abs=1e-3)
    assert seeds.comparison(np.array([1.0, 2.0, 3.0])) == ["+2.0", "-0.5 to +4.5", "+1.0, +2.0, +3.0"]


def test_only_seeds_that_all_recipes_have_are_compared(tmp_path):
    for recipe, own in (("data/a", (0, 1, 2)), ("data/b", (1, 2, 100))):
        for seed in own:
            (tmp_path / recipe / f"seed-{seed}").mkdir(parents=True)
    assert seeds.common_seeds(tmp_path, ["data/a", "data/b"]) == [1, 2]
    with pytest.raises(InputError, match="has 0 seeds with which all of data/a, data/c were trained; needs 2 to 10"):
        seeds.common_seeds(tmp_path, ["data/a", "data/c"])


def test_words_below_the_figures_stay_as_long_as_these_do(tmp_path):
    path, heading = tmp_path / "page.md", "\n## What it shows"
    assert seeds.write_page(path, "figures 1\n", heading) == ""
    path.write_text(path.read_text() + heading + "\n\nWords.\n")
    assert seeds.write_page(path, "figures 1\n", heading) == "" and path.read_text().endswith("\n\nWords.\n")
    remark = seeds.write_page(path, "figures 2\n", heading)
    assert remark == f"{path}: its figures have changed, so the text below them is left out"
    assert path.read_text() == "figures 2\n"


def results(top1: dict[str, float], seeds_of=lambda row: (100,)):
    """What train.tables would report, by the choice that a row's title names."""

    def row_result(row, out):
        value = top1[row.title.split(", ", 1)[1]]
        return RowResult({seed: Accuracy(value, 100.0, value) for seed in seeds_of(row)}, row.recipes[0])

    return row_result


def test_n_and_m_are_the_best_for_all_schedules_together(monkeypatch, tmp_path):
    top1 = dict.fromkeys(PERTURBED_CHOICES, 50.0) | {PERTURBED_CHOICE: 60.0}
    monkeypatch.setattr(perturbed, "row_result", results(top1))
    lines = perturbed.choice_lines(tmp_path)
    assert f"| **{PERTURBED_CHOICE}** | 60.0 | 60.0 | 60.0 |" in lines
    assert sum(line.startswith("| N = ") for line in lines) == len(PERTURBED_CHOICES) - 1
    assert len(TABLES["perturbed_choice"].rows) == 2 * len(PERTURBED_CHOICES)


def test_the_recipes_must_use_the_choice_that_the_rule_makes(monkeypatch, tmp_path):
    better = next(choice for choice in PERTURBED_CHOICES if choice != PERTURBED_CHOICE)
    top1 = dict.fromkeys(PERTURBED_CHOICES, 50.0) | {better: 60.0}
    monkeypatch.setattr(perturbed, "row_result", results(top1))
    with pytest.raises(InputError, match=f"must be '{better}', which has the highest mean"):
        perturbed.choice_lines(tmp_path)


def test_the_choice_has_seeds_of_its_own_the_same_for_all_rows(monkeypatch, tmp_path):
    top1 = dict.fromkeys(PERTURBED_CHOICES, 50.0) | {PERTURBED_CHOICE: 60.0}
    monkeypatch.setattr(perturbed, "row_result", results(top1, lambda row: (100, 101) if "-T" in row.title else (100,)))
    with pytest.raises(InputError, match="has the seeds 100, 101, but other rows of the choice have 100"):
        perturbed.choice_lines(tmp_path)
    monkeypatch.setattr(perturbed, "row_result", results(top1))
    (tmp_path / perturbed.SPATIAL / "seed-100").mkdir(parents=True)
    with pytest.raises(InputError, match="has the seeds 100, but the comparison has 100; choose with seeds that it"):
        perturbed.choice_lines(tmp_path)


def test_a_seed_that_recognises_no_pair_has_no_mean():
    scores_SP, known_SP = np.array([[50.0, 70.0], [60.0, 90.0]]), np.array([[True, True], [False, False]])
    assert localisation.score_cell(scores_SP, known_SP) == "no pair"
    assert localisation.score_cell(scores_SP, np.ones_like(known_SP)) == "67.5 +- 10.6"


def test_scores_of_another_number_of_pairs_are_not_read(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(localisation, "perturbed_folder", lambda: tmp_path)
    monkeypatch.setattr(seeds.subprocess, "run", lambda command, check: asked.append(command))
    (tmp_path / "last.pt").touch()
    localisation.measure(tmp_path, "slow").touch()
    localisation.measure(tmp_path, "slow")
    assert len(asked) == 1
    monkeypatch.setattr(localisation, "NUM_PAIRS", 7)
    localisation.measure(tmp_path, "slow")
    assert len(asked) == 2 and asked[1][asked[1].index("--pairs") + 1] == "7"


def test_scores_of_the_same_pairs_are_compared(tmp_path):
    """In whatever order the files name them; of the pairs that both networks recognise."""
    rows = ["c,a.avi,b.avi,0.5,yes", "c,a.avi,d.avi,0.9,no"]
    for name, lines in (("one", rows), ("two", rows[::-1])):
        (tmp_path / name).write_text("checkpoint,video_a,video_b,score,recognised\n" + "\n".join(lines) + "\n")
    assert localisation.read_scores(tmp_path / "one") == localisation.read_scores(tmp_path / "two")
    scores, known = localisation.read_scores(tmp_path / "one")
    assert scores == {("a.avi", "b.avi"): 50.0, ("a.avi", "d.avi"): 90.0}
    assert known == {("a.avi", "b.avi"): True, ("a.avi", "d.avi"): False}


def test_scores_of_other_pairs_are_refused(monkeypatch, tmp_path):
    """Videos are known by class and name, so those of a folder elsewhere are the same."""
    for name, video in (("one", "/x/c/a.avi"), ("two", "/y/c/a.avi"), ("three", "/x/c/b.avi")):
        lines = ["checkpoint,video_a,video_b,score,recognised", f"p,{video},/x/d/e.avi,0.5,yes"]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(localisation, "measure", lambda folder, layer: folder)
    runs = [SimpleNamespace(folder=tmp_path / name) for name in ("one", "two", "three")]
    scores_SP, known_SP = localisation.measured({"a": runs[:2]}, "slow")["a"]
    assert scores_SP.tolist() == [[50.0], [50.0]] and known_SP.all()
    with pytest.raises(InputError, match=f"three: has other pairs of videos than {tmp_path / 'one'}; delete both"):
        localisation.measured({"a": runs[:1], "b": runs[2:]}, "slow")


def test_a_page_names_all_commits_of_its_runs():
    def run(commit: str) -> SimpleNamespace:
        start = SimpleNamespace(versions={"Python": "3.11.7", "torch": "2.15.0"}, facts={"commit": commit})
        return SimpleNamespace(starts=[start])

    made = seeds.made_with("Two cores", {"a": [run("c1"), run("c2")], "b": [run("c1")]})
    assert made == "Two cores; Python 3.11.7, torch 2.15.0, commit c1 or c2."


def test_the_course_of_the_trainings_is_of_the_evaluated_epochs():
    def run(top1: float) -> SimpleNamespace:
        epochs = [{"epoch": 1.0, "train_top1": 50.0}]
        epochs += [{"epoch": 2.0, "train_top1": 2 * top1, "val_top1": top1}]
        return SimpleNamespace(rows=epochs)

    runs = {recipe: [run(40.0 + number), run(44.0 + number)] for number, recipe in enumerate(perturbed.ROWS)}
    lines = perturbed.course_lines(runs)
    assert "| training | 2 epochs | training clips |" in lines
    assert f"| {perturbed.ROWS[perturbed.NONE]} | 42.0 +- 2.8 | 84.0 +- 5.7 |" in lines
    assert f"| {perturbed.ROWS[perturbed.SPATIAL]} | 43.0 +- 2.8 | 86.0 +- 5.7 |" in lines


def trained(monkeypatch, top1: dict[str, dict[int, float]]) -> None:
    """Let recipes have been trained: name -> seed -> top-1."""
    monkeypatch.setattr(perturbed, "seeds_in", lambda folder: list(top1.get("/".join(folder.parts[-2:]), ())))
    monkeypatch.setattr(
        perturbed,
        "row_result",
        lambda row, out: RowResult(
            {seed: Accuracy(value, 100.0, value) for seed, value in top1.get(row.recipes[0], {}).items()},
            row.recipes[0],
        ),
    )


def test_trials_are_reported_as_far_as_they_were_trained(monkeypatch, tmp_path):
    main = {"perturbed/baseline": {0: 50.0, 1: 52.0}}
    trained(monkeypatch, main)
    assert perturbed.trial_lines(tmp_path) == []
    weaker = {"perturbed_monotonic/spatial_n1_m5": {0: 60.0}, "perturbed_monotonic/temporal+_n1_m5": {0: 61.0, 1: 70.0}}
    trained(monkeypatch, main | weaker)
    lines = perturbed.trial_lines(tmp_path)
    assert "| weaker: M = 5, monotonic | 50.0 | 60.0 | 61.0 | +1.0 | +11.0 | 0 |" in lines
    assert not any(line.startswith("| longer") for line in lines)
    weaker["perturbed_monotonic/spatial_n1_m5"][1] = 60.0
    trained(monkeypatch, main | weaker)
    assert "+5.5 (-51.7 to +62.7)" in perturbed.trial_lines(tmp_path)[-2]
    trained(monkeypatch, main | {"perturbed_monotonic/spatial_n1_m5": {0: 60.0}})
    with pytest.raises(InputError, match="has no seed with which all of .*perturbed_monotonic/temporal"):
        perturbed.trial_lines(tmp_path)


def test_trials_differ_from_the_choice_in_what_they_name():
    _, *choice = PERTURBED_CHOICES[PERTURBED_CHOICE]
    differing = {trial.partition(":")[0]: row for trial, row in PERTURBED_TRIALS.items()}
    assert [*differing["longer"][1:]] == [*differing["larger"][1:]] == choice
    assert differing["weaker"][1:] == (choice[0], 5)
    for name, changed in (("longer", {"epochs"}), ("larger", {"width"}), ("weaker", {"randaug_ranges"})):
        settings = DATA[differing[name][0]]
        assert {key for key in settings if settings[key] != DATA["perturbed"].get(key)} == changed


def test_the_mean_of_a_robustness_is_over_kinds(tmp_path):
    checkpoint = "runs/perturbed/baseline/seed-7/last.pt"
    rows = [f"{checkpoint},{kind},{'yes' if kind == 'shake' else 'no'}" for kind in robustness.KINDS]
    rows += [f"{checkpoint},shake,yes", f"{checkpoint},plain,yes"]
    (tmp_path / "rows.csv").write_text("checkpoint,kind,right\n" + "\n".join(rows) + "\n")
    found = robustness.read_accuracy(tmp_path / "rows.csv")["perturbed/baseline"]
    assert (found["plain"], found["shake"], found["roll"]) == (100, 100, 0)
    assert found[robustness.MEAN] == pytest.approx(100 / len(robustness.KINDS))


def test_a_command_that_fails_is_named_without_a_traceback(monkeypatch, tmp_path, capsys):
    def page(out, machine):
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)

    monkeypatch.setattr(sys, "argv", ["study", "-o", str(tmp_path / "page.md")])
    assert seeds.run_study("study", "", page) == 2
    assert capsys.readouterr().err.startswith(f"study: this command failed, see above: {sys.executable} -c")
    assert not (tmp_path / "page.md").exists()
