"""Time and extra memory of each mix on a batch of clips, against a plain copy of that batch in the same run.

    python benchmarks/bench_mixing.py [--device cuda] [--shape 16 3 64 160 160] [--dtype float32] [--json FILE]

Every repeat draws anew and times a copy (``clone``) beside it. Columns: milliseconds (median), copies' time (median and
highest), and the peak of extra memory in batches (highest), which for a new batch is at least 1. ``overwrite`` is what
train/run.py does.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dali_pipes.system.cores import usable_cores  # noqa: E402
from train.mixing.apply import apply_mix  # noqa: E402
from train.mixing.params import MIXES, draw_mix  # noqa: E402

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=5, default=(16, 3, 64, 160, 160), metavar=tuple("BCTHW"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16", "float64"))
    parser.add_argument("--repeats", type=int, default=15, help="draws per row")
    parser.add_argument("--prob", type=float, default=1.0, help="share of what is mixed")
    parser.add_argument("--layout", choices=LAYOUTS, help="default: both; the loader gives channels_last")
    parser.add_argument("--json", help="write the rows there too")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.processor() or 'CPU'}, {usable_cores()} cores"
    )
    print(f"{where}; torch {torch.__version__}; batch {tuple(options.shape)} {options.dtype}; {options.repeats} draws")
    rows = []
    for layout in [options.layout] if options.layout else LAYOUTS:
        clips = torch.rand(*options.shape, device=device).to(getattr(torch, options.dtype))
        clips = clips.contiguous(memory_format=LAYOUTS[layout])
        rows += measure(clips, layout, options.repeats, options.prob)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


def measure(clips, layout: str, repeats: int, prob: float) -> list[dict]:
    print(
        f"\n{layout}\n{'operation':16} {'drawn for':10} {'result':10} {'ms':>8} "
        f"{'copies':>7} {'highest':>8} {'memory':>7}"
    )
    rows = []
    for name, per_sample, overwrite in product(MIXES, (False, True), (True, False)):
        rng = np.random.default_rng(0)
        times, copies, extra = [], [], []
        for repeat in range(repeats + 1):
            params = draw_mix(name, len(clips), tuple(clips.shape[2:]), rng=rng, prob=prob, per_sample=per_sample)
            own = clips.clone() if overwrite else clips
            copy_s, _ = timed(clips, clips.clone)
            seconds, more = timed(clips, partial(apply_mix, own, params, overwrite=overwrite))
            if repeat:  # the first one warms up
                times.append(seconds)
                copies.append(seconds / copy_s)
                extra.append(more)
        row = {
            "layout": layout,
            "operation": name,
            "per_sample": per_sample,
            "overwrite": overwrite,
            "ms": 1e3 * statistics.median(times),
            "copies": statistics.median(copies),
            "copies_highest": max(copies),
            "extra_batches": max(extra),
        }
        rows.append(row)
        print(
            f"{name:16} {'each clip' if per_sample else 'batch':10} {'overwrite' if overwrite else 'new batch':10} "
            f"{row['ms']:8.2f} {row['copies']:7.2f} {row['copies_highest']:8.2f} {row['extra_batches']:7.2f}",
            flush=True,
        )
    return rows


def timed(clips, work) -> tuple[float, float]:
    """Seconds, and the peak of extra memory in batches."""
    batch_bytes = clips.numel() * clips.element_size()
    if clips.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
        before = _status_bytes("VmRSS")
    start = time.perf_counter()
    result = work()
    if clips.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if clips.is_cuda else _status_bytes("VmHWM")
    del result
    return seconds, (peak - before) / batch_bytes


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main()
