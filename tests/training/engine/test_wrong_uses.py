"""Evaluations that are asked for in a wrong way: each is one sentence, and exit code 2."""

from pathlib import Path

import pytest
import torch

from tests.training.evaluated import with_changes
from tests.videos import write_lossless

pytestmark = pytest.mark.usefixtures("narrow")


def wrong_uses(folder: Path, networks: Path) -> dict[str, tuple[list, str]]:
    last, other = networks / "a" / "last.pt", networks / "b" / "last.pt"
    (folder / "text.pt").write_text("Hello, this is not a checkpoint.\n")
    (folder / "cut").mkdir()
    with open(last, "rb") as file:
        (folder / "cut" / "last.pt").write_bytes(file.read(last.stat().st_size // 2))
    (folder / "cut" / "previous.pt").symlink_to(last)
    torch.save({"a": 1}, folder / "foreign.pt")
    write_lossless(folder / "data" / "dark" / "a.avi", 10)
    write_lossless(folder / "data" / "walking" / "b.avi", 10)
    pair = ["--ensemble", last, other]
    return {
        "missing file": (["--eval-only", folder / "no.pt"], "no.pt: No such file or directory"),
        "a folder": (["--eval-only", folder], f"{folder}: is a folder; give a checkpoint file such as best.pt"),
        "a run": (
            ["--eval-only", last.parent],
            f"{last.parent}: is the folder of a run; give a checkpoint, such as {last.parent}/best.pt",
        ),
        "text file": (["--eval-only", folder / "text.pt"], "text.pt: is cut off, damaged or not a checkpoint"),
        "cut off": (["--eval-only", folder / "cut" / "last.pt"], "last.pt: is cut off, damaged or not a checkpoint"),
        "cut off, with another": (
            ["--eval-only", folder / "cut" / "last.pt"],
            f"another checkpoint is {folder}/cut/previous.pt",
        ),
        "foreign": (["--eval-only", folder / "foreign.pt"], "foreign.pt: is not a checkpoint of train/run.py"),
        "--predict alone": (
            ["--predict"],
            "Invalid --predict: needs a network; add --eval-only CHECKPOINT, --ensemble",
        ),
        "--predict twice": (
            ["--eval-only", last, "--predict", "a.mp4", "--data", folder, "--split", "1"],
            "Invalid --data, --split: cannot be combined with --predict a.mp4, which already names the videos; "
            "leave out one of them",
        ),
        "--predict a folder": (
            ["--eval-only", last, "--predict", folder],
            f"{folder}: is a folder, not a video; to predict the videos in it, give --data {folder} --dataset "
            "unlabelled",
        ),
        "--predict nothing": (
            ["--eval-only", last, "--predict", folder / "data" / "dark" / "a.avi", folder / "gone.avi"],
            "gone.avi: No such file",
        ),
        "--eval-only alone": (
            ["--eval-only"],
            "Invalid --eval-only: must be followed by a CHECKPOINT, or combined with --init FILE",
        ),
        "--init without data": (
            ["--eval-only", "--init", last],
            "Invalid --eval-only: needs --data with videos of all classes of the published weights",
        ),
        "--init and videos": (
            ["--eval-only", "--init", last, "--predict", "a.mp4"],
            "Invalid --predict a.mp4: cannot be combined with --init FILE --eval-only, because published weights "
            "contain no",
        ),
        "--predict an empty path": (
            ["--eval-only", last, "--predict", ""],
            "Invalid --predict '': must be followed by video files",
        ),
        "--init without labels": (
            ["--eval-only", "--init", last, "--data", folder, "--dataset", "unlabelled", "--predict"],
            "Invalid --eval-only: needs --data with videos of all classes",
        ),
        "--init and --lr": (
            ["--eval-only", "--init", last, "--data", folder, "--lr", 1, "--aug", "none"],
            "Invalid --lr, --aug: cannot be given for an evaluation, which trains nothing",
        ),
        "both networks": (["--eval-only", last, "--init", last], "Invalid --init: cannot be given for an evaluation"),
        "--lr": (["--eval-only", last, "--lr", 1e-3], "Invalid --lr: cannot be given for an evaluation"),
        "two of no use": (
            ["--eval-only", last, "--epochs", 1, "--model", "s3d"],
            "Invalid --epochs, --model: cannot be given for",
        ),
        "--resume": (["--eval-only", last, "--resume", last], "Invalid --resume: cannot be combined with --eval-only"),
        "both": ([*pair, "--eval-only", last], "Invalid --eval-only: cannot be combined with --ensemble"),
        "unknown class": (
            ["--eval-only", last, "--data", folder / "data"],
            f"{folder}/data: has the class 'walking', which the checkpoint does not have; its classes are bright, dark",
        ),
        "precision": (
            ["--eval-only", last, "--precision", "bf16", "--data", folder / "gone"],
            "Invalid --precision bf16: needs a GPU",
        ),
        "missing data": (["--eval-only", last, "--data", folder / "gone"], "gone: no such folder or file"),
        "few weights": (
            [*pair, "--ensemble-weights", 1],
            "Invalid --ensemble-weights 1: must be one number for each of the 2 checkpoints",
        ),
        "many weights": (
            [*pair, "--ensemble-weights", 1, 1, 1],
            "Invalid --ensemble-weights 1 1 1: must be one number",
        ),
        "weights alone": (
            ["--eval-only", last, "--ensemble-weights", 1],
            "Invalid --ensemble-weights 1: must be one number for each of the 0",
        ),
        "negative weight": (
            [*pair, "--ensemble-weights", 2, -1],
            "Invalid --ensemble-weights 2 -1: must be finite, not negative",
        ),
        "no weight": (
            [*pair, "--ensemble-weights", 0, 0],
            "Invalid --ensemble-weights 0 0: must be finite, not negative, and not all 0",
        ),
        "not a number": ([*pair, "--ensemble-weights", "nan", 1], "Invalid --ensemble-weights nan 1"),
        "two crops": (["--eval-only", last, "--eval-crops", 2], "argument --eval-crops: invalid choice: 2"),
        "split": (
            ["--eval-only", last, "--split", "test"],
            "Invalid --split test: needs a --dataset with official splits",
        ),
        "another version": (
            ["--eval-only", with_changes(last, folder / "v.pt", config={"colour": 1})],
            "v.pt: was written by another version of this program, with the unknown settings colour",
        ),
    }


def test_wrong_uses_are_one_sentence_and_exit_code_2(app, networks, tmp_path):
    for what, (arguments, sentence) in wrong_uses(tmp_path, networks).items():
        error = app(*arguments, expect=2).error
        assert sentence in error, (what, error)


@pytest.mark.parametrize("content", [b"", b"text that starts with a t", b"X is no checkpoint"])
def test_a_small_file_of_something_else_is_no_checkpoint(app, tmp_path, content):
    (tmp_path / "small.pt").write_bytes(content)
    error = app("--eval-only", tmp_path / "small.pt", expect=2).error
    assert "small.pt: is cut off, damaged or not a checkpoint" in error
