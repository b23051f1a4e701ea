"""What decoding on the GPU can do and costs here: NVDEC's capabilities, its frames against PyAV's, its speed.

    python benchmarks/gpu_probe.py [--json FILE] [--threads 1,4,8,16] [--seconds 0.6]

Each probe stands for itself: one that fails says so in a line with FAILED, and the next follows. Real clips are those
in ``$DALI_PIPES_CLIPS``, else in ``../shared/clips``. Without a GPU, DALI's CPU decoder stands in for NVDEC, with the
few codecs that it knows, to try this program.

Speed is in clips per second, each of every second frame of the 64 in the middle of a file. ``dali``: DALI's decoder
alone, which gives whole frames, with N threads. ``pyav``: ``decode_frames`` as the loader's workers call it, which also
crops and scales to 160 x 160, in N processes. Exit code 1: something failed, or frames that the loader would leave to
DALI are wrong.
"""

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decoder_speed import (
    CPU_SPEED,
    GPU_SPEED,
    KEEP_EVERY,
    WINDOW,
    dali_clips_per_s,
    dali_pipeline,
    has_gpu,
    pyav_clips_per_s,
    speed_table,
    started_processes,
    write_for_speed,
)

from dali_pipes.decode import decode_frames
from dali_pipes.decode.nvdec import NVDEC_CODECS, nvdec_limits
from tests.videos import natural_clip, write_lossless, write_video

MOST_APART = 3.0
"""Grey levels, mean over a frame: decoders that agree on matrix and range differ by less."""
NEIGHBOURS_APART = 3.5
"""Grey levels between frame i and i + 1 of ``write_lossless``."""

# codec, container, options; the quality is high, so that greys stay the ones that were written
GPU_KINDS: list[tuple[str, str, dict]] = [
    ("mpeg4", "avi", {"qmin": 1, "qmax": 1}),
    ("mpeg4", "avi", {"bf": 2, "qmin": 1, "qmax": 1}),
    ("mpeg4", "mp4", {"bf": 2, "qmin": 1, "qmax": 1}),
    ("libx264", "mp4", {"bf": 3, "qp": 4}),
    ("libx264", "ts", {"bf": 3, "qp": 4}),
    ("libx265", "mp4", {"x265-params": "open-gop=1:bframes=4:qp=4:log-level=none"}),
    ("libvpx-vp9", "webm", {"b": 0, "crf": 4, "cpu-used": 8}),
    ("libvpx", "webm", {"b": 10**7, "cpu-used": 8}),
]
CPU_KINDS = GPU_KINDS[-2:]
CPU_CODECS = ("vp8", "vp9")


class Report:
    """Prints results as they come, and writes them all to a file after each: a crash takes the next ones only."""

    def __init__(self, path: str | None):
        self.path, self.start, self.failed = path, time.perf_counter(), 0
        self.results: dict = {"machine": {}, "checks": [], "speed": []}

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.start:5.1f} s] {text}", flush=True)
        if self.path:
            Path(self.path).write_text(json.dumps(self.results, indent=1) + "\n")

    def has_ended(self, limit_s: float, name: str) -> bool:
        """Whether there is no time left, which is said."""
        ended = time.perf_counter() - self.start > limit_s
        if ended:
            self.say(f"{name}: no time left")
        return ended

    def tried(self, name: str, work: Callable[[], tuple[str, bool]]) -> None:
        """Say what ``work()`` found and whether that is right; what it raises is one line."""
        try:
            text, good = work()
        except Exception as error:  # the next probe may work
            text, good = f"FAILED, {type(error).__name__}: {' '.join(str(error).split())[:600]}", False
        self.failed += not good
        self.results["checks"].append({"name": name, "good": good, "found": text})
        self.say(f"{name}: {text}")


def nvdec_caps(codec: str) -> tuple[str, bool]:
    """What the hardware decodes of a codec, 4:2:0 with 8 bits."""
    limits = nvdec_limits(codec, 0)
    if not limits.engines:
        return "not supported", True
    sizes = f"{limits.min_width}x{limits.min_height} to {limits.max_width}x{limits.max_height}"
    return f"{limits.engines} engines, {sizes}", True


def frames_by_dali(path: str, plan: Sequence[int]) -> np.ndarray:
    """(K, H, W, 3) uint8."""
    (output,) = dali_pipeline(path, plan, threads=1, batch_size=1).run()
    return np.array((output.as_cpu() if has_gpu() else output)[0])


def grey_levels_apart(path: str, plan: Sequence[int]) -> np.ndarray:
    """(K, 3): each frame's and channel's mean difference between DALI and PyAV."""
    ours, theirs = (decode(path, plan).astype(np.int16) for decode in (frames_by_dali, decode_frames))
    return np.abs(ours - theirs).mean(axis=(1, 2))


def scanned(paths: Sequence[str]) -> dict:
    """path -> ``VideoInfo`` of those that can be read."""
    from dali_pipes import scan_videos

    return {video.path: video for video in scan_videos([(path, "all") for path in paths]).videos}


def left_to_the_cpu(video) -> str | None:
    """Why the loader does not leave a video to DALI."""
    from dali_pipes.decode.dali import why_not_dali

    return why_not_dali(video)


def write_kind(folder: Path, kind: tuple[str, str, dict]) -> tuple[str, str]:
    """Two files: 40 known greys, and colours."""
    codec, container, options = kind
    options = {"codec": codec, "gop": 100, **options}
    greys = write_lossless(folder / f"greys.{container}", 40, (192, 256), **options)
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(12, 192, 256)]
    colours = write_video(folder / f"colours.{container}", planes, (192, 256), **options)
    return str(greys), str(colours)


def check_frames(greys: str, colours: str, video) -> tuple[str, bool]:
    """Whether DALI picks PyAV's frames in any order, and how far apart its colours are."""
    plan = [*range(40), 30, 2, 2, 17, 39, 0]
    ours, theirs = (decode(greys, plan).mean(axis=(1, 2, 3)) for decode in (frames_by_dali, decode_frames))
    wrong = [plan[place] for place in np.flatnonzero(np.abs(ours - theirs) > NEIGHBOURS_APART / 2)]
    order = f"WRONG at {len(wrong)} of {len(plan)}, such as {wrong[:6]}" if wrong else "right"
    apart = grey_levels_apart(colours, range(12)).max(axis=0)
    close = "" if apart.max() < MOST_APART else "WRONG, "
    text = f"order {order}; colours {close}{_numbers(apart)} grey levels from PyAV's (R, G, B)"
    obstacle = left_to_the_cpu(video)
    good = not wrong and not close
    return (text, good) if obstacle is None else (f"{text}; the loader leaves it to PyAV: {obstacle}", True)


def check_clip(path: str, num_frames: int) -> tuple[str, bool]:
    """A clip's first, middle and last frames against PyAV's."""
    plan = [0, 1, 2, num_frames // 3, num_frames - 2, num_frames - 1]
    apart = grey_levels_apart(path, plan).mean(axis=1)
    close = bool(apart.max() < MOST_APART)
    return f"{'' if close else 'WRONG, '}{_numbers(apart)} grey levels from PyAV's at frames {plan}", close


def time_repeats(video) -> tuple[str, bool]:
    """Ten views of a video for evaluation, which overlap: their frames as planned, and each frame once."""
    from dali_pipes.plan import ClipSampler

    views = {"num_frames": WINDOW, "keep_every": KEEP_EVERY, "training": False, "clips_per_video": 10}
    plan = ClipSampler(videos=[video], **views).plan(0, 0).frame_indices
    once, took_ms = np.unique(plan), []
    for frames in (once, plan):
        pipeline = dali_pipeline(video.path, frames, threads=1, batch_size=1, prefetch=1)
        if frames is once:  # the other may take long, and comes when the decoder has warmed up
            pipeline.run()
        start = time.perf_counter()
        pipeline.run()
        took_ms.append(1000 * (time.perf_counter() - start))
    once_ms, given_ms = took_ms
    return f"{len(plan)} frames of ten views as planned {given_ms:.0f} ms, the {len(once)} once {once_ms:.0f} ms", True


def measure_speed(report: Report, videos: dict, options) -> None:
    """Fill the report's table of speed: each video by both decoders with each number of threads."""
    with started_processes(max(options.threads)) as pool:
        for name, video in videos.items():
            # one clip of real footage is there to compare with, the table is of what was made here
            for count in options.threads if name in GPU_SPEED | CPU_SPEED else options.threads[-1:]:
                for decoder, rate in (("dali", dali_clips_per_s), ("pyav", partial(pyav_clips_per_s, pool))):
                    title = f"speed, {name}, {decoder}, {count} {'threads' if decoder == 'dali' else 'processes'}"
                    if not report.has_ended(options.limit_s, title):
                        row = partial(_speed_row, report, name, video, decoder, count, rate, options.seconds)
                        report.tried(title, row)


def _speed_row(report, name, video, decoder, count, rate, seconds) -> tuple[str, bool]:
    row = {"video": name, "codec": video.codec, "width": video.width, "height": video.height, "decoder": decoder}
    row |= {"on": "gpu" if decoder == "dali" and has_gpu() else "cpu", "parallel": count}
    row["clips_per_s"] = rate(video.path, video.num_frames, count, seconds)
    report.results["speed"].append(row)
    return f"{row['clips_per_s']:.1f} clips/s", True


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def machine() -> dict:
    import av
    import torch
    from nvidia import dali

    from dali_pipes.system.cores import usable_cores

    versions = {"torch": torch.__version__, "dali": dali.__version__, "pyav": av.__version__}
    return {"gpu": torch.cuda.get_device_name() if has_gpu() else None, "cores": usable_cores(), **versions}


def run(report: Report, clips: Path, folder: Path, options) -> None:
    report.results["machine"] = machine()
    report.say(str(machine()))
    for codec in NVDEC_CODECS if has_gpu() else ():
        report.tried(f"NVDEC, {codec}", partial(nvdec_caps, codec))
    for number, kind in enumerate(GPU_KINDS if has_gpu() else CPU_KINDS):
        codec, container, written = kind

        def frames_of_kind(kind=kind, number=number) -> tuple[str, bool]:
            greys, colours = write_kind(folder / str(number), kind)
            return check_frames(greys, colours, scanned([greys])[greys])

        report.tried(f"frames, {codec} in {container}{', B-frames' if 'bf' in written else ''}", frames_of_kind)
    made: dict = {}
    for name in GPU_SPEED if has_gpu() else CPU_SPEED:
        report.tried(f"{name} for measuring", partial(_prepared, made, folder, name))
    good: list = []
    report.tried(f"real clips in {clips}", partial(_found, good, clips))
    for video in good:
        report.tried(f"frames, {Path(video.path).name}", partial(check_clip, video.path, video.num_frames))
    long_enough = [video for video in good if video.num_frames >= WINDOW]
    measure_speed(report, made | dict(zip(["real"], long_enough, strict=False)), options)
    for video in [*good, *made.values()][:1]:
        if not report.has_ended(options.limit_s, "repeats"):
            report.tried(f"repeats, {Path(video.path).name}, {video.num_frames} frames", partial(time_repeats, video))


def _prepared(made: dict, folder: Path, name: str) -> tuple[str, bool]:
    path = write_for_speed(folder, name)
    made[name] = scanned([path])[path]
    return check_clip(path, made[name].num_frames)


def _found(good: list, clips: Path) -> tuple[str, bool]:
    from dali_pipes import find_videos

    if not (clips / "actions").is_dir():
        return "there is no folder actions", True
    videos = scanned([path for path, _ in find_videos(clips / "actions")]).values()
    if not has_gpu():
        videos = [video for video in videos if video.codec in CPU_CODECS]
    good += [video for video in videos if left_to_the_cpu(video) is None]
    return f"{len(videos)}, of which the loader leaves {len(good)} to DALI", True


def _counts(text: str) -> list[int]:
    counts = [int(word) for word in text.split(",")]
    if min(counts) < 1:
        raise ValueError
    return counts


_counts.__name__ = "list of numbers of at least 1, such as 1,4,8,16"  # what argparse calls it


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write all results here too")
    parser.add_argument("--threads", type=_counts, default=[1, 4, 8, 16], help="of DALI, and processes of PyAV")
    parser.add_argument("--seconds", type=float, default=0.6, help="of each measurement of speed")
    parser.add_argument("--limit-s", type=float, default=50, help="after this nothing further is measured")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    faulthandler.enable()
    report = Report(options.json)
    clips = Path(os.environ.get("DALI_PIPES_CLIPS") or Path(__file__).resolve().parents[2] / "shared" / "clips")
    with tempfile.TemporaryDirectory(prefix="gpu_probe_") as folder:
        try:
            run(report, clips, Path(folder), options)
        except KeyboardInterrupt:
            report.failed += 1
            report.say("interrupted: what follows is what was found before")
    rows = report.results["speed"]
    if rows:
        print("\n".join(["", *speed_table(rows), ""]), flush=True)
    report.say(f"{report.failed} of {len(report.results['checks'])} probes went wrong")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
