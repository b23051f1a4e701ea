"""The library needs no more than it installs:
the loader and its programs run where the packages of the extra ``train`` are missing."""

import ast
import configparser
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import cv2
import pytest
from packaging.requirements import Requirement

import dali_pipes
import train
from tests.videos import write_lossless

CONFIG = configparser.ConfigParser()
CONFIG.read(Path(__file__).resolve().parents[2] / "setup.cfg")
EXTRAS = CONFIG["options.extras_require"]
LIBRARY = CONFIG["options"]["install_requires"].split()
TRAIN = EXTRAS["train"].split()
CUDA = [line for name, lines in EXTRAS.items() if name.startswith("cuda") for line in lines.split()]


def provided(requirement: str) -> set[str]:
    """Return the names under which a distribution can be imported;
    none if it is not installed, as most of the cuda extras."""
    try:
        files = metadata.files(Requirement(requirement).name)
    except metadata.PackageNotFoundError:
        return set()
    names = {file.parts[0] if file.parts[1:] else file.stem for file in files if file.parts[1:] or file.suffix == ".py"}
    return {name for name in names if name.isidentifier() and not name.startswith("__")}


def imported(package) -> set[str]:
    """Return the dotted names of all absolute imports, also those in functions."""
    found = set()
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    return found


@pytest.mark.parametrize(
    "package, own, requirements",
    [
        (dali_pipes, {"dali_pipes"}, [*LIBRARY, *CUDA]),
        (train, {"dali_pipes", "train"}, [*LIBRARY, *CUDA, *TRAIN]),
    ],
    ids=["dali_pipes", "train"],
)
def test_what_is_imported_is_installed(package, own, requirements):
    tops = {name.partition(".")[0] for name in imported(package)}
    assert {"numpy", "dataclasses"} <= tops
    assert tops - set(sys.stdlib_module_names) - own - set().union(*map(provided, requirements)) == set()


@pytest.mark.parametrize("package, requirements", [(dali_pipes, LIBRARY), (train, TRAIN)], ids=["dali_pipes", "train"])
def test_what_is_installed_is_imported(package, requirements):
    parts = {part for name in imported(package) for part in name.split(".")}  # such as torch.utils.tensorboard
    assert [requirement for requirement in requirements if not provided(requirement) & parts] == []


def test_the_programs_ask_for_what_the_extra_brings():
    asked = [[name for name in train.NEEDS if name in provided(requirement)] for requirement in TRAIN]
    assert sorted(asked) == sorted([name] for name in train.NEEDS)


def environment_without(folder, names) -> dict[str, str]:
    """Return environment variables for a Python that finds no package of these names,
    nor do the processes that it starts."""
    (folder / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "def find_others(cls, name, path=None, target=None):\n"
        f"    return None if name.partition('.')[0] in {sorted(names)!r} else find(name, path, target)\n"
        "PathFinder.find_spec = classmethod(find_others)\n"
    )
    paths = [str(folder), str(Path(dali_pipes.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def run_light(tmp_path):
    """A function that runs Python without the packages of the extra ``train``, or without those named."""

    def run(*arguments, without=None):
        names = set().union(*map(provided, TRAIN)) if without is None else without
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment_without(tmp_path, names),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def videos(tmp_path):
    for number in range(3):
        write_lossless(tmp_path / "videos" / f"class_{number % 2}" / f"{number}.avi", 12)
    return tmp_path / "videos"


def test_without_them_they_cannot_be_imported(run_light):
    for requirement in TRAIN:
        name = Requirement(requirement).name
        assert name in provided(requirement)
        ended = run_light("-c", f"import {name}")
        assert ended.returncode == 1 and ended.stderr.endswith(f"ModuleNotFoundError: No module named '{name}'\n")


SCRIPT = """
import importlib.util, json, os, sys
from dali_pipes import RandAugmentT, VideoLoader, find_videos, scan_videos

NAMES = json.loads(sys.argv[2])
with open("found.txt", "a") as file:  # in the worker processes, too: they import this file again
    print(json.dumps([name for name in NAMES if importlib.util.find_spec(name)]), file=file)

if __name__ == "__main__":
    manifest = scan_videos(find_videos(sys.argv[1]))
    policy = RandAugmentT(n=2, m=10, schedule="temporal+", translate_max_px=20)
    loader = VideoLoader(manifest, batch_size=2, num_frames=8, crop_px=32, augment=policy, device="cpu", workers=2)
    for batch in loader:
        print(json.dumps([list(batch.clips_BCTHW.shape), batch.labels_B.tolist()]))
"""


def test_the_loader_runs_without_them(tmp_path, run_light, videos):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = run_light("script.py", videos, json.dumps(train.NEEDS))
    assert ended.returncode == 0, ended.stderr[-3000:]
    shapes, labels = zip(*map(json.loads, ended.stdout.splitlines()), strict=True)
    assert all(shape == [len(labels_B), 3, 8, 32, 32] for shape, labels_B in zip(shapes, labels, strict=True))
    assert sorted(sum(labels, [])) == [0, 0, 1]
    found = (tmp_path / "found.txt").read_text().splitlines()
    assert len(found) > 1 and set(found) == {"[]"}


def test_the_programs_of_the_library_run_without_them(tmp_path, run_light, videos):
    described = run_light("-m", "dali_pipes.manifest", videos)
    assert described.returncode == 0 and "3 of 3 files" in described.stdout, described.stderr
    video = next(videos.rglob("*.avi"))
    copied = run_light("-m", "dali_pipes.transcode", videos, "copies")
    assert copied.returncode == 0 and len(list((tmp_path / "copies").rglob("*.mp4"))) == 3, copied.stderr
    for arguments in ((video, "-o", "sheet.png", "--num-frames", "4", "--size", "32"), ("-o", "schedules.png")):
        shown = run_light("-m", "dali_pipes.preview", *arguments)
        assert shown.returncode == 0, shown.stderr
        assert cv2.imread(str(tmp_path / shown.stdout.strip())).size > 0


PROGRAMS = [
    [Path(train.__file__).with_name("run.py"), "--aug", "none"],
    *(["-m", f"train.{name}"] for name in ("run", "report", "cam", "localisation", "tables", "preview")),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program[-1]))
def test_the_programs_of_train_name_the_extra(program, run_light):
    ended = run_light(*program)
    assert ended.returncode == 2 and not ended.stdout
    listed = f"{', '.join(train.NEEDS[:-1])} and {train.NEEDS[-1]}"
    assert ended.stderr == (
        f'error: Cannot import train: the packages {listed} are not installed; run pip install "dali-pipes[train]"\n'
    )


def test_a_single_package_that_is_missing_is_named(run_light):
    ended = run_light("-m", "train.report", without={"captum"})
    assert ended.returncode == 2
    assert ended.stderr == (
        'error: Cannot import train: the package captum is not installed; run pip install "dali-pipes[train]"\n'
    )


def test_mixing_and_the_network_need_no_extra(run_light):
    ended = run_light("-c", "from train.mixing import build_mix; from train.models import slowfast50; slowfast50(5)")
    assert ended.returncode == 0, ended.stderr
