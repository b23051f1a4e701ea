"""Writes benchmarks/results/localisation.md: do networks localise classes in time after mixing (Figs. 5 and 6)?

First train: ``python -m train.tables run localisation --seeds 3 --jobs 2``. Then ``python
benchmarks/studies/localisation.py`` measures each network on the same pairs of videos without perturbation, in each
pathway, some minutes each the first time, and compares the operations.
"""

import sys
from pathlib import Path

import numpy as np
from seeds import (
    common_seeds,
    comparison,
    finished_runs,
    interval,
    line,
    made_from,
    made_with,
    mean_and_spread,
    run_study,
    video_name,
)

from dali_pipes.errors import InputError
from dali_pipes.system import read_csv
from train.data.perturbed_data import perturbed_folder
from train.paper.rows import TABLES
from train.report.data import Run

ROWS = {row.recipes[0]: row.title for row in TABLES["localisation"].rows}
PAIRS = [
    ("FadeMixUp", "MixUp"),
    ("FrameCutMix", "CutMix"),
    ("CubeCutMix", "CutMix"),
]
"""Rows that are compared: the first minus the second."""
LAYERS = ("slow", "fast")
NUM_PAIRS = 1000
NO_PAIR = "no pair"
"""Stands for a mean where a seed's network recognises no pair."""
NARROW = 3.0
"""Points: the interval of a difference should be less wide."""


def measure(folder: Path, layer: str) -> Path:
    """Return the scores of a run's last network for each pair of videos, measured if they are not there."""
    checkpoint, found = folder / "last.pt", folder / f"localisation_{layer}_{NUM_PAIRS}.csv"
    videos = ["--data", str(perturbed_folder() / "clean_val"), "--dataset", "folder"]
    options = ["--layer", layer, "--pairs", str(NUM_PAIRS), "-o", str(found)]
    return made_from(checkpoint, found, "-m", "train.localisation", str(checkpoint), *videos, *options)


def read_scores(path: Path) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], bool]]:
    """Return the score of each pair of videos in percent, and whether both are recognised when they are not mixed."""
    names = ["video_a", "video_b", "score", "recognised"]
    rows = [row for _, row in read_csv(path, names, "is not a table of localisation scores")]
    pairs = [(video_name(row["video_a"]), video_name(row["video_b"])) for row in rows]
    scores = [100 * float(row["score"]) for row in rows]
    known = [row["recognised"] == "yes" for row in rows]
    return dict(zip(pairs, scores, strict=True)), dict(zip(pairs, known, strict=True))


def measured(runs: dict[str, list[Run]], layer: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each recipe's (S, P) scores in percent and (S, P) bool, of S seeds and the same P pairs of videos.

    Raises:
        InputError: the pairs of a network are not those of the first.
    """
    paths = {recipe: [measure(run.folder, layer) for run in of_recipe] for recipe, of_recipe in runs.items()}
    tables = {path: read_scores(path) for of_recipe in paths.values() for path in of_recipe}
    first, (scores_of_first, _) = next(iter(tables.items()))
    pairs = sorted(scores_of_first)
    for path, (scores, _) in tables.items():
        if sorted(scores) != pairs:
            raise InputError(f"{path}: has other pairs of videos than {first}; delete both to measure them again")
    found = {}
    for recipe, of_recipe in paths.items():
        scores_SP, known_SP = (
            np.array([[tables[path][part][pair] for pair in pairs] for path in of_recipe]) for part in (0, 1)
        )
        found[recipe] = scores_SP, known_SP
    return found


def recognised_mean_S(scores_SP: np.ndarray, known_SP: np.ndarray) -> np.ndarray | None:
    """Return each seed's mean over the recognised pairs; None if a seed recognises no pair."""
    if not known_SP.any(axis=1).all():
        return None
    return np.array([scores_P[known_P].mean() for scores_P, known_P in zip(scores_SP, known_SP, strict=True)])


def score_cell(scores_SP: np.ndarray, known_SP: np.ndarray) -> str:
    """Return mean and standard deviation of the recognised pairs' scores, or that a seed has none."""
    mean_S = recognised_mean_S(scores_SP, known_SP)
    return NO_PAIR if mean_S is None else mean_and_spread(mean_S)


def page(out: Path, machine: str) -> str:
    seeds = common_seeds(out, ROWS)
    runs = {recipe: finished_runs(out / recipe, seeds) for recipe in ROWS}
    recipes = {title: recipe for recipe, title in ROWS.items()}
    first = next(iter(runs.values()))[0]
    settings = first.settings
    lines, widths = [], []
    for layer in LAYERS:
        found = measured(runs, layer)
        lines += [
            f"## The {layer} pathway",
            "",
            line("mixing", "all pairs", "pairs whose videos are recognised", "such pairs, of all"),
            line("---", "---:", "---:", "---:"),
            *(
                line(
                    title,
                    mean_and_spread(scores_SP.mean(axis=1)),
                    score_cell(scores_SP, known_SP),
                    f"{100 * known_SP.mean():.0f} %",
                )
                for (scores_SP, known_SP), title in zip(found.values(), ROWS.values(), strict=True)
            ),
            "",
            line("comparison", "difference", "95 %", "seed by seed"),
            line("---", "---:", "---:", "---"),
        ]
        for better, worse in PAIRS:
            (scores_a, known_a), (scores_b, known_b) = found[recipes[better]], found[recipes[worse]]
            both_SP = known_a & known_b
            for what, chosen_SP in (("all pairs", np.ones_like(both_SP)), ("pairs that both recognise", both_SP)):
                differences_S = recognised_mean_S(scores_a - scores_b, chosen_SP)
                if differences_S is None:
                    lines.append(line(f"{better} against {worse}, {what}", NO_PAIR, "", ""))
                    continue
                low, high = interval(differences_S)
                widths.append(high - low)
                lines.append(line(f"{better} against {worse}, {what}", *comparison(differences_S)))
        lines.append("")
    narrow = sum(width < NARROW for width in widths)
    return "\n".join(
        [
            "# Temporal localisation of networks that were trained with mixed clips",
            "",
            "```bash",
            f"python -m train.tables run localisation --seeds {len(seeds)} --jobs 2",
            "python benchmarks/studies/localisation.py",
            "```",
            "",
            f"{made_with(machine, runs)} SlowFast-50 of width {settings['width']}, {settings['epochs']} epochs "
            f"on {settings['num_frames']} frames of {settings['crop_px']}x{settings['crop_px']}, without RandAugment; "
            f"seeds {', '.join(map(str, seeds))}. "
            "[The score](../../docs/activation_maps.md#score-temporal-localisation) is the chance that the activation "
            "separates the two halves of a clip made of two videos, 50 % without any localisation. "
            f"The same {NUM_PAIRS} pairs of clean validation videos for all networks. Percent, mean and "
            "standard deviation over the seeds; differences in points, with Student's 95 % interval over the seeds. "
            f"{narrow} of the {len(widths)} intervals below are less than {NARROW:g} points wide.",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    sys.exit(run_study("localisation", __doc__.splitlines()[0], page))
