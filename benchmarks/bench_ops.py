"""What each operation of RandAugment-T costs where the loader's graph applies it, in milliseconds a batch.

    python benchmarks/bench_ops.py [--device cuda] [--json FILE]

Clips of noise are made where they are augmented; the first row, noise alone, is to be subtracted from the others. In
the last row DALI runs all independent operators at once, which the loader does not.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_loader import GpuClock, machine
from noise_rows import augment_noise, noise_alone
from nvidia.dali import pipeline

from dali_pipes import PAPER_OPS
from dali_pipes.system.cores import usable_cores

WARM_UP = 3


def milliseconds_a_batch(batches, clock: GpuClock, count: int, repeats: int) -> list[float]:
    """One number for each repeat of ``count`` batches."""
    for _ in range(WARM_UP):
        next(batches)
    found = []
    for _ in range(repeats):
        clock.wait()
        start = time.perf_counter()
        for _ in range(count):
            next(batches)
        clock.wait()
        found.append(1000 * (time.perf_counter() - start) / count)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-frames", type=int, default=64, help="of each clip")
    parser.add_argument("--crop-px", type=int, default=160, help="height and width of each clip")
    parser.add_argument("--workers", type=int, default=min(16, usable_cores()), help="threads of DALI")
    parser.add_argument("--batches", type=int, default=10, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="write the results here")
    options = parser.parse_args()
    clock = GpuClock(options.device)
    print(machine(), f"batches of {options.batch_size} clips of {options.num_frames} x {options.crop_px} px")
    rows = {"noise alone": lambda: noise_alone(options)}
    rows |= {name: lambda name=name: augment_noise(options, n=1, ops=[name]) for name in PAPER_OPS}
    rows["two of all, drawn"] = lambda: augment_noise(options)
    if hasattr(pipeline, "OperatorConcurrency"):
        at_once = {"concurrency": pipeline.OperatorConcurrency.FULL}
        rows["two, all at once"] = lambda: augment_noise(options, at_once)
    print(f"{'operation':20} {'ms/batch':>9} {'range':>16}")
    results = {}
    for name, row in rows.items():
        batches = row()
        results[name] = found = milliseconds_a_batch(batches, clock, options.batches, options.repeats)
        batches.close()
        print(f"{name:20} {statistics.median(found):9.2f} {min(found):8.2f}-{max(found):<7.2f}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine(), "ms_per_batch": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
