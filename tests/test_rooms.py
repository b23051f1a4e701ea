"""What may import what: in both packages the folders are floors,
and a file imports from its own floor and those below."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {  # package -> its folders from the bottom up; "" are the files beside them, the programs and the public names
    "dali_pipes": (
        "deprecated errors hints lazy python_values version",
        "system",
        "decode",
        "dataset",
        "plan",
        "augment",
        "pictures",
        "loader",
        "",
    ),
    "train": ("runtime models mixing", "config", "data weights", "engine", "analysis report", "paper", ""),
}
MOST_FILES, MOST_LINES = 12, 400
SOURCES = {package: sorted((ROOT / package).rglob("*.py")) for package in FLOORS}
STUBS = {package: sorted((ROOT / package).rglob("*.pyi")) for package in FLOORS}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_folder_is_on_a_floor():
    for package, floors in FLOORS.items():
        names = {name for words in floors for name in words.split()}
        folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
        files = {path.stem for path in (ROOT / package).glob("*.py")} & names
        assert folders | files == names


def imports_of(path: Path) -> list[tuple[str, str]]:
    """(module, name) of everything that a file imports, also within functions; (module, "") of a plain import."""
    found = []
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [(module, alias.name) for alias in node.names]
    return found


def floor_of(module: str) -> int:
    package, *names = module.split(".")
    room = names[0] if names else ""
    floors = [words.split() or [""] for words in FLOORS[package]]
    return next((floor for floor, rooms in enumerate(floors) if room in rooms), len(floors) - 1)


@pytest.mark.parametrize("package", FLOORS)
def test_imports_go_downwards(package):
    upwards = [
        f"{module_of(path)} imports {module}"
        for path in [*SOURCES[package], *STUBS[package]]
        for module, _ in imports_of(path)
        if module.split(".")[0] == package and floor_of(module) > floor_of(module_of(path))
    ]
    assert not upwards


@pytest.mark.parametrize("package", FLOORS)
def test_no_imports_in_a_circle(package):
    """Neither folders of one floor nor files of one folder import each other."""
    modules = {module_of(path) for path in SOURCES[package]}
    home_of = {
        (module_of(path), name): module for path in STUBS[package] for module, name in imports_of(path)
    }  # a room's public names, by the modules in which they are
    arrows: dict[str, set[str]] = {}
    for path in SOURCES[package]:
        source = module_of(path)
        for module, name in imports_of(path):
            target = f"{module}.{name}" if f"{module}.{name}" in modules else home_of.get((module, name), module)
            if target in modules and target != source and not source.startswith(f"{target}."):
                arrows.setdefault(source, set()).add(target)
                if room(source) != room(target):
                    arrows.setdefault(f"folder {room(source)}", set()).add(f"folder {room(target)}")
    for start in arrows:
        seen, waiting = set(), list(arrows[start])
        while waiting:
            module = waiting.pop()
            assert module != start, f"{start} imports itself by way of {sorted(seen)}"
            if module not in seen:
                seen.add(module)
                waiting += arrows.get(module, ())


def test_modules_are_imported_by_statements():
    """But for the public names, which are imported when they are first used."""
    by_name = {
        path.name
        for package in FLOORS
        for path in SOURCES[package]
        for module, name in imports_of(path)
        if module == "importlib" and name in ("", "import_module") or name == "__import__"
    }
    assert by_name == {"lazy.py"}


def test_no_public_name_is_that_of_a_module_beside_it():
    """Importing the module would put it in the name's place."""
    for package in FLOORS:
        for path in STUBS[package]:
            beside = {other.stem for other in path.parent.iterdir() if other.suffix == ".py" or other.is_dir()}
            assert not beside & {name for _, name in imports_of(path)}, path


def room(module: str) -> str:
    """The folder of a module, or itself if it lies beside the folders."""
    return ".".join(module.split(".")[:2])


def test_train_uses_public_names_of_the_library():
    wrong = [
        f"{module_of(path)} imports {name} from {module}"
        for path in [*SOURCES["train"], *sorted((ROOT / "examples").glob("*.py"))]
        for module, name in imports_of(path)
        if module.split(".")[0] == "dali_pipes" and not is_public(module, name)
    ]
    assert not wrong


def is_public(module: str, name: str) -> bool:
    if module in ("dali_pipes.deprecated", "dali_pipes.errors"):
        return not name.startswith("_")
    return module.count(".") < 2 and name in getattr(import_module(module), "__all__", ())


def test_the_library_imports_torch_in_one_room():
    rooms = {
        module_of(path).rpartition(".")[0]
        for path in SOURCES["dali_pipes"]
        for module, _ in imports_of(path)
        if module.split(".")[0] in ("torch", "torchvision") or module.startswith("nvidia.dali.plugin.pytorch")
    }
    assert rooms == {"dali_pipes.loader"}


@pytest.mark.parametrize("package", FLOORS)
def test_folders_and_files_stay_small(package):
    folders: dict[Path, list[Path]] = {}
    for path in SOURCES[package]:
        folders.setdefault(path.parent, []).append(path)
        assert len(path.read_text().splitlines()) <= MOST_LINES, path
    assert all(len(files) <= MOST_FILES for files in folders.values())


def test_what_others_import_stays_where_it_is():
    """The contract with other programs; the whole of it is on docs/api.md."""
    public = {
        "dali_pipes": "OPS augment_clip schedule_levels RandAugmentT rand_augment_t apply_ops scan_videos Manifest "
        "VideoInfo ClipSampler VideoLoader ClipBatch InputError VideoError find_videos find_splits Segment DATASETS "
        "OfficialLists",
        "train.mixing": "MIXES build_mix",
        "train.models": "slowfast50",
    }
    for module, names in public.items():
        assert all(hasattr(import_module(module), name) for name in names.split()), module


def exists(module: str, name: str) -> bool:
    """Whether a module has a name, which may be that of a module in it."""
    if hasattr(import_module(module), name):
        return True
    try:
        return bool(import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def test_what_benchmarks_and_pages_import_exists():
    """No test runs all of them, so that a renamed module or name would only be missed when somebody measures."""
    missing = [
        f"{path.relative_to(ROOT)} imports {name} from {module}"
        for folder in ("benchmarks", "docs", "examples", "tests/gpu")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module, name in imports_of(path)
        if module.split(".")[0] in FLOORS and name and not exists(module, name)
    ]
    assert not missing
