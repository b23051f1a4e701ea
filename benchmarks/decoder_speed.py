"""Decoding alone, by DALI and by PyAV, in clips per second: what gpu_probe.py measures.

DALI, torch and what imports them are imported where they are used: the processes that decode need none of it.
"""

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dali_pipes.decode import decode_frames
from tests.videos import natural_clip, write_video

WINDOW, KEEP_EVERY, SIDE_PX, BATCH_SIZE = 64, 2, 160, 16
FRAMES = 96
"""Of each file that is made."""

# name: codec, container, (height, width), options
GPU_SPEED: dict[str, tuple[str, str, tuple[int, int], dict]] = {
    "h264": ("libx264", "mp4", (240, 320), {"preset": "fast", "bf": 2, "crf": 18}),
    "mpeg4": ("mpeg4", "avi", (240, 320), {"qmin": 3, "qmax": 6}),
    "h264-hd": ("libx264", "mp4", (720, 1280), {"preset": "veryfast", "bf": 2}),
}
CPU_SPEED = {"vp9": ("libvpx-vp9", "webm", (240, 320), {"b": 0, "crf": 30, "cpu-used": 8, "deadline": "realtime"})}


@cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def dali_pipeline(path: str, plan: Sequence[int], *, threads: int, batch_size: int, prefetch: int = 2):
    """DALI's video decoder and nothing else, built: batches of the same clip.

    The operator itself and not the loader's ``dali_decode``, so that indices reach it as they are.
    """
    from nvidia.dali import fn, pipeline_def, types

    data, indices = np.fromfile(path, np.uint8), np.asarray(plan, np.int32)
    decode = fn.decoders.video if hasattr(fn.decoders, "video") else fn.experimental.decoders.video
    device, device_id = ("mixed", 0) if has_gpu() else ("cpu", None)

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=device_id, prefetch_queue_depth=prefetch)
    def pipeline():
        encoded = fn.external_source(lambda: [data] * batch_size, batch=True)
        frames = fn.external_source(lambda: [indices] * batch_size, batch=True, dtype=types.INT32)
        return decode(encoded, frames=frames, device=device)

    built = pipeline()
    built.build()
    return built


def seconds_per_batch(pipeline, seconds: float, least: int = 3) -> float:
    """Mean over ``seconds``, but at least ``least`` batches, once buffers have their size."""
    for _ in range(2):
        pipeline.run()
    batches, start = 0, time.perf_counter()
    while batches < least or time.perf_counter() - start < seconds:
        pipeline.run()
        batches += 1
    if has_gpu():
        import torch

        torch.cuda.synchronize()
    return (time.perf_counter() - start) / batches


def plan_in_the_middle(num_frames: int) -> list[int]:
    first = max(0, (num_frames - WINDOW) // 2)
    return list(range(first, min(first + WINDOW, num_frames), KEEP_EVERY))


def dali_clips_per_s(path: str, num_frames: int, threads: int, seconds: float) -> float:
    batch_size = min(BATCH_SIZE, 2 * threads)
    pipeline = dali_pipeline(path, plan_in_the_middle(num_frames), threads=threads, batch_size=batch_size)
    return batch_size / seconds_per_batch(pipeline, seconds)


def decode_again_and_again(begin: float, seconds: float, path: str, num_frames: int) -> float:
    """Clips per second of one process from ``time.monotonic()`` being ``begin`` on."""
    plan, height, width = plan_in_the_middle(num_frames), *decode_frames(path, [0]).shape[1:3]
    side = 2 * round(0.375 * min(height, width))  # what the loader cuts out on average
    y, x = (2 * ((length - side) // 4) for length in (height, width))
    decode = partial(decode_frames, path, plan, (y, x, y + side, x + side), SIDE_PX)
    decode()
    time.sleep(max(0.0, begin - time.monotonic()))
    clips, start = 0, time.monotonic()
    while not clips or time.monotonic() - start < seconds:
        decode()
        clips += 1
    return clips / (time.monotonic() - start)


@contextmanager
def started_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are there; Ctrl-C is for this process, which ends them."""
    ignore = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), **ignore) as pool:
        list(pool.map(time.sleep, [0.3] * count))
        yield pool


def pyav_clips_per_s(pool: ProcessPoolExecutor, path: str, num_frames: int, processes: int, seconds: float) -> float:
    begin = time.monotonic() + 0.3
    lanes = [pool.submit(decode_again_and_again, begin, seconds, path, num_frames) for _ in range(processes)]
    return sum(lane.result() for lane in lanes)


def write_for_speed(folder: Path, name: str) -> str:
    codec, container, (height, width), options = (GPU_SPEED | CPU_SPEED)[name]
    planes = (
        cv2.cvtColor(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2YUV_I420)
        for frame in _footage()
    )
    return str(write_video(folder / f"{name}.{container}", planes, (height, width), codec=codec, gop=250, **options))


@cache
def _footage() -> np.ndarray:
    return natural_clip(FRAMES, 240, 320)


def speed_table(rows: list[dict]) -> list[str]:
    counts = sorted({row["parallel"] for row in rows})
    lines = [f"| decoding, clips/s | on | {' | '.join(f'{count} at once' for count in counts)} |"]
    lines.append(f"|---|---|{'---:|' * len(counts)}")
    found = {(row["video"], row["decoder"], row["parallel"]): row for row in rows}
    for video, decoder in dict.fromkeys((row["video"], row["decoder"]) for row in rows):
        cells = [found.get((video, decoder, count)) for count in counts]
        first = next(filter(None, cells))
        shown = " | ".join("-" if cell is None else f"{cell['clips_per_s']:.1f}" for cell in cells)
        title = f"{video} ({first['codec']}, {first['width']}x{first['height']}), {decoder}"
        lines.append(f"| {title} | {first['on'].upper()} | {shown} |")
    return lines
