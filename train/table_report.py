"""A table of what was trained beside what the paper says: means and spreads over the seeds, as Markdown and as CSV.

The accuracy is that of a run's last epoch. The best epoch's is in the CSV only: it is chosen on the videos it is measured on.
"""

import csv
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dali_pipes.errors import InputError
from dali_pipes.files import read_csv, replacing

from .checkpoint import PREDICTIONS
from .config import flag
from .recipes import RECIPES, TABLES, Row
from .report_data import read_metrics
from .table_jobs import DONE, FAILED, Job, evaluation, not_the_recipe, saved_settings, state_of, training

TOP = 5
COLUMNS = ("table row title recipe seeds top1_mean top1_sd top5_mean top5_sd best_epoch_top1_mean paper_top1 paper_top5 "
           "difference_top1 difference_top5 note").split()  # fmt: skip


@dataclass(frozen=True)
class Accuracy:
    """Of one seed, in percent."""

    top1: float
    top5: float
    best_top1: float
    """Of the best epoch."""


@dataclass(frozen=True)
class Figures:
    """What is known of a row."""

    of_seed: dict[int, Accuracy]
    recipe: str
    notes: tuple[str, ...] = ()

    def mean(self, name: str) -> float | None:
        values = [getattr(accuracy, name) for accuracy in self.of_seed.values()]
        return statistics.mean(values) if values else None

    def spread(self, name: str) -> float | None:
        """The standard deviation over the seeds, of the population they are a sample of."""
        values = [getattr(accuracy, name) for accuracy in self.of_seed.values()]
        return statistics.stdev(values) if len(values) > 1 else None


def seeds_in(folder: Path) -> list[int]:
    """Those that a recipe was started with."""
    names = (path.name.removeprefix("seed-") for path in folder.glob("seed-*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def _trained(recipe: str, out: Path) -> Figures:
    """Of every seed that is done."""
    found, notes = {}, []
    for seed in seeds_in(out / recipe):
        job = training(recipe, seed, {}, out)
        rows = read_metrics(job.folder / "metrics.csv")
        config = saved_settings(job.folder)
        state, reason = state_of(Job(job.name, job.folder, {}, ()))
        if state == FAILED:
            notes.append(f"seed {seed} failed: {reason}")
        elif not config or not rows or rows[-1]["epoch"] < config.epochs:
            epochs = f"{int(rows[-1]['epoch']) if rows else 0} of {config.epochs} epochs" if config else "not started"
            notes.append(f"seed {seed} is not done: {epochs}")
        else:
            best = max(row["val_top1"] for row in rows if "val_top1" in row)
            found[seed] = Accuracy(rows[-1]["val_top1"], rows[-1]["val_top5"], best)
    return Figures(found, recipe, tuple(notes))


def _only(row: Row, out: Path) -> Figures:
    """Its one recipe; or of the grid's points that of the highest mean, if any but the recipe was trained."""
    own = _trained(row.recipes[0], out)
    known = [own, *(_trained(rival, out) for rival in row.rivals if rival != own.recipe)]
    trained = [figures for figures in known if figures.of_seed]
    if len(trained) < 2:
        return trained[0] if trained else own
    most = max(len(figures.of_seed) for figures in trained)  # one lucky seed is no grid point
    best = max(
        (figures for figures in trained if len(figures.of_seed) == most), key=lambda figures: figures.mean("top1")
    )
    note = f"the best of {len(trained)} points of the grid: {best.recipe.rpartition('/')[2]}"
    return Figures(best.of_seed, best.recipe, (*best.notes, note))


def _mean(row: Row, out: Path) -> Figures:
    """Of each seed over all recipes."""
    parts = [_trained(recipe, out) for recipe in row.recipes]
    common = sorted(set.intersection(*(set(part.of_seed) for part in parts)))
    names = ("top1", "top5", "best_top1")
    found = {
        seed: Accuracy(*(statistics.mean(getattr(part.of_seed[seed], name) for part in parts) for name in names))
        for seed in common
    }
    return Figures(found, " ".join(row.recipes))


def _evaluated(row: Row, out: Path) -> Figures:
    """Of predictions; where the videos' classes are not known, only that there are predictions."""
    found, notes = {}, []
    folder = evaluation(row, 0, {}, out).folder.parent
    for seed in seeds_in(folder):
        job = evaluation(row, seed, {}, out)
        state, reason = state_of(job)
        if state == FAILED:
            notes.append(f"seed {seed} failed: {reason}")
        elif state == DONE and (job.folder / PREDICTIONS).exists():
            top1, top5 = accuracy_of(job.folder / PREDICTIONS)
            found[seed] = Accuracy(top1, top5, top1)
        elif state == DONE:
            notes.append(f"seed {seed}: no labels, predictions in {job.folder.relative_to(out)}")
    return Figures(found, " ".join(row.recipes), tuple(notes))


def accuracy_of(predictions: Path) -> tuple[float, float]:
    """Top-1 and top-5 in percent, of a CSV that an evaluation wrote."""
    rows = [
        row for _, row in read_csv(predictions, ["label", "class_1"], "is no table of predictions") if row["class_1"]
    ]
    if not rows:
        raise InputError(f"{predictions}: holds no predictions")
    hits = [[row["label"] == row.get(f"class_{number}") for number in range(1, TOP + 1)] for row in rows]
    return 100 * sum(hit[0] for hit in hits) / len(rows), 100 * sum(map(any, hits)) / len(rows)


COMBINE: dict[str, Callable[[Row, Path], Figures]] = {"only": _only, "mean": _mean, "ensemble": _evaluated}


def figures_of(row: Row, out: Path) -> Figures:
    found = (_evaluated if row.test else COMBINE[row.combine])(row, out)
    if not found.of_seed and not found.notes:
        return Figures({}, found.recipe, ("not trained",))
    return found


def departures(rows: Iterable[Row], out: Path) -> list[str]:
    """In what the trainings were not as their recipes say, each once."""
    found: dict[str, set[str]] = {}
    recipes = dict.fromkeys(recipe for row in rows for recipe in (*row.recipes, *row.rivals))
    for recipe in recipes:
        for seed in seeds_in(out / recipe):
            for name, (ours, theirs) in not_the_recipe(training(recipe, seed, {}, out), recipe).items():
                found.setdefault(f"{flag(name)} {ours}, not {theirs}", set()).add(recipe)
            saved = saved_settings(out / recipe / f"seed-{seed}")
            if saved and "dataset" in RECIPES[recipe] and saved.dataset != RECIPES[recipe]["dataset"]:
                found.setdefault(f"--data {saved.data}", set()).add(recipe)
    trained = sum(bool(seeds_in(out / recipe)) for recipe in recipes)
    return [
        text + ("" if len(where) == trained else f" ({', '.join(sorted(where))})")
        for text, where in sorted(found.items())
    ]


def write_report(table: str, rows: list[Row], out: Path) -> str:
    """Writes ``TABLE.md`` and ``TABLE.csv`` into ``out``; returns the Markdown.

    Raises:
        InputError: a file cannot be read or written.
    """
    known = [(row, figures_of(row, out)) for row in rows]
    text = _markdown(table, known, departures(rows, out))
    with replacing(out / f"{table}.md") as draft:
        draft.write_text(text, encoding="utf-8")
    with replacing(out / f"{table}.csv") as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_csv_row(table, row, figures) for row, figures in known)
    return text


def _difference(ours: float | None, paper: float | None) -> float | None:
    return None if ours is None or paper is None else ours - paper


def _csv_row(table: str, row: Row, figures: Figures) -> dict[str, object]:
    means = {name: figures.mean(name) for name in ("top1", "top5", "best_top1")}
    numbers = {
        "top1_mean": means["top1"],
        "top1_sd": figures.spread("top1"),
        "top5_mean": means["top5"],
        "top5_sd": figures.spread("top5"),
        "best_epoch_top1_mean": means["best_top1"],
        "paper_top1": row.paper[0],
        "paper_top5": row.paper[1],
        "difference_top1": _difference(means["top1"], row.paper[0]),
        "difference_top5": _difference(means["top5"], row.paper[1]),
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


def _markdown(table: str, known: list[tuple[Row, Figures]], differences: list[str]) -> str:
    has_paper = any(value is not None for row, _ in known for value in row.paper)
    heads = ["row", "top-1 %", "top-5 %", "seeds"] + ["paper top-1", "paper top-5", "difference"] * has_paper
    lines = [f"## {TABLES[table].title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    notes = []
    for row, figures in known:
        ours = [_shown(figures.mean(name), figures.spread(name)) for name in ("top1", "top5")]
        cells = [row.title, *ours, str(len(figures.of_seed))]
        if has_paper:
            cells += [_shown(value) for value in row.paper]
            cells.append(_shown(_difference(figures.mean("top1"), row.paper[0]), sign="+"))
        lines.append(_line(cells))
        notes += [f"- {row.title}: {note}" for note in figures.notes]
    lines += ["", "Accuracy of the last epoch on the validation videos; +- is the standard deviation over the seeds."]
    if differences:
        lines += ["", f"Trained otherwise than the recipe says: {'; '.join(differences)}."]
    return "\n".join([*lines, *([""] + notes if notes else []), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None, spread: float | None = None, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value:{sign}.2f}" + ("" if spread is None else f" +- {spread:.2f}")
