"""``--init FILE``: a network starts from published weights or from an earlier run's.

What a file holds is recognised by its names: SlowFast 4x16 R50 as PySlowFast or PyTorchVideo name its layers, a
torchvision network's own names, or a checkpoint of this project; each also with a prefix that all names share, as
Lightning, DataParallel and torch.compile add. Nothing is taken by position or loosely: but for the classifier, every
weight of the file must be used and every weight of the network filled.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from dali_pipes.errors import InputError

from ..models.slowfast import BLOCKS, LATERAL_KERNEL
from ..models.zoo import MODELS, Network
from ..runtime.run_files import BEST, LAST, PREVIOUS
from .checkpoint import refuse_folder, weights_of
from .weights_file import USUAL_KEYS, is_weights, load_code, read_weights_file, save_code, usual_first, weights_in

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
"""A row per kind of layer of SlowFast. A layer's weights (``weight``, ``running_mean``, ...) have one name in all."""

NAMINGS = ("PySlowFast", "PyTorchVideo")
SHOWN_NAMES = 3
SHOWN_CLASSES = 3
MMACTION2_PREFIX = "cls_head."


def slowfast_names(naming: str) -> dict[str, str]:
    """Return the name here of each layer of SlowFast in ``naming``: ``s1.pathway1_stem.bn`` -> ``fast.0.1``."""
    column = 1 + NAMINGS.index(naming)
    names = {}
    for row in SLOWFAST_LAYERS:
        for p, path in enumerate(("slow", "fast")):
            for i in range(1 + len(BLOCKS)):
                for b in range(max(BLOCKS)):
                    here, there = (text.format(p=p, path=path, i=i, n=i + 1, b=b) for text in (row[0], row[column]))
                    names[there] = here
    return names


def load_pretrained(
    model: Network, path: str | Path, classes: list[str] | None = None, to_evaluate: bool = False
) -> str:
    """Fill ``model`` with the weights in a file; returns one line that says what was loaded, and what not.

    The classifier is taken if it fits the number of classes (and, of this project's checkpoints, if ``classes`` are
    those of the file), else left as it is. With published weights the network's input is set to what they were trained
    on, with this project's to what that run used.

    Args:
        model: of :func:`train.models.zoo.build_model`.
        path: written by PyTorch: weights, or a dict with the weights under a key such as ``state_dict``.
        classes: names of the model's classes in order, if known.
        to_evaluate: also the classifier must be taken, and checkpoints of this project, with settings of their own, are
            refused.

    Raises:
        InputError: the file cannot be read, or does not hold the weights of this network; ``model`` is as it was.
    """
    refuse_folder(Path(path), (BEST, LAST, PREVIOUS))
    weights, key, run = _weights(read_weights_file(path), path)
    if run and to_evaluate:
        raise InputError(
            f"{path}: is a checkpoint of this program; evaluate it with --eval-only {shlex.quote(str(path))}, "
            "without --init"
        )
    if run:
        _check_model(model.name, run["config"], path)
    weights = next((named for _, named in _unwrapped(weights) if "input_scale" in named), weights)
    own = run is not None or "input_scale" in weights
    scale = weights.pop("input_scale", torch.ones(3, 1, 1, 1))
    shift = weights.pop("input_shift", torch.zeros(3, 1, 1, 1))
    naming, weights, called = _recognise(model, weights, path, key)
    if model.name == "slowfast50":
        _check_laterals(model, weights, path)
        _check_width(model, weights, path)

    target = model.backbone.state_dict()
    classifier = _classifier_of(model)
    fits = all(name in weights and weights[name].shape == target[name].shape for name in classifier)
    other_classes = run is not None and classes is not None and list(run["classes"]) != list(classes)
    left_new = [] if fits and not other_classes else classifier
    _check_complete(weights, target, left_new, called, path)
    theirs = f"has {len(weights[classifier[1]])}" if classifier[1] in weights else ""
    if left_new and to_evaluate:
        found = f"its classifier {theirs} classes" if theirs else "it has no classifier"
        raise InputError(
            f"{path}: {found}, but the videos have {len(target[classifier[1]])} classes; "
            "give weights with a classifier for the same number of classes"
        )

    taken = {name: weights[name] for name in target if name in weights and name not in left_new}
    model.backbone.load_state_dict(target | taken)
    if own or naming == "slowfast50":
        model.input_scale.copy_(scale)
        model.input_shift.copy_(shift)
        source, seen = "weights of this program", "pixels are normalised as in these weights"
    else:
        mean, std = MODELS[model.name].mean, MODELS[model.name].std
        model.set_normalisation(mean, std)
        source = f"SlowFast, named as in {naming}" if naming in NAMINGS else f"torchvision's {naming}"
        seen = f"pixels are normalised with mean {_numbers(mean)} and standard deviation {_numbers(std)}"
    kept = f"the classifier for {len(target[classifier[1]])} classes is loaded as well"
    if left_new:
        old = f"that of the file {theirs}" if theirs else "the file has none"
        reason = "that of the file is for other classes" if fits else old
        kept = f"the classifier for {len(target[classifier[1]])} classes is new ({reason})"
    elif run is None and classes:
        kept += f", and its outputs are assigned to the classes in this order: {_in_order(classes)}"
    return f"Started from {path} ({source}): {len(taken)} weights are loaded; {kept}; {seen}."


def _classifier_of(model: Network) -> list[str]:
    return [f"{MODELS[model.name].classifier}.{kind}" for kind in ("weight", "bias")]


def _weights(content: object, path: str | Path) -> tuple[Weights, str | None, dict | None]:
    """The weights by name, the key that they have, and the whole content if it is a checkpoint of this project."""
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: contains a {type(content).__name__}, but must contain the weights of a network by name (a state "
            "dict)"
        )
    key = None if is_weights(content) else _key_of_weights(content, path)
    weights = content if key is None else content[key]
    odd = [
        str(name) for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if odd or not weights:
        reason = f"its entry {odd[0]!r} is not a weight" if odd else "it is empty"
        line = weights_in(content, load_code(path))
        hint = f"; save only the weights: {save_code(line)}" if line else ""
        raise InputError(
            f"{path}: {reason}; it must contain a network's weights by name (a state dict), at the top level or "
            f"under the key {' or '.join(USUAL_KEYS)}{hint}"
        )
    run = content if key == "model" and isinstance(content.get("config"), dict) and "classes" in content else None
    return dict(weights_of(run) if run else weights), key, run


def _key_of_weights(content: dict, path: str | Path) -> str | None:
    found = [key for key in usual_first(content) if is_weights(content[key])]
    if len(found) > 1 and found[0] not in USUAL_KEYS:
        first = save_code(f"{load_code(path)}[{found[0]!r}]")
        raise InputError(f"{path}: contains weights under {', '.join(found)}; save only those of one network: {first}")
    return next(iter(found), None) or next((key for key in USUAL_KEYS if isinstance(content.get(key), dict)), None)


def _unwrapped(weights: Weights) -> Iterator[tuple[str, Weights]]:
    """The weights as they are named, then without a prefix that all names share, such as ``module.``, then the next."""
    prefix = ""
    while True:
        yield prefix, dict(weights)
        firsts = {name.partition(".")[0] if "." in name else "" for name in weights}
        if len(firsts) != 1 or "" in firsts:
            return
        (first,) = firsts
        prefix += f"{first}."
        weights = {name.removeprefix(f"{first}."): value for name, value in weights.items()}


def _check_model(name: str, config: dict, path: str | Path) -> None:
    trained = config.get("model", "slowfast50")  # runs from before there was a choice do not say
    if trained != name:
        raise InputError(f"{path}: contains the weights of {trained}, not of {name}; use --model {trained}")


def _recognise(
    model: Network, weights: Weights, path: str | Path, key: str | None
) -> tuple[str, Weights, dict[str, str]]:
    """Return whose names the weights have, the weights by this project's names, and the file's names of its layers."""
    for _, named in _unwrapped(weights):
        if known := _as_named_here(model, named):
            if len(known[1]) < len(weights):
                raise InputError(
                    f"{path}: contains a layer twice, under the names of {known[0]} and of this program; keep "
                    "one of them"
                )
            return known
    prefix = _partial_prefix(model, weights)
    if prefix:
        others = [name for name in weights if not name.startswith(prefix)]
        place = "" if key is None else f"[{key!r}]"
        line = save_code(
            f"{{name: value for name, value in {load_code(path)}{place}.items() if name.startswith({prefix!r})}}"
        )
        raise InputError(
            f"{path}: contains the weights of {model.name} under names that start with {prefix}, and other entries "
            f"({len(others)}): {_some(others)}; if the other entries are not needed, save only the weights: {line}"
        )
    expected = (
        "SlowFast 4x16 R50 of PySlowFast or PyTorchVideo"
        if model.name == "slowfast50"
        else f"torchvision's {model.name}"
    )
    by_whom = ", as mmaction2 names them" if any(name.startswith(MMACTION2_PREFIX) for name in weights) else ""
    raise InputError(
        f"{path}: contains no weights of {model.name}; its first names are {_some(weights)}{by_whom}; "
        f"it must contain the weights of {expected}, or of a run of this program"
    )


def _as_named_here(model: Network, weights: Weights) -> tuple[str, Weights, dict[str, str]] | None:
    for naming in NAMINGS if model.name == "slowfast50" else ():
        names = slowfast_names(naming)
        if any(name.rpartition(".")[0] in names for name in weights):
            renamed = {_rename(name, names): value for name, value in weights.items()}
            return naming, renamed, {here: there for there, here in names.items()}
    return (model.name, weights, {}) if any(name in weights for name in model.backbone.state_dict()) else None


def _partial_prefix(model: Network, weights: Weights) -> str | None:
    """The prefix of a whole network of this kind, where the file also holds other weights."""
    needed = [
        name
        for name in model.backbone.state_dict()
        if name not in _classifier_of(model) and not name.endswith("num_batches_tracked")
    ]
    spelt = [slowfast_names(naming) for naming in NAMINGS if model.name == "slowfast50"]
    first_names = [needed[0], *(_rename(needed[0], {here: there for there, here in names.items()}) for names in spelt)]
    for end in first_names:
        for prefix in (name.removesuffix(end) for name in weights if name.endswith(f".{end}")):
            inside = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            known = _as_named_here(model, inside)
            if known and all(name in known[1] for name in needed):
                whole = prefix.removesuffix("backbone.")  # of this program's networks, with the scale of their pixels
                return whole if f"{whole}input_scale" in weights else prefix
    return None


def _rename(name: str, layers: dict[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layers[layer]}.{kind}" if layer in layers else name


def _check_laterals(model: Network, weights: Weights, path: str | Path) -> None:
    kernels = {value.shape[2] for name, value in weights.items() if name.startswith("laterals.") and value.ndim == 5}
    if kernels - {LATERAL_KERNEL}:
        raise InputError(
            f"{path}: its lateral convolutions cover {max(kernels)} frames, but those of slowfast50 cover "
            f"{LATERAL_KERNEL}; these are the weights of another SlowFast, such as 8x8: use those of SlowFast 4x16 R50"
        )
    theirs, ours = (
        "norm_relu" if any(re.match(r"laterals\.\d\.1\.", name) for name in names) else "plain"
        for names in (weights, model.backbone.state_dict())
    )
    if theirs != ours:
        what = {"norm_relu": "have batch norm and ReLU", "plain": "are plain"}
        raise InputError(
            f"{path}: its lateral convolutions {what[theirs]}, but the network's {what[ours]}; use --lateral {theirs}"
        )


def _check_width(model: Network, weights: Weights, path: str | Path) -> None:
    """Check the channels of the slow pathway's stem, to which all others are in proportion."""
    stem = "slow.0.0.weight"
    both = (weights, model.backbone.state_dict())
    theirs, ours = (state[stem].shape[0] if stem in state and state[stem].ndim == 5 else None for state in both)
    if None not in (theirs, ours) and theirs != ours:
        raise InputError(f"{path}: its width is {theirs}, but the network's is {ours}; use --width {theirs}")


def _check_complete(
    weights: Weights, target: Weights, left_new: list[str], called: dict[str, str], path: str | Path
) -> None:
    """Check that all weights fit: each is used and has its layer's shape; only ``left_new``, the classifier, stays."""
    needed = [name for name in target if name not in left_new and not name.endswith("num_batches_tracked")]
    missing = [_rename(name, called) for name in needed if name not in weights]
    unknown = [_rename(name, called) for name in weights if name not in target]
    shapes = {
        name: (tuple(weights[name].shape), tuple(target[name].shape))
        for name in target
        if name in weights and name not in left_new
    }
    other = [
        f"{_rename(name, called)} {theirs}, not {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours
    ]
    wrong = {"missing": missing, "unknown": unknown, "with another shape": other}
    found = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names)
    if found:
        raise InputError(f"{path}: does not contain the weights of this network: {found}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def _in_order(classes: list[str]) -> str:
    """The first and the last of them with their numbers."""
    shown = [f"{number} {name}" for number, name in enumerate(classes)]
    return ", ".join(shown if len(shown) <= SHOWN_CLASSES + 1 else [*shown[:SHOWN_CLASSES], "...", shown[-1]])


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values))
