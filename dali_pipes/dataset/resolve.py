"""The videos that a source names: one answer for training, evaluation, prediction and the programs.

A kind of source is a function and its row in ``KINDS``.
"""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, check_known
from .class_names import sort_class_names
from .folders import list_files, loose_videos, subfolders
from .lists import may_be_list
from .official import DATASETS
from .sources import FOLDER_DATA, Item, Part, find_splits, find_unlabelled, find_videos

PARTS = ("train", "val", "test")
UNLABELLED_DATA = "unlabelled"
TRAIN_AND_VAL = "train+val"
"""The official split that trains on what it validates on."""
OFFICIAL_WITHOUT_LABELS = ("test",)
NOTES = {
    "no_val": "{} has no validation videos: the training videos are used for validation.",
    "val_is_trained_on": (
        f"The validation videos are also used for training (split {TRAIN_AND_VAL}), so the validation accuracy is not "
        "that of unseen videos."
    ),
    "lists": "The videos come from {}.",
    "val_is_test": "{} is used for validation.",
    "val_replaced": "The videos of val_data are used for validation; {} is not used.",
    "test_unused": "The test videos in {} are not used.",
    "empty_folders": "These folders in {} contain no videos and are not used as classes: {}.",
    "unused_lists": "These lists in {} are not used: {}. To use one, give it as data or val_data.",
    "unused_beside": "In {}, these are not used, because they are not parts of the split: {}.",
}
"""Topic of a :class:`Note` -> its sentence."""


class Note(NamedTuple):
    """A remark on a source for the user; ``str()`` is the sentence."""

    topic: str
    """One of ``NOTES``."""
    values: tuple[str, ...]
    """The values that fill the gaps of the sentence."""

    def __str__(self) -> str:
        return NOTES[self.topic].format(*self.values)


@dataclass(frozen=True)
class VideoSets:
    """The videos of a source, by what they are for; see :func:`dali_pipes.resolve_videos`."""

    train: list[Item] = field(default_factory=list)
    """Videos to train on: (path, class name), or (path, class name, Segment)."""
    val: list[Item] = field(default_factory=list)
    """Videos to validate on; the training videos if no others are set apart."""
    test: list[Item] = field(default_factory=list)
    """Videos to test or predict; the class is None where it is not known."""
    classes: list[str] = field(default_factory=list)
    """Class names in order: of an official list, else of the videos to train on, else of the others."""
    notes: list[Note] = field(default_factory=list)
    """Remarks for the user; ``str(note)`` is a sentence."""
    val_is_apart: bool = True
    """Whether no validation video is listed for training."""
    parts: dict[str, Part] = field(default_factory=dict)
    """Parts of a split folder or list, see :func:`dali_pipes.find_splits`; empty if it is not split."""

    @property
    def all_videos(self) -> list[Item]:
        """The videos of the three lists; validation videos that are also trained on are listed once."""
        return self.train + (self.val if self.val_is_apart or not self.train else []) + self.test

    @property
    def all_classes(self) -> list[str]:
        """The names in ``classes``, or those of all three lists in order if there are more of them."""
        found = {str(item[1]) for item in self.all_videos if item[1] is not None}
        return self.classes if found <= set(self.classes) else sort_class_names(found | set(self.classes))


@dataclass(frozen=True)
class Kind:
    """A kind of source: a row of ``KINDS``."""

    resolve: Callable[[Path, Path | None, str, Collection[str]], VideoSets]
    """Function of the source, ``val_data``, the split (empty if it has none) and the wanted parts. Lists that are not
    wanted stay empty, and files that only they need are not read."""
    splits: tuple[str, ...] = ()
    """Names of its official splits, the first is the default."""
    without_labels: tuple[str, ...] = ()
    """The splits of which only ``test`` is filled, with videos of unknown class; "" for a kind without splits."""
    takes_val_data: bool = False
    """Whether it is a user's own folder or list, beside which another may hold the validation videos."""
    takes_submissions: bool = False
    """Whether predictions are also written as a challenge takes them."""
    orders_classes: bool = False
    """Whether the classes' order is part of the data, as that of a challenge, whose submissions hold their numbers."""

    def split(self, given: str | None) -> str:
        """Return the given split, or the default one; empty if there are none."""
        return given or next(iter(self.splits), "")

    def has_labels(self, split: str | None) -> bool:
        """Return whether the split has labels to train on and to compare with."""
        return self.split(split) not in self.without_labels


def _own(kind: str, source: Path, val_data: Path | None, split: str, wanted: Collection[str]) -> VideoSets:
    """A folder or a list of the user's own."""
    find = partial(find_videos, class_folders=kind == FOLDER_DATA)
    parts_of = partial(find_splits, class_folders=kind == FOLDER_DATA)
    parts: dict[str, Part] = {}
    if not val_data or set(wanted) - {"val"}:
        _check_kind(kind, source)
        parts = parts_of(source)
    train, val, test = list[Item](), list[Item](), list[Item]()
    if "train" in wanted and (not parts or "train" in parts):
        train = find(source, "train" if parts else None)
    is_apart = bool(val_data or "val" in parts)
    if "val" in wanted and train and not is_apart:
        val = train
    elif "val" in wanted:
        held = parts_of(val_data) if val_data else parts
        val = find(val_data or source, next((name for name in ("val", *held) if name in held), None))
    if "test" in wanted and "test" in parts:
        test = find(source, "test")
    notes = _notes_on_parts(source, val_data, parts, wanted)
    if train:
        notes += _notes_on_what_lies_beside(source, parts, train)
    classes = sort_class_names(str(item[1]) for item in train or val + test)
    return VideoSets(train, val, test, classes, notes, is_apart, parts)


def _check_kind(kind: str, source: Path) -> None:
    for name, dataset in DATASETS.items():
        if kind == "auto" and (source / dataset.mark).is_dir():
            choice = f"choose dataset={name!r}, or dataset={FOLDER_DATA!r} to ignore its lists"
            raise InputError(f"{source}: contains {dataset.mark}, so it looks like the dataset {name}; {choice}")
    needed = {"csv": "list", FOLDER_DATA: "folder"}.get(kind)
    if needed and source.exists() and source.is_dir() != (needed == "folder"):
        found = "folder" if source.is_dir() else "file"
        raise InputError(f"{source}: is a {found}, but dataset={kind!r} needs a {needed}")


def _notes_on_parts(source: Path, val_data: Path | None, parts: dict[str, Part], wanted: Collection[str]) -> list[Note]:
    """Return the remarks on how the parts of a source are used; ``parts`` may be empty."""
    if not val_data and "val" not in parts:
        return [Note("no_val", (str(source),))] if "val" in wanted else []
    used = {name: part for name, part in parts.items() if name in wanted and not (name == "val" and val_data)}
    lists = [str(part) for part in used.values() if part.path.is_file()]
    notes = [Note("lists", (" and ".join(lists),))] if lists else []
    if "val" in used and used["val"].is_test:
        notes.append(Note("val_is_test", (str(used["val"]),)))
    if val_data and "val" in parts:
        notes.append(Note("val_replaced", (str(parts["val"]),)))
    if "test" in parts and "test" not in wanted:
        notes.append(Note("test_unused", (str(parts["test"]),)))
    return notes


def _notes_on_what_lies_beside(source: Path, parts: dict[str, Part], train: Sequence[Item]) -> list[Note]:
    """Return the remarks on folders without videos, unused lists, and what lies beside a split's folders."""
    notes = []
    root = parts["train"].path if parts else source
    if root.is_dir():
        with_videos = {Path(item[0]).relative_to(root).parts[0] for item in train}
        empty = [path.name for path in subfolders(root) if path.name not in with_videos]
        if empty:
            notes.append(Note("empty_folders", (str(root), ", ".join(empty))))
    if not source.is_dir():
        return notes
    used = {part.path for part in parts.values()}
    lists = [path.name for path in list_files(source) if path not in used and may_be_list(path)]
    if lists:
        notes.append(Note("unused_lists", (str(source), ", ".join(lists))))
    if any(path.is_dir() for path in used):
        others = [path.name for path in (*subfolders(source), *loose_videos(source)) if path not in used]
        if others:
            notes.append(Note("unused_beside", (str(source), ", ".join(others))))
    return notes


def _official(name: str, source: Path, val_data: Path | None, split: str, wanted: Collection[str]) -> VideoSets:
    """A data set of ``DATASETS``; its lists are read whatever is wanted, as they check each other."""
    listed = DATASETS[name].read(source, split)
    both = split == TRAIN_AND_VAL
    lists: dict[str, list[Item]] = {part: [*listed.parts.get(part, ())] for part in PARTS}
    if both:
        lists["train"] += lists["val"]
    held = ("test",) if split in OFFICIAL_WITHOUT_LABELS else PARTS
    train, val, test = (lists[part] if part in wanted and part in held else [] for part in PARTS)
    notes = [Note("val_is_trained_on", ())] if both and "val" in wanted else []
    return VideoSets(train, val, test, listed.classes, notes, val_is_apart=not both)


def _unlabelled(source: Path, val_data: Path | None, split: str, wanted: Collection[str]) -> VideoSets:
    """Return videos without classes: of a folder and its subfolders, of a list, or one video."""
    return VideoSets(test=find_unlabelled(source) if "test" in wanted else [])


KINDS = {
    **{name: Kind(partial(_own, name), takes_val_data=True) for name in ("auto", FOLDER_DATA, "csv")},
    **{
        name: Kind(
            partial(_official, name),
            dataset.splits,
            OFFICIAL_WITHOUT_LABELS,
            takes_submissions=dataset.takes_submissions,
            orders_classes=True,
        )
        for name, dataset in DATASETS.items()
    },
    UNLABELLED_DATA: Kind(_unlabelled, without_labels=("",)),
}
"""Name, the value of ``dataset`` -> what such a source is; the programs' options take their choices from here."""


def resolve_videos(
    data: str | os.PathLike,
    *,
    val_data: str | os.PathLike | None = None,
    dataset: str = "auto",
    split: str | None = None,
    parts: Sequence[str] = PARTS,
) -> VideoSets:
    """Return the videos that a source holds for training, validation and test, their classes, and notes for a person.

    Args:
        data: a folder of class folders, or of ``train/`` and ``val/`` with them; a list;
            or the folder of an official data set. See docs/datasets.md.
        val_data: a folder or list of validation videos, instead of those in ``data``.
        dataset: what ``data`` is. ``auto``: a folder or list, whichever is there; ``folder``: its topmost folders are
            the classes, or the parts of a split, whatever they hold; ``csv``: a list; a name of ``DATASETS``;
            ``unlabelled``: a folder, a list or a video without classes, which is all ``test``.
        split: one of an official data set, by default its first. With ``train+val`` the validation videos are trained
            on too; ``test`` is the test videos alone.
        parts: which of ``train``, ``val`` and ``test`` to list.
            The others stay empty, and what only they need is not read.

    Returns:
        VideoSets.

    Raises:
        InputError: the source is missing, holds no videos, or is not what ``dataset`` says; it cannot be told which
            folders are the classes; or ``val_data`` or ``split`` is of no use.
    """
    check_source(val_data=val_data, dataset=dataset, split=split)
    for part in parts:
        check_known("part", part, PARTS)
    kind = KINDS[dataset]
    return kind.resolve(Path(data), Path(val_data) if val_data else None, kind.split(split), frozenset(parts))


def check_source(
    *,
    val_data: str | os.PathLike | None = None,
    dataset: str = "auto",
    split: str | None = None,
    name: Callable[[str], str] = str,
) -> None:
    """Stop what contradicts itself, before anything is read; the arguments are those of :func:`resolve_videos`.

    Args:
        val_data: as given.
        dataset: as given.
        split: as given.
        name: how a message calls an argument, such as :func:`dali_pipes.system.flag` for a command line.

    Raises:
        InputError: one is unknown, or of no use with the others.
    """
    check_known(name("dataset"), dataset, KINDS)
    kind = KINDS[dataset]
    if val_data and not kind.takes_val_data:
        why = "whose lists name the validation videos" if kind.splits else "which has no validation videos"
        raise InputError(
            f"Invalid {name('val_data')} {val_data}: cannot be combined with {name('dataset')} {dataset}, {why}; "
            f"leave out {name('val_data')}"
        )
    if split and not kind.splits:
        known = ", ".join(key for key, row in KINDS.items() if row.splits)
        raise InputError(
            f"Invalid {name('split')} {split}: needs a {name('dataset')} with official splits; choose one of {known}"
        )
    if split:
        check_known(name("split"), split, kind.splits, of=dataset)
