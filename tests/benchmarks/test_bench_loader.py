"""The loader's benchmark: rows that a GPU is for, tried on the CPU, other sizes of clips, and rows that cannot run."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from dali_pipes import find_videos, scan_videos
from tests.videos import rgb_of, write_lossless

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from rows import dataset_rows, loader_rows  # noqa: E402

LITTLE = ["--num-frames", 8, "--crop-px", 32, "--batch-size", 2, "--workers", 1]
SHORT = ["--seconds", 0.1, "--repeats", 1, "--epochs", 0]


def bench_loader(*arguments, **environment):
    command = [sys.executable, str(BENCHMARKS / "bench_loader.py"), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_rows_of_clips_of_another_size(tmp_path, class_folders):
    rows = ["noise_alone", "augment_alone", "dali_auto_aug_alone", "torchvision_gpu"]
    files = ["--json", tmp_path / "rows.json", "--markdown", tmp_path / "rows.md"]
    result = bench_loader("--data", class_folders, "--rows", ",".join(rows), *LITTLE, *SHORT, *files)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Batches of 2 clips of 8 x 32 x 32, 1 workers" in result.stdout
    assert "RandAugment-T runs as compiled kernels on the CPU\n" in result.stdout
    report = json.loads((tmp_path / "rows.json").read_text())
    assert report["settings"]["num_frames"] == 8 and report["settings"]["crop_px"] == 32
    assert [row["name"] for row in report["results"]] == rows
    for row in report["results"]:
        assert abs(row["ms_per_batch"] * row["clips_per_s"] - 2000) < 1e-6 and row["gpu_memory_mib"] is None
    machine, command, batches, table = (tmp_path / "rows.md").read_text().strip().split("\n\n")
    assert f"Python {sys.version.split()[0]}" in machine and batches.startswith("Batches of 2 clips of 8 x 32 x 32")
    assert command.startswith("`python benchmarks/bench_loader.py --data ") and "rows." not in command
    head, _, *lines = table.splitlines()
    assert head == "| row | clips/s | spread | ms/batch | CPU ms/clip | peak MiB |"
    assert [line.split("`")[1] for line in lines] == rows


def test_a_row_without_its_library_is_left_out(tmp_path, class_folders):
    (tmp_path / "torchcodec.py").write_text("raise ImportError")
    arguments = ["--data", class_folders, "--rows", "torchcodec,noise_alone", *LITTLE, *SHORT]
    result = bench_loader(*arguments, "--markdown", tmp_path / "rows.md", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    said = 'torchcodec is not installed: run pip install -e ".[bench]"'
    assert f"torchcodec is left out: {said}\n" in result.stderr and "noise_alone" in result.stdout
    assert (tmp_path / "rows.md").read_text().endswith(f"`torchcodec` is left out: {said}.\n")


def test_torchcodec_without_ffmpeg(monkeypatch):
    def cannot(source):
        raise RuntimeError("Could not load libtorchcodec. Likely causes: ...")

    monkeypatch.setitem(sys.modules, "torchcodec", Namespace())
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", Namespace(VideoDecoder=cannot))
    said = dataset_rows.why_not_torchcodec()
    assert said.startswith("torchcodec cannot load its libraries: install those of FFmpeg") and "\n" not in said


def clip_options(**changes):
    return Namespace(**{"num_frames": 16, "crop_px": 32} | changes)


@pytest.fixture
def torchcodec():
    pytest.importorskip("torchcodec")
    pytest.importorskip("torchvision")
    if reason := dataset_rows.why_not_torchcodec():
        pytest.skip(reason)


@pytest.mark.parametrize("start, count", [(0, 9), (2, 9), (7, 16)])
def test_torchcodecs_clips_show_the_window_and_repeat_the_last_frame(torchcodec, tmp_path, monkeypatch, start, count):
    path = write_lossless(tmp_path / "a" / "1.avi", start + count, (64, 80))
    (video,) = scan_videos([(str(path), "a")]).videos
    monkeypatch.setattr(dataset_rows, "N", 0)  # of no operation the greys stay
    clip = dataset_rows.TorchcodecClip()(video, (start, count), (4, 8, 48), clip_options(), None)
    assert clip.shape == (3, 16, 32, 32) and str(clip.dtype) == "torch.float32"
    wanted = [(rgb_of(min(index, start + count - 1)) - 128) / 128 for index in range(start, start + 16)]
    assert abs(clip.mean(axis=(0, 2, 3)) - clip.new_tensor(wanted)).max() < 2 / 128


def test_frames_that_torchcodec_cannot_decode_are_found_out_once(monkeypatch):
    asked = []

    def get_frames_in_range(start, end):
        asked.append(end)
        if end > 12:
            raise RuntimeError("Requested next frame while there are no more frames left to decode.")
        return Namespace(data=range(start, end))

    decoder = Namespace(get_frames_in_range=get_frames_in_range)
    monkeypatch.setitem(sys.modules, "torchcodec", Namespace())
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", Namespace(VideoDecoder=lambda *a, **options: decoder))
    video, clip_of = Namespace(path="a.avi", num_frames=14), dataset_rows.TorchcodecClip()
    assert [list(clip_of.read(video, start, 9)) for start in (5, 4, 1)] == [
        [*range(5, 12)],
        [*range(4, 12)],
        [*range(1, 10)],
    ]
    assert asked == [14, 13, 12, 12, 10]
    with pytest.raises(RuntimeError, match="no more frames"):
        clip_of.read(Namespace(path="b.avi", num_frames=40), 30, 9)


def clips_of(class_folders, clip_of) -> list:
    videos = scan_videos(find_videos(class_folders)).videos
    dataset = dataset_rows.Windows(videos, clip_options(), clip_of)
    return [dataset[index] for index in range(len(videos))]


def test_clips_are_of_one_size(class_folders):
    pytest.importorskip("torchvision")
    for clip_of in (dataset_rows.straightforward_clip, dataset_rows.torchvision_clip):
        assert {tuple(clip.shape) for clip in clips_of(class_folders, clip_of)} == {(3, 16, 32, 32)}


def test_clips_of_torchcodec_are_of_that_size(torchcodec, class_folders):
    clips = clips_of(class_folders, dataset_rows.TorchcodecClip())
    assert {tuple(clip.shape) for clip in clips} == {(3, 16, 32, 32)} and len(clips) == 5


def test_a_row_that_is_not_there():
    result = bench_loader("--rows", "ours,theirs")
    assert result.returncode == 1 and result.stderr.startswith("Invalid --rows theirs: choose one or more of ours, ")


def test_what_has_no_time_left_is_said(class_folders):
    result = bench_loader("--data", class_folders, "--rows", "noise_alone", "--limit-s", 0, "--epochs", 0)
    assert result.returncode == 1 and "no time left for repeat 1 of noise_alone" in result.stderr


def test_every_row_says_what_it_is():
    rows = [*loader_rows.ROWS.values(), *(row for row, _ in loader_rows.GPU_ROWS.values())]
    assert all(row.__doc__.splitlines()[0].endswith(".") for row in rows)
    assert set(loader_rows.WHY_NOT) | set(loader_rows.ASKED_FOR) <= set(loader_rows.ROWS)


def test_each_row_of_the_gpu_is_a_row_and_a_decoder():
    assert {decoder for _, decoder in loader_rows.GPU_ROWS.values()} == {"cpu", "gpu"}
    for name in ("ours", "ours_no_aug", "dali_auto_aug", "decode_only"):
        found = {key: value for key, value in loader_rows.GPU_ROWS.items() if key.startswith(name)}
        row, by_decoder = getattr(loader_rows, name), {value for value in found.values()}
        assert {(row, "cpu"), (row, "gpu")} <= by_decoder
