"""Public names of a package that are imported on first use, so that importing the package stays cheap."""

import ast
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .deprecated import warn_renamed


def public_names(
    package: str, file: str, renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its stub ``__init__.pyi``.

    The stub says in which file each public name is.

    The stub is the one list of what is public: type checkers read it too.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
        renamed: old name -> new name; the old one still works, with a warning.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    home_of = {
        alias.name: f"{'.' * node.level}{node.module}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not alias.name.startswith("_")
    }
    names = sorted(home_of)

    def get(name: str) -> Any:
        if renamed and name in renamed:
            warn_renamed(f"{package}.{name}", renamed[name])
            return get(renamed[name])
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}")
        value = getattr(import_module(home_of[name], package), name)
        setattr(import_module(package), name, value)
        return value

    return get, lambda: names, names
