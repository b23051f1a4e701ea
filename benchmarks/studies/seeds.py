"""Parts of the studies of several seeds: finished runs, intervals over the seeds, lines of tables, the program."""

import argparse
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dali_pipes.errors import InputError
from dali_pipes.system import replacing
from train.paper.results import seeds_in
from train.report.data import Run, read_runs

T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Of Student's t: 97.5 % of the values are lower, by the number of seeds."""


def common_seeds(out: Path, recipes: Iterable[str]) -> list[int]:
    """Return the seeds with which all recipes were trained.

    Raises:
        InputError: they are fewer than 2, or more than 10.
    """
    recipes = list(recipes)
    seeds = sorted(set.intersection(*(set(seeds_in(out / recipe)) for recipe in recipes)))
    if len(seeds) not in T_95:
        raise InputError(
            f"{out}: has {len(seeds)} seeds with which all of {', '.join(recipes)} were trained; needs 2 to {max(T_95)}"
        )
    return seeds


def finished_runs(folder: Path, seeds: Iterable[int]) -> list[Run]:
    """Return a recipe's runs with these seeds.

    Raises:
        InputError: one is not finished.
    """
    runs = read_runs([str(folder / f"seed-{seed}") for seed in seeds])
    for run in runs:
        if len(run.rows) < run.settings["epochs"]:
            raise InputError(
                f"{run.folder}: is not done, with {len(run.rows)} of {run.settings['epochs']} epochs; finish it, or "
                "move its folder away"
            )
    return runs


def made_with(machine: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """Return a sentence: the machine, and all versions and commits with which the recipes' runs were last started."""
    starts = [run.starts[-1] for of_recipe in runs.values() for run in of_recipe]
    python, torch = (_all_of(start.versions[name] for start in starts) for name in ("Python", "torch"))
    return f"{machine}; Python {python}, torch {torch}, commit {_all_of(start.facts['commit'] for start in starts)}."


def _all_of(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(values))


def made_from(checkpoint: Path, found: Path, *command: str) -> Path:
    """Return ``found``, which a command of Python makes from a checkpoint, made if it is missing or older than that."""
    if not found.exists() or found.stat().st_mtime < checkpoint.stat().st_mtime:
        subprocess.run([sys.executable, *command], check=True)
    return found


def video_name(path: str) -> str:
    """Return ``class/file``, the name of a video that is the same in a folder elsewhere."""
    return "/".join(Path(path).parts[-2:])


def mean_and_spread(percent_S: Iterable[float]) -> str:
    """Return mean and standard deviation over the seeds."""
    of_seed = list(percent_S)
    return f"{statistics.mean(of_seed):.1f}" + (f" +- {statistics.stdev(of_seed):.1f}" if len(of_seed) > 1 else "")


def interval(differences_S: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of the seeds' differences."""
    half = T_95[len(differences_S)] * differences_S.std(ddof=1) / np.sqrt(len(differences_S))
    return float(differences_S.mean() - half), float(differences_S.mean() + half)


def comparison(differences_S: np.ndarray) -> list[str]:
    """Return the mean of the seeds' differences, its interval, and each difference, as cells."""
    low, high = interval(differences_S)
    of_seed = ", ".join(f"{value:+.1f}" for value in differences_S)
    return [f"{differences_S.mean():+.1f}", f"{low:+.1f} to {high:+.1f}", of_seed]


def line(*cells: object) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def write_page(path: Path, text: str, heading: str) -> str:
    """Replace a page up to a heading; what follows was written by hand, and is left out where the figures changed.

    Returns:
        A remark for the user, or nothing.
    """
    before, found, words = path.read_text().partition(heading) if path.exists() else ("", "", "")
    with replacing(path) as draft:
        draft.write_text(text + (found + words if before == text else ""))
    return f"{path}: its figures have changed, so the text below them is left out" if words and before != text else ""


WORDS = "\n## What it shows"
"""Where the text of a page begins that is written by hand."""


def run_study(name: str, about: str, page: Callable[[Path, str], str]) -> int:
    """Carry out the command line of a study.

    Args:
        name: of the study and of its page.
        about: text for ``--help``.
        page: ``(folder of the runs, words for the machine)`` -> text of the page.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--runs", default="runs/tables", help="--out of train.tables (default: runs/tables)")
    parser.add_argument("--machine", default=f"{platform.processor() or platform.machine()}", help="words for the page")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parents[1] / "results" / f"{name}.md")
    options = parser.parse_args()
    try:
        text = page(Path(options.runs), options.machine)
        remark = write_page(options.out, text, WORDS)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:  # it has said why
        print(f"{name}: this command failed, see above: {shlex.join(error.cmd)}", file=sys.stderr)
        return 2
    if remark:
        print(f"{name}: {remark}", file=sys.stderr)
    print(text)
    return 0
