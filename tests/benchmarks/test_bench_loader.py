"""The loader's benchmark: rows that a GPU is for, tried on the CPU, and other sizes of clips."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import loader_rows  # noqa: E402


def bench_loader(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "bench_loader.py"), *map(str, arguments)], capture_output=True, text=True
    )


def test_rows_of_clips_of_another_size(tmp_path, class_folders):
    rows = ["noise_alone", "augment_alone", "dali_auto_aug_alone", "torchvision_gpu"]
    sizes = ["--num-frames", 8, "--crop-px", 32, "--batch-size", 2, "--workers", 1]
    limits = ["--seconds", 0.1, "--repeats", 1, "--epochs", 0, "--json", tmp_path / "rows.json"]
    result = bench_loader("--data", class_folders, "--rows", ",".join(rows), *sizes, *limits)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "batches of 2 clips of 8 x 32 x 32, 1 workers" in result.stdout
    report = json.loads((tmp_path / "rows.json").read_text())
    assert report["settings"]["num_frames"] == 8 and report["settings"]["crop_px"] == 32
    assert [row["name"] for row in report["results"]] == rows
    for row in report["results"]:
        assert abs(row["ms_per_batch"] * row["clips_per_s"] - 2000) < 1e-6 and row["gpu_memory_mib"] is None


def test_a_row_that_is_not_there():
    result = bench_loader("--rows", "ours,theirs")
    assert result.returncode == 1 and result.stderr.startswith("Invalid --rows theirs: choose one or more of ours, ")


def test_what_has_no_time_left_is_said(class_folders):
    result = bench_loader("--data", class_folders, "--rows", "noise_alone", "--limit-s", 0, "--epochs", 0)
    assert result.returncode == 1 and "no time left for repeat 1 of noise_alone" in result.stderr


def test_each_row_of_the_gpu_is_a_row_and_a_decoder():
    assert {decoder for _, decoder in loader_rows.GPU_ROWS.values()} == {"cpu", "gpu"}
    for name in ("ours", "ours_no_aug", "dali_auto_aug", "decode_only"):
        found = {key: value for key, value in loader_rows.GPU_ROWS.items() if key.startswith(name)}
        row, by_decoder = getattr(loader_rows, name), {value for value in found.values()}
        assert {(row, "cpu"), (row, "gpu")} <= by_decoder
