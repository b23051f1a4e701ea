"""Checked videos for training, validation and prediction, from the --data option."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

from dali_pipes import Manifest, OddityKind, VideoSets, resolve_videos, scan_videos
from dali_pipes.dataset import (
    FOLDER_DATA,
    KINDS,
    LIST_EXTENSIONS,
    NOTES,
    PARTS,
    UNLABELLED_DATA,
    Item,
    class_name,
    default_cache,
    item_name,
    sort_class_names,
)
from dali_pipes.errors import InputError
from dali_pipes.system import progress_bar

from ..config.data import GENERATED_DATA
from ..config.options import Config
from ..config.run import processes_of_machine
from .demo_data import demo_folder
from .perturbed_data import perturbed_folder

VALIDATION_IS_TRAINED_ON = (
    "The validation videos are also used for training (--split train+val), so the validation accuracy is not that of "
    "unseen videos."
)
NO_VALIDATION = (
    "There are no validation videos, so the training videos are used for validation. To give validation videos, use "
    "--val-data, or train/ and val/ in --data."
)
NOTES_ON_TRAINING = NOTES | {
    "no_val": NO_VALIDATION,
    "val_is_trained_on": VALIDATION_IS_TRAINED_ON,
    "val_is_test": "{} is used for validation, so best.pt is the checkpoint with the highest accuracy on it.",
    "val_replaced": "The videos of --val-data are used for validation; {} is not used.",
    "test_unused": "The test videos in {} are not used. To evaluate them, use --eval-only CHECKPOINT and a --data that "
    "contains only them.",
    "unused_lists": "These lists in {} are not used: {}. To use one, give it as --data or --val-data.",
}
NOTES_ON_EVALUATION = {
    "no_val": "{} has no validation videos, so all its videos are evaluated.",
    "val_is_trained_on": VALIDATION_IS_TRAINED_ON,
    "test_unused": NOTES_ON_TRAINING["test_unused"],
}
"""Topic -> what is said of it; of other topics nothing."""

SHOWN_REFUSALS = 20
MAKE_FOLDER = {"demo": demo_folder, "perturbed": perturbed_folder}
Items = Sequence[Item]


def load_manifests(config: Config) -> tuple[Manifest, Manifest, list[str]]:
    """Load training and validation videos with the same classes, and remarks for the user.

    Raises:
        InputError: the data is missing, not as it should be, or has no labels.
    """
    sets, notes = list_videos(config)
    if len(sets.classes) < 2:
        raise InputError(f"{config.data}: has only the class {sets.classes[0]!r}; training needs at least two classes")
    train = scan(sets.train, sets.classes, config)
    _check_every_class(train, sets.train)
    val = train if sets.val is sets.train else scan(sets.val, sets.classes, config)
    if sets.val_is_apart:
        notes += _shared_videos(train, val)
    names = {item_name(*item) for item in sets.all_videos}
    notes += _refusals(train.refused | val.refused, len(names), f"train.csv and val.csv in {config.out}")
    damaged = {video.path: video for video in train.videos + val.videos if video.oddity(OddityKind.DAMAGED)}
    if damaged:
        path, video = next(iter(damaged.items()))
        oddities = "; ".join(map(str, video.oddities))
        notes.append(
            f"Damaged videos that are used as far as they can be decoded: {len(damaged)}, for example {path} "
            f"({oddities})"
        )
    return train, val, notes


def load_named(paths: Sequence[str], classes: list[str], config: Config) -> Manifest:
    """The videos that a command line names, in its order, with a network's classes; their own are not known.

    Raises:
        InputError: one of them cannot be read.
    """
    for path in paths:
        has_rows = path.lower().endswith(LIST_EXTENSIONS)
        if has_rows or Path(path).is_dir():
            what = "a list" if has_rows else "a folder"
            raise InputError(
                f"{path}: is {what}, not a video; to predict the videos in it, give --data {shlex.quote(path)} "
                f"--dataset {UNLABELLED_DATA}"
            )
    manifest = scan([(path, None) for path in paths], classes, config)
    for path, reason in manifest.refused.items():
        raise InputError(f"{path}: {reason}")
    return manifest


def load_for_evaluation(config: Config, classes: list[str], predict: bool) -> tuple[Manifest, Items, list[str]]:
    """Return the videos to try a trained network on, the listed items, and remarks for the user.

    The manifest has the network's classes.

    Raises:
        InputError: the data is missing or wrong, has other classes, or needs ``predict`` as it has no labels.
    """
    kind = KINDS[config.dataset]
    part = "val" if kind.has_labels(config.split) else "test"
    try:
        sets = _resolve(config, part)
    except InputError as error:
        may_lack_labels = predict and kind.takes_val_data and Path(config.val_data or config.data).exists()
        hint = f"; if the videos have no classes, add --dataset {UNLABELLED_DATA}" if may_lack_labels else ""
        raise InputError(f"{error}{hint}") from error
    items: Items = getattr(sets, part)
    _check_classes(config, sets, items, classes)
    if not predict and all(item[1] is None for item in items):
        raise InputError(f"{config.data}: has no labels, so the accuracy cannot be computed; add --predict")
    manifest = scan(items, classes, config)
    notes = _note_texts(sets, NOTES_ON_EVALUATION)
    return manifest, items, notes + _refusals(manifest.refused, len(items))


def _check_classes(config: Config, sets: VideoSets, items: Items, classes: list[str]) -> None:
    """Stop where a network with these classes is not to be tried on these videos."""
    if KINDS[config.dataset].orders_classes and sets.classes != classes:  # a submission holds their numbers
        pairs = zip_longest(sets.classes, classes, fillvalue="none")
        number, (theirs, ours) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        raise InputError(
            f"{config.data}: class {number} is {theirs} here, but {ours} in the checkpoint; "
            "both must have the same classes in the same order"
        )
    unknown = sort_class_names(
        {class_name(str(item[1])) for item in items if item[1] is not None} - set(map(class_name, classes))
    )
    if unknown:
        raise InputError(
            f"{config.data}: has the class {unknown[0]!r}, which the checkpoint does not have; "
            f"its classes are {', '.join(classes)}"
        )


def _refusals(refused: dict[str, str], files: int, named_in: str = "") -> list[str]:
    if not refused:
        return []
    notes = [f"Left out {len(refused)} of {files} videos:"]
    shown = list(refused.items())[: SHOWN_REFUSALS if named_in else None]
    notes += [f"  {path}: {reason}" for path, reason in shown]
    if len(refused) > len(shown):
        notes.append(f"  and {len(refused) - len(shown)} more, listed in {named_in}")
    return notes


def _check_every_class(train: Manifest, items: Items) -> None:
    seen = {train.classes[video.label] for video in train.videos}
    for name in train.classes:
        if name not in seen:
            listed = next((item_name(*item) for item in items if item[1] == class_name(name)), None)
            reason = f"; the first one is {listed}: {train.refused[listed]}" if listed else " (none is listed)"
            raise InputError(f"Cannot train: the class {name!r} has no training video that can be read{reason}")


def _shared_videos(train: Manifest, val: Manifest) -> list[str]:
    """A note on the validation videos that are trained on: the same file, and frames of it that both use."""
    trained: dict[str, list[range]] = {}
    for video in train.videos:
        trained.setdefault(os.path.realpath(video.path), []).append(video.used_frames)
    shared = [
        video.path
        for video in val.videos
        for frames in trained.get(os.path.realpath(video.path), ())
        if max(frames.start, video.used_frames.start) < min(frames.stop, video.used_frames.stop)
    ]
    count = len(set(shared))
    if not count:
        return []
    return [
        f"Validation videos that are also used for training: {count}, for example {shared[0]}. "
        "The validation accuracy is not that of unseen videos."
    ]


def list_videos(config: Config) -> tuple[VideoSets, list[str]]:
    """The videos to train and to validate on, and what the user should know about them.

    Raises:
        InputError: the data is missing, not as it should be, or has nothing to train on.
    """
    if not KINDS[config.dataset].has_labels(config.split):
        what = f"--split {config.split}" if config.split else f"--dataset {config.dataset}"
        raise InputError(
            f"Invalid {what}: has no labels, so it cannot be used for training; use it with --eval-only "
            "CHECKPOINT --predict"
        )
    sets = _resolve(config, "train", "val")
    if sets.parts and "train" not in sets.parts:
        held = ", ".join(sets.parts)
        raise InputError(f"{config.data}: has videos only for {held}; give the training videos with --data")
    return sets, _note_texts(sets, NOTES_ON_TRAINING)


def all_classes(config: Config) -> list[str]:
    """The classes of all videos of --data and --val-data, in order, whatever they are for."""
    classes = _resolve(replace(config, val_data=""), *PARTS).all_classes
    if not config.val_data:
        return classes
    insists = config.dataset == FOLDER_DATA and Path(config.val_data).is_dir()
    beside = resolve_videos(config.val_data, dataset=FOLDER_DATA if insists else "auto")
    return sort_class_names({*classes, *beside.all_classes})


def validation_of(config: Config) -> str:
    """The options that name a run's validation videos, however spelt: those of an ensemble must be the same."""
    name, given = ("--val-data", config.val_data) if config.val_data else ("--data", config.data)
    words = [name, given if given in GENERATED_DATA else str(Path(given).resolve())]
    if split := KINDS[config.dataset].split(config.split):
        words += ["--dataset", config.dataset, "--split", split]
    return " ".join(words)


def _resolve(config: Config, *parts: str) -> VideoSets:
    data = config.data
    if data in MAKE_FOLDER and not (config.val_data and parts == ("val",)):
        data = str(MAKE_FOLDER[data](max(1, config.workers)))
    return resolve_videos(data, val_data=config.val_data, dataset=config.dataset, split=config.split, parts=parts)


def _note_texts(sets: VideoSets, sentences: dict[str, str]) -> list[str]:
    return [sentences[note.topic].format(*note.values) for note in sets.notes if note.topic in sentences]


def scan(items: Items, classes: list[str], config: Config) -> Manifest:
    """The videos, checked by --workers processes, remembered in the cache; ``items`` are (path, class or None)."""
    progress = partial(progress_bar, title="checking videos", unit="file")
    workers = max(1, config.workers) * processes_of_machine()  # of which one checks, while the others wait
    return scan_videos(
        items,
        classes=classes,
        cache=default_cache(items),
        workers=workers,
        time_limit_s=config.time_limit_s,
        progress=progress,
    )
