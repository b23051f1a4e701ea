"""``python -m dali_pipes.manifest``: scan a dataset and say what its videos have in common, and what stands out."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..decode.video_file import TIME_LIMIT_S
from ..decode.video_info import OddityKind, VideoInfo
from ..errors import InputError
from ..system.files import check_not_replaced
from ..system.program import add_limits, check_limits, flags_of, one_line, run_program, with_todays_options
from ..system.progress import progress_bar
from .folders import loose_videos
from .manifest import Manifest, default_cache, scan_videos
from .resolve import KINDS, UNLABELLED_DATA, resolve_videos
from .sources import FOLDER_DATA, Item, find_splits

SHOWN = 6


def summary(manifest: Manifest) -> str:
    """Return a summary of a manifest, as lines of a name and a text."""
    videos = manifest.videos
    per_class = Counter(video.label for video in videos)
    counts = sorted(per_class[label] for label in range(len(manifest.classes)))
    frames = sorted(len(video.used_frames) for video in videos)
    shortest, longest = (choose(videos, key=lambda video: len(video.used_frames)) for choose in (min, max))
    how = (
        "counted by decoding"
        if all(video.verified for video in videos)
        else "counted from packets where that is reliable"
    )
    rows = [
        ("videos", f"{len(videos):,} of {len(videos) + len(manifest.refused):,} files"),
        ("classes", f"{len(counts)}, with {counts[0]:,} to {counts[-1]:,} videos each"),
        (
            "frames",
            f"{sum(frames):,}; {frames[0]:,} to {frames[-1]:,} each, median {frames[len(frames) // 2]:,}; {how}",
        ),
        ("seconds", _seconds(videos)),
        ("rates", _counts(videos, lambda video: f"{video.fps:.4g}/s" if video.fps else "unknown")),
        ("sizes", _counts(videos, lambda video: f"{video.width}x{video.height}")),
        ("codecs", _counts(videos, lambda video: video.codec)),
        ("bytes", f"{sum({video.path: video.size_bytes for video in videos}.values()):,}"),
        ("shortest", f"{len(shortest.used_frames):,} frames: {one_line(shortest.path)}"),
        ("longest", f"{len(longest.used_frames):,} frames: {one_line(longest.path)}"),
    ]
    lines = [f"{name:9} {text}" for name, text in rows]
    return "\n".join(lines + _odd(videos) + _refused(manifest.refused))


def _seconds(videos: list[VideoInfo]) -> str:
    with_rate = [len(video.used_frames) / video.fps for video in videos if video.fps]
    if not with_rate:
        return "unknown"
    return f"{sum(with_rate):,.0f}; {min(with_rate):.1f} to {max(with_rate):,.1f} each"


def _counts(videos: list[VideoInfo], of: Callable[[VideoInfo], str]) -> str:
    """Return counts as text, such as ``a (10), b (3), and 2 others (2)``."""
    counts = Counter(map(of, videos)).most_common()
    shown = [f"{name} ({count:,})" for name, count in counts[:SHOWN]]
    rest = counts[SHOWN:]
    shown += [f"and {len(rest):,} others ({sum(count for _, count in rest):,})"] if rest else []
    return ", ".join(shown)


def _odd(videos: list[VideoInfo]) -> list[str]:
    """Return one line for each kind of oddity that occurs, with an example."""
    lines = []
    for kind in OddityKind:
        found = [(video, oddity) for video in videos for oddity in video.oddities if oddity.kind is kind]
        if found:
            video, oddity = found[0]
            detail = oddity.detail.removeprefix(":").strip()
            lines.append(f"  {len(found):6,}  {kind.words} ({kind.meaning})")
            lines.append(f"          for example {one_line(video.path)}{f': {detail}' if detail else ''}")
    return ["oddities", *lines] if lines else [f"{'oddities':9} none"]


def _refused(refused: dict[str, str]) -> list[str]:
    if not refused:
        return [f"{'left out':9} none"]
    return ["left out", *(f"  {one_line(path)}: {reason}" for path, reason in refused.items())]


NO_CLASS = "(no class)"


def find_groups(source: str, dataset: str) -> tuple[dict[str, list[Item]], list[str]]:
    """The videos of a source as training reads them, by their split or all at once under ``""``; and the classes."""
    dataset = UNLABELLED_DATA if _holds_loose_videos(source, dataset) else dataset
    first, *others = (
        resolve_videos(source, dataset=dataset, split=split) for split in KINDS[dataset].splits or (None,)
    )
    groups = {split: getattr(first, split) for split in first.parts} or {"": first.all_videos}
    seen = {item for items in groups.values() for item in items}
    for sets in others:  # the official splits share most of their videos
        groups[""] += [item for item in sets.all_videos if item not in seen]
        seen.update(groups[""])
    groups = {
        split: [(path, label or NO_CLASS, *rest) for path, label, *rest in items] for split, items in groups.items()
    }
    some_without = any(item[1] is None for item in seen)
    return groups, [*first.all_classes, NO_CLASS] if some_without else first.all_classes


def _holds_loose_videos(source: str, dataset: str) -> bool:
    """Return whether an unsplit folder of classes has videos beside its class folders."""
    if not KINDS[dataset].takes_val_data or not os.path.isdir(source) or not loose_videos(Path(source)):
        return False
    return not find_splits(source, class_folders=dataset == FOLDER_DATA)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dali_pipes.manifest",
        description="Check all videos of a dataset. Print how many there are, how long they are, which are unusual, "
        "and which cannot be read and why.",
        epilog="Example: python -m dali_pipes.manifest videos -o videos.csv",
    )
    parser.add_argument(
        "source",
        help="folder with one subfolder per class (or with train/ and val/ that have such subfolders), folder of "
        "videos, or list such as a .csv file",
    )
    parser.add_argument(
        "-o",
        "--out",
        help="write a list of the videos to this .csv file, one line per video; train/run.py reads it with --data",
    )
    parser.add_argument(
        "--dataset",
        default="auto",
        choices=KINDS,
        help="type of the source, see --dataset of train/run.py; for an official dataset, the videos of all splits are "
        "checked (default: %(default)s)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="decode every frame of every file (default: count the packets of a file, and decode all its frames only "
        "if their number may differ from that of the packets)",
    )
    add_limits(parser, TIME_LIMIT_S, "left out")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 1 if files were left out, or 2 with one sentence on stderr."""
    parser = _parser()
    options = parser.parse_args(with_todays_options(arguments))
    return run_program("manifest", lambda: run(options), flags_of(parser))


def run(options: argparse.Namespace) -> int:
    """Carry out a parsed command line; returns the exit code."""
    check_limits(options.workers, options.time_limit_s)
    if options.out and not options.out.endswith(".csv"):
        raise InputError(f"Invalid out {options.out}: must end in .csv")
    if options.out:
        check_not_replaced(options.out, [options.source])
    groups, classes = find_groups(options.source, options.dataset)
    manifest, splits = Manifest([], classes), list[str]()
    for split, items in groups.items():
        items = [(os.path.abspath(path), *rest) for path, *rest in items]
        found = scan_videos(
            items,
            classes=classes,
            cache=default_cache(items),
            workers=options.workers,
            verify=options.verify,
            time_limit_s=options.time_limit_s,
            progress=partial(progress_bar, title="reading videos", unit="file"),
        )
        manifest = Manifest(manifest.videos + found.videos, classes, manifest.refused | found.refused)
        splits += [split] * len(found)
    if options.out:
        manifest.save(options.out, splits if any(splits) else ())
    print(summary(manifest) + (f"\nWritten to {options.out}." if options.out else ""))
    return 1 if manifest.refused else 0
