"""The suite for machines with a GPU: what it is asked for, and what becomes of steps that fail or have no time."""

import os
import subprocess
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_suite.sh"
# in the place of Python: one program fails, one hangs until Ctrl-C, the others say how they were called
PYTHON = """#!/usr/bin/env bash
echo "called: $*"
echo "FAIL_WITHOUT_GPU=$FAIL_WITHOUT_GPU LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
case "$*" in
*bench_mixing* | *CDLL*) exit 3 ;;
*"-m pytest"*) seq 100; echo "[NULL @ 0x7f] non-existing PPS 0 referenced"; echo "3 passed" ;;
*gpu_probe*) trap 'echo interrupted; exit 1' INT; sleep 60 & wait; wait ;;
esac
"""


def run_suite(tmp_path, *arguments, **settings):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("python3", PYTHON), ("find", "#!/bin/sh\necho /usr/of_the_driver/libnvcuvid.so.1\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "OUT": str(tmp_path / "out"), **settings}
    return subprocess.run(
        ["bash", str(SUITE), *arguments], env=os.environ | environment, capture_output=True, text=True, cwd=tmp_path
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"STEPS": "probe tets"}, "gpu_suite: Invalid STEPS 'tets': choose one or more of probe tests loader "),
        ({"SECONDS_IN_ALL": "7m"}, "gpu_suite: Invalid SECONDS_IN_ALL '7m': must be a whole number of seconds"),
        ({"GPU_SUITE_DEVICE": "tpu"}, "gpu_suite: Invalid GPU_SUITE_DEVICE 'tpu': choose cuda or cpu"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, settings, message):
    result = run_suite(tmp_path, **settings)
    assert result.returncode == 2 and not result.stdout
    assert result.stderr.startswith(message) and result.stderr.count("\n") == 1


def test_each_step_has_a_line_in_the_summary_and_a_log(tmp_path):
    settings = {"STEPS": "mixing probe\ntests", "SECONDS_IN_ALL": "13", "GPU_SUITE_DEVICE": "cpu"}
    result = run_suite(tmp_path, **settings)
    assert result.returncode == 1 and not result.stderr
    _, _, summary = result.stdout.partition("== summary, ")
    lines = summary.splitlines()
    assert lines[0].endswith(f"logs and tables are in {tmp_path / 'out'}")
    assert [line.split()[0] for line in lines[1:]] == ["mixing", "probe", "tests"]
    assert lines[1].endswith("FAILED, exit code 3")
    assert "STOPPED at its limit of " in lines[2] and "NOT RUN" in lines[3]
    log = (tmp_path / "out" / "probe.log").read_text()
    assert log.startswith("called: benchmarks/gpu_probe.py ") and log.endswith("interrupted\n")
    assert log in result.stdout and (tmp_path / "out" / "summary.log").read_text().endswith(summary)


def test_steps_that_go_well(tmp_path):
    settings = {"STEPS": "loader training", "SECONDS_IN_ALL": "60", "GPU_SUITE_DEVICE": "cpu"}
    result = run_suite(tmp_path, "videos", **settings)
    assert result.returncode == 0, result.stdout
    log = (tmp_path / "out" / "loader.log").read_text()
    assert f" --data {tmp_path / 'videos'} " in log and f" --json {tmp_path / 'out' / 'loader.json'}" in log
    limit_s = int(log.partition(" --limit-s ")[2].split()[0])
    assert 0 < limit_s < 60
    assert f" --videos {tmp_path / 'videos'} " in (tmp_path / "out" / "training.log").read_text()


def test_on_a_gpu_the_tests_must_not_be_skipped(tmp_path):
    """The fake Python says that there is a GPU whose driver's folder the loader does not know."""
    result = run_suite(tmp_path, STEPS="training_tests", SECONDS_IN_ALL="60", JOBS="5")
    assert result.returncode == 0, result.stdout
    called = (tmp_path / "out" / "training_tests.log").read_text()
    assert "FAIL_WITHOUT_GPU=1 LD_LIBRARY_PATH=/usr/of_the_driver" in called
    assert (
        "-m pytest tests/gpu " in called
        and " -n 4 " in called
        and "-k training or localisation or activation" in called
    )


def test_the_end_of_long_logs_is_shown(tmp_path):
    result = run_suite(tmp_path, STEPS="tests", SECONDS_IN_ALL="60", GPU_SUITE_DEVICE="cpu")
    _, _, shown = result.stdout.partition("\n== tests ")
    lines = shown.partition("\n== summary")[0].split("\n")[1:-1]
    assert lines == [*map(str, range(42, 101)), "3 passed"]
    log = (tmp_path / "out" / "tests.log").read_text().splitlines()
    assert log[0].startswith("called: ") and log[-2].endswith("non-existing PPS 0 referenced") and "1" in log


def test_training_steps_are_compared_compiled_and_not(tmp_path):
    result = run_suite(tmp_path, "videos", STEPS="training compiled", SECONDS_IN_ALL="60", GPU_SUITE_DEVICE="cpu")
    assert result.returncode == 0, result.stdout
    called = {path.stem: path.read_text().splitlines()[0] for path in (tmp_path / "out").glob("*.log")}
    assert called["training_unsearched"] == called["training"] + " --no-cudnn-search"
    for size in ("", "small_"):
        eager, compiled, graphs = (called[size + name] for name in ("eager", "compiled", "graphs"))
        assert (compiled, graphs) == (eager + " --compile", compiled + " reduce-overhead")
    assert called["small_eager"] == called["eager"] + " --num-frames 32 --crop-px 56 --batch-size 8"
