"""Writes benchmarks/results/perturbed.md: what augmentation does for videos whose perturbations change over time.

First train: ``python -m train.tables run perturbed --seeds 3 --jobs 2``, 24 epochs on 2 cores, about 15 minutes each.
Then ``python benchmarks/studies/perturbed.py`` also evaluates each network on the same scenes without perturbation, about half
a minute each the first time, and compares the rows.
"""

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dali_pipes.errors import InputError
from dali_pipes.system.files import read_csv, replacing
from train.data.perturbed_data import PERTURBATIONS, perturbation_of, perturbed_folder
from train.paper.recipes import TABLES
from train.paper.results import seeds_in
from train.report.data import Run, read_runs

TITLES = {
    "shake": "camera shake",
    "pan": "camera pan",
    "roll": "camera roll",
    "exposure": "exposure drift",
    "flash": "flashes",
    "fade": "contrast fades",
}
RESULT = Path(__file__).parents[1] / "results" / "perturbed.md"
CLEAN = "clean"
ROWS = {row.recipes[0]: row.title for row in TABLES["perturbed"].rows}
NONE, SPATIAL, TEMPORAL = ROWS
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Of Student's t: 97.5 % of the values are lower, by the number of seeds."""
STEADY = ("pan", "exposure", "roll", "fade")
"""Kinds that a steady shift, turn, or change of brightness or contrast comes near to within a clip;
the other two jump."""


def evaluate_clean(folder: Path) -> Path:
    """The predictions of a run's last network for the scenes without perturbation; made if they are not there."""
    out = folder / CLEAN
    found = out / "val_predictions.csv"
    if not found.exists() or found.stat().st_mtime < (folder / "last.pt").stat().st_mtime:
        options = ["--data", str(perturbed_folder() / "clean_val"), "--dataset", "folder", "--out", str(out)]
        subprocess.run(
            [sys.executable, "-m", "train.run", "--eval-only", str(folder / "last.pt"), *options], check=True
        )
    return found


def read_right(path: Path) -> dict[str, bool]:
    """Name of a video, ``class/file`` -> whether the network was right."""
    return {
        "/".join(Path(row["path"]).parts[-2:]): row["label"] == row["class_1"]
        for _, row in read_csv(path, ["path", "label", "class_1"], "is not a table of predictions")
    }


class Trained(NamedTuple):
    """What was trained, by the name of the recipe."""

    videos: list[str]
    seeds: list[int]
    runs: dict[str, list[Run]]
    perturbed_SV: dict[str, np.ndarray]
    """(S, V) bool: right on the perturbed videos."""
    clean_SV: dict[str, np.ndarray]
    """On the same scenes, not perturbed."""


def read_all(out: Path) -> Trained:
    """All seeds with which every recipe was trained.

    Raises:
        InputError: a training is missing or not finished.
    """
    seeds = sorted(set.intersection(*(set(seeds_in(out / recipe)) for recipe in ROWS)))
    if len(seeds) not in T_95:
        raise InputError(
            f"{out}: has {len(seeds)} seeds with which all of {', '.join(ROWS)} were trained; needs 2 to {max(T_95)}"
        )
    perturbed, clean, runs, names = {}, {}, {}, None
    for recipe in ROWS:
        tables = []
        runs[recipe] = read_runs([str(out / recipe / f"seed-{seed}") for seed in seeds])
        for run in runs[recipe]:
            folder = run.folder
            if len(run.rows) < run.settings["epochs"]:
                raise InputError(
                    f"{folder}: is not done, with {len(run.rows)} of {run.settings['epochs']} epochs; finish it first"
                )
            if sum("val_top1" in row for row in run.rows) != 1:
                raise InputError(
                    f"{folder}: was evaluated more than once, so its predictions may not be of the last epoch; "
                    "train it again"
                )
            tables.append((read_right(folder / "val_predictions.csv"), read_right(evaluate_clean(folder))))
        names = names or sorted(tables[0][0])
        perturbed[recipe], clean[recipe] = (
            np.array([[table[part][name] for name in names] for table in tables]) for part in (0, 1)
        )
    return Trained(names, seeds, runs, perturbed, clean)


def percent(right_SV: np.ndarray) -> str:
    """Mean and standard deviation over the seeds."""
    of_seed = (100 * right_SV.mean(axis=1)).tolist()
    return f"{statistics.mean(of_seed):.1f}" + (f" +- {statistics.stdev(of_seed):.1f}" if len(of_seed) > 1 else "")


def interval(differences_S: np.ndarray) -> tuple[float, float]:
    """95 % of Student's t, for the mean of the seeds' differences; the videos are the same in all."""
    half = T_95[len(differences_S)] * differences_S.std(ddof=1) / np.sqrt(len(differences_S))
    return float(differences_S.mean() - half), float(differences_S.mean() + half)


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def comparison(better: np.ndarray, worse: np.ndarray) -> list[str]:
    differences_S = 100 * (better.mean(axis=1) - worse.mean(axis=1))
    low, high = interval(differences_S)
    of_seed = ", ".join(f"{value:+.1f}" for value in differences_S)
    return [f"{differences_S.mean():+.1f}", f"{low:+.1f} to {high:+.1f}", of_seed]


def page(out: Path, machine: str) -> str:
    names, seeds, runs, perturbed, clean = read_all(out)
    kinds = np.array([perturbation_of(name) for name in names])
    start, settings = runs[NONE][0].starts[-1], runs[TEMPORAL][0].settings
    minutes = sum(row["epoch_s"] for of_recipe in runs.values() for run in of_recipe for row in run.rows) / 60
    pairs: list[tuple[str, str, str]] = [
        ("RandAugment-T against RandAugment", TEMPORAL, SPATIAL),
        ("RandAugment-T against none", TEMPORAL, NONE),
        ("RandAugment against none", SPATIAL, NONE),
    ]
    rows: list[tuple[str, Callable]] = [
        ("**all perturbed**", lambda recipe: perturbed[recipe]),
        *((TITLES[kind], lambda recipe, kind=kind: perturbed[recipe][:, kinds == kind]) for kind in PERTURBATIONS),
        ("near to steady: " + ", ".join(STEADY), lambda recipe: perturbed[recipe][:, np.isin(kinds, STEADY)]),
        ("jumping: camera shake, flashes", lambda recipe: perturbed[recipe][:, ~np.isin(kinds, STEADY)]),
        ("the same scenes, clean", lambda recipe: clean[recipe]),
    ]
    lines = [
        "# Perturbed videos: the paper's claim, tried",
        "",
        "```bash",
        f"python -m train.tables run perturbed --seeds {len(seeds)} --jobs 2",
        "python benchmarks/studies/perturbed.py",
        "```",
        "",
        f"{machine}; Python {start.versions['Python']}, torch {start.versions['torch']}, "
        f"commit {start.facts['commit']}. {len(ROWS) * len(seeds)} trainings of {minutes / len(ROWS) / len(seeds):.0f} "
        "minutes each, two at once with one thread each.",
        "",
        f"Classes of motion; few, clean training videos, and {len(names)} validation videos, each with one "
        "perturbation that changes over time ([what they are](../../train/data/perturbed_data.py)), chance is 12.5 %. "
        f"The same SlowFast-50, {settings['epochs']} epochs, "
        f"{settings['num_frames']} frames of {settings['crop_px']}x{settings['crop_px']}, "
        f"RandAugment with N = {settings['randaug_n']}, M = {settings['randaug_m']:g}; "
        "RandAugment-T is temporal+. Accuracy of the last epoch in percent, mean and standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}.",
        "",
        line("validation videos", *ROWS.values()),
        line("---", *["---:"] * len(ROWS)),
        *(line(title, *(percent(of(recipe)) for recipe in ROWS)) for title, of in rows),
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
        *(line(f"{title}, perturbed", *comparison(perturbed[a], perturbed[b])) for title, a, b in pairs),
        *(line(f"{title}, clean", *comparison(clean[a], clean[b])) for title, a, b in pairs),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="runs/tables", help="--out of train.tables (default: runs/tables)")
    parser.add_argument("--machine", default=f"{platform.processor() or platform.machine()}", help="words for the page")
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    try:
        text = page(Path(options.runs), options.machine)
        before, heading, words = options.out.read_text().partition("\n## ") if options.out.exists() else ("", "", "")
        if words and before != text:
            print(
                f"perturbed: {options.out}: its figures have changed, so the text below them is left out",
                file=sys.stderr,
            )
        with replacing(options.out) as draft:
            draft.write_text(text + (heading + words if before == text else ""))
    except InputError as error:
        print(f"perturbed: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
