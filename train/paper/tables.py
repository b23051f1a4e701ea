"""Train the networks of the paper's tables (Kim et al., ECCV-W 2020), and compare the results with the paper.

Example: ``python -m train.tables run table2 --data DIR``

Their content is in rows.py and recipes.py.
"""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from dali_pipes.errors import InputError, check_known
from dali_pipes.system import described_by, flag, make_folder, run_program

from ..config.augmentation import check_policy_options
from ..config.command_line import parse
from ..config.option import Role, names_in
from ..config.options import FLAGS, Config
from ..data.videos import list_videos
from ..runtime.stop import StopRequest
from .jobs import Job, as_arguments, jobs_of, settings_of
from .recipes import METHODS, Settings
from .results import write_report
from .rows import RECIPES, TABLES, TableRow
from .runner import Runner, gpus, shared_workers

OUT = "runs/tables"
SET_BY_RECIPES = sorted(
    {*names_in(Config, Role.SET_BY_TABLE), *(name for settings in METHODS.values() for name in settings)}
)
"""The options that a user may not choose for a whole table."""


def rows_of(tables: Sequence[str], patterns: Sequence[str] = ()) -> dict[str, list[TableRow]]:
    """The rows of each table whose names match one of the patterns, or all.

    Raises:
        InputError: a table is unknown, or no table has a row of that name.
    """
    for table in tables:
        check_known("table", table, TABLES)
    names = list(dict.fromkeys(row.name for table in tables for row in TABLES[table].rows))
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            check_known("row", pattern, names, of=" or ".join(tables))
    return {
        table: [row for row in TABLES[table].rows if not patterns or any(fnmatch(row.name, name) for name in patterns)]
        for table in tables
    }


def parse_overrides(arguments: list[str]) -> Settings:
    """Return the options of train/run.py that are given for all rows.

    Raises:
        InputError: one is unknown, or is what the rows differ in.
    """
    overrides, job = parse(arguments)
    if job.checkpoints or job.resume:
        raise InputError(
            "Invalid --eval-only, --ensemble or --resume: cannot be given for a table, whose trainings resume "
            "automatically; use them with train/run.py"
        )
    chosen = [name for name in overrides if name in SET_BY_RECIPES]
    if chosen:
        raise InputError(
            f"Invalid {', '.join(map(flag, chosen))}: cannot be given for a table, because its rows set it; "
            "choose rows "
            "with --rows, or use train/run.py for a training that is in no table"
        )
    return overrides


def _check_no_overrides(overrides: Settings, command: str) -> None:
    if overrides:
        raise InputError(
            f"Invalid {', '.join(map(flag, overrides))}: cannot be given for {command}, which trains nothing"
        )


def _list(options: argparse.Namespace, overrides: Settings) -> None:
    _check_no_overrides(overrides, "list")
    for name, table in TABLES.items():
        print(f"{name:10} {len(table.rows):3} rows  {table.title}")
    print(f"\n{len(RECIPES)} trainings per seed in all; python -m train.tables show TABLE lists the rows of a table")


def _check_policies(rows: Iterable[TableRow], overrides: Settings) -> None:
    """Raise :class:`InputError` if an option is given that the policy of one of the rows does not have."""
    for row in rows:
        for recipe in row.recipes:
            try:
                check_policy_options(overrides, settings_of(recipe, overrides)["aug"])
            except InputError as error:
                raise InputError(
                    f"{error} as in the row {row.name}; leave it out, or choose rows with --rows"
                ) from None


def _show(options: argparse.Namespace, overrides: Settings) -> None:
    chosen = rows_of(options.tables, options.rows)
    _check_policies([row for rows in chosen.values() for row in rows], overrides)
    for table, rows in chosen.items():
        print(TABLES[table].title + "; one command per seed, each with its own --seed and --out")
        for row in rows:
            figures = " / ".join(f"{value:.2f}" for value in row.paper if value is not None)
            print(f"\n{row.name}: {row.title}" + (f"; in the paper, %: {figures}" if figures else ""))
            if row.combine == "mean":
                print("  the mean of", ", ".join(row.recipes))
                continue
            for recipe in row.recipes:
                settings = settings_of(recipe, overrides)
                place = [] if "data" in settings else ["--data", "DIR"]
                print(f"  {recipe}: python train/run.py {shlex.join([*place, *as_arguments(settings)])}")
            if row.combine == "ensemble":
                print("  then the ensemble: the average of their scores")
            if row.test:
                print("  writes the predictions for the test videos, whose labels are not public, to submission.txt")
            if row.grid_recipes:
                print(f"  or the best of the {len(row.grid_recipes)} points of the grid, if these points are trained")


def _run(options: argparse.Namespace, overrides: Settings) -> int:
    for name, value, least in (("--seeds", options.seeds, 1), ("--first-seed", options.first_seed, 0)):
        if value < least:
            raise InputError(f"Invalid {name} {value}: must be at least {least}")
    slots = options.jobs or max(1, len(gpus()))
    if slots < 1:
        raise InputError(f"Invalid --jobs {options.jobs}: must be at least 1")
    rows = [row for rows in rows_of(options.tables, options.rows).values() for row in rows]
    _check_policies(rows, overrides)
    if slots > 1:
        overrides = {"workers": shared_workers(slots)} | overrides
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = jobs_of(rows, seeds, overrides, Path(options.out).resolve())
    _check(jobs)
    make_folder(options.out)
    print(f"{len(jobs)} jobs, {slots} at a time, in {options.out}", flush=True)
    runner = Runner(jobs, slots, options.retry, say=lambda line: print(line, flush=True))
    with StopRequest() as stop:
        runner.run(stop)
    if stop.number:
        print("stopped; run the same command again to continue")
        return 128 + stop.number
    print(f"{len(jobs) - len(runner.not_done)} of {len(jobs)} done; python -m train.tables report shows the results")
    for job in jobs:
        if job.folder in runner.not_done:
            print(f"not done: {job.name}: {runner.not_done[job.folder]}")
    return 1 if runner.not_done else 0


def _check(jobs: Sequence[Job]) -> None:
    """Find the videos of all jobs, and make those that are made here, before the first job starts.

    Raises:
        InputError: a setting is wrong, or videos are missing.
    """
    seen = set()
    for job in jobs:
        if not job.settings:
            continue
        if "data" not in job.settings:
            raise InputError(
                f"Invalid --data: is missing; give the folder of {job.settings['dataset']}, see docs/datasets.md"
            )
        config = Config(**job.settings)
        source = tuple(getattr(config, name) for name in names_in(Config, Role.NAMES_VIDEOS))
        if source not in seen:
            list_videos(config)
        seen.add(source)


def _report(options: argparse.Namespace, overrides: Settings) -> None:
    _check_no_overrides(overrides, "report")
    out = Path(options.out)
    if not out.is_dir():
        raise InputError(f"{out}: no such folder; python -m train.tables run creates it")
    for table, rows in rows_of(options.tables, options.rows).items():
        print(write_report(table, [row.name for row in rows], out.resolve()))


COMMANDS = {"list": _list, "show": _show, "run": _run, "report": _report}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.tables",
        **described_by(__doc__),
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the tables", description="List the tables.")
    texts = {
        "show": "print the rows of a table: the results of the paper, and the command of each training run",
        "run": "train the networks of the rows that have no finished run yet; options that are not listed below are "
        "passed to train/run.py, such as --data DIR --epochs 150",
        "report": "print your results, the results of the paper and the difference; write TABLE.md and TABLE.csv to "
        "--out",
    }
    for name, text in texts.items():
        sentence = f"{text[0].upper()}{text[1:]}."
        command = commands.add_parser(name, help=text, description=sentence, allow_abbrev=False)
        command.add_argument(
            "tables",
            nargs="+",
            metavar="TABLE",
            help=f"one or more of {', '.join(TABLES)}; python -m train.tables list explains them",
        )
        command.add_argument(
            "--rows",
            nargs="+",
            default=[],
            metavar="ROW",
            help="only these rows: names or patterns such as 'temporal*' (default: all rows)",
        )
        if name != "show":
            command.add_argument("--out", default=OUT, help=f"folder of the runs (default: {OUT})")
        if name == "run":
            command.add_argument(
                "--seeds", type=int, default=3, metavar="N", help="number of seeds to train with (default: 3)"
            )
            command.add_argument(
                "--first-seed",
                type=int,
                default=0,
                metavar="SEED",
                help="first of these seeds, which follow each other; such as 100 for runs that choose settings, so "
                "that the seeds of the comparison are others (default: 0)",
            )
            command.add_argument(
                "--jobs",
                type=int,
                default=0,
                metavar="N",
                help="number of parallel training runs (default: the number of GPUs, at least 1)",
            )
            command.add_argument("--retry", action="store_true", help="also train failed rows again")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 1 if a training failed, 2 with one sentence on stderr, 128 + a signal's number."""
    options, rest = _parser().parse_known_args(arguments)
    return run_program("tables", lambda: run(options, rest), FLAGS)


def run(options: argparse.Namespace, rest: list[str]) -> int | None:
    """Carry out a parsed command line, of which ``rest`` is for train/run.py; returns the exit code."""
    if options.command != "list":
        stray = next((name for name in options.tables if name not in TABLES), None)
        if stray and rest and set(options.tables) & set(TABLES):
            raise InputError(
                f"Invalid table {stray!r}: choose one of {', '.join(TABLES)}; "
                f"options of train/run.py such as {rest[0]} must follow the names of the tables"
            )
        rows_of(options.tables, options.rows)
    return COMMANDS[options.command](options, parse_overrides(rest))
