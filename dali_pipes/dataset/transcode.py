"""``python -m dali_pipes.transcode IN OUT``: copies of videos that are quick and easy to read.

H.264 in MP4 at a constant rate, upright, with square pixels, a small short side, a key frame every few frames and no
sound. Training does not need it; it makes random access to long or large videos cheap.
Interrupted, it goes on where it was.
"""

import argparse
import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.container import OutputContainer

from ..decode.pyav import open_input
from ..decode.video_file import SWSCALE_BT601, UPRIGHT, check_colours, open_video, orientation_of, swscale_matrix
from ..decode.video_info import OddityKind
from ..errors import OR_A_COPY, InputError, NoAnswer, VideoError
from ..system.cores import usable_cores
from ..system.files import make_folder, remove_drafts, replacing
from ..system.isolate import NoResult, map_isolated
from ..system.locks import exclusive_use
from ..system.program import add_limits, check_limits, flag, flags_of, one_line, run_program, with_todays_options
from ..system.progress import progress_bar
from .folders import TRANSCODED, walk_videos
from .probe import decoder_messages, quoted, read_video_info

REPORT = "transcode.csv"
COPY_TIME_LIMIT_S = 3600.0
LONGEST_STILL_S = 60
"""A frame that stands for longer is refused: filling the time would fill the disk."""
DEFAULT_RATE = Fraction(25)
LONGEST_SIDE_PX = 16384
"""The longest side that x264 takes."""
SLOWEST_RATE = 0.01
"""Lowest frame rate, in frames per second: rates are fractions of small numbers."""
_BT601, _LIMITED_RANGE = 6, 1  # AVColorSpace, AVColorRange


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """Settings of the copies; checked on construction."""

    short_side_px: int = 256
    """The copies' short side; smaller videos keep their size, up to an even number,
    or are stretched where pixels are not square."""
    fps: float = 0.0
    """Frames per second; 0 keeps each video's own average."""
    key_every_frames: int = 8
    """Largest distance between two key frames, in frames."""
    crf: int = 18
    """x264's constant quality, 0 to 51; lower is better and larger."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("short_side_px", 16, 8192),
            ("fps", 0, 1000),
            ("key_every_frames", 1, 10000),
            ("crf", 0, 51),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"Invalid {name} {getattr(self, name):g}: must be between {low} and {high}")
        if 0 < self.fps < SLOWEST_RATE:
            raise InputError(
                f"Invalid fps {self.fps:g}: must be at least {SLOWEST_RATE}, or 0 to keep the frame rate of each video"
            )


def transcode_video(
    source: str, target: str, settings: CopySettings, comment: str = "", time_limit_s: float = COPY_TIME_LIMIT_S
) -> tuple[int, int]:
    """Write one copy, whole or not at all; ``comment`` goes into its metadata.

    Returns:
        Frames read, frames written.

    Raises:
        VideoError: the source cannot be read to its end.
        InputError: the target cannot be written.
    """
    info = read_video_info(source, verify=False, time_limit_s=time_limit_s)
    own_rate = Fraction(info.fps).limit_denominator(1001) or DEFAULT_RATE
    rate = Fraction(settings.fps).limit_denominator(1001) or own_rate
    timed = info.oddity(OddityKind.VARIABLE_RATE) is not None
    with open_video(source, time_limit_s) as reader:

        def seconds_and_frames() -> Iterator[tuple[Fraction, av.VideoFrame]]:
            start: int | None = None
            last: Fraction | None = None
            for index, frame in reader.frames():
                seconds = index / own_rate
                if timed and frame.pts is not None:
                    start = frame.pts if start is None else start
                    seconds = (frame.pts - start) * reader.tick_s
                if last is not None and seconds - last > LONGEST_STILL_S:
                    raise VideoError(
                        f"{source}: has a gap of {float(seconds - last):.0f} s between frames {index - 1} and {index}, "
                        f"but a copy can have gaps of at most {LONGEST_STILL_S:g} s"
                    )
                # a time stamp that steps back is none
                last = seconds if last is None or seconds > last else last + 1 / own_rate
                yield last, frame

        with (
            replacing(target, make_folders=True) as draft,
            av.open(str(draft), "w", format=TRANSCODED[1:]) as container,
        ):
            written, convert = 0, None
            container.metadata["comment"] = comment
            for frame in constant_rate(seconds_and_frames(), rate):
                if convert is None:
                    convert = _Converter(source, frame, reader.pixel_shape, settings.short_side_px)
                    stream = _add_stream(container, convert, rate, settings)
                picture = convert(frame)
                picture.pts, picture.time_base = written, 1 / rate
                container.mux(stream.encode(picture))
                written += 1
            container.mux(stream.encode(None))
    return reader.count, written


Frame = TypeVar("Frame")


def constant_rate(seconds_and_frames: Iterable[tuple[Fraction, Frame]], rate: Fraction) -> Iterator[Frame]:
    """The frame nearest in time for every tick of a constant rate: some are shown again, others left out.

    Args:
        seconds_and_frames: (time, frame), times rising from 0.
        rate: ticks per second.

    Example: frames at 0, 0.1 and 0.4 s at 10 per second are shown as 0 1 1 1 2.
    """
    pending: Frame | None = None
    ticks = 0
    for seconds, frame in seconds_and_frames:
        tick = round(seconds * rate)
        while ticks < tick and pending is not None:
            yield pending
            ticks += 1
        pending = frame
    if pending is not None:
        yield pending


class _Converter:
    """Frames scaled to square pixels, upright, limited-range BT.601 YUV 4:2:0: what all decoders show alike."""

    def __init__(self, path: str, first: av.VideoFrame, pixel_shape: Fraction, short_side_px: int):
        self.path, self.orientation, self.frame_hw = path, orientation_of(first, path), (first.height, first.width)
        one = Fraction(1)
        square_hw = (first.height * max(one, 1 / pixel_shape), first.width * max(one, pixel_shape))  # never shrunk
        scale = min(one, short_side_px / min(square_hw))
        self.height, self.width = (max(2, 2 * round(scale * side / 2)) for side in square_hw)
        if max(self.height, self.width) > LONGEST_SIDE_PX:
            raise VideoError(
                f"{path}: with square pixels its size would be {self.width}x{self.height}, "
                f"but x264 supports at most {LONGEST_SIDE_PX} pixels per side"
            )
        self.shown_hw = self.orientation.size_hw(self.height, self.width)
        self.reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        check_colours(frame, self.path)
        if (frame.height, frame.width) != self.frame_hw:
            raise VideoError(f"{self.path}: its frame size changes to {frame.width}x{frame.height}")
        scaled = self.reformatter.reformat(
            frame,
            self.width,
            self.height,
            "yuv420p",
            src_colorspace=swscale_matrix(frame),
            dst_colorspace=SWSCALE_BT601,
            interpolation="AREA",
            src_color_range=int(frame.color_range),
            dst_color_range=_LIMITED_RANGE,
        )
        planes = scaled.to_ndarray()
        if self.orientation != UPRIGHT:
            planes = self._turn(planes)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _turn(self, planes: np.ndarray) -> np.ndarray:
        height, width = self.height, self.width
        flat, parts, start = planes.reshape(-1), [], 0
        for shrink in (1, 2, 2):
            size = height // shrink * (width // shrink)
            plane = flat[start : start + size].reshape(height // shrink, width // shrink, 1)
            parts.append(self.orientation.show(plane).reshape(-1))
            start += size
        return np.concatenate(parts).reshape(self.shown_hw[0] * 3 // 2, self.shown_hw[1])


def _add_stream(
    container: OutputContainer, convert: _Converter, rate: Fraction, settings: CopySettings
) -> av.VideoStream:
    options = {
        "crf": str(settings.crf),
        "preset": "fast",
        "x264-params": f"keyint={settings.key_every_frames}:open-gop=0",
    }
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.height, stream.width = convert.shown_hw
    stream.pix_fmt, stream.time_base = "yuv420p", 1 / rate
    stream.codec_context.thread_count = 1
    stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED_RANGE
    return stream


@dataclass(frozen=True)
class Outcome:
    """Result for one video; a line of the report."""

    source: str
    target: str
    result: str
    """``made``, ``kept`` (from an earlier call) or ``refused``."""
    frames_read: int | str = ""
    frames_written: int | str = ""
    reason: str = ""
    """Why the video was refused; for a copy, what the decoder found wrong with the original."""


def transcode_folder(
    source: str | os.PathLike,
    out: str | os.PathLike,
    settings: CopySettings,
    *,
    workers: int | None = None,
    time_limit_s: float = COPY_TIME_LIMIT_S,
    progress: Callable[..., Iterable] | None = None,
) -> list[Outcome]:
    """Copy every video below a folder to the same place below another, as ``.mp4``.

    What an earlier call made from the same file with the same settings is kept.
    ``out/transcode.csv`` says what became of each.

    Raises:
        InputError: a folder is missing, ``out`` lies in ``source`` or is in use, a file stands in the way, two sources
            would have one copy, or a copy cannot be written.
    """
    source, out = Path(os.path.abspath(source)), Path(os.path.abspath(out))
    if not source.is_dir():
        raise InputError(f"{source}: {'is not a folder' if source.exists() else 'no such folder'}")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise InputError(
            f"{out}: is in {source}, so the copies would be copied again; choose another folder for the copies"
        )
    targets = {path: str(out / Path(path).relative_to(source).with_suffix(TRANSCODED)) for path in walk_videos(source)}
    if not targets:
        raise InputError(f"{source}: contains no videos")
    for (first, target), (second, other) in pairwise(sorted(targets.items(), key=lambda item: item[1])):
        if target == other:
            raise InputError(f"{first} and {second}: both would be copied to {target}; rename one of them")
    with exclusive_use(make_folder(out), "choose another folder for the copies"):
        return _copy_all(list(targets.items()), out, settings, workers or usable_cores(), time_limit_s, progress)


def _copy_all(
    pairs: Sequence[tuple[str, str]],
    out: Path,
    settings: CopySettings,
    workers: int,
    time_limit_s: float,
    progress: Callable[..., Iterable] | None,
) -> list[Outcome]:
    results = map_isolated(
        _transcode, [(*pair, settings, time_limit_s) for pair in pairs], workers=workers, time_limit_s=time_limit_s
    )
    outcomes = {}
    try:
        for place, result in progress(results, total=len(pairs)) if progress else results:
            if isinstance(result, NoResult):
                result = _refused(*pairs[place], result.reason)
            outcomes[place] = result
    except KeyboardInterrupt as interrupt:
        interrupt.args = ("run the same command again to continue",)
        raise
    finally:
        results.close()
        for folder in {Path(target).parent for _, target in pairs}:
            remove_drafts(folder)
        rows = [outcomes[place] for place in sorted(outcomes)]
        if rows:
            _write_report(out / REPORT, rows)
    return rows


def _refused(source: str, target: str, reason: str) -> Outcome:
    return Outcome(source, target, "refused", reason=reason.replace(OR_A_COPY, ""))  # this is where copies are made


MARK, VERSION = "dali_pipes.transcode", 3


def _transcode(source: str, target: str, settings: CopySettings, time_limit_s: float) -> Outcome:
    """Make one copy where it is not there already; for a process of its own."""
    try:
        stat = os.stat(source)
    except OSError as error:
        return _refused(source, target, str(error.strerror))
    mark = f"{MARK} {VERSION} of {stat.st_size} bytes of {stat.st_mtime_ns}, {settings}"
    if os.path.lexists(target):
        found = _comment(target)
        if found == mark:
            return Outcome(source, target, "kept")
        if not found.startswith(MARK):
            raise InputError(
                f"{target}: was not written by this program, so it is not replaced; choose another folder for "
                "the copies"
            )
    try:
        with decoder_messages() as messages:
            try:
                counts = transcode_video(source, target, settings, mark, time_limit_s)
            except NoAnswer:  # as in read_video_info
                messages.clear()
                counts = transcode_video(source, target, settings, mark, time_limit_s)
        return Outcome(source, target, "made", *counts, f"damaged{quoted(messages)}" if messages else "")
    except VideoError as error:
        return _refused(source, target, str(error).removeprefix(f"{source}: "))


def _comment(path: str) -> str:
    try:
        with open_input(path) as container:
            return container.metadata.get("comment", "")
    except (av.FFmpegError, OSError):
        return ""


def _write_report(path: Path, outcomes: Sequence[Outcome]) -> None:
    with (
        replacing(path, make_folders=True) as draft,
        open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, [item.name for item in fields(Outcome)])
        writer.writeheader()
        writer.writerows(map(asdict, outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dali_pipes.transcode",
        description="Copy videos to H.264 in MP4, to make them fast to read. The copies have a constant frame rate, "
        "square pixels, a limited short side, frequent key frames and no sound.",
        epilog="Example: python -m dali_pipes.transcode videos copies",
    )
    parser.add_argument("source", metavar="IN", help="input folder; all videos in it and in its subfolders are copied")
    parser.add_argument("out", metavar="OUT", help="folder for the copies and for the report transcode.csv")
    defaults = CopySettings()
    for name, text in (
        ("short_side_px", "largest short side of the copies, in pixels; smaller videos keep their size"),
        ("fps", "frame rate of the copies, in frames per second; 0: the average frame rate of each video"),
        ("key_every_frames", "largest distance between key frames, in frames"),
        ("crf", "constant rate factor (CRF) of x264, 0 to 51; lower values give better quality and larger files"),
    ):
        value = getattr(defaults, name)
        parser.add_argument(flag(name), type=type(value), default=value, help=f"{text} (default: {value:g})")
    add_limits(parser, COPY_TIME_LIMIT_S, "not copied")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 1 if files were refused, or 2 with one sentence on stderr."""
    parser = _parser()
    options = vars(parser.parse_args(with_todays_options(arguments)))
    return run_program("transcode", lambda: run(options), flags_of(parser))


def run(options: dict) -> int:
    """Carry out a parsed command line; returns the exit code."""
    check_limits(options["workers"], options["time_limit_s"])
    settings = CopySettings(**{item.name: options[item.name] for item in fields(CopySettings)})
    outcomes = transcode_folder(
        options["source"],
        options["out"],
        settings,
        workers=options["workers"],
        time_limit_s=options["time_limit_s"],
        progress=partial(progress_bar, title="transcoding", unit="file"),
    )
    counts = Counter(outcome.result for outcome in outcomes)
    print(
        f"copies made: {counts['made']:,}, existing copies kept: {counts['kept']:,}, videos refused: "
        f"{counts['refused']:,}; see {options['out']}/{REPORT}"
    )
    for outcome in outcomes:
        if outcome.reason:
            print(f"  {one_line(outcome.source)}: {outcome.reason}")
    return 1 if counts["refused"] else 0
