"""The manifest: all videos of a data set, each probed once; unreadable files are named and left out.

``python -m dali_pipes.manifest DIR`` prints a summary.

Scanning is parallel and cached: a file is read again only when its size or time of change differs.
"""

import csv
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from ..decode.video_file import TIME_LIMIT_S
from ..decode.video_info import Oddity, OddityKind, VideoInfo
from ..errors import InputError
from ..system.cores import usable_cores
from ..system.files import cache_folder, read_csv, remove_drafts, replacing
from ..system.isolate import NoResult, map_isolated
from ..system.locks import wait_for_lock
from .class_names import class_name, sort_class_names
from .lists import Segment
from .probe import Refused, probe
from .sources import Item

PROBE_VERSION = b"4"
"""Version of the probes. It changes when more is noted of a video than before, so that older caches are not used."""
CACHE_EVERY_S = 5.0
"""The least time after which a scan adds to its cache what it has read since."""
CACHE_PAUSE_RATIO = 20
"""Least pause before the cache is written again, in multiples of the time that writing took."""
UNLABELLED = -1
"""The label of a video whose class is not known, such as of a challenge's test list."""


@dataclass(frozen=True)
class Manifest:
    """The videos of a data set, checked. ``len()`` is their number."""

    videos: list[VideoInfo]
    """The readable videos, in the order given."""
    classes: list[str]
    """Class names in order; a label is an index into this list."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reasons of the videos that were left out: path -> why."""

    def __len__(self) -> int:
        return len(self.videos)

    def save(self, path: str | os.PathLike, splits: Sequence[str] = ()) -> None:
        """Write a CSV, atomically: a line per video, per refused file, and per class without videos.

        It may be edited. With absolute paths, or beside its videos' folders, it is also a list for
        :func:`dali_pipes.find_videos`: ``label`` is the class's name.

        Args:
            path: of the file.
            splits: ``train``, ``val`` or ``test`` of each video, for a column ``split``.

        Raises:
            InputError: it cannot be written.
        """
        rows = [_row(video) | self._class(video.label) for video in self.videos]
        for row, split in zip(rows, splits, strict=False):
            row["split"] = split
        rows += [{"path": refused, "refused": reason} for refused, reason in self.refused.items()]
        used = {video.label for video in self.videos}
        rows += [self._class(index) for index in range(len(self.classes)) if index not in used]
        _write_csv(Path(path), rows, ["split"] if splits else [])

    def _class(self, index: int) -> dict[str, object]:
        return {} if index == UNLABELLED else {"label": self.classes[index], "class_index": index}

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Manifest":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: it is not such a file, or a line of it is wrong.
        """
        videos: list[VideoInfo] = []
        names: dict[int, str] = {}
        refused: dict[str, str] = {}
        for number, row in enumerate(_read_csv(Path(path)), start=2):
            try:
                if row["refused"]:
                    refused[row["path"]] = row["refused"]
                    continue
                index, name = int(row["class_index"] or UNLABELLED), row["label"]
                if row["path"]:
                    videos.append(_info(row, index))
                if index == UNLABELLED:
                    continue
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: is not a valid line of a manifest ({error}); scan the videos again"
                ) from error
            other = next((i for i, known in names.items() if known == name and i != index), index)
            if names.setdefault(index, name) != name or other != index:
                known = (
                    f"is already that of {names[index]}" if names[index] != name else f"was {other} in an earlier line"
                )
                raise InputError(f"{path}, line {number}: invalid class_index {index} of the class {name}: {known}")
        if sorted(names) != list(range(len(names))):
            raise InputError(
                f"{path}: class_index must contain 0, 1, 2, ... without gaps, but contains {sorted(names)}"
            )
        return cls(videos, [names[index] for index in range(len(names))], refused)


def _parse_oddities(text: str) -> tuple[Oddity, ...]:
    return tuple(map(Oddity.parse, text.split("; "))) if text else ()


_PARSERS: dict[object, Callable[[str], object]] = {
    bool: lambda text: {"yes": True, "no": False}[text],
    tuple[Oddity, ...]: _parse_oddities,
}
_WRITERS: dict[type, Callable[[Any], object]] = {
    bool: lambda value: "yes" if value else "no",
    tuple: lambda oddities: "; ".join(map(str, oddities)),
}
_TYPES: dict[str, Any] = {item.name: item.type for item in fields(VideoInfo) if item.name != "label"}
_SEGMENT = ("start_frame", "end_frame")
_RENAMED = {"odd": "oddities"}
"""Column of earlier versions' manifests -> its name today."""
_COLUMNS = ["path", "label", "class_index", *(name for name in _TYPES if name != "path"), "refused"]


def _row(video: VideoInfo) -> dict[str, object]:
    row = {name: getattr(video, name) for name in _TYPES}
    if not video.end_frame:  # the whole file
        row |= dict.fromkeys(_SEGMENT, "")
    return {name: _WRITERS[type(value)](value) if type(value) in _WRITERS else value for name, value in row.items()}


def _info(row: dict[str, str], label: int = 0) -> VideoInfo:
    try:
        # also in files from before there were segments
        row = row | {name: row.get(name) or "0" for name in _SEGMENT}
        values: dict[str, Any] = {name: _PARSERS.get(kind, kind)(row[name]) for name, kind in _TYPES.items()}
        return VideoInfo(label=label, **values)
    except KeyError as error:
        raise ValueError(f"{error} must be yes or no") from error


def scan_videos(
    items: Iterable[Item],
    *,
    classes: Sequence[str] | None = None,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    verify: bool = True,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Callable[..., Iterable] | None = None,
) -> Manifest:
    """Look at every video once, in processes of their own, and leave out what cannot be read.

    Args:
        items: (path, label), each a sample of its own, also where a path occurs twice; a label is a class name, an
            index into ``classes``, or None where it is not known: then ``VideoInfo.label`` is ``UNLABELLED``, and the
            video can be predicted but not trained on. A third element is a ``Segment`` of the file, from a list.
        classes: the class names in order; by default those that occur, whole numbers as numbers, else alphabetically
            (or 0, 1, ... up to the highest index).
        cache: CSV of earlier scans to reuse and extend; see :func:`~dali_pipes.dataset.manifest.default_cache`.
            None reads all files.
        workers: processes, by default one per core that this process may use.
        verify: decode every frame; otherwise the packets are counted and one frame decoded, which is faster and does
            not see damage further on, see :func:`dali_pipes.dataset.probe.read_video_info`.
        time_limit_s: a file that takes more seconds of processor time to read,
            or keeps its reader waiting for longer, is refused.
        progress: wraps an iterable with a known ``total``, such as :func:`dali_pipes.system.progress.progress_bar`.

    Returns:
        Manifest, videos in the order given.

    Raises:
        InputError: a label is unknown or no video can be read.
    """
    listed = [_entry(*item) for item in items]
    names = _class_names([item.label for item in listed], classes)
    index_of = {class_name(name): index for index, name in enumerate(names)}
    known: dict[tuple[str, Segment | None], int] = {}
    labels: list[int] = []
    for path, given, segment in listed:
        label = UNLABELLED if given is None else index_of.get(given) if isinstance(given, str) else given
        if label is None or not UNLABELLED <= label < len(names):
            raise InputError(f"{path}: invalid class {given!r}: choose one of {', '.join(names)}")
        labels.append(label)
        file = os.path.abspath(path)  # however it is spelt
        if known.setdefault((file, segment), label) != label:
            first, second = (names[index] if index >= 0 else "none" for index in (known[file, segment], label))
            raise InputError(
                f"{item_name(path, given, segment)}: is listed with two labels, {first} and {second}; keep one of them"
            )
    found = _probe_all([item.path for item in listed], cache, workers, verify, time_limit_s, progress)
    videos: list[VideoInfo] = []
    refused: dict[str, str] = {}
    for (path, given, segment), label in zip(listed, labels, strict=True):
        info = found[path]
        video = info if isinstance(info, Refused) else _cut_to_segment(replace(info, path=path, label=label), segment)
        if isinstance(video, Refused):
            refused[item_name(path, given, segment)] = video.reason
        else:
            videos.append(video)
    if not videos:
        first = next((f"{name}: {reason}" for name, reason in refused.items()), "none was given")
        are_missing = listed and not any(os.path.exists(item.path) for item in listed)
        hint = "; relative paths in a list are relative to the folder of the list" if are_missing else ""
        raise InputError(f"Cannot read any of the {len(listed)} videos; the first one is {first}{hint}")
    return Manifest(videos, names, refused)


def _probe_all(
    paths: Sequence[str],
    cache: str | os.PathLike | None,
    workers: int | None,
    verify: bool,
    time_limit_s: float,
    progress: Callable[..., Iterable] | None,
) -> dict[str, VideoInfo | Refused]:
    """Return for each path its description, or why it cannot be read; each file is read once."""
    absolute = {path: os.path.abspath(path) for path in paths}
    found = _load_cache(cache)
    fresh = sorted({path for path in absolute.values() if not _is_known(found.get(path), path, verify)})
    done: dict[str, VideoInfo | Refused] = {}
    outcomes = map_isolated(
        probe,
        [(path, verify, time_limit_s) for path in fresh],
        workers=workers or usable_cores(),
        time_limit_s=time_limit_s,
    )
    due_s = time.monotonic() + CACHE_EVERY_S
    try:
        for place, outcome in progress(outcomes, total=len(fresh)) if progress and fresh else outcomes:
            done[fresh[place]] = Refused(outcome.reason) if isinstance(outcome, NoResult) else outcome
            if cache and time.monotonic() > due_s:  # whatever ends this process, the next scan goes on from here
                took_s = _extend_cache(Path(cache), done)
                due_s = time.monotonic() + max(CACHE_EVERY_S, CACHE_PAUSE_RATIO * took_s)
    except KeyboardInterrupt as interrupt:
        if cache:
            interrupt.args = (f"{len(done)} of {len(fresh)} files were read; run the same command again to continue",)
        raise
    finally:
        outcomes.close()
        if cache and done:
            _extend_cache(Path(cache), done)
    found |= done
    return {path: found[where] for path, where in absolute.items()}


def _cut_to_segment(video: VideoInfo, segment: Segment | None) -> VideoInfo | Refused:
    """Return a video cut to a segment, an end beyond the video's to that; or why the segment holds no frames of it."""
    if segment is None:
        return video
    start, end = segment.start, segment.end
    if segment.unit == "s":
        if video.oddity(OddityKind.VARIABLE_RATE) or not video.fps:
            why = "its frame rate varies" if video.fps else "it does not state its frame rate"
            copy = "give start_frame and end_frame, or make a copy with python -m dali_pipes.transcode"
            return Refused(f"{why}, so {segment} cannot be converted to frames; {copy}")
        start, end = start * video.fps, None if end is None else end * video.fps
    first, last = round(start), video.num_frames if end is None else min(round(end), video.num_frames)
    if first >= video.num_frames:
        length = f"{video.num_frames / video.fps:.3f} s" if segment.unit == "s" else f"{video.num_frames} frames"
        return Refused(f"its segment starts after the end of the video, which has a length of {length}")
    return replace(video, start_frame=first, end_frame=max(last, first + 1))


def item_name(path: str, label: object, segment: Segment | None = None) -> str:
    """Return the name of an item of :func:`scan_videos` in ``Manifest.refused``."""
    return f"{path} ({segment})" if segment else path


def default_cache(items: Iterable[Item]) -> Path:
    """Return the path of the cache of these files' probes.

    It is a CSV in the user's cache folder, named after the files' common folder.
    """
    folders = {os.path.dirname(os.path.abspath(path)) for path, *_ in items}
    folder = os.path.commonpath(folders) if folders else ""
    digest = hashlib.sha256(os.fsencode(folder) + PROBE_VERSION).hexdigest()[:10]
    return cache_folder() / "manifests" / f"{os.path.basename(folder)[:40] or 'root'}-{digest}.csv"


class _Entry(NamedTuple):
    path: str
    label: str | int | None
    segment: Segment | None


def _entry(path: str | os.PathLike, label: object, segment: Segment | None = None) -> _Entry:
    """Return one item of :func:`scan_videos`, checked."""
    if isinstance(label, str):
        return _Entry(str(path), class_name(label), segment)
    if label is None:
        return _Entry(str(path), None, segment)
    if not isinstance(label, bool) and isinstance(label, Integral) and int(label) >= 0:
        return _Entry(str(path), int(label), segment)
    raise InputError(f"{path}: invalid label {label!r}: must be a class name or an index")


def _class_names(labels: Sequence[str | int | None], classes: Sequence[str] | None) -> list[str]:
    if classes is not None:
        return [str(name) for name in classes]
    names = {label for label in labels if isinstance(label, str)}
    indices = [label for label in labels if isinstance(label, int)]
    if indices and names:
        raise InputError(
            f"Invalid label {indices[0]}: must be a class name, because other labels are names; "
            "give names or indices, not both"
        )
    return [str(index) for index in range(max(indices) + 1)] if indices else sort_class_names(names)


def _is_known(info: VideoInfo | Refused | None, path: str, verify: bool) -> bool:
    return isinstance(info, VideoInfo) and (info.verified or not verify) and info.is_current(path)


def _load_cache(cache: str | os.PathLike | None) -> dict[str, VideoInfo | Refused]:
    """Return the cached probes by absolute path."""
    if not cache or not os.path.exists(cache):
        return {}
    try:
        return {row["path"]: _info(row) for row in _read_csv(Path(cache))}
    except (InputError, ValueError, TypeError):
        return {}  # a damaged cache is made anew


def _extend_cache(cache: Path, done: dict[str, VideoInfo | Refused]) -> float:
    """Add what was read to the cache, beside what other processes add meanwhile; returns the seconds that it took.

    Refused files are left out, so that they are tried again: they may have been mended.
    """
    start_s = time.monotonic()
    try:
        with wait_for_lock(cache.with_name(f".{cache.name}.lock")):
            remove_drafts(cache.parent)
            infos = _load_cache(cache) | done
            _write_csv(cache, [_row(info) for _, info in sorted(infos.items()) if isinstance(info, VideoInfo)])
    except InputError as error:
        warnings.warn(f"{error}; this scan is not cached, so the next one reads all videos again", stacklevel=3)
    return time.monotonic() - start_s


def _read_csv(path: Path) -> list[dict[str, str]]:
    columns = [name for name in _COLUMNS if name not in _SEGMENT]
    return [row for _, row in read_csv(path, columns, "is not a manifest", _RENAMED)]


def _write_csv(path: Path, rows: Iterable[dict], more: Sequence[str] = ()) -> None:
    with (
        replacing(path, make_folders=True) as draft,
        open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, [*_COLUMNS, *more], restval="")
        writer.writeheader()
        writer.writerows(rows)
