"""tests/matrix.sh and .ci/run with commands that only write down how they are called:
nothing is installed or trained."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
SCRIPT = (ROOT / "tests" / "matrix.sh").read_text()
CELLS = {
    cells[0]: cells[1:]
    for line in SCRIPT.split('\ntable="\n')[1].split('\n"\n')[0].splitlines()
    for cells in [[cell.strip() for cell in line.split("|")]]
}
TOOLS = "awk bash cat cp date dirname env grep mkdir mktemp rm sed tail tee tr".split()
RECORD = 'echo "$(basename "$0") $*" >>"$RECORDS/calls"\n'
FAKES = {
    "pip": 'cp "${PIP_CONSTRAINT:-/dev/null}" "$RECORDS/constraints"\n[[ "$*" != *"$FAILS"* ]]',
    "pytest": '[[ ${PY_COLORS:-} == 0 ]] && echo "$CLOSING"\n[[ $FAILS != pytest ]]',
    "ruff": "",
    "mypy": "",
    "sphinx-build": "[[ $FAILS != sphinx-build ]]",
}


@pytest.fixture
def machine(tmp_path):
    """A copy of the scripts, and a function that runs one on a machine with the given Pythons:
    those of pyenv, or as ``python3``."""
    for name in ("tests/matrix.sh", ".ci/run", "README.md", "setup.cfg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for folder in ("bin", "records", "temporary"):
        (tmp_path / folder).mkdir()
    for tool in [*TOOLS, "basename", "ln", "chmod"]:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))

    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    for name, text in FAKES.items():
        write(tmp_path / "fakes" / name, RECORD + text)

    def python(version):
        return f"""case "$1 $2" in
            "-m venv") mkdir -p "$3/bin" && cp "{tmp_path}"/fakes/* "$0" "$3/bin" && cp "$0" "$3/bin/python"
                       printf 'PATH=%s/bin:$PATH\\ndeactivate() {{ :; }}\\n' "$3" >"$3/bin/activate";;
            "--version ") echo "Python {version}.1";;
            "-c "*) echo "{version}";;
            "-"*) exec "{sys.executable}" "$@";;
            *) {RECORD} [[ $FAILS != train/run.py ]];;
        esac"""

    def run(script, *arguments, pythons=(), python3=None, fails="-nothing-", closing="5 passed, 2 skipped in 1.20s"):
        for version in pythons:
            write(tmp_path / "pyenv" / "versions" / f"{version}.1" / "bin" / f"python{version}", python(version))
            # as pyenv's own, which is on PATH and only says that this version is not active
            write(
                tmp_path / "bin" / f"python{version}", f"echo 'pyenv: python{version}: command not found' >&2; exit 127"
            )
        if python3:
            write(tmp_path / "bin" / "python3", python(python3))
        environment = {
            "PATH": str(tmp_path / "bin"),
            "PYENV_ROOT": str(tmp_path / "pyenv"),
            "TMPDIR": str(tmp_path / "temporary"),
            "RECORDS": str(tmp_path / "records"),
            "FAILS": fails,
            "CLOSING": closing,
            "HOME": str(tmp_path),
        }
        result = subprocess.run(
            ["bash", script, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        calls = tmp_path / "records" / "calls"
        assert not os.listdir(tmp_path / "temporary"), "environments are deleted"
        return result, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_an_unknown_cell_lists_the_known_ones(machine):
    for name in ("cuda110", "oldest middle"):
        result, calls = machine("tests/matrix.sh", "oldest", name, pythons=["3.10"])
        assert result.returncode == 2 and not calls
        assert result.stderr.strip() == f"matrix: Invalid cell '{name}': choose one or more of {' '.join(CELLS)}"


def test_a_missing_python_is_a_sentence_before_anything_is_installed(machine):
    result, calls = machine("tests/matrix.sh", "readme-3.11", "readme-3.13", pythons=["3.11"])
    assert result.returncode == 3 and not calls
    assert result.stderr.strip() == (
        "matrix: Cannot run the cell 'readme-3.13': Python 3.13 is neither on PATH nor among pyenv's versions; "
        "install it"
    )


def test_a_cell_is_the_readmes_commands_and_a_row(machine, tmp_path):
    result, calls = machine("tests/matrix.sh", "middle", pythons=["3.11"])
    assert result.returncode == 0, result.stderr
    out = re.sub(r"--out \S+", "--out OUT", "\n".join(calls)).splitlines()
    assert out == [
        "pip install -e .[cuda120,train]",
        "python train/run.py --aug randaug_t --max-steps 3 --out OUT",
        "pip install -e .[cuda120,train,test]",
        "pytest -n 2 --dist worksteal tests/pipes",
    ]
    assert (tmp_path / "records" / "constraints").read_text().split() == CELLS["middle"][2].split()
    *_, heading, line, row = result.stdout.splitlines()
    assert heading == "| cell | versions | training command | tests | minutes |" and set(line) == set("|-")
    name, versions, job, tests, minutes = [cell.strip() for cell in row.strip("|").split("|")]
    assert (name, job, tests) == ("middle", "passed", "5 passed, 2 skipped") and minutes.isdigit()
    for package in "Python DALI PyAV OpenCV numpy torch torchvision captum lightning".split():
        assert re.search(rf"\b({package} \d+\.\d+|no {package})", versions), package
    (table,) = (tmp_path / "runs").glob("matrix-*.md")
    assert table.read_text().splitlines() == [heading, line, row]


@pytest.mark.parametrize(
    "fails, closing, job, tests",
    [
        ("train/run.py", "5 passed in 1s", "FAILED", "5 passed"),
        (
            "pytest",
            "1 failed, 5 passed, 2 skipped, 3 warnings in 1s (0:00:01)",
            "passed",
            "1 failed, 5 passed, 2 skipped",
        ),
        ("pytest", "Killed", "passed", "ended early"),
        ("-nothing-", "Killed", "passed", "ended early"),
        ("cuda130,train]", "", "could not be installed", "not reached"),
        ("test]", "", "passed", "could not be installed"),
    ],
)
def test_what_fails_is_in_the_row_and_the_next_cell_runs(machine, fails, closing, job, tests):
    result, calls = machine(
        "tests/matrix.sh", "numpy-1", "oldest", pythons=["3.10", "3.12"], fails=fails, closing=closing
    )
    assert result.returncode == 1
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["numpy-1", "oldest"]
    assert rows[0][2:4] == [job, tests] and any("cuda110" in call for call in calls)


def test_the_oldest_cell_is_held_to_the_floors(machine, tmp_path):
    machine("tests/matrix.sh", "oldest", pythons=["3.10"])
    held = (tmp_path / "records" / "constraints").read_text().split()
    extras = CONFIG["options.extras_require"]
    named = (extras[name] for name in ("train", "test", "cuda110"))
    wanted = "\n".join((CONFIG["options"]["install_requires"], *named)).split()
    assert held == [requirement.replace(">=", "==") for requirement in wanted]
    for requirement in map(Requirement, held):
        assert [part.operator for part in requirement.specifier] == ["=="], requirement


def test_all_cells_but_those_of_ci_run_without_arguments(machine):
    pythons = {python for python, *_ in CELLS.values()}
    result, _ = machine("tests/matrix.sh", pythons=sorted(pythons))
    rows = re.findall(r"^\| ([a-z][\w.-]+) \|", result.stdout, flags=re.MULTILINE)
    assert result.returncode == 0 and rows == ["cell", *(name for name in CELLS if not name.startswith("files-"))]


def test_setup_cfg_names_the_pythons_that_are_tried():
    prefix = "Programming Language :: Python :: "
    named = [line.removeprefix(prefix) for line in CONFIG["metadata"]["classifiers"].splitlines() if prefix in line]
    tried = [python for name, (python, *_) in CELLS.items() if name.startswith("readme-")]
    assert named == ["3", "3 :: Only", *tried]
    assert CONFIG["options"]["python_requires"] == f">={tried[0]}"
    extras = CONFIG["options.extras_require"]
    assert {extra for _, extra, *_ in CELLS.values()} == {name for name in extras if name.startswith("cuda")}


@pytest.mark.parametrize("python3, second", [("3.11", "3.12"), ("3.12", "3.13"), ("3.13", "3.12")])
def test_ci_runs_the_suite_and_then_files_on_a_second_python(machine, python3, second):
    result, calls = machine(".ci/run", python3=python3, pythons=["3.12", "3.13"])
    assert result.returncode == 0, result.stderr
    assert [call for call in calls if call.startswith("pytest")][0] == "pytest -n 2 --dist worksteal"
    (files,) = [call.split()[5:] for call in calls if "tests/pipes/decode" in call]
    assert len(files) > 5 and all((ROOT / file).exists() for file in files)
    site = "sphinx-build -q -E -W --keep-going -c docs . docs/_build"
    assert calls[2:7] == ["pip install -e .[dev]", "ruff check .", "ruff format --check .", "mypy ", site]
    assert f"== files-{second}: Python {second}, cuda130" in result.stdout
    assert result.stdout.splitlines()[-1] == f"Python {python3}.1: 5 passed, 2 skipped in 1.20s"


def test_ci_takes_another_second_python_or_says_that_there_is_none(machine):
    result, _ = machine(".ci/run", python3="3.11", pythons=["3.13"])
    assert result.returncode == 0 and "== files-3.13" in result.stdout


@pytest.mark.parametrize("python3, pythons", [("3.11", []), ("3.12", ["3.12"])])
def test_ci_fails_without_a_second_python(machine, python3, pythons):
    result, _ = machine(".ci/run", python3=python3, pythons=pythons)
    assert result.returncode == 3
    assert "ci: Cannot run the tests on a second Python: there is none; install Python 3.12 or 3.13" in result.stderr


@pytest.mark.parametrize("fails", ["pytest", "train/run.py", "dev]", "sphinx-build"])
def test_ci_fails_when_anything_fails(machine, fails):
    result, _ = machine(".ci/run", python3="3.11", pythons=["3.12"], fails=fails)
    assert result.returncode not in (0, 3)
