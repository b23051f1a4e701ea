"""Reading video files: scanning a folder, and clips at random places, decoded from the beginning and from a key frame.

``python benchmarks/bench_decode.py [--data DIR]``. Without ``--data`` the files are made: short ones as long as
UCF-101's, and one of four minutes, with a key frame every 8 to 250 frames.
"""

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dali_pipes import find_videos, scan_videos
from dali_pipes.decode.frames import decode_frames
from dali_pipes.plan.sampling import count_starts, random_box, window_indices
from dali_pipes.system.progress import progress_bar
from tests.videos import natural_clip, write_video

FRAMES, KEEP_EVERY, SIDE_PX = 64, 2, 160
SHORT, LONG = 180, 6000


def make_files(folder: Path) -> dict[str, str]:
    """name -> path."""
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(SHORT, 240, 320)]
    files = {}
    for name, codec, suffix, gop, count in (
        ("MPEG-4, 180 frames, key every 12", "mpeg4", "avi", 12, SHORT),
        ("H.264, 180 frames, key every 8", "libx264", "mp4", 8, SHORT),
        ("H.264, 180 frames, key every 250", "libx264", "mp4", 250, SHORT),
        ("H.264, 6000 frames, key every 250", "libx264", "mp4", 250, LONG),
    ):
        pictures = (planes[index % SHORT] for index in range(count))
        path = folder / "a" / f"{len(files)}.{suffix}"
        write_video(path, pictures, (240, 320), codec=codec, gop=gop, sc_threshold=0)
        files[name] = str(path)
    return files


def clip_times_ms(info, clips: int) -> dict[bool, np.ndarray]:
    """{from a key frame: times}, the same clips for both, in turns."""
    times = {False: [], True: []}
    for number in range(clips):
        rng = np.random.default_rng(number)
        first = rng.integers(count_starts(info.num_frames, FRAMES))
        plan = window_indices(info.num_frames, FRAMES, first=first)[::KEEP_EVERY]
        box = random_box(rng, info.height, info.width, "crop", (160, 200))
        for exact_times in times:
            start = time.perf_counter()
            decode_frames(info.path, plan, tuple(box), SIDE_PX, exact_times=exact_times and info.exact_times)
            times[exact_times].append(1e3 * (time.perf_counter() - start))
    return {key: np.array(value) for key, value in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of class folders")
    parser.add_argument("--clips", type=int, default=30, help="for each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            items = find_videos(options.data)
            names = {path: os.path.basename(path) for path, _ in items}
        else:
            files = make_files(Path(folder))
            items, names = [(path, 0) for path in files.values()], {path: name for name, path in files.items()}
        print("| scan | files | seconds | files per second |\n|---|---:|---:|---:|")
        for name, verify in (("packets", False), ("every frame", True)):
            start = time.perf_counter()
            manifest = scan_videos(
                items, verify=verify, progress=partial(progress_bar, title=name, unit="file", leave=False)
            )
            seconds = time.perf_counter() - start
            print(f"| {name} | {len(items)} | {seconds:.2f} | {len(items) / seconds:.0f} |")
        print(
            f"\n{FRAMES // KEEP_EVERY} frames of a window of {FRAMES} at a random place, one thread, "
            "median ms (quartiles):\n"
        )
        print("| file | from the beginning | from a key frame | ratio |\n|---|---:|---:|---:|")
        for info in manifest.videos[:20]:
            times = clip_times_ms(info, options.clips)
            shown = [
                f"{np.median(t):.1f} ({np.quantile(t, 0.25):.1f}-{np.quantile(t, 0.75):.1f})" for t in times.values()
            ]
            ratio = np.median(times[False]) / np.median(times[True])
            print(f"| {names[info.path]} | {shown[0]} | {shown[1]} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
