"""What can drift in docker/ is seen without a Docker engine; docker/check.sh builds the image and runs it."""

import configparser
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
README = (DOCKER / "README.md").read_text()
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
ALL_EXTRAS = CONFIG["options.extras_require"]
EXTRAS = {name: lines for name, lines in ALL_EXTRAS.items() if name.startswith("cuda")}


def instructions() -> list[tuple[str, str]]:
    """(name, rest) of each instruction, its lines joined."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def rests(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def requirements(text: str) -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("--")]
    return {requirement.name: requirement for requirement in found}


def let_through(path: str) -> bool:
    """Whether .dockerignore leaves ``path`` in the context:
    the last line that fits it, or a folder above it, decides."""
    path, ignored = Path(path), False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#"):
            names = path.parts if "**/" in line else [path, *path.parents[:-1]]
            if any(fnmatch(str(name), pattern) for name in names):
                ignored = not line.startswith("!")
    return not ignored


def test_each_variant_is_an_extra_and_the_default_is_cuda110():
    assert "VARIANT=cuda110" in rests("ARG")
    assert {path.stem for path in DOCKER.glob("cuda*.txt")} == set(EXTRAS)


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_pinned_versions_are_those_that_setup_cfg_wants(extra):
    wanted = requirements("\n".join((CONFIG["options"]["install_requires"], ALL_EXTRAS["train"], EXTRAS[extra])))
    pinned = requirements((DOCKER / f"{extra}.txt").read_text() + (DOCKER / "requirements.txt").read_text())
    assert set(pinned) == set(wanted)
    for name, requirement in pinned.items():
        (pin,) = requirement.specifier
        assert pin.operator == "==" and wanted[name].specifier.contains(pin.version), name
    shown = re.search(rf"^\| `{extra}`.*$", README, flags=re.MULTILINE).group().split("|")
    versions = [next(iter(pinned[name].specifier)).version for name in ("torch", f"nvidia-dali-{extra}")]
    assert [cell.split()[0] for cell in shown[3:5]] == [version.split("+")[0] for version in versions]
    assert shown[2].split(",")[0].strip() in (ROOT / "README.md").read_text()


def test_what_is_copied_exists_and_is_let_through():
    sources = [source for rest in rests("COPY") for source in rest.split()[:-1]]
    for extra in EXTRAS:
        for source in sources:
            path = source.replace("${VARIANT}", extra)
            assert (ROOT / path).exists() and (path == "." or let_through(path)), path


def test_the_context_is_what_the_image_needs():
    kept = [
        path.relative_to(ROOT) for name in ("dali_pipes", "train", "examples") for path in (ROOT / name).rglob("*.*")
    ]
    kept = [str(path) for path in kept if "__pycache__" not in path.parts and path.suffix != ".pyc"]
    data = [f"train/{name}" for name in CONFIG["options.package_data"]["train"].split()]
    files = ["setup.py", "setup.cfg", CONFIG["metadata"]["license_files"]]
    files.append(CONFIG["metadata"]["long_description"].removeprefix("file: "))
    assert len(kept) > 40 and set(data) <= set(kept) and all(map(let_through, kept + files))
    left_out = (
        ".git/config tests/conftest.py runs/latest/last.pt docs/report.jpg train/__pycache__/run.pyc docker/check.sh"
    )
    assert not any(map(let_through, left_out.split()))


def test_commands_and_options_are_real():
    from train.config.command_line import _parser

    own = {name for action in _parser()._actions for name in action.option_strings}
    docker = {"--rm", "--gpus", "--shm-size", "--stop-timeout", "--user", "--build-arg"}
    texts = [README, *rests("CMD"), (DOCKER / "check.sh").read_text().partition("\ntrain=")[2]]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - docker
    assert named and named <= own
    scripts = {path for text in texts for path in re.findall(r"\b(?:train|docker)/\w+\.(?:py|sh)", text)}
    assert scripts >= {"train/run.py", "docker/check.sh"} and all((ROOT / path).is_file() for path in scripts)
    arguments = {argument.split("=")[0] for argument in re.findall(r"--build-arg (\w+=?)", README)}
    assert arguments and arguments <= {rest.split("=")[0] for rest in rests("ARG")}
    assert "docker build -f docker/Dockerfile" in README and all(
        (DOCKER / link).exists() for link in re.findall(r"\]\(([^):]+)\)", README)
    )


def test_mount_points_are_made_for_every_user():
    (made,) = [command for rest in rests("RUN") for command in rest.split("&&") if "install --directory" in command]
    assert "--mode=1777" in made
    inside = {
        mount.split(":")[1]
        for mount in re.findall(r'-v "?([^\s"]+)"? ', "".join(re.findall(r"```bash\n.*?```", README, flags=re.DOTALL)))
    }
    assert inside == set(shlex.split(made)[3:]) == {"/cache", "/app/runs", "/data"}
    settings = " ".join(rests("ENV"))
    assert "DALI_PIPES_CACHE=/cache" in settings and rests("WORKDIR") == ["/app"]


def test_it_runs_as_a_user_and_sees_the_video_decoder():
    settings = dict(setting.split("=", 1) for rest in rests("ENV") for setting in rest.split())
    assert {"compute", "utility", "video"} == set(settings["NVIDIA_DRIVER_CAPABILITIES"].split(","))
    assert rests("USER") == ["1000:1000"] and rests("ENTRYPOINT") == ['["tini", "--"]']
    assert instructions().index(("USER", "1000:1000")) > max(
        index for index, (name, _) in enumerate(instructions()) if name in ("RUN", "COPY")
    )


def test_the_messages_that_the_page_quotes_are_the_programs():
    sources = [
        (ROOT / "dali_pipes" / path).read_text()
        for path in (
            "loader/devices.py",
            "decode/dali.py",
            "loader/workers.py",
            "system/files.py",
            "dataset/sources.py",
        )
    ]
    for quoted in re.findall(r'"([^"$]+)"', re.sub(r"```.*?```", "", README, flags=re.DOTALL)):
        part = max(re.split(r"/dev/shm|\d+|\(.*\)|\.\.\.", quoted), key=len).strip()
        assert len(part) > 10 and any(part in source for source in sources), quoted
