"""``--help`` of train/run.py, as a person reads it."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dali_pipes.system import flag
from train.config.command_line import SECTIONS, ActionOptions, _parser, new_config, parse
from train.config.help import EXAMPLES, choices_of, default_of, invocation, is_switch, meaning_of, small_settings
from train.config.option import option
from train.config.options import GROUPS, Config, small

ITEMS = {item.name: item for options in SECTIONS for item in fields(options)}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def text(monkeypatch):
    def at(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        return _parser().format_help()

    return at


def test_every_group_is_a_section():
    assert {*SECTIONS} == {*GROUPS, ActionOptions} and len(SECTIONS) == len(GROUPS) + 1


@pytest.mark.parametrize("columns", [60, 80, 100, 300])
def test_no_line_is_wider_than_the_terminal_or_100_columns(text, columns):
    lines = text(columns).partition("Examples:")[0].splitlines()[1:]
    assert max(map(len, lines)) <= min(columns, 100)
    assert all(len(line) <= 100 for line in text(columns).splitlines())


def test_the_usage_line_does_not_list_all_options(text):
    usage = text(100).partition("\n\n")[0]
    assert usage.startswith("usage: python train/run.py [") and "\n" not in usage and usage.endswith("[OPTION ...]")


def test_headings_come_in_the_order_of_use(text):
    headings = re.findall(r"^(\w.*):$", text(100), flags=re.MULTILINE)
    assert headings == [
        "options",
        "Data",
        "Augmentation",
        "Mixing",
        "Model",
        "Training length, batch size and learning rate",
        "Evaluation",
        "Resuming, evaluating and predicting",
        "Output and seed",
        "Machine",
        "Examples",
    ]


@pytest.mark.parametrize("name", ITEMS)
def test_each_option_is_explained_in_sentences(text, name):
    item = ITEMS[name]
    about = item.metadata["help"]
    assert about[0].isupper() and about.endswith(".")
    assert f"  {invocation(item)}" in text(100)
    said = f"{meaning_of(item)} (default: {default_of(item)})"
    assert said in " ".join(text(100).split())
    assert is_switch(item) or not invocation(item).endswith(flag(name))  # something stands for its value
    assert all(choice in invocation(item) or choice in meaning_of(item) for choice in choices_of(item))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("crop_px", "--crop-px PX"),
        ("short_videos", "--short-videos {slow_down,pad}"),
        ("schedule", "--schedule NAME"),
        ("tf32", "--tf32, --no-tf32"),
        ("compile", "--compile [reduce-overhead], --no-compile"),
        ("resume", "--resume [CHECKPOINT]"),
        ("ensemble", "--ensemble CHECKPOINT ..."),
        ("predict", "--predict [VIDEO ...]"),
    ],
)
def test_how_an_option_is_given(name, expected):
    assert invocation(ITEMS[name]) == expected


@pytest.mark.parametrize(
    "name, expected",
    [
        ("lr", "0.0001"),
        ("crop_px", "160"),
        ("tf32", "on"),
        ("compile", "off"),
        ("mix_alpha", "depends on --mix, see docs/mixing.md"),
        ("init", "random weights"),
    ],
)
def test_a_default_is_as_it_is_typed_or_in_words(name, expected):
    assert default_of(ITEMS[name]) == expected


def test_choices_that_the_sentence_leaves_out_are_added():
    def said(help, choices):
        item = option("a" * 30, help, choices=choices, metavar="NAME")
        item.name, item.type = "kind", str
        return meaning_of(item)

    assert said("A kind.", ("a" * 30, "mix+", "mix")) == f"A kind. One of {'a' * 30}, mix+, mix."
    assert said(f"{'a' * 30} or mix+.", ("a" * 30, "mix+", "mix")).endswith(", mix+, mix.")  # mix+ does not name mix
    assert said(f"{'a' * 30}, mix+ or mix.", ("a" * 30, "mix+", "mix")) == f"{'a' * 30}, mix+ or mix."
    assert said("A kind.", ("a" * 30, "b")) == "A kind."  # which {a...,b} names


@pytest.mark.parametrize("command", [command for _, command in EXAMPLES])
def test_the_examples_are_command_lines(command, text):
    program, _, arguments = command.partition(" train/run.py")
    assert program in ("python", "torchrun --nproc-per-node=4")
    overrides, job = parse(shlex.split(arguments))
    if job == ActionOptions():
        assert isinstance(new_config(overrides, has_gpu=True)[0], Config)
    assert command in re.sub(r" \\\n +", " ", text(100))


def test_the_smaller_defaults_are_those_of_the_preset():
    config, _ = new_config(parse(["--data", "videos", *small_settings().split()])[0], has_gpu=False)
    differing = {item.name for item in fields(Config) if getattr(config, item.name) != getattr(small(), item.name)}
    assert differing <= {"data", "workers"}


def test_the_program_prints_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run = [sys.executable, str(ROOT / "train" / "run.py"), "--help"]
    printed = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert (printed.returncode, printed.stderr, printed.stdout) == (0, "", _parser().format_help())
