"""What videos there are, each decoded once from end to end: frame counts are exact, unreadable files are named.

Scanning is parallel and cached: a file is read again only when its size or time of change differs.
"""

import csv
import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path

from .decode import open_video
from .errors import InputError, VideoError


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One readable video."""

    path: str
    label: int
    """Index into the manifest's classes."""
    num_frames: int
    """As decoded, not as the header says."""
    fps: float
    width: int
    height: int
    codec: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Manifest:
    """The videos of a data set, checked."""

    videos: list[VideoInfo]
    classes: list[str]
    refused: dict[str, str] = field(default_factory=dict)
    """path -> why it was left out."""

    def __len__(self) -> int:
        return len(self.videos)

    def save(self, path: str | os.PathLike) -> None:
        """Write a CSV, atomically: a line per video, per refused file, and per class without videos."""
        rows = [{**asdict(video), "class": self.classes[video.label]} for video in self.videos]
        rows += [{"path": refused, "refused": reason} for refused, reason in self.refused.items()]
        empty = set(range(len(self.classes))) - {video.label for video in self.videos}
        rows += [{"label": label, "class": self.classes[label]} for label in sorted(empty)]
        _write_csv(Path(path), rows)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Manifest":
        """Read what :meth:`save` wrote."""
        videos, classes, refused = [], {}, {}
        for number, row in enumerate(_read_csv(Path(path)), start=2):
            try:
                if row["refused"]:
                    refused[row["path"]] = row["refused"]
                    continue
                classes[int(row["label"])] = row["class"]
                if row["path"]:
                    videos.append(_info(row))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: is not a manifest line ({error})") from error
        return cls(videos, [classes[label] for label in sorted(classes)], refused)


_TYPES = {item.name: item.type for item in fields(VideoInfo)}
_COLUMNS = [*_TYPES, "class", "refused"]


def _info(row: dict[str, str]) -> VideoInfo:
    return VideoInfo(**{name: convert(row[name]) for name, convert in _TYPES.items()})


def read_video_info(path: str, label: int = 0) -> VideoInfo:
    """Decode a file from end to end and describe it.

    Raises:
        VideoError: it is missing, empty, damaged, has no frames or changes its frame size.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror}") from error
    if not stat.st_size:
        raise VideoError(f"{path}: is empty (0 bytes)")
    size, count = None, 0
    with open_video(path) as (stream, frames):
        for frame in frames:
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise VideoError(
                    f"{path}: changes size from {size[0]}x{size[1]} to {frame.width}x{frame.height} at frame {count}"
                )
            count += 1
        fps, codec = float(stream.average_rate or 0), stream.codec_context.name
    if size is None:
        raise VideoError(f"{path}: has no frames")
    return VideoInfo(path, label, count, fps, *size, codec, stat.st_size, stat.st_mtime_ns)


def scan_videos(
    items: Iterable[tuple[str, str | int]],
    *,
    classes: Sequence[str] | None = None,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    progress=None,
) -> Manifest:
    """Probe every video once, in parallel, and leave out what cannot be read.

    Args:
        items: (path, label); a label is a class name, or an index into ``classes``.
        classes: the class names in order; by default the sorted names that occur (or 0, 1, ... up to the highest).
        cache: CSV of earlier probes to reuse and extend; see :func:`default_cache`. None probes all files.
        workers: threads, by default one per core.
        progress: wraps an iterable with a known ``total``, such as ``tqdm``.

    Returns:
        Manifest, videos in the order given.

    Raises:
        InputError: a label is unknown or no video can be read.
    """
    items = [(str(path), _plain_label(path, label)) for path, label in items]
    classes = _class_names(items, classes)
    index_of = {name: index for index, name in enumerate(classes)}
    labels = {}
    for path, label in items:
        label = index_of.get(label, label)
        if not isinstance(label, int) or not 0 <= label < len(classes):
            raise InputError(f"{path}: unknown class {label!r}, the classes are {', '.join(classes)}")
        if labels.setdefault(path, label) != label:
            raise InputError(f"{path}: has two labels, {classes[labels[path]]} and {classes[label]}")
    known = _load_probes(cache)
    fresh = [path for path in labels if not _is_current(path, known.get(path))]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        results = pool.map(_probe, fresh)
        known.update(zip(fresh, progress(results, total=len(fresh)) if progress and fresh else results, strict=True))
    if cache and fresh:
        # Refused files are left out, so that they are tried again: they may have been mended.
        rows = [asdict(known[path]) for path in sorted(known) if isinstance(known[path], VideoInfo)]
        try:
            _write_csv(Path(cache), rows)
        except OSError as error:
            warnings.warn(f"{cache}: the probes cannot be kept for the next time ({error.strerror})", stacklevel=2)
    videos = [replace(known[path], label=label) for path, label in labels.items() if isinstance(known[path], VideoInfo)]
    refused = {path: known[path] for path in labels if isinstance(known[path], str)}
    if not videos:
        first = next((f"{path}: {reason}" for path, reason in refused.items()), "none were given")
        raise InputError(f"no video can be read of {len(labels)}; the first: {first}")
    return Manifest(videos, classes, refused)


def default_cache(items: Iterable[tuple[str, object]]) -> Path:
    """Where the probes of these files are kept: a CSV in the user's cache folder, named after their common folder."""
    folder = Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path, _ in items]))
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
    return cache_folder() / "manifests" / f"{folder.name or 'root'}-{digest}.csv"


def cache_folder() -> Path:
    """``$DALI_PIPES_CACHE``, or ``dali_pipes`` in the user's cache folder."""
    chosen = os.environ.get("DALI_PIPES_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dali_pipes"


def _class_names(items, classes) -> list[str]:
    if classes is not None:
        return [str(name) for name in classes]
    labels = [label for _, label in items]
    indices = [label for label in labels if isinstance(label, int)]
    if indices and len(indices) < len(labels):
        raise InputError(f"labels are class names or indices, not both: {indices[0]} stands among names")
    return [str(index) for index in range(max(indices) + 1)] if indices else sorted(set(labels))


def _plain_label(path: str, label) -> str | int:
    if isinstance(label, str) or isinstance(label, Integral) and not isinstance(label, bool):
        return label if isinstance(label, str) else int(label)
    raise InputError(f"{path}: the label is {label!r}, it must be a class name or an index")


def _probe(path: str) -> VideoInfo | str:
    try:
        return read_video_info(path)
    except VideoError as error:
        return str(error).removeprefix(f"{path}: ")


def _is_current(path: str, probe: VideoInfo | None) -> bool:
    try:
        stat = os.stat(path)
    except OSError:
        return False
    return probe is not None and (stat.st_size, stat.st_mtime_ns) == (probe.size_bytes, probe.mtime_ns)


def _load_probes(cache) -> dict[str, VideoInfo | str]:
    if not cache or not Path(cache).exists():
        return {}
    try:
        return {row["path"]: _info(row) for row in _read_csv(Path(cache))}
    except (InputError, ValueError, TypeError):
        return {}  # a damaged cache is made anew


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != _COLUMNS:
                raise InputError(f"{path}: is not a manifest, its first line must be {','.join(_COLUMNS)}")
            return list(reader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _write_csv(path: Path, rows: Iterable[dict]) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, path)
