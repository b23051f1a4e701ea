"""docs/api.md is what docs/make_api.py makes of the docstrings, and these are complete."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKE = runpy.run_path(str(ROOT / "docs" / "make_api.py"))
PUBLIC = {name: part for part in MAKE["PARTS"] for name in MAKE["public_names"](part)}


def test_the_committed_page_is_that_of_the_docstrings():
    assert (ROOT / "docs" / "api.md").read_text() == MAKE["page"](), "run python docs/make_api.py"


def test_all_that_is_public_is_on_the_page():
    import dali_pipes

    ours = [name for name, part in PUBLIC.items() if MAKE["PARTS"][part][0] == "dali_pipes"]
    assert sorted(ours) == dali_pipes.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_fields_and_results_are_described(name):
    definition, docstring = MAKE["definitions"](MAKE["PARTS"][PUBLIC[name]][0])[name]
    if isinstance(definition, ast.ClassDef):
        members = MAKE["_named"](definition.body)
        assert all(text for member, text in members.values() if isinstance(member, ast.AnnAssign))
        is_enum = "Enum" in map(ast.unparse, definition.bases)  # nobody calls it
        definition = None if is_enum else members.get("__init__", (None,))[0]
    if isinstance(definition, ast.FunctionDef):
        described = re.findall(r"^    ([\w*, ]+): ", docstring, flags=re.MULTILINE)
        described = {argument.strip(" *") for names in described for argument in names.split(",")}
        given = [*definition.args.args, *definition.args.kwonlyargs, definition.args.kwarg]
        assert {argument.arg for argument in given if argument} - {"self"} <= described
        result = ast.unparse(definition.returns) if definition.returns else "None"
        assert result == "None" or "Returns:" in docstring
        assert "Raises:" in docstring
