"""The whole app from the command line, on tiny videos."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dali_pipes import InputError, Manifest
from dali_pipes.loader import clip_reader, why_no_gpu
from tests.training.narrow import narrow_network
from tests.videos import dark_and_bright
from train.config.options import Config, small
from train.data.loaders import notes_on_devices
from train.data.videos import list_videos
from train.run import main
from train.runtime.run_folder import move_earlier_run

ROOT = Path(__file__).resolve().parents[2]
RUN_PY, NARROW = (str(ROOT / "train" / "run.py"),), ("-m", "tests.training.narrow")
TINY = "--num-frames 16 --crop-px 48 --batch-size 4 --eval-clips 2 --device cpu --lr 1e-3 --workers 1".split()
HERE = [*TINY, *"--workers 0 --no-tensorboard".split()]


def run(*arguments, expect=0, cwd=ROOT, program=RUN_PY):
    """The app as a program of its own: seconds go into its start, and more into the weights of the real network."""
    command = [sys.executable, *program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, cwd=cwd, timeout=300)
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    return checked(result, expect)


def run_here(*arguments, expect=0):
    """The app with a small network in this process, which has its imports done; most tests need no more."""
    out, err = io.StringIO(), io.StringIO()
    with narrow_network(), redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in arguments])
    return checked(subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue()), expect)


def checked(result, expect):
    assert result.returncode == expect, result.stderr[-3000:]
    assert "\r" not in result.stderr  # no bar is redrawn where that is not seen
    return result


def metrics(out: Path) -> list[dict]:
    with open(out / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def split_videos(tmp_path_factory) -> Path:
    """Dark against bright videos: easy to learn."""
    return dark_and_bright(tmp_path_factory.mktemp("split"), train=(4, 4), val=(2, 2))


def test_two_epochs_end_to_end(split_videos, tmp_path):
    out = tmp_path / "out"
    result = run("--aug", "randaug_t", "--data", split_videos, *TINY, "--epochs", 2, "--out", out, program=NARROW)
    rows = metrics(out)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert all(float(row["clips_per_s"]) > 0 and 0 <= float(row["data_wait_fraction"]) <= 1 for row in rows)
    assert {path.name for path in out.iterdir()} == {
        "best.pt",
        "config.json",
        "curves.png",
        "environment.json",
        "last.pt",
        "metrics.csv",
        "previous.pt",
        "samples.png",
        "tensorboard",
        "train.csv",
        "val.csv",
        "val_classes.csv",
        "val_confusion.png",
        "val_predictions.csv",
    }
    assert json.loads((out / "config.json").read_text())["randaug_n"] == 2
    checkpoint = torch.load(out / "last.pt", weights_only=True)
    assert checkpoint["epoch"] == 2 and checkpoint["classes"] == ["bright", "dark"]
    assert "8 training and 4 validation videos of 2 classes" in result.stdout and "Traceback" not in result.stderr


def test_the_real_network_takes_a_step(split_videos, tmp_path):
    """All other runs here are of a small one."""
    options = [*TINY, "--eval-clips", 1, "--max-steps", 1, "--no-tensorboard"]
    run("--aug", "randaug_t", "--data", split_videos, *options, "--out", tmp_path)
    weights = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert len(metrics(tmp_path)) == 1 and sum(value.numel() for value in weights.values()) > 33e6


def test_an_earlier_run_is_kept(split_videos, tmp_path):
    for seed in (1, 2, 3):
        run_here("--data", split_videos, *HERE, "--aug", "none", "--seed", seed, "--max-steps", 1, "--out", tmp_path)
    configs = [tmp_path / folder / "config.json" for folder in ("earlier-1", "earlier-2", ".")]
    assert [json.loads(path.read_text())["seed"] for path in configs] == [1, 2, 3]
    assert json.loads(configs[2].read_text())["device"] == "cpu"  # resolved, not auto
    run_here("--data", tmp_path / "missing", "--out", tmp_path, expect=2)
    assert (tmp_path / "last.pt").exists() and not (tmp_path / "earlier-3").exists()


def test_an_earlier_run_that_cannot_be_moved(tmp_path, monkeypatch):
    names = ["last.pt", "previous.pt", "metrics.csv", "config.json"]
    for name in names:
        (tmp_path / name).touch()
    small().save(tmp_path / "config.json")
    rename = Path.rename

    def refuse(path, target):
        if path.name == "last.pt" or path.parent != tmp_path:
            return rename(path, target)
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(
        InputError, match=rf"^{tmp_path}: the earlier run there cannot be moved .*denied.*another --out"
    ):
        move_earlier_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)  # what was moved is back


def test_same_seed_same_losses_whatever_the_workers(split_videos, tmp_path):
    """Also in another process, where sets of names are in another order."""
    losses = []
    for name, options in (("a", ["--workers", 2]), ("b", []), ("c", ["--seed", 1])):
        arguments = ["--data", split_videos, *HERE, "--epochs", 1, "--out", tmp_path / name, *options]
        run(*arguments, program=NARROW) if name == "a" else run_here(*arguments)
        losses.append([row[key] for row in metrics(tmp_path / name) for key in ("train_loss", "val_loss")])
    assert losses[0] == losses[1] != losses[2]


def test_training_with_mixes(split_videos, tmp_path):
    options = ["--data", split_videos, *HERE, "--aug", "none", "--mix", "framecutmixup,cubecutmix", "--mix-prob", 0.5]
    losses = []
    for name in "ab":
        result = run_here(*options, "--epochs", 6, "--eval-every", 6, "--out", tmp_path / name)
        rows = metrics(tmp_path / name)
        losses.append([row["train_loss"] for row in rows])
        assert "mix framecutmixup,cubecutmix" in result.stdout
        assert all(0 <= float(row["train_top1"]) <= 100 for row in rows)
    assert losses[0] == losses[1] and min(map(float, losses[0])) < 0.6  # chance is 0.69
    assert json.loads((tmp_path / "a" / "config.json").read_text())["mix_prob"] == 0.5


@pytest.mark.parametrize("aug", ["none", "randaug"])
def test_a_short_try_without_validation_data(split_videos, tmp_path, aug):
    result = run_here("--aug", aug, "--data", split_videos / "val", *HERE, "--max-steps", 1, "--out", tmp_path)
    assert "the training videos are used for validation" in result.stdout and len(metrics(tmp_path)) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_why_there_is_no_gpu_is_said(split_videos, tmp_path):
    tiny = [option for option in TINY if option not in ("--device", "cpu")]
    options = ["--data", split_videos, *tiny, "--workers", 0, "--max-steps", 1, "--out", tmp_path]
    assert re.search(r"Running on the CPU, because PyTorch cannot use a GPU: \w.+\.\n", run_here(*options).stdout)
    message = r"error: Invalid --device 'cuda': needs an NVIDIA GPU that PyTorch can use \(\w.+\); choose cpu\n"
    assert re.search(message, run_here(*options, "--device", "cuda", expect=2).stderr)


@pytest.mark.parametrize(
    "error, said",
    [
        (
            RuntimeError("Found no NVIDIA driver on your system. Please check"),
            "Found no NVIDIA driver on your system (start Docker with --gpus all)",
        ),
        (
            RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update"),
            "The NVIDIA driver on your system is too old (found version 11040)",
        ),
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA enabled"),
    ],
)
def test_the_reason_is_one_sentence(error, said, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(torch.cuda, "init", fail)
    assert why_no_gpu() == said


def test_why_the_gpu_does_not_decode_is_said(monkeypatch):
    """The choice alone: nothing here needs a GPU."""
    monkeypatch.setattr(clip_reader, "DALI_VERSION", (1, 34))
    loader = SimpleNamespace(
        device=torch.device("cuda", 0), decoder="cpu", reader="clips", manifest=Manifest([], []), workers=2
    )
    whole = SimpleNamespace(device=torch.device("cuda", 0), decoder="gpu")
    (note,) = notes_on_devices(Config(), {"the training videos": whole, "the validation videos": loader})
    assert note.startswith(
        "Decoding the validation videos on the CPU, because the GPU cannot decode them: "
        "decoding on the GPU needs DALI 1.48 or newer, but the version is"
    )
    assert not notes_on_devices(Config(decoder="cpu"), {"the videos": loader})


def test_what_the_folders_mean_is_said(split_videos, tmp_path):
    (tmp_path / "data").mkdir()
    for name, part in (("train", "train"), ("test", "val")):
        shutil.copytree(split_videos / part, tmp_path / "data" / name)
    (tmp_path / "data" / "train" / "nothing here").mkdir()
    sets, notes = list_videos(Config(data=str(tmp_path / "data")))
    assert len(sets.train) > 0 and {Path(path).parts[-3] for path, _ in sets.val} == {"test"}
    assert "nothing here" not in sets.classes
    assert notes == [
        f"{tmp_path}/data/test is used for validation, so best.pt is the checkpoint with the highest accuracy on it.",
        f"These folders in {tmp_path}/data/train contain no videos and are not used as classes: nothing here.",
    ]


def test_folders_of_another_user_are_named(tmp_path, monkeypatch):
    """A file in the way stands for missing rights: the superuser has them all."""
    (tmp_path / "cache").touch()
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path / "cache"))
    result = run_here("--out", tmp_path / "out", expect=2)
    assert (
        f"error: {tmp_path}/cache/demo-1/train/down: cannot be created as a folder (Not a directory)" in result.stderr
    )


def test_compiling_without_a_compiler(split_videos, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CC", "")
    result = run_here("--data", split_videos, *HERE, "--max-steps", 1, "--out", tmp_path, "--compile", expect=2)
    assert "error: Invalid --compile: needs a C compiler such as gcc, which is not installed" in result.stderr


def test_csv_with_its_own_validation_data(split_videos, tmp_path):
    lines = [f"{path},{path.parent.name}" for path in (split_videos / "train").rglob("*.avi")]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *lines]))
    data = ["--data", tmp_path / "train.csv", "--val-data", split_videos / "val"]
    run_here(*data, *HERE, "--aug", "none", "--max-steps", 1, "--out", tmp_path / "o")
    assert len(metrics(tmp_path / "o")) == 1


def test_an_official_dataset_with_a_missing_video(split_videos, tmp_path):
    lists, videos = tmp_path / "mod-ucf101" / "annotations", tmp_path / "mod-ucf101" / "videos"
    lists.mkdir(parents=True)
    videos.mkdir()
    lines = {"train": [], "val": []}
    for path in sorted(split_videos.rglob("*.avi")):
        split, label = path.parts[-3:-1]
        name = f"video_{split}_{len(lines[split])}.avi"
        (videos / name).symlink_to(path)
        lines[split].append(f"{name} {1 if label == 'dark' else 2}")
    lines["train"].append("video_train_missing.avi 1")
    for name, listed in (
        ("train", lines["train"]),
        ("validation", lines["val"]),
        ("test", []),
        ("classInd", ["1 dark", "2 bright"]),
    ):
        (lists / f"mod-ucf101-{name}.txt").write_text("\n".join(listed))
    options = [
        "--data",
        tmp_path,
        "--dataset",
        "vipriors",
        *HERE,
        "--aug",
        "none",
        "--max-steps",
        1,
        "--out",
        tmp_path / "o",
    ]
    result = run_here(*options)
    assert "8 training and 4 validation videos of 2 classes" in result.stdout
    assert "Left out 1 of 13 videos" in result.stdout and "video_train_missing.avi: No such file" in result.stdout
    assert torch.load(tmp_path / "o" / "last.pt", weights_only=True)["classes"] == ["dark", "bright"]
    both = run_here(*options, "--split", "train+val")
    assert (
        "12 training and 4 validation" in both.stdout
        and "The validation videos are also used for training (--split train+val)" in both.stdout
    )
    (lists / "mod-ucf101-classInd.txt").write_text("1 dark\n2 bright\n3 grey")
    with open(lists / "mod-ucf101-train.txt", "a") as file:
        file.write("\nvideo_train_grey.avi 3")
    message = "the class 'grey' has no training video that can be read; the first one is"
    assert message in run_here(*options, expect=2).stderr


def test_bad_videos_are_named_and_left_out(split_videos, tmp_path):
    shutil.copytree(split_videos / "val", tmp_path / "data")
    (tmp_path / "data" / "dark" / "empty.avi").touch()
    (tmp_path / "data" / "dark" / "text.avi").write_text("hello")
    result = run_here("--data", tmp_path / "data", *HERE, "--aug", "none", "--max-steps", 1, "--out", tmp_path / "o")
    assert "Left out 2 of 6 videos" in result.stdout
    assert "empty.avi: is empty (0 bytes)" in result.stdout and "text.avi: cannot be read as video" in result.stdout


def bad_inputs(folder: Path) -> dict[str, tuple[list, str]]:
    for name in ("nothing", "text/a", "text/b", "zero/a", "zero/b", "one/a"):
        (folder / name).mkdir(parents=True)
    for label in "ab":
        (folder / "text" / label / "text.avi").write_text("this is not a video")
        (folder / "zero" / label / "zero.avi").touch()
    (folder / "one" / "a" / "any.avi").touch()
    no_gpu = "x" if torch.cuda.is_available() else "cuda:99"
    return {
        "missing folder": (["--data", folder / "missing"], "missing: no such folder or file"),
        "empty folder": (["--data", folder / "nothing"], "nothing: contains no videos"),
        "a text file named .avi": (["--data", folder / "text"], "text.avi: cannot be read as video"),
        "zero-length file": (["--data", folder / "zero"], "zero.avi: is empty (0 bytes)"),
        "one class": (["--data", folder / "one"], "has only the class 'a'; training needs at least two"),
        "no --data": (["--data", ""], "Invalid --data ''"),
        "unknown --aug": (["--aug", "mixup"], "argument --aug: invalid choice: 'mixup'"),
        "unknown --mix": (["--mix", "mixip"], "Invalid --mix 'mixip': choose one of mixup, none, cutout"),
        "unknown option": (["--colour"], "unrecognized arguments: --colour"),
        "no GPU": (["--device", no_gpu], f"Invalid --device '{no_gpu}'"),
        "unwritable --out": (["--data", folder / "text", "--out", "/proc/nowhere"], "/proc/nowhere"),
    }


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path / "cache"))
    for what, (arguments, sentence) in bad_inputs(tmp_path).items():
        # once as a program, for its exit code
        call = partial(run, cwd=tmp_path) if what == "missing folder" else run_here
        result = call(*arguments, expect=2)
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and sentence in errors[0], (what, result.stderr)
        assert "Traceback" not in result.stderr, what
    assert not list(tmp_path.glob("cache/demo-*"))  # nobody waits for demo videos to hear that there is no GPU


def test_run_py_is_short_and_light():
    source = (ROOT / "train" / "run.py").read_text()
    assert len(source.splitlines()) < 80
    script = str(ROOT / "train" / "run.py")
    code = (
        "import runpy, sys; sys.argv = ['x']; "
        f"runpy.run_path({script!r}, run_name='__mp_main__'); print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "train")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    assert result.stdout.strip() == "False"


def test_nothing_in_train_shadows_the_standard_library():
    """``python train/run.py`` puts train/ first on the import path."""
    names = {path.stem for path in (ROOT / "train").glob("*.py")} - {"__init__"}
    assert not names & set(sys.stdlib_module_names)


def test_real_clips_train_and_evaluate(shared_clips, tmp_path):
    result = run_here("--data", shared_clips / "actions", *HERE, "--max-steps", 3, "--out", tmp_path)
    assert "9 training and 9 validation videos of 6 classes" in result.stdout and len(metrics(tmp_path)) == 1
