"""docs/options.md is what docs/make_options.py makes of the options of train/run.py."""

import re
import runpy
from dataclasses import fields
from pathlib import Path

from dali_pipes.system import flag
from train.config.command_line import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
MAKE = runpy.run_path(str(ROOT / "docs" / "make_options.py"))
PAGE = (ROOT / "docs" / "options.md").read_text()


def test_the_committed_page_is_that_of_the_options():
    assert MAKE["page"]() == PAGE, "run python docs/make_options.py"


def test_every_option_has_a_row_under_its_heading():
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    rows = {part.splitlines()[0]: re.findall(r"^\| `(--[\w-]+)", part, flags=re.MULTILINE) for part in parts}
    assert rows.pop("Examples") == []
    assert rows == {options.__doc__: [flag(item.name) for item in fields(options)] for options in SECTIONS}


def test_the_page_is_the_same_on_every_machine(monkeypatch):
    from train.config import options

    monkeypatch.setattr(options, "usable_cores", lambda: 1)
    assert MAKE["page"]() == PAGE


def test_values_choices_and_pages_are_marked():
    text = MAKE["markdown"]("With --mix-draw clip or --out, on --device cpu. a, b: x; see docs/videos.md.", ["a", "b"])
    assert text == "With `--mix-draw clip` or `--out`, on `--device cpu`. `a`, `b`: x; see [videos.md](videos.md)."
    assert MAKE["markdown"]("--lr 0.001 --warmup 0.2.", []) == "`--lr 0.001` `--warmup 0.2`."
