"""Tables 2 to 7 of the paper and tables of our own, as rows made of trainings; and the paper's figures, in percent.

Tables share recipes: the baseline of Tables 2 to 5 and 7 is one training.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .recipes import (
    DATA,
    ENSEMBLE,
    GRID_M,
    GRID_N,
    METHODS,
    PERTURBED_CHOICE,
    PERTURBED_CHOICES,
    PERTURBED_TITLES,
    PERTURBED_TRIALS,
    POLICY_SETTINGS,
    RANDAUG,
    RANDAUG_T_NAME,
    SCHEDULE_SETTINGS,
    Settings,
    grid_name,
)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table."""

    name: str
    title: str
    """Title as the paper prints it."""
    recipes: tuple[str, ...]
    """The recipes to train for this row."""
    combine: str = "only"
    """``only`` one recipe; ``mean`` over several, of the splits; ``ensemble``: their networks' averaged scores."""
    test: bool = False
    """Whether the networks predict the test videos: these have no labels here, so predictions are written, not
    scored."""
    grid_recipes: tuple[str, ...] = ()
    """Recipes of a grid: if they were trained, the best of them takes the place of the only one."""
    paper: tuple[float | None, float | None] = (None, None)
    """Top-1 and top-5 accuracy in the paper, in percent."""


@dataclass(frozen=True)
class Table:
    """A table of the paper."""

    title: str
    rows: tuple[TableRow, ...]


def _rows(data: str, methods: Iterable[tuple[str, str, float, float]]) -> tuple[TableRow, ...]:
    return tuple(
        TableRow(name=name, title=title, recipes=(f"{data}/{name}",), paper=(top1, top5))
        for name, title, top1, top5 in methods
    )


def _randaug_row(data: str, name: str, title: str, schedule: str, top1: float, top5: float) -> TableRow:
    own = f"{data}/{grid_name(schedule, RANDAUG['randaug_n'], RANDAUG['randaug_m'])}"
    grid_recipes = tuple(f"{data}/{grid_name(schedule, n, m)}" for n in GRID_N for m in GRID_M)
    return TableRow(name=name, title=title, recipes=(own,), grid_recipes=grid_recipes, paper=(top1, top5))


_TRAIN_AND_VAL = "vipriors_train+val"
_BASELINE = _rows("vipriors", [("baseline", "Baseline", 49.37, 73.62)])

# method, title, then top-1 and top-5 of splits 1, 2, 3 and of their average
_HMDB51 = [
    ("baseline", "Baseline", (36.60, 67.25), (37.19, 65.75), (32.88, 65.82), (35.56, 66.27)),
    ("spatial", "RandAug", (47.45, 79.21), (47.12, 76.86), (47.45, 77.97), (47.34, 78.01)),
    ("temporal+", "RandAug-T", (48.17, 79.35), (47.84, 77.00), (48.37, 78.17), (48.13, 78.17)),
    ("cutout", "CutOut", (34.71, 65.49), (32.35, 63.79), (31.76, 62.94), (32.94, 64.07)),
    ("framecutout", "FrameCutOut", (31.05, 61.57), (32.16, 65.36), (31.87, 64.18), (31.69, 63.70)),
    ("cubecutout", "CubeCutOut", (33.01, 63.99), (32.04, 64.25), (30.59, 62.81), (31.88, 63.68)),
    ("cutmix", "CutMix", (33.95, 64.27), (33.69, 66.84), (31.24, 63.53), (32.96, 64.88)),
    ("framecutmix", "FrameCutMix", (34.97, 65.56), (34.84, 67.91), (33.27, 63.53), (34.36, 65.67)),
    ("cubecutmix", "CubeCutMix", (35.10, 65.10), (35.95, 65.62), (36.54, 67.97), (35.86, 66.23)),
    ("mixup", "MixUp", (38.95, 68.10), (40.72, 70.92), (40.20, 71.31), (39.96, 70.11)),
    ("cutmixup", "CutMixUp", (40.92, 71.07), (40.16, 71.55), (39.28, 71.48), (40.12, 71.37)),
    ("framecutmixup", "FrameMixUp", (40.33, 70.98), (40.52, 70.85), (39.02, 70.65), (39.96, 70.83)),
    ("cubecutmixup", "CubeMixUp", (40.72, 70.65), (40.70, 72.88), (40.92, 71.83), (40.78, 71.79)),
    ("fademixup", "FadeMixUp", (39.80, 70.39), (40.46, 71.70), (39.61, 70.00), (39.96, 70.70)),
]


def _hmdb51_rows() -> Iterable[TableRow]:
    for name, title, *splits, average in _HMDB51:
        method = grid_name(name, RANDAUG["randaug_n"], RANDAUG["randaug_m"]) if name in SCHEDULE_SETTINGS else name
        recipes = tuple(f"hmdb51_{split}/{method}" for split in (1, 2, 3))
        for split, recipe, paper in zip((1, 2, 3), recipes, splits, strict=True):
            yield TableRow(name=f"{name}_{split}", title=f"{title}, split {split}", recipes=(recipe,), paper=paper)
        yield TableRow(name=name, title=f"{title}, average", recipes=recipes, combine="mean", paper=average)


def _ensemble(data: str) -> tuple[str, ...]:
    return tuple(f"{data}/{method}" for method in (RANDAUG_T_NAME, *(f"randaug_t+{name}" for name in ENSEMBLE)))


def _perturbed_recipe(data: str, schedule: str, choice: str) -> str:
    end, n, m = PERTURBED_CHOICES[choice]
    return f"{data}{end}/{grid_name(schedule, n, m)}"


def _trial_rows() -> Iterable[TableRow]:
    """Return rows for each trial: without augmentation, which no ranges concern, RandAugment and RandAugment-T."""
    for trial, (data, n, m) in PERTURBED_TRIALS.items():
        baseline = f"{data.removesuffix('_monotonic')}/baseline"
        found = {"baseline": ("No augmentation", baseline)} | {
            name: (PERTURBED_TITLES[name], f"{data}/{grid_name(name, n, m)}") for name in ("spatial", "temporal+")
        }
        for name, (title, recipe) in found.items():
            yield TableRow(name=f"{trial.partition(':')[0]}_{name}", title=f"{title}, {trial}", recipes=(recipe,))


TABLES: dict[str, Table] = {
    "table2": Table(
        "Table 2: data augmentation (VIPriors)",
        (
            *_BASELINE,
            _randaug_row("vipriors", "spatial", "RandAugment, spatial", "spatial", 66.87, 88.04),
            _randaug_row("vipriors", "temporal", "RandAugment, temporal", "temporal", 67.33, 88.42),
            _randaug_row("vipriors", "temporal+", "RandAugment, temporal+", "temporal+", 69.23, 89.20),
            _randaug_row("vipriors", "mix", "RandAugment, mix", "mix", 68.24, 89.25),
        ),
    ),
    "table3": Table(
        "Table 3: data deleting (VIPriors)",
        (
            *_BASELINE,
            *_rows(
                "vipriors",
                [
                    ("cutout", "CutOut", 46.01, 69.80),
                    ("framecutout", "FrameCutOut", 47.60, 71.32),
                    ("cubecutout", "CubeCutOut", 47.45, 72.06),
                ],
            ),
        ),
    ),
    "table4": Table(
        "Table 4: data mixing (VIPriors)",
        (
            *_BASELINE,
            *_rows(
                "vipriors",
                [
                    ("cutmix", "CutMix (alpha = 2)", 50.81, 75.62),
                    ("framecutmix2", "FrameCutMix (alpha = 2)", 51.29, 74.99),
                    ("framecutmix", "FrameCutMix (alpha = 5)", 53.10, 76.61),
                    ("cubecutmix", "CubeCutMix (alpha = 2)", 51.86, 74.34),
                    ("cubecutmix5", "CubeCutMix (alpha = 5)", 51.81, 75.16),
                ],
            ),
        ),
    ),
    "table5": Table(
        "Table 5: data blending (VIPriors)",
        (
            *_BASELINE,
            *_rows(
                "vipriors",
                [
                    ("mixup", "MixUp", 59.60, 82.56),
                    ("fademixup", "FadeMixUp", 59.22, 82.24),
                    ("cutmixup", "CutMixUp", 59.35, 81.99),
                    ("framecutmixup", "FrameMixUp", 60.67, 83.47),
                    ("cubecutmixup", "CubeMixUp", 59.85, 82.20),
                ],
            ),
        ),
    ),
    "table6": Table("Table 6: HMDB-51", tuple(_hmdb51_rows())),
    "table7": Table(
        "Table 7: VIPriors challenge",
        (
            *_BASELINE,
            _randaug_row("vipriors", "temporal+", "RandAug-T", "temporal+", 69.23, 89.20),
            *_rows(
                "vipriors",
                [
                    ("randaug_t+fademixup", "RandAug-T, FadeMixUp", 68.73, 89.27),
                    ("randaug_t+framecutmixup", "RandAug-T, FrameMixUp", 69.70, 89.84),
                ],
            ),
            TableRow(
                name="ensemble",
                title="RandAug-T, ensemble of all methods",
                recipes=_ensemble("vipriors"),
                combine="ensemble",
            ),
            TableRow(
                name="test_baseline",
                title="Train+val to test",
                recipes=(f"{_TRAIN_AND_VAL}/baseline",),
                test=True,
                paper=(68.99, None),
            ),
            TableRow(
                name="test_temporal+",
                title="Train+val to test, RandAug-T",
                recipes=(f"{_TRAIN_AND_VAL}/{RANDAUG_T_NAME}",),
                test=True,
                paper=(81.43, None),
            ),
            TableRow(
                name="test_ensemble",
                title="Train+val to test, RandAug-T, ensemble of all methods",
                recipes=_ensemble(_TRAIN_AND_VAL),
                combine="ensemble",
                test=True,
                paper=(86.04, None),
            ),
        ),
    ),
    "grid": Table(
        "N x M grid of section 4.2 (VIPriors)",
        tuple(
            TableRow(name=name, title=f"{schedule}, N = {n}, M = {m}", recipes=(f"vipriors/{name}",))
            for schedule in SCHEDULE_SETTINGS
            for n in GRID_N
            for m in GRID_M
            for name in [grid_name(schedule, n, m)]
        ),
    ),
    "perturbed": Table(
        "Clean training videos, perturbed validation videos (made here)",
        (
            TableRow(name="baseline", title="No augmentation", recipes=("perturbed/baseline",)),
            *(
                TableRow(name=name, title=title, recipes=(_perturbed_recipe("perturbed", name, PERTURBED_CHOICE),))
                for name, title in PERTURBED_TITLES.items()
            ),
        ),
    ),
    "perturbed_choice": Table(
        "Choice of N, M and ranges for the perturbed videos: shorter runs, with seeds of their own",
        tuple(
            TableRow(
                name=recipe.partition("/")[2] + recipe.partition("/")[0].removeprefix("perturbed_50"),
                title=f"{PERTURBED_TITLES[name]}, {choice}",
                recipes=(recipe,),
            )
            for choice in PERTURBED_CHOICES
            for name in ("spatial", "temporal+")
            for recipe in [_perturbed_recipe("perturbed_50", name, choice)]
        ),
    ),
    "perturbed_why": Table(
        "Trials for the perturbed videos: longer trainings, weaker augmentation, the whole network",
        tuple(_trial_rows()),
    ),
    "localisation": Table(
        "Mixing operations of which temporal localisation is measured (made here)",
        tuple(
            TableRow(name=name, title=title, recipes=(f"localisation/{name}",))
            for name, title in (
                ("mixup", "MixUp"),
                ("fademixup", "FadeMixUp"),
                ("cutmix", "CutMix"),
                ("framecutmix2", "FrameCutMix"),
                ("cubecutmix", "CubeCutMix"),
            )
        ),
    ),
}

TABLES["policies"] = Table(
    "Policies of the literature, and their forms over time (generated dataset perturbed)",
    (
        *TABLES["perturbed"].rows,
        *(TableRow(name=name, title=f"--aug {name}", recipes=(f"perturbed/{name}",)) for name in POLICY_SETTINGS),
    ),
)

RECIPES: dict[str, Settings] = {
    name: DATA[name.partition("/")[0]] | METHODS[name.partition("/")[2]]
    for name in sorted(
        {name for table in TABLES.values() for row in table.rows for name in row.recipes + row.grid_recipes}
    )
}
"""Every training of the tables: data/method -> settings."""
