"""``--init FILE``: a network starts from published weights or from an earlier run's.

What a file holds is recognised by its names: SlowFast 4x16 R50 as PySlowFast or PyTorchVideo name its layers, a
torchvision network's own names, or a checkpoint of this project. Nothing is taken by position or loosely: but for the
classifier, every weight of the file must be used and every weight of the network filled. Files are read as data alone,
never as programs.
"""

import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from dali_pipes.errors import InputError

from .checkpoint import refuse_folder, weights_of
from .models import MODELS, Network
from .run_files import BEST, LAST, PREVIOUS
from .slowfast import BLOCKS, LATERAL_KERNEL

Weights = dict[str, torch.Tensor]

SLOWFAST_LAYERS = (
    # here, PySlowFast, PyTorchVideo; path 0 is slow, stages count from 0 (the stem) here and from 1 in PySlowFast
    ("{path}.0.0", "s1.pathway{p}_stem.conv", "blocks.0.multipathway_blocks.{p}.conv"),
    ("{path}.0.1", "s1.pathway{p}_stem.bn", "blocks.0.multipathway_blocks.{p}.norm"),
    ("laterals.{i}.0", "s{n}_fuse.conv_f2s", "blocks.{i}.multipathway_fusion.conv_fast_to_slow"),
    ("laterals.{i}.1", "s{n}_fuse.bn", "blocks.{i}.multipathway_fusion.norm"),
    *(
        (
            "{path}.{i}.{b}." + here,
            "s{n}.pathway{p}_res{b}." + pyslowfast,
            "blocks.{i}.multipathway_blocks.{p}.res_blocks.{b}." + pytorchvideo,
        )
        for here, pyslowfast, pytorchvideo in (
            ("shortcut.0", "branch1", "branch1_conv"),
            ("shortcut.1", "branch1_bn", "branch1_norm"),
            ("conv_a", "branch2.a", "branch2.conv_a"),
            ("norm_a", "branch2.a_bn", "branch2.norm_a"),
            ("conv_b", "branch2.b", "branch2.conv_b"),
            ("norm_b", "branch2.b_bn", "branch2.norm_b"),
            ("conv_c", "branch2.c", "branch2.conv_c"),
            ("norm_c", "branch2.c_bn", "branch2.norm_c"),
        )
    ),
    ("classifier", "head.projection", "blocks.6.proj"),
)
"""A row per kind of layer of SlowFast. A layer's weights (``weight``, ``running_mean``, ...) are named the same in all."""

NAMINGS = ("PySlowFast", "PyTorchVideo")
SHOWN_NAMES = 3
ZIP, OLD_TORCH, PICKLE = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80"
"""First bytes of PyTorch's checkpoints, of those before 1.6, and of any pickle."""


def slowfast_names(naming: str) -> dict[str, str]:
    """Name of each layer of SlowFast in ``naming`` -> its name here: ``s1.pathway1_stem.bn`` -> ``fast.0.1``."""
    column = 1 + NAMINGS.index(naming)
    names = {}
    for row in SLOWFAST_LAYERS:
        for p, path in enumerate(("slow", "fast")):
            for i in range(1 + len(BLOCKS)):
                for b in range(max(BLOCKS)):
                    here, there = (text.format(p=p, path=path, i=i, n=i + 1, b=b) for text in (row[0], row[column]))
                    names[there] = here
    return names


def load_pretrained(model: Network, path: str | Path, classes: list[str] | None = None) -> str:
    """Fill ``model`` with the weights in a file; returns one line that says what was loaded, and what not.

    The classifier is taken if it fits the number of classes (and, of this project's checkpoints, if ``classes`` are
    those of the file), else left as it is. With published weights the network's input is set to what they were trained
    on, with this project's to what that run used.

    Args:
        model: of :func:`train.models.build_model`.
        path: written by PyTorch: weights, or a dict with the weights under ``model_state`` or ``model``.
        classes: names of the model's classes in order, if known.

    Raises:
        InputError: the file cannot be read, or does not hold the weights of this network; ``model`` is as it was.
    """
    content = _read(path)
    weights, run = _weights(content, path)
    if run:
        _check_model(model.name, run["config"], path)
    own = run is not None or "input_scale" in weights
    scale = weights.pop("input_scale", torch.ones(3, 1, 1, 1))
    shift = weights.pop("input_shift", torch.zeros(3, 1, 1, 1))
    weights = _without_prefix(weights, "backbone.")
    naming, weights, called = _recognise(model, weights, path)
    if model.name == "slowfast50":
        _check_laterals(model, weights, path)

    target = model.backbone.state_dict()
    classifier = [f"{MODELS[model.name].classifier}.{kind}" for kind in ("weight", "bias")]
    fits = all(name in weights and weights[name].shape == target[name].shape for name in classifier)
    other_classes = run is not None and classes is not None and list(run["classes"]) != list(classes)
    left_new = [] if fits and not other_classes else classifier
    _check_complete(weights, target, left_new, called, path)

    taken = {name: weights[name] for name in target if name in weights and name not in left_new}
    model.backbone.load_state_dict(target | taken)
    if own or naming == "slowfast50":
        model.input_scale.copy_(scale)
        model.input_shift.copy_(shift)
        source, seen = "weights of this program", "pixels scaled as there"
    else:
        mean, std = MODELS[model.name].mean, MODELS[model.name].std
        model.expect(mean, std)
        source = f"SlowFast, named as in {naming}" if naming in NAMINGS else f"torchvision's {naming}"
        seen = f"pixels scaled as there: mean {_numbers(mean)}, deviation {_numbers(std)}"
    kept = f"the classifier of {len(target[classifier[1]])} classes too"
    if left_new:
        old = f"the file's is of {len(weights[classifier[1]])}" if classifier[1] in weights else "the file has none"
        reason = "the file's is of other classes" if fits else old
        kept = f"the classifier of {len(target[classifier[1]])} classes is new ({reason})"
    return f"Started from {path} ({source}): {len(taken)} weights; {kept}; {seen}."


def _read(path: str | Path) -> Any:
    refuse_folder(Path(path), (BEST, LAST, PREVIOUS))
    try:
        with open(path, "rb") as file:
            start = file.read(len(OLD_TORCH))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if start != OLD_TORCH and not start.startswith(ZIP):
        what = "something else"
        if start.startswith(PICKLE):
            what = "a pickle of another program, such as PySlowFast's Caffe2 weights (.pkl),"
        raise InputError(
            f"{path}: is {what} instead of weights saved by PyTorch (.pt, .pth, .pyth); "
            "docs/models.md says where to get them"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|[Uu]nsupported class (\S+)", str(error))
        what = f" such as {found.group(1) or found.group(2)}" if found else ""
        raise InputError(
            f"{path}: holds other objects than weights, numbers and text{what}, which could run any program and are "
            f"not loaded; if you trust the file, write its weights alone: torch.save(torch.load({str(path)!r}, "
            'map_location="cpu", weights_only=False)["model_state"], "weights.pt")'
        ) from None
    except Exception as error:  # of a dozen kinds, as torch reads without checking
        reason = f"{error}".strip().splitlines()[0] if f"{error}".strip() else type(error).__name__
        raise InputError(f"{path}: is damaged or cut short ({reason}); copy or download it again") from None


def _weights(content: object, path: str | Path) -> tuple[dict[str, torch.Tensor], dict | None]:
    """The weights by name, and the whole content if it is a checkpoint of this project."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, it must hold the weights of a network by name")
    place = next((key for key in ("model", "model_state") if isinstance(content.get(key), dict)), None)
    weights = content[place] if place else content
    odd = [
        str(name) for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if odd or not weights:
        reason = f"such as {odd[0]}" if odd else "it is empty"
        raise InputError(
            f"{path}: holds more than weights, or none ({reason}); it must hold a network's weights by name"
        )
    for prefix in ("module.", "model."):  # of networks that were wrapped
        weights = _without_prefix(weights, prefix)
    run = content if place == "model" and isinstance(content.get("config"), dict) and "classes" in content else None
    return dict(weights_of(run) if run else weights), run


def _without_prefix(weights: dict, prefix: str) -> dict:
    if not all(name.startswith(prefix) for name in weights):
        return weights
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _check_model(name: str, config: dict, path: str | Path) -> None:
    trained = config.get("model", "slowfast50")  # runs from before there was a choice do not say
    if trained != name:
        raise InputError(f"{path}: holds the weights of {trained}, not of {name}; use --model {trained}")


def _recognise(model: Network, weights: Weights, path: str | Path) -> tuple[str, Weights, dict[str, str]]:
    """Whose names the weights have; the weights by this project's names; what its layers are called in the file."""
    for naming in NAMINGS if model.name == "slowfast50" else ():
        names = slowfast_names(naming)
        if any(name.rpartition(".")[0] in names for name in weights):
            renamed = {_rename(name, names): value for name, value in weights.items()}
            if len(renamed) < len(weights):
                raise InputError(f"{path}: holds a layer twice, by the names of {naming} and of this program")
            return naming, renamed, {here: there for there, here in names.items()}
    if any(name in weights for name in model.backbone.state_dict()):
        return model.name, weights, {}
    known = (
        "SlowFast 4x16 R50 of PySlowFast or PyTorchVideo"
        if model.name == "slowfast50"
        else f"torchvision's {model.name}"
    )
    raise InputError(
        f"{path}: holds no weights of {model.name}, its first names are {_some(weights)}; it must hold those of "
        f"{known}, or of a run of this program"
    )


def _rename(name: str, layers: dict[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layers[layer]}.{kind}" if layer in layers else name


def _check_laterals(model: Network, weights: Weights, path: str | Path) -> None:
    kernels = {value.shape[2] for name, value in weights.items() if name.startswith("laterals.") and value.ndim == 5}
    if kernels - {LATERAL_KERNEL}:
        raise InputError(
            f"{path}: its lateral convolutions look at {max(kernels)} frames, those of slowfast50 at {LATERAL_KERNEL}: "
            "these are the weights of another SlowFast, such as 8x8; use those of SlowFast 4x16 R50"
        )
    theirs, ours = ("norm_relu" if any(re.match(r"laterals\.\d\.1\.", name) for name in names) else "plain"
                    for names in (weights, model.backbone.state_dict()))  # fmt: skip
    if theirs != ours:
        what = {"norm_relu": "have batch norm and ReLU", "plain": "are plain"}
        raise InputError(
            f"{path}: its lateral convolutions {what[theirs]}, the network's {what[ours]}; use --lateral {theirs}"
        )


def _check_complete(
    weights: Weights, target: Weights, left_new: list[str], called: dict[str, str], path: str | Path
) -> None:
    """Every weight is used, each of the network's filled, all of one shape; but for ``left_new``, the classifier."""
    needed = [name for name in target if name not in left_new and not name.endswith("num_batches_tracked")]
    missing = [_rename(name, called) for name in needed if name not in weights]
    unknown = [_rename(name, called) for name in weights if name not in target]
    shapes = {name: (tuple(weights[name].shape), tuple(target[name].shape)) for name in target
              if name in weights and name not in left_new}  # fmt: skip
    other = [
        f"{_rename(name, called)} {theirs}, not {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours
    ]
    wrong = {"missing": missing, "unknown here": unknown, "of another shape": other}
    found = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names)
    if found:
        raise InputError(f"{path}: does not hold the weights of this network: {found}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values))
