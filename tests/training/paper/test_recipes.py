"""The catalogue of trainings and tables is the paper's."""

import statistics

import pytest

from dali_pipes import POLICIES
from train.config.command_line import parse
from train.config.options import Config
from train.paper.jobs import as_arguments
from train.paper.recipes import PERTURBED_CHOICES, policy_settings
from train.paper.rows import RECIPES, TABLES


def test_every_recipe_is_a_valid_training_and_its_command_line_says_the_same():
    for recipe, settings in RECIPES.items():
        overrides, _ = parse(list(as_arguments({"data": "x"} | settings)))
        assert overrides == {"data": "x"} | settings, recipe
        Config(**overrides)


def test_every_row_has_its_own_name_and_known_recipes():
    for table in TABLES.values():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        for row in table.rows:
            assert {*row.recipes, *row.grid_recipes} <= set(RECIPES) and (len(row.recipes) == 1) == (
                row.combine == "only"
            )


def test_hmdb51s_averages_are_those_of_its_splits():
    """Also a check of every figure of Table 6 against a slip of the pen."""
    rows = {row.name: row for row in TABLES["table6"].rows}
    averages = [row for row in rows.values() if row.combine == "mean"]
    assert len(averages) == 14 and len(rows) == 4 * 14
    for row in averages:
        for figure in (0, 1):
            of_splits = [rows[f"{row.name}_{split}"].paper[figure] for split in (1, 2, 3)]
            assert statistics.mean(of_splits) == pytest.approx(row.paper[figure], abs=0.0101), row.name


def test_the_papers_best_rows():
    """Section 4: what the text says about the tables."""

    def best(table):
        rows = [row for row in TABLES[table].rows if row.paper[0] is not None and not row.test]
        return max(rows, key=lambda row: row.paper[0]).name

    expected = "temporal+ baseline framecutmix framecutmixup randaug_t+framecutmixup".split()
    assert [best(f"table{number}") for number in (2, 3, 4, 5, 7)] == expected
    assert {TABLES[f"table{number}"].rows[0].paper for number in (2, 3, 4, 5, 7)} == {(49.37, 73.62)}
    assert RECIPES["vipriors/framecutmix"]["mix_alpha"] == 5 and RECIPES["vipriors/framecutmix2"]["mix_alpha"] == 2
    assert [RECIPES[f"hmdb51_{split}/mixup"]["split"] for split in (1, 2, 3)] == ["1", "2", "3"]
    assert len(TABLES["grid"].rows) == 4 * 3 * 3


def test_recipes_are_the_papers_settings_but_for_how_often_they_are_evaluated():
    differing = {name for name, value in RECIPES["vipriors/baseline"].items() if getattr(Config, name) != value}
    assert differing == {"dataset", "split", "aug", "eval_every"}


def test_the_table_of_policies_compares_them_with_the_rows_of_perturbed():
    rows = {row.name: row.recipes for row in TABLES["policies"].rows}
    compared = [row.name for row in TABLES["perturbed"].rows]
    assert list(rows)[:4] == compared == ["baseline", "spatial", "temporal+", "fourier"]
    assert set(rows) - set(compared) == set(POLICIES) - {"randaug", "randaug_t"}
    for name, (recipe,) in list(rows.items())[4:]:
        assert RECIPES[recipe]["aug"] == name and RECIPES[recipe]["data"] == "perturbed"
        assert "ranges" not in POLICIES[name].free  # so that the data's name says nothing about it
    for name in ("spatial", "temporal+", "fourier"):
        theirs, ours = RECIPES[rows[name][0]], RECIPES["perturbed/dynaaugment"]
        assert all(theirs[option] == ours[option] for option in ("randaug_n", "randaug_m"))


@pytest.mark.parametrize("choice", PERTURBED_CHOICES)
def test_policies_have_the_n_and_m_that_were_chosen(choice):
    _, n, m = PERTURBED_CHOICES[choice]
    assert policy_settings(choice)["dynaaugment"] == {"aug": "dynaaugment", "randaug_n": n, "randaug_m": m}
    assert policy_settings(choice)["trivial"] == {"aug": "trivial"}
