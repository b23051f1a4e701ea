"""A table of what was trained beside what the paper says: means and spreads over the seeds, as Markdown and as CSV.

The accuracy is that of a run's last epoch. The best epoch's is in the CSV only: it is chosen on the videos it is
measured on.
"""

import csv
import statistics
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dali_pipes.errors import InputError
from dali_pipes.system import flag, read_csv, replacing

from ..config.option import Role, names_in
from ..config.options import Config
from ..report.data import read_metrics
from ..runtime.run_files import METRICS, VAL_PREDICTIONS
from .jobs import DONE, FAILED, difference_text, evaluation, recipe_differences, saved_settings, state_of, training
from .rows import RECIPES, TABLES, TableRow

TOP = 5
COLUMNS = (
    "table row title recipe seeds top1_mean top1_sd top5_mean top5_sd best_epoch_top1_mean paper_top1 paper_top5 "
    "difference_top1 difference_top5 note"
).split()


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one seed, in percent."""

    top1: float
    top5: float
    best_top1: float
    """Top-1 of the best epoch."""


@dataclass(frozen=True)
class RowResult:
    """The results of a row, as far as they are known."""

    of_seed: dict[int, Accuracy]
    recipe: str
    notes: tuple[str, ...] = ()
    comparable: bool = True
    """Whether they can be compared with the paper's: the same videos and network."""

    def mean(self, name: str) -> float | None:
        """Return the mean of a metric over the seeds; None if no seed has finished."""
        values = [getattr(accuracy, name) for accuracy in self.of_seed.values()]
        return statistics.mean(values) if values else None

    def spread(self, name: str) -> float | None:
        """The standard deviation over the seeds, of the population they are a sample of."""
        values = [getattr(accuracy, name) for accuracy in self.of_seed.values()]
        return statistics.stdev(values) if len(values) > 1 else None


def seeds_in(folder: Path) -> list[int]:
    """Return the seeds that were started."""
    names = {path.name.removeprefix("seed-").removesuffix(".json") for path in folder.glob("seed-*")}
    return sorted(int(name) for name in names if name.isdecimal())


def _trained(recipe: str, out: Path) -> RowResult:
    """Return the results of every finished seed; seeds that were trained otherwise than most only get a note."""
    groups: dict[str, dict[int, Accuracy]] = {}
    notes, comparable = [], {}
    for seed in seeds_in(out / recipe):
        job = training(recipe, seed, {}, out)
        state, reason = state_of(replace(job, settings={}))  # whatever the settings
        config, rows = saved_settings(job.folder), read_metrics(job.folder / METRICS)
        evaluated = [row for row in rows if {"val_top1", "val_top5"} <= set(row)]
        if state == FAILED:
            notes.append(f"seed {seed} failed: {reason}")
        elif not config or not evaluated or rows[-1] is not evaluated[-1] or rows[-1]["epoch"] < config.epochs:
            epochs = f"{int(rows[-1]['epoch']) if rows else 0} of {config.epochs} epochs" if config else "not started"
            notes.append(f"seed {seed} is not done: {epochs}")
        else:
            otherwise = recipe_differences(job, recipe)
            how = ", ".join(f"{flag(name)} {ours}" for name, (ours, _) in otherwise.items()) or "the recipe's settings"
            best = max(row["val_top1"] for row in evaluated)
            groups.setdefault(how, {})[seed] = Accuracy(rows[-1]["val_top1"], rows[-1]["val_top5"], best)
            comparable[how] = not set(names_in(Config, Role.AS_IN_PAPER)) & set(otherwise)
    if not groups:
        return RowResult({}, recipe, tuple(notes))
    chosen = max(groups, key=lambda how: len(groups[how]))
    notes += [
        f"seed {', '.join(map(str, seeds))} left out, because it was trained with {how}, but the others with {chosen}"
        for how, seeds in groups.items()
        if how != chosen
    ]
    return RowResult(groups[chosen], recipe, tuple(notes), comparable[chosen])


def _only(row: TableRow, out: Path) -> RowResult:
    """Return the results of the row's one recipe, or of the best point of its grid, if more than one was trained."""
    own = _trained(row.recipes[0], out)
    known = [own, *(_trained(rival, out) for rival in row.grid_recipes if rival != own.recipe)]
    trained = [figures for figures in known if figures.of_seed]
    if len(trained) < 2:
        return trained[0] if trained else own
    most = max(len(figures.of_seed) for figures in trained)
    compared = [figures for figures in trained if len(figures.of_seed) == most]  # one lucky seed is no grid point
    best = max(compared, key=lambda figures: figures.mean("top1") or 0.0)
    note = f"best of {len(compared)} points of the N x M grid: {best.recipe.rpartition('/')[2]}"
    if len(compared) < len(trained):
        note += f"; points left out because they have fewer seeds: {len(trained) - len(compared)}"
    return replace(best, notes=(*best.notes, note))


def _mean(row: TableRow, out: Path) -> RowResult:
    """Return the mean of each seed over all recipes."""
    parts = [_trained(recipe, out) for recipe in row.recipes]
    common = sorted(set.intersection(*(set(part.of_seed) for part in parts)))
    names = ("top1", "top5", "best_top1")
    found = {
        seed: Accuracy(*(statistics.mean(getattr(part.of_seed[seed], name) for part in parts) for name in names))
        for seed in common
    }
    notes = [f"{part.recipe}: {note}" for part in parts for note in part.notes]
    if any(part.of_seed for part in parts):
        notes += [f"{part.recipe}: not trained" for part in parts if not part.of_seed and not part.notes]
    notes += [
        f"{part.recipe}: seed {seed} is left out, because other trainings of this row do not have it"
        for part in parts
        for seed in sorted(set(part.of_seed) - set(common))
    ]
    return RowResult(found, " ".join(row.recipes), tuple(notes), all(part.comparable for part in parts))


def _evaluated(row: TableRow, out: Path) -> RowResult:
    """Return the accuracy of predictions; where the classes are not known, only a note that there are predictions."""
    found, notes = {}, []
    comparable = all(_trained(recipe, out).comparable for recipe in row.recipes)
    for seed in seeds_in(evaluation(row, 0, {}, out).folder.parent):
        job = evaluation(row, seed, {}, out)
        state, reason = state_of(job)
        if state == FAILED:
            notes.append(f"seed {seed} failed: {reason}")
        elif state != DONE:
            notes.append(f"seed {seed}: the evaluation is not done, or is older than its checkpoints")
        elif (job.folder / VAL_PREDICTIONS).exists():
            top1, top5 = accuracy_of(job.folder / VAL_PREDICTIONS)
            found[seed] = Accuracy(top1, top5, top1)
        else:
            notes.append(
                f"seed {seed}: the videos have no labels; the predictions are in {job.folder.relative_to(out)}"
            )
    return RowResult(found, " ".join(row.recipes), tuple(notes), comparable)


def accuracy_of(predictions: Path) -> tuple[float, float]:
    """Return top-1 and top-5 in percent, of a CSV that an evaluation wrote."""
    rows = [
        row for _, row in read_csv(predictions, ["label", "class_1"], "is not a table of predictions") if row["class_1"]
    ]
    if not rows:
        raise InputError(f"{predictions}: contains no predictions")
    hits = [[row["label"] == row.get(f"class_{number}") for number in range(1, TOP + 1)] for row in rows]
    return 100 * sum(hit[0] for hit in hits) / len(rows), 100 * sum(map(any, hits)) / len(rows)


COMBINE: dict[str, Callable[[TableRow, Path], RowResult]] = {"only": _only, "mean": _mean, "ensemble": _evaluated}


def row_result(row: TableRow, out: Path) -> RowResult:
    """Return the results of a row from the trainings in ``out``."""
    found = (_evaluated if row.test else COMBINE[row.combine])(row, out)
    if not found.of_seed and not found.notes:
        return RowResult({}, found.recipe, ("not trained",))
    return found


def differences_from_recipes(rows: Iterable[TableRow], out: Path) -> list[str]:
    """Return the differences between the trainings and their recipes, each once."""
    found: dict[str, set[str]] = {}
    recipes = dict.fromkeys(recipe for row in rows for recipe in (*row.recipes, *row.grid_recipes))
    for recipe in recipes:
        for seed in seeds_in(out / recipe):
            for name, pair in recipe_differences(training(recipe, seed, {}, out), recipe).items():
                found.setdefault(difference_text(name, *pair), set()).add(recipe)
            saved = saved_settings(out / recipe / f"seed-{seed}")
            if saved and "dataset" in RECIPES[recipe] and saved.dataset != RECIPES[recipe]["dataset"]:
                found.setdefault(f"--data {saved.data}", set()).add(recipe)
    trained = sum(1 for recipe in recipes if seeds_in(out / recipe))
    return [
        text + ("" if len(where) == trained else f" ({', '.join(sorted(where))})")
        for text, where in sorted(found.items())
    ]


def write_report(table: str, names: Collection[str], out: Path) -> str:
    """Write ``TABLE.md`` and ``TABLE.csv`` with all rows into ``out``; returns the Markdown of the named rows.

    Raises:
        InputError: a file cannot be read or written.
    """
    rows = TABLES[table].rows
    known = [(row, row_result(row, out)) for row in rows]
    with replacing(out / f"{table}.md") as draft:
        draft.write_text(_markdown(table, known, differences_from_recipes(rows, out)), encoding="utf-8")
    with replacing(out / f"{table}.csv") as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_csv_row(table, row, figures) for row, figures in known)
    shown = [(row, figures) for row, figures in known if row.name in names]
    return _markdown(table, shown, differences_from_recipes([row for row, _ in shown], out))


def _differences(row: TableRow, figures: RowResult) -> list[float | None]:
    """Return the differences of top-1 and top-5 to the paper's."""
    pairs = zip((figures.mean("top1"), figures.mean("top5")), row.paper, strict=True)
    return [None if ours is None or paper is None or not figures.comparable else ours - paper for ours, paper in pairs]


def _csv_row(table: str, row: TableRow, figures: RowResult) -> dict[str, str]:
    means = {name: figures.mean(name) for name in ("top1", "top5", "best_top1")}
    numbers = {
        "top1_mean": means["top1"],
        "top1_sd": figures.spread("top1"),
        "top5_mean": means["top5"],
        "top5_sd": figures.spread("top5"),
        "best_epoch_top1_mean": means["best_top1"],
        "paper_top1": row.paper[0],
        "paper_top5": row.paper[1],
        "difference_top1": _differences(row, figures)[0],
        "difference_top5": _differences(row, figures)[1],
    }
    texts = {
        "table": table,
        "row": row.name,
        "title": row.title,
        "recipe": figures.recipe,
        "seeds": " ".join(map(str, figures.of_seed)),
        "note": "; ".join(figures.notes),
    }
    return texts | {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}


def _markdown(table: str, known: list[tuple[TableRow, RowResult]], differences: list[str]) -> str:
    has_paper = any(value is not None for row, _ in known for value in row.paper)
    heads = ["row", "top-1 %", "top-5 %", "seeds"]
    if has_paper:
        heads += ["paper top-1", "paper top-5", "difference"]
    lines = [f"## {TABLES[table].title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    notes = []
    for row, figures in known:
        ours = [_shown(figures.mean(name), figures.spread(name)) for name in ("top1", "top5")]
        cells = [row.title, *ours, str(len(figures.of_seed))]
        if has_paper:
            cells += [_shown(value) for value in row.paper]
            cells.append(_shown(_differences(row, figures)[0], sign="+"))
        lines.append(_line(cells))
        notes += [f"- {row.title}: {note}" for note in figures.notes]
    lines += ["", "Accuracy of the last epoch on the validation videos; +- is the standard deviation over the seeds."]
    if differences:
        lines += ["", f"Settings that differ from the recipe: {'; '.join(differences)}."]
    if has_paper and not all(figures.comparable for _, figures in known):
        lines += ["", "No difference is given where the videos or the network are not those of the paper."]
    return "\n".join([*lines, *([""] + notes if notes else []), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None, spread: float | None = None, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value:{sign}.2f}" + ("" if spread is None else f" +- {spread:.2f}")
