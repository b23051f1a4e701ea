"""The README's example runs as printed, and its commands are the ones CI uses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_as_printed(tmp_path, class_folders):
    (example,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 16
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "videos").symlink_to(class_folders)
    result = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "torch.Size([5, 3, 32, 112, 112])" in result.stdout


def test_ci_runs_the_readmes_test_command():
    commands = re.findall(r'^pip install -e "\.\[.+?\]" && .+$', README, flags=re.MULTILINE)
    assert len(commands) == 2 and commands[1].endswith("&& pytest -n 2 --dist worksteal")
    # what .ci/run greps for
    assert [line for line in README.splitlines() if re.search(r"^pip install .* && pytest", line)] == commands[1:]
    assert "grep -m 1 -E '^pip install .* && pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_without_dali_the_import_names_the_extras():
    hide = (
        "import importlib.util as u; real = u.find_spec; "
        "u.find_spec = lambda name, *a: None if 'nvidia' in name else real(name, *a); "
    )
    result = subprocess.run(
        [sys.executable, "-c", hide + "import dali_pipes"], cwd=ROOT, capture_output=True, text=True
    )
    last = result.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("ImportError: Cannot import dali_pipes: NVIDIA DALI is not installed")
        and '"dali-pipes[cuda110]" (driver 450 or newer)' in last
    )


def test_the_gpu_suite_says_that_there_is_no_gpu():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: run benchmarks/gpu_suite.sh itself")
    result = subprocess.run(["bash", str(ROOT / "benchmarks" / "gpu_suite.sh")], capture_output=True, text=True)
    assert result.returncode == 3 and result.stderr.strip().startswith(
        "gpu_suite: Cannot measure: PyTorch finds no CUDA device"
    )


def test_gpu_tests_fail_where_a_gpu_is_demanded():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-k", "identity and noise", "-p", "no:cacheprovider"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"FAIL_WITHOUT_GPU": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 1 and "FAIL_WITHOUT_GPU=1 and there is no CUDA device" in result.stdout


def test_the_table_of_levels_is_that_of_the_code():
    from dali_pipes import OPS, SCHEDULES
    from dali_pipes.augment.ops import EXTRA_OPS

    text = (ROOT / "docs" / "randaugment_t.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    for op in (*OPS.values(), *EXTRA_OPS.values()):
        (cells,) = [cells for cells in rows if len(cells) > 5 and re.search(rf"\b{op.name}\b", cells[1])]
        for table, cell in zip(("paper", "monotonic"), cells[2:4], strict=True):
            numbers = [float(number) for number in re.findall(r"[\d.]*\d", cell.replace("..", " "))]
            if not op.ranges:
                assert not numbers
            elif cell.strip().startswith("1 +-"):
                assert numbers == [op.ranges[table].base, op.ranges[table].low, op.ranges[table].high]
            else:
                assert numbers[:2] == [op.ranges[table].low, op.ranges[table].high]
    assert all(f"`{name}`" in text for name in SCHEDULES)


def test_the_table_of_policies_is_that_of_the_code():
    from dali_pipes import POLICIES

    text = (ROOT / "docs" / "policies.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    assert {cells[0].strip("`"): cells[1:] for cells in rows if len(cells) == 6} == {
        name: [row.operations, row.count, row.magnitude, row.over_time, row.source] for name, row in POLICIES.items()
    }


def test_the_page_about_mixing_is_that_of_the_code():
    from train.mixing.params import MIXES

    text = (ROOT / "docs" / "mixing.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    shown = {name: cells for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    assert set(shown) == set(MIXES)
    for name, cells in shown.items():
        assert cells[3] == ("" if MIXES[name].alpha is None else f"{MIXES[name].alpha:g}")
        assert cells[4] == {1.0: "all", 0.5: "half"}[MIXES[name].prob]
    (example,) = re.findall(r"```python\n(.+?)```", text, flags=re.DOTALL)
    names = {}
    exec(example, names)
    assert names["loss"].isfinite() and names["targets_BK"].shape == (8, 101)
