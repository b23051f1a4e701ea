"""Writes docs/options.md from the options of train/run.py: python docs/make_options.py"""

import re
import sys
from dataclasses import Field, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the options of this folder, whatever is installed
from dali_pipes.system import flag  # noqa: E402
from train.config.command_line import SECTIONS  # noqa: E402
from train.config.help import ABOUT, about_small, choices_of, default_of, examples, invocation, meaning_of  # noqa: E402

PAGE = ROOT / "docs" / "options.md"
HEAD = """# Options of train/run.py

This page is generated from the definitions in [train/config](../train/config) by [make_options.py](make_options.py).
`python train/run.py --help` shows the same text. [training.md](training.md) explains how to resume a run, evaluate it
and train on several GPUs.
"""


def markdown(text: str, choices: list[str]) -> str:
    """Options, with a value after them, and choices that are explained become code; pages of docs/ become links."""
    values = {flag(item.name): choices_of(item) for options in SECTIONS for item in fields(options)}

    def coded(found: re.Match) -> str:
        name, value = found[1], found[2] or ""
        is_value = value in ("cpu", *values.get(name, ())) or re.fullmatch(r"\d+(\.\d+)?", value)
        return f"`{name} {value}`" if is_value else f"`{name}`" + (f" {value}" if value else "")

    text = re.sub(r"(?<![\w-])(--[a-z][a-z0-9-]*)(?: (\w+(?:\.\d+)?))?", coded, text)
    for name in choices:
        text = re.sub(rf"(?<![\w+`]){re.escape(name)}(?=(, [\w+`]+)*:)", f"`{name}`", text)
    return re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", text).replace("|", r"\|")


def row(item: Field) -> str:
    """One line of a table."""
    default = default_of(item)
    default = markdown(default, []) if item.metadata["default_means"] else f"`{default}`"
    return f"| `{invocation(item)}` | {default} | {markdown(meaning_of(item), [*choices_of(item), 'auto'])} |"


def page() -> str:
    """The whole page."""
    heading, _, commands = examples().partition("\n")
    parts = [HEAD.strip(), ABOUT, markdown(about_small(), [])]
    for options in SECTIONS:
        rows = ["| option | default | meaning |", "|---|---|---|", *map(row, fields(options))]
        parts += [f"## {options.__doc__}", "\n".join(rows)]
    commands = re.sub("^  ", "", commands, flags=re.MULTILINE)
    parts += [f"## {heading.rstrip(':')}", f"```bash\n{commands}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))
