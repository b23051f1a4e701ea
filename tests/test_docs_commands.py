"""The commands on the pages are ones that their programs take, and links to headings lead to headings.

The commands of the README's three main sections are also run, on tiny videos: manifest by
pipes/dataset/test_manifest.py; ``train/run.py`` by training/test_run.py, training/engine/test_resume.py and
training/engine/test_evaluation.py; the loader's example by test_readme.py; the tables by training/paper/test_tables.py.
"""

import re
import shlex
from pathlib import Path

import pytest

from dali_pipes.errors import InputError
from tests.test_docs import PAGES as ALL_PAGES
from tests.test_docs import PARSER_IN, ROOT, options_of_script, parser_of
from train.config.command_line import ActionOptions, new_config, parse
from train.config.options import Config
from train.paper import tables

RESULTS = [page for page in ALL_PAGES if page.startswith("benchmarks/results/")]
PAGES = [page for page in ALL_PAGES if page not in RESULTS]
MAIN_SECTIONS = {  # of the README -> how many commands of our own programs each shows
    "Quick start": 1,
    "Train on your own videos": 4,
    "Reproduce the paper": 2,
}


def commands_in(text: str) -> list[list[str]]:
    """The words of each shell command, without comments, in blocks of bash and in code spans that start Python."""
    blocks = re.findall(r"```bash\n(.+?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    lines += re.findall(r"`(python [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    commands = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = next((place for place, word in enumerate(words) if word in ("&&", "||", ";")), len(words))
            commands.append(words[:end])
            words = words[end + 1 :]
    return [words for words in commands if words]


def check(words: list[str]) -> bool:
    """Whether a command starts a program of ours; it must then take these arguments, or exist if there are none."""
    script = next((place for place, word in enumerate(words) if re.fullmatch(r"[\w/]+\.(py|sh)", word)), None)
    if script is not None:
        path, arguments = ROOT / words[script], words[script + 1 :]
        assert path.is_file(), words
        if ROOT / "benchmarks" in path.parents and path.suffix == ".py":
            options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
            assert options <= options_of_script(path), words
        if words[script] == "train/run.py" and arguments != ["--help"]:
            overrides, action = parse(arguments)
            assert action != ActionOptions() or isinstance(new_config(overrides, has_gpu=True)[0], Config)
        return True
    if "-m" not in words or words[words.index("-m") + 1].split(".")[0] not in ("dali_pipes", "train"):
        return False
    module, *arguments = words[words.index("-m") + 1 :]
    assert module in PARSER_IN, words
    if module == "train.tables" and arguments:
        options, rest = parser_of(module).parse_known_args(arguments)
        assert tables.parse_overrides(rest) is not None
        assert options.command == "list" or tables.rows_of(options.tables, options.rows)
    elif arguments:
        parser_of(module).parse_args(arguments)
    return True


@pytest.mark.parametrize("page", PAGES)
def test_programs_take_the_commands(page):
    for words in commands_in((ROOT / page).read_text()):
        check(words)


@pytest.mark.parametrize("section", MAIN_SECTIONS)
def test_the_main_sections_have_commands(section):
    sections = dict(part.split("\n", 1) for part in re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.M)[1:])
    assert sum(map(check, commands_in(sections[section]))) == MAIN_SECTIONS[section]


def test_a_wrong_command_is_found():
    for command in (
        "python train/run.py --no-such-option",
        "torchrun --nproc-per-node=4 train/run.py --epochs 0",
        "python -m dali_pipes.manifest DIR --no-such-option",
        "python -m train.tables run table8",
        "python -m train.no_such_program",
        "python benchmarks/no_such_file.py",
        "python benchmarks/bench_ops.py --no-such-option",
        "python benchmarks/studies/no_such_file.py",
        "python benchmarks/studies/decoders.py --no-such-option",
    ):
        with pytest.raises((AssertionError, InputError, SystemExit)):
            check(*commands_in(f"```bash\n{command}\n```"))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *RESULTS])
def test_links_to_headings_lead_to_headings(page):
    path = ROOT / page
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", path.read_text()):
        found = path.parent / target if target else path
        assert anchor in anchors(found), f"{target}#{anchor}"
