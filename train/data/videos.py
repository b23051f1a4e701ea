"""From the --data option to checked videos for training, validation and prediction."""

import os
import shlex
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from dali_pipes import Manifest, OddKind, find_videos, scan_videos
from dali_pipes.dataset import (
    DATASETS,
    FOLDER_DATA,
    LIST_EXTENSIONS,
    VIDEO_EXTENSIONS,
    Item,
    Listed,
    Part,
    class_name,
    default_cache,
    find_splits,
    find_unlabelled,
    in_order,
    item_name,
    list_files,
    may_be_list,
    subfolders,
)
from dali_pipes.errors import InputError
from dali_pipes.system import progress_bar

from ..config.options import UNLABELLED_DATA, Config, processes_of_machine
from .demo_data import demo_folder
from .perturbed_data import perturbed_folder

VALIDATION_IS_TRAINED_ON = "The validation videos are trained on too (--split train+val): their accuracy says little."
NO_VALIDATION = "No validation videos (--val-data, or train/ and val/ in --data): evaluating on the training videos."

SHOWN_REFUSALS = 20
MAKE_FOLDER = {"demo": demo_folder, "perturbed": perturbed_folder}
Items = Sequence[Item]


def load_manifests(config: Config) -> tuple[Manifest, Manifest, list[str]]:
    """Training and validation videos with the same classes, and what the user should know about them.

    Raises:
        InputError: the data is missing, not as it should be, or has no labels.
    """
    if config.dataset == UNLABELLED_DATA or config.split == "test":
        what = f"--split {config.split}" if config.split else f"--dataset {config.dataset}"
        raise InputError(f"{what} has no labels to train on: it is for --eval-only CHECKPOINT --predict")
    train_items, val_items, classes, notes = list_videos(config)
    if len(classes) < 2:
        raise InputError(f"{config.data}: holds the one class {classes[0]!r}, training needs at least two")
    train = scan(train_items, classes, config)
    _check_every_class(train, train_items)
    val = train if val_items is train_items else scan(val_items, classes, config)
    if val is not train and config.split != "train+val":
        notes += _shared_videos(train, val)
    names = {item_name(*item) for item in (*train_items, *val_items)}
    notes += _refusals(train.refused | val.refused, len(names), f"train.csv and val.csv in {config.out}")
    damaged = {video.path: video for video in train.videos + val.videos if video.oddity(OddKind.DAMAGED)}
    if damaged:
        path, video = next(iter(damaged.items()))
        odd = "; ".join(map(str, video.odd))
        notes.append(f"{len(damaged)} videos are damaged and used as far as they can be decoded, such as {path}: {odd}")
    return train, val, notes


def load_named(paths: Sequence[str], classes: list[str], config: Config) -> Manifest:
    """The videos that a command line names, in its order, with a network's classes; their own are not known.

    Raises:
        InputError: one of them cannot be read.
    """
    for path in paths:
        has_rows = path.lower().endswith(LIST_EXTENSIONS)
        if has_rows or Path(path).is_dir():
            what = "a list; for the videos" if has_rows else "a folder; for all videos"
            raise InputError(f"{path}: is {what} in it: --data {shlex.quote(path)} --dataset {UNLABELLED_DATA}")
    manifest = scan([(path, None) for path in paths], classes, config)
    for path, reason in manifest.refused.items():
        raise InputError(f"{path}: {reason}")
    return manifest


def load_for_evaluation(config: Config, classes: list[str], predict: bool) -> tuple[Manifest, Items, list[str]]:
    """The videos that a trained network is to be tried on, with its classes, as they are listed, and what the user should know
    about them.

    Raises:
        InputError: the data is missing or not as it should be, has other classes, or needs ``predict`` as it has no labels.
    """
    notes = []
    items: Items
    if config.dataset == UNLABELLED_DATA:
        items = find_unlabelled(config.data)
    elif config.dataset in DATASETS:
        listed = _read_official(config)
        if listed.classes != classes:  # their order too: a submission holds their numbers
            pairs = zip_longest(listed.classes, classes, fillvalue="none")
            number, (theirs, ours) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
            raise InputError(
                f"{config.data}: its class {number} is {theirs}, the checkpoint's is {ours}; they must be the same, in one order"
            )
        items = listed.parts["test" if config.split == "test" else "val"]
        notes = [VALIDATION_IS_TRAINED_ON] * (config.split == "train+val")
    else:
        parts = {} if config.val_data else _parts(config, _source(config))
        try:
            items = _find_val(config)
        except InputError as error:
            hint = f"; for videos without classes add --dataset {UNLABELLED_DATA}" * predict
            raise InputError(f"{error}{hint}") from error
        if not config.val_data and "val" not in parts:
            notes = [f"{config.data} has no videos set apart for validation: evaluating on all."]
        notes += _note_on_test(parts)
        unknown = in_order({str(item[1]) for item in items} - set(map(class_name, classes)))
        if unknown:
            raise InputError(
                f"{config.data}: has the class {unknown[0]!r}, which the checkpoint does not know: it knows {', '.join(classes)}"
            )
    if not predict and all(item[1] is None for item in items):
        raise InputError(f"{config.data}: has no labels to compare with, add --predict")
    manifest = scan(items, classes, config)
    return manifest, items, notes + _refusals(manifest.refused, len(items))


def _refusals(refused: dict[str, str], files: int, named_in: str = "") -> list[str]:
    if not refused:
        return []
    notes = [f"Left out {len(refused)} of {files} videos:"]
    shown = list(refused.items())[: SHOWN_REFUSALS if named_in else None]
    notes += [f"  {path}: {reason}" for path, reason in shown]
    if len(refused) > len(shown):
        notes.append(f"  and {len(refused) - len(shown)} more, named in {named_in}")
    return notes


def _check_every_class(train: Manifest, items: Items) -> None:
    seen = {train.classes[video.label] for video in train.videos}
    for name in train.classes:
        if name not in seen:
            listed = next((item_name(*item) for item in items if item[1] == class_name(name)), None)
            reason = f"; the first listed is {listed}: {train.refused[listed]}" if listed else ", none is listed"
            raise InputError(f"the class {name!r} has no training video that can be read{reason}")


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
    return [f"Validation videos that are trained on too: {count}, such as {shared[0]}; their accuracy says little."]


def list_videos(config: Config) -> tuple[Items, Items, list[str], list[str]]:
    """(path, class) of the training and of the validation videos, the classes in order, and notes."""
    if config.dataset in DATASETS:
        return _find_official(config)
    source = _source(config)
    parts = _parts(config, source)
    if parts and "train" not in parts:
        raise InputError(f"{source}: has videos for {', '.join(parts)} alone; name those to train on with --data")
    train = _find(config, source, "train" if parts else None)
    is_apart = bool("val" in parts or config.val_data)
    val, notes = (_find_val(config), _notes_on_parts(config, parts)) if is_apart else (train, [NO_VALIDATION])
    root = parts["train"].path if parts else source
    if root.is_dir():
        with_videos = {Path(item[0]).relative_to(root).parts[0] for item in train}
        empty = [path.name for path in subfolders(root) if path.name not in with_videos]
        notes += [f"Folders without videos in {root}, which are no classes: {', '.join(empty)}."] * bool(empty)
    notes += _notes_on_what_lies_beside(source, parts)
    return train, val, in_order(str(item[1]) for item in train), notes


def all_classes(config: Config) -> list[str]:
    """The classes of all videos of --data and --val-data, in order, whatever they are for."""
    if config.dataset in DATASETS:
        return _read_official(config).classes
    sources = [_source(config), *([Path(config.val_data)] if config.val_data else [])]
    found = [
        item
        for source in sources
        for split in (_parts(config, source) or [None])
        for item in _find(config, source, split)
    ]
    return in_order(str(item[1]) for item in found)


def _notes_on_parts(config: Config, parts: dict[str, Part]) -> list[str]:
    """What a split source is used for; ``parts`` may be empty."""
    used = {
        split: part for split, part in parts.items() if split == "train" or (split == "val" and not config.val_data)
    }
    lists = [str(part) for part in used.values() if part.path.is_file()]
    notes = [f"The videos are those of {' and '.join(lists)}."] * bool(lists)
    if "val" in used and used["val"].is_test:
        notes.append(f"The validation videos are those of {used['val']}: best.pt is chosen by them.")
    if "val" in parts and "val" not in used:
        notes.append(f"The validation videos are those of --val-data; those of {parts['val']} are not used.")
    return notes + _note_on_test(parts)


def _note_on_test(parts: dict[str, Part]) -> list[str]:
    if "test" not in parts:
        return []
    return [f"The test videos of {parts['test']} are not used; --eval-only CHECKPOINT --data PART evaluates them."]


def _notes_on_what_lies_beside(source: Path, parts: dict[str, Part]) -> list[str]:
    """Lists in a folder, and what stands beside the folders of a split."""
    if not source.is_dir():
        return []
    used = {part.path for part in parts.values()}
    lists = [path.name for path in list_files(source) if path not in used and may_be_list(path)]
    notes = [
        f"Lists in {source} that are not used: {', '.join(lists)}; each may be named as --data or --val-data."
    ] * bool(lists)
    if any(path.is_dir() for path in used):
        others = [path.name for path in subfolders(source) if path not in used]
        others += [path.name for path in sorted(source.iterdir()) if path.name.lower().endswith(VIDEO_EXTENSIONS)]
        notes += [f"Not used in {source}, beside the parts of the split: {', '.join(others)}."] * bool(others)
    return notes


def _parts(config: Config, source: Path) -> dict[str, Part]:
    """The parts of a split source by their names; empty if it is not split."""
    return find_splits(source, class_folders=config.dataset == FOLDER_DATA)


def _find(config: Config, source: Path, split: str | None) -> Items:
    return find_videos(source, split, class_folders=config.dataset == FOLDER_DATA)


def _find_val(config: Config) -> Items:
    """(path, class) of the validation videos of a folder or list; all videos where none are set apart."""
    source = Path(config.val_data) if config.val_data else _source(config)
    parts = _parts(config, source)
    return _find(config, source, next((split for split in ("val", *parts) if split in parts), None))


def _source(config: Config) -> Path:
    """The folder or list that --data means."""
    make_folder = MAKE_FOLDER.get(config.data)
    source = make_folder(max(1, config.workers)) if make_folder else Path(config.data)
    for name, dataset in DATASETS.items():
        if config.dataset == "auto" and (source / dataset.mark).is_dir():
            choice = f"choose --dataset {name}, or --dataset folder to leave its lists aside"
            raise InputError(f"{source}: holds {dataset.mark}, as {name} does; {choice}")
    for kind, needed, is_kind in (("csv", "list", source.is_file()), (FOLDER_DATA, "folder", source.is_dir())):
        if config.dataset == kind and source.exists() and not is_kind:
            raise InputError(
                f"{source}: --dataset {kind} needs a {needed}, this is a {'folder' if source.is_dir() else 'file'}"
            )
    return source


def _read_official(config: Config) -> Listed:
    dataset = DATASETS[config.dataset]
    return dataset.read(config.data, config.split or dataset.splits[0])


def _find_official(config: Config) -> tuple[Items, Items, list[str], list[str]]:
    listed = _read_official(config)
    train, val = listed.parts["train"], listed.parts["val"]
    if config.split == "train+val":
        return train + val, val, listed.classes, [VALIDATION_IS_TRAINED_ON]
    return train, val, listed.classes, []


def scan(items: Items, classes: list[str], config: Config) -> Manifest:
    """The videos, checked by --workers processes, and remembered in the user's cache; ``items`` are (path, class or None)."""
    progress = partial(progress_bar, title="checking videos", unit="file")
    workers = max(1, config.workers) * processes_of_machine()  # of which one checks, while the others wait
    return scan_videos(
        items,
        classes=classes,
        cache=default_cache(items),
        workers=workers,
        time_limit_s=config.time_limit,
        progress=progress,
    )
