"""Files of weights that PyTorch wrote, read as data alone: nothing that a file names is imported or called.

A file with other objects in it, such as a whole network, is refused with the line that writes its weights alone.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dali_pipes.errors import InputError

USUAL_KEYS = ("model", "model_state", "model_state_dict", "state_dict")
"""Usual keys of the weights in a checkpoint: this program's, PySlowFast's, PyTorch's tutorials' and Lightning's."""
ZIP, OLD_TORCH, PICKLE = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80"
"""First bytes of PyTorch's checkpoints, of those before 1.6, and of any pickle."""
PICKLES_BEFORE_1_6 = 4
"""A number, a version, the machine, and then what was saved."""
TENSOR_MAKERS = ("torch._utils._rebuild_", "torch._tensor._rebuild_")
WEIGHT_NAMES = (*TENSOR_MAKERS, "collections.OrderedDict", "torch.storage.", "torch.nn.parameter.")
"""First parts of the names in a file that holds weights alone; it may also name what is in ``torch`` itself."""
MAIN = "__main__."
STANDARD_MODULES = {"torch", "__main__", "__builtin__", "copy_reg", *sys.stdlib_module_names}


class Placeholder:
    """A stand-in for an object that a pickle would make."""

    called = ""
    """Name of its class, or of the function that would make it."""
    state: Any
    items: dict

    def __new__(cls, *args: object, **options: object) -> "Placeholder":
        """Make a stand-in, whatever the arguments."""
        self = super().__new__(cls)
        self.state, self.items = None, {}
        return self

    def __init__(self, *args: object, **options: object):
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.items[key] = value

    def __call__(self, *args: object, **options: object) -> "Placeholder":
        """Return another stand-in, as for what a function of the file would return."""
        return Placeholder()

    def append(self, value: object) -> None:
        """Ignore an item of a list or set."""
        pass

    add = extend = append


class _Reader(pickle.Unpickler):
    """An unpickler that makes a :class:`Placeholder` wherever a pickle names a class or function."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.named: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        called = f"{module}.{name}"
        self.named.append(called)
        return OrderedDict if called == "collections.OrderedDict" else type("_", (Placeholder,), {"called": called})

    def persistent_load(self, pid: Any) -> Any:
        is_class = isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module"  # before PyTorch 1.6
        return pid[1] if is_class else Placeholder()


@dataclass(frozen=True)
class Outline:
    """The structure of a file, without its numbers."""

    content: Any
    """Dicts, lists and text as they are, a :class:`Placeholder` for everything else."""
    foreign: list[str]
    """Names of classes and functions that weights do not need."""


def outline(path: str | Path) -> Outline | None:
    """Return the structure of a file of PyTorch; None if it cannot be found out."""
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return _outline(file, PICKLES_BEFORE_1_6)
            with zipfile.ZipFile(file) as archive:
                pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(pickled) as member:
                    return _outline(member, 1)
    except Exception:  # of any kind, as a damaged file is read
        return None


def _outline(file: Any, pickles: int) -> Outline:
    for _ in range(pickles):
        reader = _Reader(file)
        content = reader.load()
    needless = [
        name
        for name in dict.fromkeys(reader.named)
        if not name.startswith(WEIGHT_NAMES) and name.rpartition(".")[0] != "torch"
    ]
    return Outline(content, needless)


def is_weights(value: object) -> bool:
    """Return whether a value is a dict of tensors by their names, in a file or in an :class:`Outline`."""
    items = value.items if isinstance(value, Placeholder) else value  # of a class that extends dict
    return isinstance(items, Mapping) and bool(items) and all(map(_is_weight, items, items.values()))


def _is_weight(name: object, value: object) -> bool:
    is_tensor = (
        value.called.startswith(TENSOR_MAKERS) if isinstance(value, Placeholder) else isinstance(value, torch.Tensor)
    )
    return isinstance(name, str) and is_tensor


def _is_network(value: object) -> bool:
    return (
        isinstance(value, Placeholder)
        and isinstance(value.state, dict)
        and {"_parameters", "_modules"} <= set(value.state)
    )


def read_weights_file(path: str | Path) -> Any:
    """Load a file of ``torch.save`` that holds only weights, numbers and text, on the CPU.

    Raises:
        InputError: it cannot be read, or holds something else; says how its weights can be written alone.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(OLD_TORCH))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if start != OLD_TORCH and not start.startswith(ZIP):
        what = "a file of another kind"
        if start.startswith(PICKLE):
            what = "a pickle of another program, such as PySlowFast's Caffe2 weights (.pkl)"
        raise InputError(
            f"{path}: is {what}, but must be weights saved by PyTorch (.pt, .pth, .pyth); "
            "docs/models.md says where to get them"
        )
    _refuse_other_archives(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a dozen kinds, as torch reads without checking
        found = outline(path)
        if found and found.foreign:
            raise InputError(f"{path}: {_refusal(path, found)}") from None
        reason = f"{error}".strip().splitlines()[0] if f"{error}".strip() else type(error).__name__
        raise InputError(f"{path}: is damaged or cut off ({reason}); copy or download it again") from None


def _refuse_other_archives(path: str | Path) -> None:
    """Refuse a TorchScript file: until PyTorch 2.5 ``torch.load`` runs its own loader on it, weights only or not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        weights = f'torch.jit.load({str(path)!r}, map_location="cpu").state_dict()'
        raise InputError(
            f"{path}: is a TorchScript program; if you trust it, save only its weights: {save_code(weights)}"
        )
    if "data.pkl" not in names:
        raise InputError(f"{path}: is a zip archive that torch.save did not write; save the weights with torch.save")


def _refusal(path: str | Path, found: Outline) -> str:
    what = (
        f"contains objects other than weights, numbers and text, such as {found.foreign[0]}, which could run any "
        "program and are not loaded; "
    )
    weights = weights_in(found.content, load_code(path, weights_only=False))
    if weights:
        return f"{what}if you trust the file, save only its weights{_where(found.foreign)}: {save_code(weights)}"
    keys = [key for key in found.content if isinstance(key, str)] if isinstance(found.content, Mapping) else []
    among = f" among {', '.join(map(repr, keys))}" if keys else ""
    return (
        f"{what}no weights by name (a state dict) were found{among}; save only the weights, with the program "
        "that made the file: "
        f"{save_code('model.state_dict()')}"
    )


def load_code(path: str | Path, weights_only: bool = True) -> str:
    """Return Python code that loads a file."""
    return f'torch.load({str(path)!r}, map_location="cpu", weights_only={weights_only})'


def save_code(weights: str) -> str:
    """Return Python code that writes what ``weights`` gives to a file of its own."""
    return f'torch.save({weights}, "weights.pt")'


def weights_in(content: Any, loaded: str) -> str | None:
    """Return Python code for the weights in what ``loaded`` gives; None if there are none."""
    places = [(content, loaded)]
    for depth in range(2):
        inside = [(value, expression) for value, expression in places if expression.count("[") == depth]
        places += [
            (value[key], f"{expression}[{key!r}]")
            for value, expression in inside
            if isinstance(value, Mapping)
            for key in usual_first(value)
        ]
    for value, expression in places:
        if _is_network(value):
            return f"{expression}.state_dict()"
        if is_weights(value):
            return f"dict({expression})"
    if isinstance(content, Mapping) and any(map(_is_weight, content, content.values())):
        return f"{{name: value for name, value in {loaded}.items() if isinstance(value, torch.Tensor)}}"
    return None


def usual_first(content: Mapping) -> list[str]:
    """Return the keys that are text, the usual keys of weights first."""
    keys = [key for key in content if isinstance(key, str)]
    return [key for key in USUAL_KEYS if key in keys] + [key for key in keys if key not in USUAL_KEYS]


def _where(foreign: list[str]) -> str:
    """The condition under which the line works: that all can be imported that the file names."""
    packages = dict.fromkeys(name.partition(".")[0] for name in foreign)
    needed = [f"{package} can be imported" for package in packages if package not in STANDARD_MODULES]
    needed += [f"{name.removeprefix(MAIN)} is defined" for name in foreign if name.startswith(MAIN)]
    return f", where {' and '.join(needed)}" if needed else ""
