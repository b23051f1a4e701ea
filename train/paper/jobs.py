"""Jobs from the rows of the tables: each is one run of train/run.py, for runner.py.

A job's folder is ``OUT/<data>/<method>/seed-<n>``; beside it lie ``seed-<n>.log``, what it printed, and
``seed-<n>.json``, how it ended. What is done is not done again, what was interrupted goes on from its checkpoint, what
failed is tried again only when that is asked for.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from dali_pipes.errors import InputError
from dali_pipes.system import flag

from ..config.augmentation import options_in_use
from ..config.command_line import RESUME_AUTO, resumed_config
from ..config.data import GENERATED_DATA
from ..config.option import Role, names_in, options_going_with
from ..config.options import Config, from_saved
from ..runtime.run_files import CONFIG, LAST, PREDICTIONS, VAL_PREDICTIONS
from .recipes import DATA, METHODS, Settings
from .rows import RECIPES, TableRow

DONE, FAILED = "done", "failed"
RESULTS = (LAST, VAL_PREDICTIONS, PREDICTIONS)
"""Result files; one of them is there when a job is done."""


@dataclass(frozen=True)
class Job:
    """One run of train/run.py."""

    name: str
    folder: Path
    settings: Settings
    """Settings of a training; empty for an evaluation."""
    arguments: tuple[str, ...]
    needs: tuple["Job", ...] = ()
    """Trainings whose networks the job evaluates."""

    @property
    def log(self) -> Path:
        """The file of what the job prints."""
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def end(self) -> Path:
        """The file that says how the job ended."""
        return self.folder.with_name(self.folder.name + ".json")

    @property
    def command(self) -> list[str]:
        """The command line that runs the job."""
        # under -m the program's folder does not come first on the import path
        return [sys.executable, "-m", "train.run", *self.arguments]


def settings_of(recipe: str, overrides: Settings) -> Settings:
    """A recipe's settings with what the user gives for all.

    Data of the user's own takes the place of the recipe's; for data that is made here, its preset holds.
    """
    data, _, method = recipe.partition("/")
    if overrides.get("data") in GENERATED_DATA and overrides["data"] != DATA[data].get("data"):
        return METHODS[method] | overrides
    replaced = names_in(Config, Role.NAMES_VIDEOS) if "dataset" in overrides else []
    return {name: value for name, value in DATA[data].items() if name not in replaced} | METHODS[method] | overrides


def as_arguments(settings: Settings) -> tuple[str, ...]:
    """Return the settings as a command line of train/run.py."""
    found: list[str] = []
    for name, value in settings.items():
        if isinstance(value, bool):
            found.append(flag(name) if value else flag(name).replace("--", "--no-", 1))
        else:
            found += [flag(name), str(value)]
    return tuple(found)


def training(recipe: str, seed: int, overrides: Settings, out: Path) -> Job:
    """Return the job that trains a recipe with a seed; ``given`` settings replace the recipe's."""
    settings = settings_of(recipe, overrides) | {"seed": seed}
    folder = out / recipe / f"seed-{seed}"
    return Job(
        f"{recipe}, seed {seed}",
        folder,
        settings,
        (*as_arguments(settings), "--out", str(folder), "--resume", RESUME_AUTO),
    )


def evaluation(row: TableRow, seed: int, overrides: Settings, out: Path) -> Job:
    """Return the job that evaluates a row's networks by their averaged scores, or its only one on the test videos."""
    needs = tuple(training(recipe, seed, overrides, out) for recipe in row.recipes)
    checkpoints = [str(job.folder / LAST) for job in needs]
    data = row.recipes[0].partition("/")[0]
    folder = out / data / row.name / f"seed-{seed}"
    what = ("--ensemble", *checkpoints) if row.combine == "ensemble" else ("--eval-only", *checkpoints)
    in_evaluation, names_videos = (names_in(Config, role) for role in (Role.IN_EVALUATION, Role.NAMES_VIDEOS))
    trained = needs[0].settings
    where = {name: value for name, value in overrides.items() if name in in_evaluation}
    where |= {name: trained[name] for name in names_videos if name in trained}
    if row.test and "split" in trained:
        where["split"] = "test"
    arguments = (*what, "--predict", *as_arguments(where), "--out", str(folder))
    return Job(f"{data}/{row.name}, seed {seed}", folder, {}, arguments, needs)


def jobs_of(rows: Iterable[TableRow], seeds: Iterable[int], overrides: Settings, out: Path) -> list[Job]:
    """Return every job of the rows once; seed by seed, and trainings before what needs them."""
    rows = list(rows)
    jobs: dict[Path, Job] = {}
    for seed in seeds:
        for row in rows:
            own = [training(recipe, seed, overrides, out) for recipe in row.recipes]
            if is_evaluated(row):
                own.append(evaluation(row, seed, overrides, out))
            jobs |= {job.folder: job for job in own}
    return list(jobs.values())


def is_evaluated(row: TableRow) -> bool:
    """Return whether a row needs an evaluation of its own, beside those of its trainings."""
    return row.test or row.combine == "ensemble"


def state_of(job: Job) -> tuple[str, str]:
    """Return ``done``, ``failed`` or nothing, and the reason of a failure.

    Raises:
        InputError: what was done there was done with other settings, or a file is damaged.
    """
    saved = saved_settings(job.folder)
    if job.settings and saved:
        _check_same_training(job, saved)
    end = _read_json(job.end) if job.end.exists() else {}
    state = str(end.get("state", ""))
    if state == DONE and not any((job.folder / name).exists() for name in RESULTS):
        return "", ""  # its folder was removed
    if any(need.end.stat().st_mtime > job.end.stat().st_mtime for need in job.needs if need.end.exists() and end):
        return "", ""  # of networks that were trained again since
    return state, str(end.get("reason", ""))


def _check_same_training(job: Job, saved: Config) -> None:
    ours = job.settings.get("data")
    if ours != saved.data and {ours, saved.data} & set(GENERATED_DATA):
        raise InputError(f"{job.folder}: was trained with --data {saved.data}, not {ours}; choose another --out")
    if ours not in GENERATED_DATA:  # whose preset depends on the machine
        differing = _differences(saved, Config(**job.settings))
        if differing:
            how = ", ".join(difference_text(name, *pair) for name, pair in differing.items())
            raise InputError(f"{job.folder}: was trained with {how}; give the same options, or choose another --out")
    resumed_config(job.settings, saved, job.folder)


def saved_settings(folder: Path) -> Config | None:
    """Return the settings of the run in a folder, if there is one.

    Raises:
        InputError: they cannot be read.
    """
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        return from_saved(_read_json(path))
    except TypeError as error:
        raise InputError(
            f"{path}: was written by another version of this program ({error}); choose another --out"
        ) from error


def _read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict) or not found:
            raise ValueError("it contains no settings")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is cut off or damaged ({error}); remove it to run the job again") from error
    return found


def recipe_differences(job: Job, recipe: str) -> dict[str, tuple[object, object]]:
    """Return where a job's training differs from its recipe: setting -> (trained with, the recipe's)."""
    saved = saved_settings(job.folder)
    settings: Settings = {"data": "of the recipe"} | RECIPES[recipe]
    planned = Config(**settings)
    return _differences(saved, planned) if saved else {}


def difference_text(name: str, found: object, expected: object) -> str:
    """Return a difference as words, such as ``--epochs 2, not 150``."""
    found, expected = ("none" if value in ("", None) else value for value in (found, expected))
    return f"{flag(name)} {found}, not {expected}"


def _differences(saved: Config, planned: Config) -> dict[str, tuple[object, object]]:
    """Return the settings that a result depends on and that differ; without augmentation its numbers do not count."""
    of_no_account = names_in(Config, Role.MAY_CHANGE | Role.SAME_RECIPE)
    of_no_account += [name for name in options_going_with(Config, "aug") if name not in options_in_use(saved.aug)]
    names = [item.name for item in fields(Config) if item.name not in of_no_account]
    pairs = {name: (getattr(saved, name), getattr(planned, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
