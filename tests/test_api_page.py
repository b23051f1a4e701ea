"""docs/api.md lists what is public, once each, and docstrings say all about it."""

import ast
import inspect
import re
import textwrap
from enum import Enum
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dali_pipes", "train.mixing", "train.models")
LISTED = re.findall(r"^\.\. auto(\w+):: (\S+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE)


def named(name: str) -> object:
    module, _, name = name.rpartition(".")
    return getattr(import_module(module), name)


def kind_of(value: object) -> str:
    if not inspect.isclass(value):
        return "function" if inspect.isfunction(value) else "data"
    return "exception" if issubclass(value, Exception) else "class"


def texts_below(body: list[ast.stmt]) -> dict[str, str]:
    """Name -> the string below it, of what is assigned or declared in a module or a class."""
    found = {}
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            is_text = isinstance(below, ast.Expr) and isinstance(getattr(below.value, "value", None), str)
            found |= {ast.unparse(target): below.value.value if is_text else "" for target in targets}
    return found


def test_all_that_is_public_is_on_the_page_once():
    public = [f"{package}.{name}" for package in PACKAGES for name in import_module(package).__all__]
    assert sorted(name for _, name in LISTED) == sorted(public)
    assert LISTED == [(kind_of(named(name)), name) for _, name in LISTED]


@pytest.mark.parametrize("name", [name for kind, name in LISTED if kind == "data"])
def test_constants_have_a_text(name):
    """The string below a constant is in the module that defines it, where docs/conf.py finds it, too."""
    package, _, constant = name.rpartition(".")
    files = ROOT.joinpath(*package.split(".")).rglob("*.py")
    assert any(texts_below(ast.parse(file.read_text()).body).get(constant) for file in files)


@pytest.mark.parametrize("name", [name for kind, name in LISTED if kind != "data"])
def test_arguments_fields_and_results_are_described(name):
    value = named(name)
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    docstring = inspect.cleandoc(ast.get_docstring(definition) or "")
    assert docstring
    assert not re.search(r": \w\.$", docstring, flags=re.MULTILINE), "reStructuredText takes 'K.' for a list's number"
    if isinstance(definition, ast.ClassDef):
        texts = texts_below(definition.body)
        assert all(texts[ast.unparse(field.target)] for field in definition.body if isinstance(field, ast.AnnAssign))
        methods = [member for member in definition.body if isinstance(member, ast.FunctionDef)]
        assert all(ast.get_docstring(method) for method in methods if not method.name.startswith("_"))
        is_enum = issubclass(value, Enum)  # nobody calls it
        definition = next((method for method in methods if method.name == "__init__" and not is_enum), None)
    if definition:
        described = re.findall(r"^    ([\w*, ]+): ", docstring, flags=re.MULTILINE)
        described = {argument.strip(" *") for names in described for argument in names.split(",")}
        given = [*definition.args.args, *definition.args.kwonlyargs, definition.args.kwarg]
        assert {argument.arg for argument in given if argument} - {"self"} <= described
        result = ast.unparse(definition.returns) if definition.returns else "None"
        assert result == "None" or "Returns:" in docstring
        assert "Raises:" in docstring
