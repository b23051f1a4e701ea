"""How docstrings open, which ruff's rules (see ruff.toml) do not check."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NO_OPENINGS = frozenset(
    "Of In For With What Those That As To By On At From How Where Which Who Whose When Until Before Its It They This "
    "Here".split()
)
"""A docstring opens with a verb in the imperative, or with a noun; so does the string below a field or a constant."""


def openings(source: str) -> list[tuple[int, str]]:
    """(line, first word) of every docstring that opens with another word than it should.

    "Whether" opens what is said of a field or property; a function's docstring says what it does: "Return whether ...".
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
                continue
            word = value.value.split()[0].strip(",:;.")
            if word in NO_OPENINGS or (word == "Whether" and statement is body[0] and is_function(node)):
                found.append((statement.lineno, word))
    return found


def is_function(node: ast.AST) -> bool:
    """Return whether it is a function or method, but no property."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return not any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)


@pytest.mark.parametrize("package", ["dali_pipes", "train"])
def test_docstrings_open_with_a_verb_or_a_noun(package):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} opens with {word!r}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, word in openings(path.read_text())
    ]
    assert not wrong


def test_other_openings_are_found():
    source = '''"""Of modules."""
x = 1
"""In pixels."""
class A:
    """What it is."""
    b: bool
    """Whether it is so."""
    def c(self):
        """Whether it is so."""
    def d(self):
        """Return whether it is so."""
    @property
    def e(self):
        """Whether it is so."""
'''
    assert sorted(openings(source)) == [(1, "Of"), (3, "In"), (5, "What"), (9, "Whether")]
