"""Links, Python blocks and options of all pages; commands are in test_docs_commands.py. .ci/run builds the site."""

import argparse
import ast
import builtins
import re
import subprocess
import textwrap
from collections import Counter
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dali_pipes.system import RENAMED_OPTIONS, flag

ROOT = Path(__file__).resolve().parents[1]
FILES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md"]
FILES += [
    str(page.relative_to(ROOT)) for folder in ("docs", "benchmarks/results") for page in (ROOT / folder).glob("*.md")
]
PAGES = {file: (ROOT / file).read_text() for file in sorted(FILES)}
PARSER_IN = {  # program -> the module that has its _parser()
    "dali_pipes.manifest": "dali_pipes.dataset.summary",
    "dali_pipes.preview": "dali_pipes.pictures.preview",
    "dali_pipes.transcode": "dali_pipes.dataset.transcode",
    "train.cam": "train.analysis.cam",
    "train.localisation": "train.analysis.localisation",
    "train.preview": "train.analysis.mix_preview",
    "train.report": "train.report.page",
    "train.robustness": "train.analysis.robustness",
    "train.tables": "train.paper.tables",
    "train/run.py": "train.config.command_line",
}
FOREIGN = {  # options of other programs: docker, torchrun and Slurm, pytest, TensorBoard, Sphinx, ruff
    *"--build-arg --gpus --rm --shm-size --stop-timeout --user".split(),
    *"--nnodes --nproc-per-node --rdzv-backend --rdzv-endpoint --rdzv-id".split(),
    *"--account --gpus-per-node --nodes --ntasks-per-node --partition --signal --time".split(),
    *"--check --dist --keep-going --logdir".split(),
}


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page, text) of each block of code of a kind, also of those in lists."""
    pattern = re.compile(rf"^( *)```{kind}\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)
    return [(page, textwrap.dedent(found[2])) for page, text in PAGES.items() for found in pattern.finditer(text)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", PAGES[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_every_page_is_in_one_toctree():
    """Paths in a toctree are relative to the page, or begin with / at the root of the repository."""
    entries = []
    for page, text in blocks(r"\{toctree\}"):
        for line in text.splitlines():
            if line and not line.startswith(":"):
                entry = re.sub(r".+ <(.+)>", r"\1", line)
                path = ROOT / entry[1:] if entry.startswith("/") else (ROOT / page).parent / entry
                entries.append(f"{path.relative_to(ROOT)}.md")
    named = Counter(page for page in PAGES for entry in entries if fnmatch(page, entry))
    assert named == Counter(PAGES.keys() - {"docs/index.md"})
    assert all(any(fnmatch(page, entry) for page in PAGES) for entry in entries)


def test_index_and_benchmarks_link_to_every_page():
    linked = {
        (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve()
        for page in ("docs/index.md", "docs/benchmarks.md")
        for link in re.findall(r"\]\(([^):]+)\)", PAGES[page])
    }
    assert {ROOT / page for page in PAGES} - linked == {ROOT / "docs/index.md"}


def test_every_example_is_on_the_page_of_examples():
    shown = re.findall(r"```\{literalinclude\} \.\./(\S+)", PAGES["docs/examples.md"])
    assert sorted(shown) == sorted(str(file.relative_to(ROOT)) for file in (ROOT / "examples").glob("*.py"))


def is_complete(source: ast.Module) -> bool:
    """Return whether a block makes or imports all that it uses."""
    made, used = set(dir(builtins)) | {"__name__"}, set()
    for node in ast.walk(source):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
    return used <= made


def test_python_blocks_are_python_and_complete_ones_run(tmp_path, class_folders, monkeypatch):
    (tmp_path / "videos").symlink_to(class_folders)
    monkeypatch.chdir(tmp_path)
    run = []
    for page, text in blocks("python"):
        source = ast.parse(text, page)
        if is_complete(source):
            exec(compile(source, page, "exec"), {"__name__": "example"})
            run.append(page)
    assert {"README.md", "docs/datasets.md", "docs/mixing.md"} <= {*run}


def test_bash_blocks_are_bash():
    script = "\n".join(text for _, text in blocks("bash"))
    result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@cache
def parser_of(program: str) -> argparse.ArgumentParser:
    return import_module(PARSER_IN[program])._parser()


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All options, also of subcommands."""
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {name for sub in action.choices.values() for name in options_of(sub)}
    return found


def options_of_script(path: Path) -> set[str]:
    """The options that a script of benchmarks/ declares."""
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return {name for file in files for name in re.findall(r'"(--?[a-z][a-z0-9-]*)"', file.read_text())}


def test_every_option_exists():
    known = FOREIGN | {name for program in PARSER_IN for name in options_of(parser_of(program))}
    for script in (ROOT / "benchmarks").iterdir():  # a folder is a program of several files, or has several programs
        known |= options_of_script(script) if script.suffix == ".py" or script.is_dir() else set()
    older = {flag(name) for name in RENAMED_OPTIONS}  # what was measured before they were renamed, and the change
    for page, text in PAGES.items():
        of_page = known | older if page.startswith(("benchmarks/results/", "CHANGELOG")) else known
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) <= of_page, page


def test_files_and_folders_that_contributing_names_exist():
    """By the ends of their paths, as in `ops.py` and `augment/ops.py`."""
    names = set(re.findall(r"`([\w./]+(?:\.py|\.sh|/))`", PAGES["CONTRIBUTING.md"])) - {"dist/"}
    folders = [ROOT / name for name in "benchmarks dali_pipes docker docs examples tests train".split()]
    known = {path.as_posix() + "/" * path.is_dir() for folder in folders for path in (folder, *folder.rglob("*"))}
    assert len(names) > 40 and not [name for name in names if not any(path.endswith(f"/{name}") for path in known)]
