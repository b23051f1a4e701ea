"""Which decoders show the frames that a file has: counts, frames and speed, file by file.

    python benchmarks/studies/decoders.py [--data DIR ...] [--decoders NAME ...]

Every file is decoded from beginning to end as the reference, and then by each decoder: the whole file, 32 frames from
the middle and the last 32. decoder_readers.py has the decoders, decoder_process.py runs them, and frame_matching.py
tells which frames they showed. The result is benchmarks/results/decoders.md; its text from the heading "What it shows"
on is kept.

``pip install -e ".[cuda130,decoders]"`` installs the libraries; torchcodec also needs the shared libraries of FFmpeg,
which ``apt-get install ffmpeg`` installs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported: pictures are small, and threads slow them down
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import frame_matching
from decoder_process import Outcome, call_apart, read_files
from decoder_readers import READERS, REFERENCE, WINDOW_FRAMES, Reader
from frame_matching import Match, match, moving_frames
from results_page import command_line, machine_line, markdown_table

from dali_pipes.errors import InputError, check_known
from dali_pipes.system.files import replacing

RESULT = Path(__file__).resolve().parents[1] / "results" / "decoders.md"
CLIPS = Path(os.environ.get("DALI_PIPES_CLIPS") or Path(__file__).resolve().parents[3] / "shared" / "clips")
KEPT_FROM = "\n## What it shows\n"


class Verdict(NamedTuple):
    """What a decoder made of a file that has frames."""

    count: int
    """Frames, as the library says, or as it gave if it does not say."""
    expected: int
    matches: list[Match]
    """Of the whole file, then of the windows."""
    errors: list[str]
    """Of each of these requests; empty where there was none."""
    failure: str
    """Why there is nothing to compare."""
    clip_s: float | None

    @property
    def has_count(self) -> bool:
        return not self.failure and self.count == self.expected

    @property
    def has_frames(self) -> bool:
        """Whether all requests gave the right frames, and as many as asked for."""
        whole = self.matches[0] if self.matches else None
        return whole is not None and whole.given == self.expected and all(one.is_right for one in self.matches)

    @property
    def is_shifted(self) -> bool:
        return any(one.shifts for one in self.matches)

    @property
    def is_turned(self) -> bool:
        return any(one.turned for one in self.matches)

    @property
    def died(self) -> bool:
        return self.failure.startswith(("crashed", "hung"))

    @property
    def is_error(self) -> bool:
        return (bool(self.failure) and not self.died) or any(self.errors)


def judge(outcome: Outcome, reference: Outcome) -> Verdict:
    frames_NHW = reference.reads[0].thumbnails
    expected = len(frames_NHW)
    matches = []
    for read in outcome.reads:
        wanted = range(read.start, expected if read.stop is None else read.stop)
        matches.append(match(read.thumbnails, wanted, frames_NHW))
    given = matches[0].given if matches else 0
    count = given if outcome.count is None else outcome.count
    errors = [read.error for read in outcome.reads]
    return Verdict(count, expected, matches, errors, outcome.failure, outcome.clip_s)


def described(verdict: Verdict) -> str:
    """What is not as it should be, in words; empty if nothing is."""
    if verdict.failure:
        return verdict.failure
    parts = [] if verdict.has_count else [f"counts {verdict.count:,}"]
    for name, found, error in zip(("whole file", "middle", "end"), verdict.matches, verdict.errors, strict=False):
        notes = []
        if found.given != len(found.wanted):
            notes.append(f"gives {found.given:,} of {len(found.wanted):,}")
        if found.wrong:
            how = [f"{count} {abs(shift)} {'late' if shift > 0 else 'early'}" for shift, count in found.counted_shifts]
            how = [*how[:3], *(["others"] if len(how) > 3 else [])]
            how += [f"{len(found.unlike)} like no frame"] if found.unlike else []
            notes.append(f"{len(found.wrong)} wrong from frame {found.wrong[0]} on ({', '.join(how)})")
        notes += [f"error: {error}"] if error else []
        parts += [f"{name} {', '.join(notes)}"] if notes else []
    if verdict.is_turned:
        parts.append("not turned upright")
    return "; ".join(parts)


class File(NamedTuple):
    """A file and what the decoders made of it."""

    name: str
    """Relative to its folder of ``--data``."""
    reference: Outcome
    outcomes: dict[str, Outcome]
    """By the decoder's name; without those that do not decode its codec, or cannot be used here."""

    @property
    def num_frames(self) -> int:
        return len(self.reference.reads[0].thumbnails) if self.reference.reads else 0

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {name: judge(outcome, self.reference) for name, outcome in self.outcomes.items()}


def windows_of(num_frames: int) -> list[tuple[int, int]]:
    """The clips that are asked for besides the whole file: the middle and, of longer files, the end."""
    length = min(WINDOW_FRAMES, num_frames)
    middle = (num_frames - length) // 2
    windows = [(middle, middle + length), (num_frames - length, num_frames)]
    return windows[: 0 if not num_frames else 1 if num_frames == length else 2]


def compare(folder: Path, readers: dict[str, Reader], limit_s: float) -> tuple[list[File], dict[str, str]]:
    """Return the files below a folder with what each decoder made of them, and why decoders cannot be used.

    Raises:
        InputError: there are no files.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise InputError(f"{folder}: has no files; --data must name folders with videos")

    def outcomes_of(reader: Reader, chosen: Sequence[tuple[Path, list]]) -> list[Outcome] | str:
        began_s = time.monotonic()
        requests = [(str(path), windows) for path, windows in chosen]
        # the library is imported in a process of its own too, from which that of each file is forked
        outcomes = call_apart(read_files, (reader, requests, limit_s), (limit_s + 60) * (len(requests) + 1))
        print(f"{folder.name}, {reader.title}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
        return outcomes

    references = outcomes_of(REFERENCE, [(path, []) for path in paths])
    if isinstance(references, str):
        raise InputError(f"Cannot decode the reference: PyAV {references}; install it")
    files = [
        File(str(path.relative_to(folder)), reference, {}) for path, reference in zip(paths, references, strict=True)
    ]
    missing = {}
    for name, reader in readers.items():
        chosen = [
            (path, file)
            for path, file in zip(paths, files, strict=True)
            if not reader.codecs or file.reference.codec in reader.codecs
        ]
        found = outcomes_of(reader, [(path, windows_of(file.num_frames)) for path, file in chosen])
        if isinstance(found, str):
            missing[name] = found
            continue
        for (_, file), outcome in zip(chosen, found, strict=True):
            file.outcomes[name] = outcome
    return files, missing


# --- the page --------------------------------------------------------------------------------------------------------


def summary_table(files: Sequence[File], missing: dict[str, str]) -> str:
    """A row for each decoder; files without a frame do not count."""
    head = ["decoder", "files", "read", "count right", "all frames right", "shifted", "not upright"]
    head += ["errors", "crashed, hung", "ms a clip"]
    verdicts = [file.verdicts for file in files if file.num_frames]
    rows = []
    for name, reader in READERS.items():
        of_decoder = [found[name] for found in verdicts if name in found]
        if name in missing:
            rows.append([reader.title, *["-"] * (len(head) - 2), missing[name]])
        elif any(name in file.outcomes for file in files):
            counts = [
                len(of_decoder),
                sum(not one.failure for one in of_decoder),
                sum(one.has_count for one in of_decoder),
                sum(one.has_frames for one in of_decoder),
                sum(one.is_shifted for one in of_decoder),
                sum(one.is_turned for one in of_decoder),
                sum(one.is_error for one in of_decoder),
                sum(one.died for one in of_decoder),
            ]
            times = [one.clip_s for one in of_decoder if one.clip_s is not None]
            rows.append([reader.title, *map(str, counts), f"{1e3 * statistics.median(times):.0f}" if times else "-"])
    return markdown_table(head, rows)


def difference_table(files: Sequence[File]) -> str:
    """A row for each file and each thing that decoders made of it that is not right."""
    rows = []
    for file in files:
        by_words: dict[str, list[str]] = {}
        for name, verdict in file.verdicts.items() if file.num_frames else ():
            if words := described(verdict):
                by_words.setdefault(words, []).append(READERS[name].title)
        for number, (words, titles) in enumerate(by_words.items()):
            first = [f"`{file.name}`", f"{file.num_frames:,}"] if number == 0 else ["", ""]
            rows.append([*first, "; ".join(titles), words])
    return text_columns(["file", "frames", "decoder", "what differs"], rows)


def without_frames_table(files: Sequence[File]) -> str:
    """A row for each file of which the reference shows no frame: an error or no frames are right there."""
    rows = []
    for file in files:
        if file.num_frames:
            continue
        titles: dict[str, list[str]] = {"gave frames": [], "says that there are frames": [], "crashed or hung": []}
        for name, verdict in ((name, judge_empty(outcome)) for name, outcome in file.outcomes.items()):
            if verdict:
                titles[verdict].append(READERS[name].title)
        words = "; ".join(f"{words}: {', '.join(named)}" for words, named in titles.items() if named)
        rows.append([f"`{file.name}`", words or "all report an error or no frames"])
    return text_columns(["file", "decoders"], rows)


def judge_empty(outcome: Outcome) -> str:
    """What a decoder made of a file without frames, if it is not right."""
    if outcome.failure.startswith(("crashed", "hung")):
        return "crashed or hung"
    if outcome.reads and len(outcome.reads[0].thumbnails):
        return "gave frames"
    return "says that there are frames" if outcome.count and not outcome.failure else ""


def text_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def page(folders: dict[str, list[File]], missing: dict[str, str], limit_s: float) -> str:
    every = [file for files in folders.values() for file in files]
    seen = sum(moving_frames(file.reference.reads[0].thumbnails) for file in every if file.num_frames)
    total = sum(file.num_frames for file in every)
    parts = [
        "# Which decoders show the right frames",
        "Each file was decoded from beginning to end as the reference, and then by each decoder: the whole file, "
        f"{WINDOW_FRAMES} frames from the middle, and the last {WINDOW_FRAMES}. "
        "[What it shows](#what-it-shows) and [how it was compared](#how-it-was-compared) are below the figures.",
    ]
    for name, files in folders.items():
        with_frames = sum(bool(file.num_frames) for file in files)
        parts += [
            f"## Summary: {name}",
            f"{len(files)} files, {with_frames} of them with frames, which count here. "
            "A decoder without a row decodes none of their codecs: DALI decodes only VP8, VP9 and MJPEG on the CPU.",
            summary_table(files, missing),
        ]
    parts.append("## File by file")
    parts.append(
        "Only files of which a decoder shows something else than the reference. Early and late are in frames: "
        "`31 1 early` means that 31 frames were those before the ones asked for."
    )
    for name, files in folders.items():
        agreed = sum(not any(map(described, file.verdicts.values())) for file in files if file.num_frames)
        parts += [
            f"### {name}",
            f"All decoders agree with the reference on {agreed} of the files with frames.",
            difference_table(files),
        ]
        if any(not file.num_frames for file in files):
            parts += ["Files without a frame in the reference:", without_frames_table(files)]
    parts += [
        "## How it was compared",
        COMPARED.format(
            side=frame_matching.SIDE_PX,
            nearer=frame_matching.NEARER,
            unlike=frame_matching.UNLIKE,
            seen=seen,
            total=total,
            window=WINDOW_FRAMES,
            limit=limit_s,
        ),
        f"{machine_line()} {ffmpeg_versions()} {time.strftime('%Y-%m-%d')}.",
        f"`{command_line()}`",
    ]
    return "\n\n".join(parts) + "\n"


COMPARED = """\
The reference is every frame that FFmpeg's decoder puts out, through PyAV, on one thread, when all packets of the file's
best video stream are decoded from the first to the last, in the order in which the frames come out, which is that of
presentation. A packet that the decoder rejects is passed over, as the program `ffmpeg` does.

- Packed B-frames: both frames of a packet count, and the empty packet that follows them does not.
- Edit lists: frames that one hides do not count, because FFmpeg's demuxer marks their packets as not to be shown.
- Variable rates: each frame counts once, however long it is shown. Time stamps are not looked at.
- Rotation: as the display matrix says. Frames that are right but not turned upright have a column of their own.
- Several video streams: the one that FFmpeg considers best. Other streams are wrong frames.

Frames are compared as grey pictures of {side}x{side} pixels, after a gain and an offset that are the same for all
frames of a request, because libraries convert colours differently. A frame is wrong if another frame of the file is
nearer to what was shown by more than {nearer} grey levels (root mean square), or if no frame is nearer than {unlike:g}
levels. So a frame that equals its neighbour cannot be wrong by being taken for it: {seen:,} of all {total:,} frames
differ from the next one by more.

- "Read": the library opened the file without an error, even if it gave no frames.
- "Count right": what the library says before it decodes, or, where it does not say, what it gave, is the number of
  frames of the reference.
- "All frames right": all three requests gave all frames that were asked for, and none was wrong.
- "Shifted": at least one picture is another frame of the file. "Errors": at least one request ended with an error.
- Each file was read by each library in a process of its own, which was killed after {limit:g} s.
- "ms a clip": processor time to open the file and read the {window} frames from the middle, at full size: the median of
  three for each file, then of all files. One thread, where a library lets one choose. dali_pipes checks each file once
  before training, which is not included.
- "Seeking": `CAP_PROP_POS_FRAMES` of OpenCV; `container.seek` of PyAV to the time that the mean rate gives, then
  decoding until that time. Libraries that find frames by number read the whole file in windows of {window} frames."""


def ffmpeg_versions() -> str:
    """A sentence for the page; OpenCV and decord do not tell theirs."""
    import av

    try:
        said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout.split()
        installed = f", installed: {said[2]}, which torchcodec uses too"
    except (OSError, IndexError):
        installed = ", and none is installed"
    return f"FFmpeg: in PyAV {av.ffmpeg_version_info}{installed}."


def with_kept_text(text: str, before: str) -> str:
    """The new page with the words that a person wrote below the old one."""
    _, heading, words = before.partition(KEPT_FROM)
    return f"{text}{heading}{words}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=Path,
        metavar="DIR",
        default=[CLIPS / "actions", CLIPS / "odd"],
        help="folders with videos, each with tables of its own; DALI_PIPES_CLIPS changes the default",
    )
    parser.add_argument(
        "--decoders", nargs="+", metavar="NAME", default=list(READERS), help="some of the decoders, by name"
    )
    parser.add_argument("--time-limit-s", type=float, default=120, help="for a file and a decoder, in seconds")
    parser.add_argument("-o", "--out", type=Path, default=RESULT, help="the page")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    try:
        for name in options.decoders:
            check_known("--decoders", name, READERS)
        readers = {name: READERS[name] for name in options.decoders}
        names = [folder.name for folder in options.data]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise InputError(f"Invalid --data: two folders are called {doubled[0]!r}; give one of them another name")
        folders, missing = {}, {}
        for folder in options.data:
            folders[folder.name], found = compare(folder, readers, options.time_limit_s)
            missing |= found
        text = page(folders, missing, options.time_limit_s)
        before = options.out.read_text() if options.out.exists() else ""
        with replacing(options.out) as draft:
            draft.write_text(with_kept_text(text, before))
        if KEPT_FROM in before:
            print(f"{options.out}: check its text below the figures, which are new", file=sys.stderr)
    except InputError as error:
        print(f"decoders: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
