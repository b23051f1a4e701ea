"""The text of ``--help``, and what docs/options.md shows of the same options."""

import argparse
import re
import shutil
import textwrap
import typing
from dataclasses import Field, fields
from typing import Any

from dali_pipes.system import flag

from .options import Config, paper, small

MAX_COLUMNS = 100
_EXAMPLES = "Examples:"
_LONGEST_CHOICES = 34
"""Characters of ``{a,b}``; longer ones are named by the sentence alone."""

USAGE = "python train/run.py [--data PATH] [--aug NAME] [--mix NAME] [--out DIR] [OPTION ...]"
ABOUT = (
    "Train a video classification network. Clips are decoded with DALI or PyAV and augmented with RandAugment-T. The "
    "defaults are the settings of the paper (Kim et al., ECCV-W 2020, section 4.1)."
)
EXAMPLES = (
    ("the generated demo dataset, to check that everything works", "python train/run.py"),
    (
        "your own videos, in videos/<class>/ or videos/train/<class>/ and videos/val/<class>/",
        "python train/run.py --data videos --aug randaug_t --mix framecutmix --out runs/first",
    ),
    ("resume this run from its last checkpoint after it was stopped", "python train/run.py --resume --out runs/first"),
    (
        "from published weights (download: see docs/models.md), on 4 GPUs",
        "torchrun --nproc-per-node=4 train/run.py --data videos --model r3d_18 --init r3d_18-b3b3357e.pth "
        "--crop-px 112 --out runs/tuned",
    ),
    (
        "accuracy with 10 clips x 3 crops per video",
        "python train/run.py --eval-only runs/first/best.pt --eval-clips 10 --eval-crops 3",
    ),
    (
        "most probable classes of other videos",
        "python train/run.py --eval-only runs/first/best.pt --predict a.mp4 b.mp4",
    ),
)
"""(what it does, command) at the end of ``--help``."""


def small_settings() -> str:
    """Return the options by which the preset for machines without a GPU differs from the defaults."""
    preset, defaults = small(), paper()
    values = {item.name: (getattr(preset, item.name), getattr(defaults, item.name)) for item in fields(Config)}
    return " ".join(f"{flag(name)} {a:g}" for name, (a, b) in values.items() if a != b and name != "workers")


def about_small() -> str:
    """Return a sentence about that preset."""
    return (
        "Without a GPU (or with --device cpu) and with a generated dataset (--data demo or perturbed), the values of a "
        f"small preset are used instead of the defaults: {small_settings()}. With this preset, a run on demo takes "
        "four to six minutes on two CPU cores."
    )


def is_switch(item: Field) -> bool:
    """Return whether an option has ``--no-``."""
    return item.type is bool or bool in typing.get_args(item.type)


def choices_of(item: Field) -> list[str]:
    """Return the values to choose from; empty for a switch, and where there is no list of them."""
    return [str(value) for value in item.metadata["choices"] or () if not isinstance(value, bool)]


def default_of(item: Field) -> str:
    """Return the default as it is typed, or in words."""
    if item.metadata["default_means"]:
        return str(item.metadata["default_means"])
    if isinstance(item.default, bool):
        return "on" if item.default else "off"
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def meaning_of(item: Field) -> str:
    """Return the sentences about an option, and its choices where neither these nor its invocation name all."""
    text, choices = str(item.metadata["help"]), choices_of(item)
    is_named = "{" in invocation(item) or all(
        re.search(rf"(?<![\w+]){re.escape(name)}(?![\w+])", text) for name in choices
    )
    return text if is_named else f"{text} One of {', '.join(choices)}."


def invocation(item: Field) -> str:
    """Return how an option is given, such as ``--crop-px PX``."""
    name, metavar = flag(item.name), _metavar(item)
    if is_switch(item):
        return f"{name}{f' [{metavar}]' if metavar else ''}, --no-{name[2:]}"
    many = " ..." if typing.get_origin(item.type) is list else ""
    value = metavar + many
    return f"{name} [{value}]" if item.metadata["without_value"] is not None else f"{name} {value}"


def _metavar(item: Field) -> str:
    choices = choices_of(item)
    listed = "{" + ",".join(choices) + "}" if len(choices) > 1 else "".join(choices)
    if choices and (len(listed) <= _LONGEST_CHOICES or not item.metadata["metavar"]):
        return listed
    return str(item.metadata["metavar"])


def help_of(item: Field) -> str:
    """Return the text for argparse, to which a percent sign means something."""
    return f"{meaning_of(item)} (default: {default_of(item)})".replace("%", "%%")


def examples() -> str:
    """Return the end of ``--help``; long commands go on in the next line."""
    lines = [_EXAMPLES]
    for words, command in EXAMPLES:
        lines += [f"  # {words}", *_folded(command)]
    return "\n".join(lines)


def _folded(command: str) -> list[str]:
    """Break a command before options, as a shell takes it."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) > MAX_COLUMNS - 6:
            lines[-1] += " \\"
            lines.append("  " + part)
        else:
            lines[-1] += (" " if lines[-1] else "") + part
    return ["  " + line for line in lines]


def _wrapped(text: str, width: int) -> list[str]:
    """Break lines between words alone, so that options stay whole."""
    return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Lines of at most 100 columns, and options as :func:`invocation` shows them."""

    def __init__(self, *args: Any, **known: Any):
        columns = min(MAX_COLUMNS, shutil.get_terminal_size().columns)
        super().__init__(*args, **{"width": columns, "max_help_position": 26} | known)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap paragraphs; lines of the examples stay."""
        if text.startswith(_EXAMPLES):
            return super()._fill_text(text, width, indent)
        return "\n\n".join("\n".join(_wrapped(part, width)) for part in text.split("\n\n"))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(text, width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return getattr(action, "shown", None) or super()._format_action_invocation(action)
