"""Writes benchmarks/results/perturbed.md: what augmentation does for videos whose perturbations change over time.

First train: ``python -m train.tables run perturbed_choice --first-seed 100 --seeds 1 --jobs 2``, from which N, M and
ranges are chosen, then ``python -m train.tables run perturbed --seeds 3 --jobs 2``: a quarter to half an hour each on
a core. Then ``python benchmarks/studies/perturbed.py`` also evaluates each network on the same scenes without
perturbation and on its training videos, a minute or two each the first time, and compares the rows.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from seeds import (
    common_seeds,
    comparison,
    finished_runs,
    line,
    made_from,
    made_with,
    mean_and_spread,
    run_study,
    video_name,
)

from dali_pipes.errors import InputError
from dali_pipes.system import read_csv
from train.data.perturbed_data import PERTURBATIONS, perturbation_of, perturbed_folder
from train.paper.recipes import PERTURBED_CHOICE, PERTURBED_CHOICES, PERTURBED_TRIALS
from train.paper.results import row_result, seeds_in
from train.paper.rows import TABLES
from train.report.data import Run

TITLES = {
    "shake": "camera shake",
    "pan": "camera pan",
    "roll": "camera roll",
    "exposure": "exposure drift",
    "flash": "flashes",
    "fade": "contrast fades",
}
EVALUATIONS = {"last": "val", "clean": "clean_val", "known": "train"}
"""Folder within a run for evaluations of its last network -> folder of the data set."""
ROWS = {row.recipes[0]: row.title for row in TABLES["perturbed"].rows}
NONE, SPATIAL, TEMPORAL, FOURIER = ROWS
PAIRS = [(TEMPORAL, SPATIAL), (TEMPORAL, NONE), (SPATIAL, NONE), (FOURIER, SPATIAL), (FOURIER, TEMPORAL)]
"""Rows that are compared: the first minus the second."""
STEADY = ("pan", "exposure", "roll", "fade")
"""Kinds that a steady shift, turn, or change of brightness or contrast comes near to within a clip;
the other two jump."""


def evaluate(folder: Path, name: str) -> Path:
    """Return the predictions of a run's last network, made if they are not there; the run's own are of its best."""
    checkpoint, out = folder / "last.pt", folder / name
    videos = ["--data", str(perturbed_folder() / EVALUATIONS[name]), "--dataset", "folder"]
    command = ["-m", "train.run", "--eval-only", str(checkpoint), *videos, "--out", str(out)]
    return made_from(checkpoint, out / "val_predictions.csv", *command)


def read_right(path: Path) -> dict[str, bool]:
    """Return the name of a video, ``class/file`` -> whether the network was right."""
    return {
        video_name(row["path"]): row["label"] == row["class_1"]
        for _, row in read_csv(path, ["path", "label", "class_1"], "is not a table of predictions")
    }


class Trained(NamedTuple):
    """The trainings by the name of the recipe, and which videos their networks recognise."""

    videos: list[str]
    seeds: list[int]
    runs: dict[str, list[Run]]
    perturbed_SV: dict[str, np.ndarray]
    """(S, V) bool: right on the perturbed videos."""
    clean_SV: dict[str, np.ndarray]
    """(S, V) bool: right on the same scenes, not perturbed."""
    known_S: dict[str, np.ndarray]
    """(S,) share of the training videos that are recognised without augmentation."""


def read_all(out: Path) -> Trained:
    """Return all seeds with which every recipe was trained.

    Raises:
        InputError: a training is missing or not finished.
    """
    seeds = common_seeds(out, ROWS)
    perturbed, clean, known, runs, names = {}, {}, {}, {}, None
    for recipe in ROWS:
        tables = []
        runs[recipe] = finished_runs(out / recipe, seeds)
        for run in runs[recipe]:
            tables.append([read_right(evaluate(run.folder, name)) for name in EVALUATIONS])
        names = names or sorted(tables[0][0])
        for run, table in zip(runs[recipe], tables, strict=True):
            for name, found in zip(list(EVALUATIONS)[:2], table, strict=False):
                if sorted(found) != names:
                    raise InputError(f"{evaluate(run.folder, name)}: has other videos than the first run; delete it")
        perturbed[recipe], clean[recipe] = (
            np.array([[table[part][name] for name in names] for table in tables]) for part in (0, 1)
        )
        known[recipe] = np.array([np.mean(list(table[2].values())) for table in tables])
    return Trained(names, seeds, runs, perturbed, clean, known)


def percent_S(right_SV: np.ndarray) -> np.ndarray:
    """Return the share of the videos that each seed's network recognises, in percent."""
    return 100 * right_SV.reshape(len(right_SV), -1).mean(axis=1)


def choice_lines(out: Path) -> list[str]:
    """Return how N, M and ranges were chosen: a table, and the rule.

    Raises:
        InputError: a run of the choice is missing, its seeds differ between rows or are also compared, or the recipes
            use another choice than the best one.
    """
    accuracy: dict[tuple[str, str], float] = {}
    seeds: list[int] = []
    used = sorted({seed for recipe in ROWS for seed in seeds_in(out / recipe)})
    for row in TABLES["perturbed_choice"].rows:
        title, choice = row.title.split(", ", 1)
        found = row_result(row, out)
        top1 = found.mean("top1")
        if top1 is None:
            raise InputError(f"{out / found.recipe}: has no finished run; run train.tables run perturbed_choice first")
        accuracy[choice, title] = top1
        own = sorted(found.of_seed)
        if set(own) & set(used):
            raise InputError(
                f"{out / found.recipe}: has the seeds {', '.join(map(str, own))}, but the comparison has "
                f"{', '.join(map(str, used))}; choose with seeds that it does not have, see --first-seed"
            )
        if seeds and own != seeds:
            raise InputError(
                f"{out / found.recipe}: has the seeds {', '.join(map(str, own))}, but other rows of the choice have "
                f"{', '.join(map(str, seeds))}; train all rows with the same seeds"
            )
        seeds = own
    titles = list(dict.fromkeys(title for _, title in accuracy))
    means = {choice: statistics.mean(accuracy[choice, title] for title in titles) for choice in PERTURBED_CHOICES}
    best = max(means, key=lambda choice: means[choice])
    if best != PERTURBED_CHOICE:
        raise InputError(
            f"Invalid PERTURBED_CHOICE {PERTURBED_CHOICE!r} of train/paper/recipes.py: must be {best!r}, which has the "
            "highest mean accuracy; train the rows of the table perturbed with it"
        )
    return [
        "## Choice of N, M and ranges",
        "",
        "The same for all schedules: of these, the one with the highest mean of both columns, after 50 epochs with the "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, which "
        f"{'are' if len(seeds) > 1 else 'is'} not used above. Top-1 on the perturbed videos in percent.",
        "",
        line("N, M, ranges", *titles, "mean"),
        line("---", *["---:"] * (len(titles) + 1)),
        *(
            line(
                f"**{choice}**" if choice == best else choice,
                *(f"{accuracy[choice, title]:.1f}" for title in titles),
                f"{means[choice]:.1f}",
            )
            for choice in PERTURBED_CHOICES
        ),
        "",
    ]


def course_lines(runs: dict[str, list[Run]]) -> list[str]:
    """Return a table of the accuracy while the networks are trained.

    On the training clips it is that of the last epoch, as they are augmented, before each step.
    """
    evaluated = {recipe: [[row for row in run.rows if "val_top1" in row] for run in runs[recipe]] for recipe in runs}
    epochs = [int(row["epoch"]) for row in evaluated[NONE][0]]

    def cells(recipe: str) -> list[str]:
        top1_SE = np.array([[row["val_top1"] for row in rows] for rows in evaluated[recipe]])
        train_S = [run.rows[-1]["train_top1"] for run in runs[recipe]]
        return [*map(mean_and_spread, top1_SE.T), mean_and_spread(train_S)]

    return [
        "## While training",
        "",
        "Top-1 in percent, mean and standard deviation over the seeds: on the perturbed videos after so many epochs, "
        "and on the training clips as they are augmented, in the last epoch.",
        "",
        line("training", *(f"{epoch} epochs" for epoch in epochs), "training clips"),
        line("---", *["---:"] * (len(epochs) + 1)),
        *(line(title, *cells(recipe)) for recipe, title in ROWS.items()),
        "",
    ]


def trial_lines(out: Path) -> list[str]:
    """Return what the trials of the table ``perturbed_why`` show, as far as they were trained; nothing if none was.

    Raises:
        InputError: a trial was trained for some of its rows, or was trained with no seed for all of them.
    """
    table = []
    rows = TABLES["perturbed_why"].rows
    for trial in PERTURBED_TRIALS:
        compared = [row for row in rows if row.title.endswith(f", {trial}")]
        recipes = [row.recipes[0] for row in compared]
        if not any(seeds_in(out / recipe) for recipe in recipes if recipe not in ROWS):
            continue
        found = [row_result(row, out).of_seed for row in compared]
        seeds = sorted(set.intersection(*map(set, found)))
        if not seeds:
            names = ", ".join(recipes)
            raise InputError(f"{out}: has no seed with which all of {names} are finished; finish perturbed_why first")
        none_S, spatial_S, temporal_S = (np.array([of_seed[seed].top1 for seed in seeds]) for of_seed in found)
        table.append(
            line(
                trial,
                *map(mean_and_spread, (none_S, spatial_S, temporal_S)),
                *(_difference(temporal_S - other_S) for other_S in (spatial_S, none_S)),
                ", ".join(map(str, seeds)),
            )
        )
    if not table:
        return []
    return [
        "## Too short, too strong, too small?",
        "",
        "Each trial is trained as above but for what it names: `python -m train.tables run perturbed_why --seeds 1`. "
        "Top-1 on the perturbed videos after the last epoch, in percent, and differences in points, with Student's "
        "95 % interval where there are several seeds.",
        "",
        line("trial", *list(ROWS.values())[:3], "temporal+ against RandAugment", "against none", "seeds"),
        line("---", *["---:"] * 5, "---"),
        *table,
        "",
    ]


def _difference(differences_S: np.ndarray) -> str:
    if len(differences_S) == 1:
        return f"{differences_S[0]:+.1f}"
    mean, interval, _ = comparison(differences_S)
    return f"{mean} ({interval})"


def page(out: Path, machine: str) -> str:
    names, seeds, runs, perturbed, clean, known = read_all(out)
    kinds = np.array([perturbation_of(name) for name in names])
    settings = runs[TEMPORAL][0].settings
    minutes = sum(row["epoch_s"] for of_recipe in runs.values() for run in of_recipe for row in run.rows) / 60
    rows: list[tuple[str, Callable]] = [
        ("**all perturbed**", lambda recipe: perturbed[recipe]),
        *((TITLES[kind], lambda recipe, kind=kind: perturbed[recipe][:, kinds == kind]) for kind in PERTURBATIONS),
        ("near to steady: " + ", ".join(STEADY), lambda recipe: perturbed[recipe][:, np.isin(kinds, STEADY)]),
        ("jumping: camera shake, flashes", lambda recipe: perturbed[recipe][:, ~np.isin(kinds, STEADY)]),
        ("the same scenes, clean", lambda recipe: clean[recipe]),
        ("the training videos", lambda recipe: known[recipe]),
    ]
    lines = [
        "# Perturbed videos: the paper's claim, tried",
        "",
        "```bash",
        "python -m train.tables run perturbed_choice --first-seed 100 --seeds 1 --jobs 2",
        f"python -m train.tables run perturbed --seeds {len(seeds)} --jobs 2",
        "python benchmarks/studies/perturbed.py",
        "```",
        "",
        f"{made_with(machine, runs)} {len(ROWS) * len(seeds)} trainings of "
        f"{minutes / len(ROWS) / len(seeds):.0f} minutes each.",
        "",
        f"Classes of motion; few, clean training videos, and {len(names)} validation videos, each with one "
        "perturbation that changes over time ([what they are](../../train/data/perturbed_data.py)), chance is 12.5 %. "
        f"The same SlowFast-50 of width {settings['width']} (the paper's has 64), {settings['epochs']} epochs, "
        f"batches of {settings['batch_size']}, "
        f"{settings['num_frames']} frames of {settings['crop_px']}x{settings['crop_px']}, "
        f"RandAugment with N = {settings['randaug_n']}, M = {settings['randaug_m']:g} and the "
        f"{settings['randaug_ranges']} ranges ([chosen below](#choice-of-n-m-and-ranges)). "
        "Accuracy of the last epoch in percent, mean and standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}.",
        "",
        line("validation videos", *ROWS.values()),
        line("---", *["---:"] * len(ROWS)),
        *(line(title, *(mean_and_spread(percent_S(of(recipe))) for recipe in ROWS)) for title, of in rows),
        line(
            "lost to perturbation, points",
            *(f"{100 * (clean[recipe].mean() - perturbed[recipe].mean()):.1f}" for recipe in ROWS),
        ),
        "",
        f"With {len(names)} videos one seed's accuracy is known to about +-{98 / len(names) ** 0.5:.0f} points, with "
        f"the {len(names) // len(PERTURBATIONS)} of one kind to +-{98 / (len(names) / len(PERTURBATIONS)) ** 0.5:.0f}: "
        "single kinds show little. Differences in points, of each seed on the same videos, with Student's 95 % "
        f"interval of their mean over {len(seeds)} seeds (not corrected for there being several comparisons):",
        "",
        line("comparison", "difference", "95 %", "seed by seed"),
        line("---", "---:", "---:", "---"),
        *(
            line(f"{ROWS[a]} against {ROWS[b]}, {where}", *comparison(percent_S(right[a]) - percent_S(right[b])))
            for where, right in (("perturbed", perturbed), ("clean", clean))
            for a, b in PAIRS
        ),
        "",
        *course_lines(runs),
        *choice_lines(out),
        *trial_lines(out),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_study("perturbed", __doc__.splitlines()[0], page))
