"""What a run replaces and moves in its folder, and what it leaves alone: runs at work, inputs, what no run wrote."""

import json
import shutil
from pathlib import Path

import pytest

from dali_pipes import find_videos, scan_videos
from dali_pipes.system.locks import IN_USE, exclusive_use
from tests.training.test_run import HERE, run_here
from tests.videos import dark_and_bright, write_lossless


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return dark_and_bright(tmp_path_factory.mktemp("split"), train=(2, 2), val=(1, 1))


OPTIONS = [*HERE, "--aug", "none", "--max-steps", 1, "--no-tensorboard"]


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    run_here("--data", videos, *OPTIONS, "--out", out)
    return out


@pytest.fixture
def out(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_training_in_one_folder_is_refused(videos, out):
    before = contents(out)
    other = ["--data", videos, *OPTIONS, "--seed", 7, "--lr", 0.5, "--out", out]
    with exclusive_use(out, ""):
        for more in ([], ["--resume", "auto"]):
            said = run_here(*other, *more, expect=2).stderr.splitlines()[-1]
            assert said.startswith(f"error: {out}: is in use by process ") and said.endswith(
                "; choose another folder with --out"
            )
        said = run_here("--resume", out / "last.pt", "--workers", 0, expect=2).stderr
        assert f"{out}: is in use by process " in said
        assert contents(out) | {IN_USE: b""} == before | {IN_USE: b""}
    run_here(*other)
    assert json.loads((out / "config.json").read_text())["seed"] == 7 and not (out / IN_USE).exists()


def test_a_second_evaluation_in_one_folder_is_refused(trained, tmp_path):
    with exclusive_use(tmp_path, ""):
        said = run_here("--eval-only", trained / "last.pt", "--workers", 0, "--out", tmp_path, expect=2).stderr
    assert f"error: {tmp_path}: is in use by process " in said and not list(tmp_path.iterdir())


def test_an_evaluation_at_work_is_not_moved_away(videos, out):
    (out / "evaluation").mkdir()
    with exclusive_use(out / "evaluation", ""):
        said = run_here("--data", videos, *OPTIONS, "--seed", 7, "--out", out, expect=2).stderr
    assert f"error: {out / 'evaluation'}: is in use by process " in said and (out / "evaluation").is_dir()


def test_nothing_is_left_of_a_folder_that_was_made_for_nothing(tmp_path):
    run_here("--data", tmp_path / "missing", "--out", tmp_path / "out", expect=2)
    run_here("--resume", tmp_path / "missing" / "last.pt", expect=2)
    assert not list(tmp_path.iterdir())


def test_lists_that_are_read_are_neither_moved_nor_replaced(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        scan_videos(find_videos(videos / split)).save(f"{split}.csv")  # a list, and like a run's own
    before = contents(tmp_path)
    for _ in range(2):
        said = run_here("--data", "train.csv", "--val-data", "val.csv", *OPTIONS, "--out", ".", expect=2).stderr
        assert (
            "error: Invalid --data train.csv: is in ., where a run writes its own train.csv; "
            "choose another folder with --out" in said
        )
    assert contents(tmp_path) == before
    run_here("--data", "train.csv", "--val-data", "val.csv", *OPTIONS, "--out", "out")
    said = run_here("--init", "out/last.pt", "--data", videos, *OPTIONS, "--out", "out", expect=2).stderr
    assert "Invalid --init out/last.pt: is in out, where a run writes its own last.pt" in said
    (tmp_path / "predictions.csv").write_bytes(before["val.csv"])
    said = run_here(
        "--eval-only", "out/last.pt", "--data", "predictions.csv", "--predict", "--workers", 0, "--out", ".", expect=2
    ).stderr
    assert "Invalid --data predictions.csv: is in ., where a run writes its own predictions.csv" in said


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.json", '{"name": "my project"}'),
        ("samples.png", "mine"),
        ("last.pt", "somebody else's"),
        ("val.csv", "path,label\n"),
    ],
)
def test_what_no_run_wrote_stays(videos, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    said = run_here("--data", videos, *OPTIONS, "--out", tmp_path, expect=2).stderr
    assert (
        f"error: {tmp_path / name}: was not written by a run (there is no config.json of a run in this folder); "
        "choose another" in said
    )
    assert contents(tmp_path) == {name: content.encode()}


def test_a_list_of_the_users_in_a_runs_folder_stays(videos, out):
    (out / "train.csv").write_text("path,label\nmine.avi,up\n")
    said = run_here("--data", videos, *OPTIONS, "--out", out, expect=2).stderr
    assert f"error: {out / 'train.csv'}: was not written by a run (it is not a list that a run saved" in said
    assert (out / "train.csv").read_text() == "path,label\nmine.avi,up\n"


def test_folders_of_videos_stay_whatever_they_are_called(tmp_path):
    """Classes named like folders that programs make beside a run."""
    for label in ("cam", "evaluation"):
        for number in range(2):
            write_lossless(tmp_path / label / f"{number}.avi", 18 + number, (48, 64))
    draft = tmp_path / "cam" / f".{'0' * 12}.{'1' * 16}.draft"  # below the run's folder: not the run's
    draft.touch()
    for _ in range(2):
        run_here("--data", tmp_path, *OPTIONS, "--out", tmp_path)
    assert {path.name for path in (tmp_path / "cam").iterdir()} == {"0.avi", "1.avi", draft.name}
    assert (tmp_path / "earlier-1" / "config.json").exists() and not (tmp_path / "earlier-1" / "cam").exists()
