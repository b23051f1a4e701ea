"""Writes benchmarks/results/robustness.md: which perturbations networks tolerate that were trained with augmentation.

First train: ``python -m train.tables run perturbed --seeds 3 --jobs 2``. Then ``python
benchmarks/studies/robustness.py`` runs ``train.robustness`` on the networks of each seed, some minutes per seed the
first time, and compares the rows.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from perturbed import NONE, PAIRS, ROWS, TEMPORAL
from seeds import common_seeds, comparison, finished_runs, line, made_with, mean_and_spread, run_study

from dali_pipes.augment import PERTURBATIONS
from dali_pipes.system import read_csv
from train.analysis.robustness_results import MEAN, PLAIN
from train.data.perturbed_data import perturbed_folder
from train.runtime.run_files import ROBUSTNESS_VIDEOS

NUM_VIDEOS = 128
STRENGTH = 3
"""The middle one of five."""
KINDS = list(PERTURBATIONS)


def measure(out: Path, seed: int) -> Path:
    """Return the predictions of a seed's networks; what is there already is not evaluated again."""
    folder = out / "robustness" / f"seed-{seed}"
    checkpoints = [str(out / recipe / f"seed-{seed}" / "last.pt") for recipe in ROWS]
    videos = ["--data", str(perturbed_folder() / "clean_val"), "--dataset", "folder", "--videos", str(NUM_VIDEOS)]
    options = ["--strengths", str(STRENGTH), "--eval-clips", "1", "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "train.robustness", *checkpoints, *videos, *options], check=True)
    return folder / ROBUSTNESS_VIDEOS


def read_accuracy(path: Path) -> dict[str, dict[str, float]]:
    """Return recipe -> kind -> share of the videos that its network recognises, in percent; also of ``MEAN``."""
    right: dict[str, dict[str, list[bool]]] = {}
    for _, row in read_csv(path, ["checkpoint", "kind", "right"], "is not a table of robustness"):
        recipe = "/".join(Path(row["checkpoint"]).parts[-4:-2])
        right.setdefault(recipe, {}).setdefault(row["kind"], []).append(row["right"] == "yes")
    found = {recipe: {kind: 100 * float(np.mean(of)) for kind, of in kinds.items()} for recipe, kinds in right.items()}
    return {recipe: kinds | {MEAN: float(np.mean([kinds[kind] for kind in KINDS]))} for recipe, kinds in found.items()}


def page(out: Path, machine: str) -> str:
    seeds = common_seeds(out, ROWS)
    runs = {recipe: finished_runs(out / recipe, seeds) for recipe in ROWS}
    of_seed = [read_accuracy(measure(out, seed)) for seed in seeds]
    settings = runs[TEMPORAL][0].settings

    def percent_S(recipe: str, kind: str) -> np.ndarray:
        return np.array([found[recipe][kind] for found in of_seed])

    titles = (
        {PLAIN: "not perturbed"} | {kind: f"`{kind}`" for kind in KINDS} | {MEAN: f"**mean of the {len(KINDS)} kinds**"}
    )
    against_none = [(f"{titles[kind]}: temporal+ against none", TEMPORAL, NONE, kind) for kind in KINDS]
    of_pairs = [
        (f"{titles[kind]}: {ROWS[a]} against {ROWS[b]}", a, b, kind) for kind in (MEAN, PLAIN) for a, b in PAIRS
    ]
    return "\n".join(
        [
            "# Robustness of networks that were trained with augmentation",
            "",
            "```bash",
            f"python -m train.tables run perturbed --seeds {len(seeds)} --jobs 2",
            "python benchmarks/studies/robustness.py",
            "```",
            "",
            f"{made_with(machine, runs)} The networks of [perturbed.md](perturbed.md): SlowFast-50 of width "
            f"{settings['width']}, trained for {settings['epochs']} epochs on few, clean videos; RandAugment with N = "
            f"{settings['randaug_n']} and M = {settings['randaug_m']:g}; seeds {', '.join(map(str, seeds))}. "
            f"[The perturbations](../../docs/robustness.md#perturbations) at strength {STRENGTH} of 5, on {NUM_VIDEOS} "
            "clean validation videos, one clip each. Top-1 in percent, mean and standard deviation over the seeds.",
            "",
            line("perturbation", *ROWS.values()),
            line("---", *["---:"] * len(ROWS)),
            *(
                line(title, *(mean_and_spread(percent_S(recipe, kind)) for recipe in ROWS))
                for kind, title in titles.items()
            ),
            "",
            "Differences in points, of each seed on the same videos and perturbations, with Student's 95 % interval "
            "over the seeds (not corrected for there being several comparisons):",
            "",
            line("comparison", "difference", "95 %", "seed by seed"),
            line("---", "---:", "---:", "---"),
            *(
                line(title, *comparison(percent_S(a, kind) - percent_S(b, kind)))
                for title, a, b, kind in of_pairs + against_none
            ),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(run_study("robustness", __doc__.splitlines()[0], page))
