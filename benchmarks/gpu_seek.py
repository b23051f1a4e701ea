"""Whether DALI shows the planned frames where it must seek: by kind of file, for both readers.

    python benchmarks/gpu_seek.py [--device mixed] [--kinds "mpeg4 with B-frames"]

Each file has 70 frames of one grey each, all different, so that what is shown tells its number, and a key frame every
30. A line for each kind and way of reading says at which frames it was wrong, as ``31>36``: 31 was planned, 36 shown;
``31>?`` is no frame's grey.

``clips``: ``fn.decoders.video``, all plans of three frames in one batch, then one with far jumps. ``clips whole``: the
file in one plan. ``stream``: DALI's video reader, which keeps the file open and so comes to each clip from the one
before, forwards and back. ``stream whole`` and ``stream 17-31``: in a new reader, where nothing was read before.

Without a GPU, ``--device cpu`` (the default there) tries it with VP8 and VP9, all that DALI knows there. Exit code 1:
the loader would show wrong frames, which a file that it leaves to PyAV does not count for.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from nvidia.dali import fn, pipeline_def, types

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decoder_speed import has_gpu

from dali_pipes import VideoInfo, scan_videos
from dali_pipes.decode.dali import dali_decode, why_not_dali
from dali_pipes.loader.stream_reader import dali_read, takes_frame_ranges, why_not_stream
from tests.videos import rgb_of, write_lossless

FRAMES, GOP, SIZE_HW = 70, 30, (192, 256)  # more frames would have greys that others have
STARTS = [0, 1, 9, 12, 17, *range(27, 34), 45, *range(57, 64), 67]
"""Around each key frame, and so far behind one that DALI seeks, which it does over more than 10 frames."""
JUMPS = [0, 63, 31, 2, 61, 29, 45, 30, 60, 12, 69]
MOST_APART = 1.7  # grey levels: neighbours differ by 3.5

NO_CUTS = {"sc_threshold": 10**9}  # FFmpeg's MPEG-4 encoder sees a scene cut in nearly every step from grey to grey
MPEG4, H264, HEVC = {"qmin": 1, "qmax": 1}, {"bf": 3, "qp": 4}, "bframes=4:qp=4:log-level=none"
KINDS: dict[str, tuple[str, str, dict]] = {
    "h264, mp4": ("libx264", "mp4", H264),
    "h264 without B-frames, mp4": ("libx264", "mp4", {"bf": 0, "qp": 4}),
    "h264 open groups, mp4": ("libx264", "mp4", H264 | {"x264-params": "open-gop=1"}),
    "h264, mkv": ("libx264", "mkv", H264),
    "h264, flv": ("libx264", "flv", H264),
    "h264, ts": ("libx264", "ts", H264),
    "h264 without B-frames, ts": ("libx264", "ts", {"bf": 0, "qp": 4}),
    "hevc open groups, mp4": ("libx265", "mp4", {"x265-params": f"open-gop=1:{HEVC}"}),
    "hevc open groups, mkv": ("libx265", "mkv", {"x265-params": f"open-gop=1:{HEVC}"}),
    "hevc closed groups, mp4": ("libx265", "mp4", {"x265-params": f"open-gop=0:{HEVC}"}),
    "mpeg4, avi": ("mpeg4", "avi", MPEG4 | NO_CUTS),
    "mpeg4, mp4": ("mpeg4", "mp4", MPEG4 | NO_CUTS),
    "mpeg4 with B-frames, mp4": ("mpeg4", "mp4", {"bf": 2} | MPEG4 | NO_CUTS),
    "mpeg4 with B-frames, mkv": ("mpeg4", "mkv", {"bf": 2} | MPEG4 | NO_CUTS),
    "mpeg4 with B-frames, many key frames, mp4": ("mpeg4", "mp4", {"bf": 2} | MPEG4),
    "mpeg4 with B-frames, closed groups, mp4": ("mpeg4", "mp4", {"bf": 2, "flags": "+cgop"} | MPEG4 | NO_CUTS),
    "vp9, webm": ("libvpx-vp9", "webm", {"crf": 4, "b": 0, "cpu-used": 5}),
    "vp8, webm": ("libvpx", "webm", {"crf": 4, "b": "4M", "cpu-used": 5, "auto-alt-ref": 1, "lag-in-frames": 16}),
}
CPU_KINDS = ["vp9, webm", "vp8, webm"]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what DALI's own FFmpeg writes to file descriptor 2 off the terminal."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def run(graph: Callable, batch_size: int, device: str) -> list[np.ndarray]:
    """Return the greys of each sample's frames."""
    pipeline = pipeline_def(graph)(batch_size=batch_size, num_threads=4, device_id=None if device == "cpu" else 0)
    pipeline.build()
    output = pipeline.run()[0]
    output = output if device == "cpu" else output.as_cpu()
    return [np.array(sample).mean(axis=(1, 2, 3)) for sample in output]


def by_clips(path: str, plans: Sequence[Sequence[int]], device: str) -> list[np.ndarray]:
    """Each plan's greys by the reader ``clips``."""

    def graph():
        encoded = fn.external_source(lambda: [np.fromfile(path, np.uint8)] * len(plans), batch=True)
        arrays = [np.array(plan, np.int32) for plan in plans]
        return dali_decode(encoded, fn.external_source(lambda: arrays, batch=True, dtype=types.INT32), device=device)

    return run(graph, len(plans), device)


def by_stream(path: str, plans: Sequence[Sequence[int]], device: str) -> list[np.ndarray]:
    """Each plan's greys by the reader ``stream``, in this order; plans are of one length and without gaps."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as clips:
        clips.writelines(f"{path} {number} {plan[0]} {plan[-1] + 1}\n" for number, plan in enumerate(plans))
        clips.flush()
        of_list = SimpleNamespace(path=clips.name, sequences=SimpleNamespace(length=len(plans[0]), stride=1))
        return run(lambda: dali_read(of_list, device="cpu" if device == "cpu" else "gpu")[0], len(plans), device)


def found(plans: Sequence[Sequence[int]], greys: Sequence[np.ndarray]) -> dict[str, int]:
    """What was wrong, such as ``31>36``, and how often."""
    wrong: dict[str, int] = {}
    known = np.array([rgb_of(index) for index in range(FRAMES)])
    for plan, shown_K in zip(plans, greys, strict=True):
        for planned, shown in zip(plan, shown_K, strict=True):
            if abs(shown - known[planned]) > MOST_APART:
                nearest = int(np.abs(known - shown).argmin())
                name = f"{planned}>{nearest if abs(known[nearest] - shown) <= MOST_APART else '?'}"
                wrong[name] = wrong.get(name, 0) + 1
    return wrong


def ways(readers: Sequence[str]) -> Iterator[tuple[str, str, list[list[int]]]]:
    """Names, readers and plans."""
    whole, clips = [list(range(FRAMES))], [[start, start + 1, start + 2] for start in STARTS]
    if "clips" in readers:
        yield "clips", "clips", [*clips, JUMPS]
        yield "clips whole", "clips", whole
    if "stream" in readers:
        yield "stream", "stream", [*clips, *clips[::-1], *clips[::7], *clips[::-5]]
        yield "stream whole", "stream", whole
        yield "stream 17-31", "stream", [list(range(17, 32))]


def try_kind(kind: str, video: VideoInfo, device: str, readers: Sequence[str]) -> bool:
    """Say what each way of reading shows; return whether the loader would show no wrong frame."""
    obstacles = {
        "clips": why_not_dali(video),
        "stream": why_not_stream(video, "cpu" if device == "cpu" else "gpu"),
    }
    good = True
    for name, reader, plans in ways(readers):
        try:
            with quiet():
                greys = (by_clips if reader == "clips" else by_stream)(video.path, plans, device)
            wrong = found(plans, greys)
            number = f"{sum(wrong.values())} of {sum(map(len, plans))} frames"
            text = f"WRONG in {number}: {' '.join(wrong)[:400]}" if wrong else "right"
        except RuntimeError as error:  # other kinds may work
            lines = str(error).splitlines()
            text = f"FAILED: {next((line for line in lines if 'Assert' in line), lines[-1])[:300]}"
        obstacle = obstacles[reader]
        good &= text == "right" or obstacle is not None
        left = f"  (the loader does not read it so: {obstacle.removeprefix(video.path).strip()})" if obstacle else ""
        print(f"{kind:42} {name:13} {text}{left}", flush=True)
    return good


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("mixed", "cpu"), default="mixed" if has_gpu() else "cpu")
    parser.add_argument(
        "--kinds", default="", help="those whose name has this in it; default: all that DALI knows there"
    )
    chosen = parser.parse_args(arguments)
    known, wanted = CPU_KINDS if chosen.device == "cpu" else list(KINDS), chosen.kinds
    chosen.kinds = [kind for kind in known if wanted in kind]
    if not chosen.kinds:
        parser.error(f"Invalid --kinds {wanted!r}: must be a part of one of the names {'; '.join(known)}")
    return chosen


def main() -> int:
    options, start = parse(), time.perf_counter()
    readers = ["clips", "stream"] if takes_frame_ranges() else ["clips"]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:

        def write(kind: str) -> str:
            codec, container, more = KINDS[kind]
            path = Path(folder) / f"{list(KINDS).index(kind)}.{container}"
            return str(write_lossless(path, FRAMES, SIZE_HW, codec=codec, gop=GOP, **more))

        paths = list(pool.map(write, options.kinds))
        videos = {video.path: video for video in scan_videos([(path, "a") for path in paths]).videos}
        print(f"made and checked {len(paths)} files in {time.perf_counter() - start:.1f} s", flush=True)
        good = [
            try_kind(kind, videos[path], options.device, readers)
            for kind, path in zip(options.kinds, paths, strict=True)
        ]
    print(f"{sum(good)} of {len(good)} kinds are shown right, {time.perf_counter() - start:.1f} s", flush=True)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
