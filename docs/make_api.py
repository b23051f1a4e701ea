"""Writes docs/api.md from the docstrings of what is public: python docs/make_api.py

Reads sources, not the imported modules, so that the page is the same whatever versions are installed.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
PARTS = {  # heading -> (what to import from, names in the order of reading)
    "Videos": (
        "dali_pipes",
        "resolve_videos VideoSets find_videos find_splits scan_videos Manifest VideoInfo Oddity OddityKind Segment "
        "DATASETS Listed",
    ),
    "Clips": ("dali_pipes", "VideoLoader ClipBatch ClipSampler ClipPlan"),
    "RandAugment-T": (
        "dali_pipes",
        "RandAugmentT rand_augment_t apply_ops augment_clip schedule_levels SCHEDULES OPS PAPER_OPS register_op Range "
        "Affine",
    ),
    "Errors": ("dali_pipes", "InputError VideoError"),
    "Mixing": ("train.mixing", "build_mix MIXES"),
    "The network": ("train.models", "slowfast50"),
}
HEAD = """# Public names

Made of the docstrings by [make_api.py](make_api.py). What they are good for is in the [README](../README.md), in
[randaugment_t.md](randaugment_t.md), [videos.md](videos.md), [datasets.md](datasets.md) and [mixing.md](mixing.md),
and in use in the [examples](../examples). Letters in names are axes, slowest first: B clips of a batch, C channels,
T or F frames, K classes or kept frames, N operations, V videos or views.
"""
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
WIDTH = 100


def definitions(package: str) -> dict[str, tuple[ast.AST, str]]:
    """Every top-level name of a package's files -> (its definition, the string below it)."""
    path = ROOT.joinpath(*package.split("."))
    files = sorted(path.rglob("*.py"))
    found = {}
    for file in files:
        found |= _named(ast.parse(file.read_text()).body)
    return found


def _named(body: list[ast.stmt]) -> dict[str, tuple[ast.AST, str]]:
    found = {}
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = statement, ast.get_docstring(statement) or ""
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            is_text = isinstance(below, ast.Expr) and isinstance(getattr(below.value, "value", None), str)
            for target in targets:
                if isinstance(target, ast.Name):
                    found[target.id] = statement, below.value.value if is_text else ""
    return found


def public_names(part: str) -> list[str]:
    return PARTS[part][1].split()


def signature(name: str, function: ast.FunctionDef) -> str:
    """As it is called, over several lines where it is long."""
    arguments = function.args
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [_argument(arg, default) for arg, default in zip(arguments.args, defaults, strict=True)]
    shown = [text for text in shown if text not in ("self", "cls")]
    if arguments.kwonlyargs:
        keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        shown += ["*", *(_argument(arg, default) for arg, default in keywords)]
    if arguments.kwarg:
        shown.append("**" + ast.unparse(arguments.kwarg))
    result = f" -> {_type(function.returns)}" if function.returns and function.name != "__init__" else ""
    line = f"{name}({', '.join(shown)}){result}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {text},\n" for text in shown) + f"){result}"


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(arg) + (f" = {ast.unparse(default)}" if default else "")


def _type(hint: ast.expr) -> str:
    return ast.unparse(hint).strip("'")


def markdown(docstring: str) -> str:
    """Sections become lists, and roles plain code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring).replace("``", "`")
    lines, section = [], ""
    for line in text.splitlines():
        heading = line.strip().removesuffix(":")
        if heading in SECTIONS and line == f"{heading}:":
            lines += [f"**{heading}**", ""]
            section = heading
        elif section and line.startswith(" "):
            inner = line.removeprefix("    ")
            if section in ("Returns", "Yields"):
                lines.append(inner.strip())
            elif item := re.match(r"([\w*, ]+): (.*)", inner):
                lines.append(f"- `{item[1]}`: {item[2]}")
            else:
                lines.append("  " + inner.strip())
        else:
            section = section if not line else ""
            lines.append(line)
    text = "\n".join(lines).strip()
    return re.sub(r"((?:^>>> .*\n?)+)", r"```python\n\1```\n", text, flags=re.MULTILINE)


def entry(name: str, definition: ast.AST, docstring: str) -> list[str]:
    """One public name."""
    if not docstring:
        raise SystemExit(f"{name}: has no docstring")
    if isinstance(definition, ast.FunctionDef):
        return [f"### {name}", _code(signature(name, definition)), markdown(docstring)]
    if not isinstance(definition, ast.ClassDef):
        return [f"### {name}", markdown(docstring)]
    members = _named(definition.body)
    inherits = [ast.unparse(base) for base in definition.bases]
    is_enum = "Enum" in inherits
    made_by = None if is_enum else members.get("__init__")
    if made_by:
        shown = signature(name, made_by[0])
    else:
        shown = f"class {name}({', '.join(inherits)})" if inherits else f"class {name}"
    parts = [f"### {name}", _code(shown), markdown(docstring)]
    fields = [
        f"- `{_field(member)}`" + (f": {markdown(' '.join(text.split()))}" if text else "")
        for member, text in members.values()
        if isinstance(member, ast.AnnAssign)
    ]
    parts += ["**Fields**", "\n".join(fields)] if fields else []
    values = [f"`{member}`" for member, (statement, _) in members.items() if isinstance(statement, ast.Assign)]
    parts += [f"**Members**: {', '.join(values)}"] if is_enum else []
    for method, (member, text) in members.items():
        if isinstance(member, ast.FunctionDef) and not method.startswith("_"):
            if not text:
                raise SystemExit(f"{name}.{method}: has no docstring")
            kinds = [ast.unparse(decorator) for decorator in member.decorator_list]
            is_property = "property" in kinds
            call = f"{name}.{method}: {_type(member.returns)}" if is_property else signature(f"{name}.{method}", member)
            parts += [f"#### {name}.{method}", _code(call), markdown(text)]
    return parts


def _field(member: ast.AnnAssign) -> str:
    return ast.unparse(member).partition(" = field(")[0]


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def page() -> str:
    """The whole page."""
    parts = [HEAD.strip()]
    for heading, (package, _) in PARTS.items():
        found = definitions(package)
        parts += [f"## {heading}", f"`from {package} import {', '.join(public_names(heading))}`"]
        for name in public_names(heading):
            parts += entry(name, *found[name])
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))
