"""What each operation of RandAugment-T costs, on the CPU in milliseconds of CPU time a clip, beside other libraries.

    python benchmarks/bench_ops.py [--data DIR] [--markdown FILE]
    python benchmarks/bench_ops.py --device cuda [--json FILE]

On the CPU every library gets the same clips, and the same draws where it does not draw by itself; PIL and our own ways
have a level for each frame, the others one for the clip. The CPU time of all threads counts, less what DALI needs to
take the clips in. Below are the size of the loader's graph for two drawn operations, and how long it takes to build.

On a GPU it is milliseconds a batch, where the loader's graph applies an operation. Clips of noise are made there; the
first row, noise alone, is to be subtracted from the others. In the last row DALI runs all independent operators at
once, which the loader does not.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_loader import GpuClock
from nvidia.dali import pipeline
from results_page import machine, markdown_table, text_table, write_markdown
from rows.noise_rows import N, augment_noise, noise_alone

from dali_pipes import PAPER_OPS
from dali_pipes.system.cores import usable_cores

WARM_UP = 3
DRAWN, DRAWN_BATCHES = "two of all, drawn", 4
"""The row of drawn operations, for which a repeat has so many times more batches: their costs differ."""


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


def gpu_rows(options) -> dict:
    """Row -> a function that returns its batches."""
    rows = {"noise alone": lambda: noise_alone(options)}
    rows |= {name: lambda name=name: augment_noise(options, n=1, ops=[name]) for name in PAPER_OPS}
    rows[DRAWN] = lambda: augment_noise(options)
    if hasattr(pipeline, "OperatorConcurrency"):
        at_once = {"concurrency": pipeline.OperatorConcurrency.FULL}
        rows["two, all at once"] = lambda: augment_noise(options, at_once)
    return rows


def on_the_gpu(options) -> tuple[dict, list[str]]:
    """The numbers of each row, and the paragraphs of a page."""
    clock, results, batches_of_row = GpuClock(options.device), {}, gpu_rows(options)
    print(f"{'operation':20} {'ms/batch':>9} {'range':>16}")
    for name, row in batches_of_row.items():
        batches = row()
        results[name] = found = milliseconds_a_batch(batches, clock, options.batches, options.repeats)
        batches.close()
        print(f"{name:20} {statistics.median(found):9.2f} {min(found):8.2f}-{max(found):<7.2f}", flush=True)
    rows = [
        [name, f"{statistics.median(found):.2f}", f"{min(found):.2f}-{max(found):.2f}"]
        for name, found in results.items()
    ]
    return {"ms_per_batch": results}, [markdown_table(["operation", "ms/batch", "range"], rows)]


def cpu_rows() -> dict:
    """Row -> its policy, beside the magnitude."""
    return {name: {"n": 1, "ops": [name]} for name in PAPER_OPS} | {DRAWN: {"n": N}}


def cpu_milliseconds_a_clip(work, ways, repeats: int) -> dict[str, list[float]]:
    """One number for each way and repeat; the ways take turns, so that all meet the same load."""
    from rows.op_ways import IN_DALI, nothing

    runs = {"nothing": nothing(work)} | {name: way(work) for name, way in ways.items()}
    found = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            for _ in work.draws:
                run()
            milliseconds = 1000 * (time.process_time() - start) / (len(work.draws) * len(work.clips))
            if repeat:  # the first one warms up
                found[name].append(milliseconds)
    alone = found.pop("nothing")
    for name in found:
        if ways[name] in IN_DALI:
            found[name] = [all_of_it - base for all_of_it, base in zip(found[name], alone, strict=True)]
    return found


def on_the_cpu(options) -> tuple[dict, list[str]]:
    """The numbers of each row and of the graphs, and the paragraphs of a page."""
    import torch
    from graph_build import KINDS, build_times
    from rows.op_ways import WAYS, clips_of, work_of

    from dali_pipes.augment.parameters import why_not_kernels

    torch.set_num_threads(1)
    ways = {name: way for name, way in WAYS.items() if name != "kernels" or not why_not_kernels()}
    clips, results = clips_of(options), {}
    head, rows = ["operation", *ways], []
    for name, policy in cpu_rows().items():
        batches = options.batches * (DRAWN_BATCHES if name == DRAWN else 1)
        work = work_of(clips, options.workers, batches, **policy)
        results[name] = found = cpu_milliseconds_a_clip(work, ways, options.repeats)
        rows.append([name, *(f"{max(0.0, statistics.median(numbers)):.1f}" for numbers in found.values())])
        print(f"  {name}: measured", file=sys.stderr, flush=True)
    print("CPU milliseconds a clip\n" + text_table(head, rows))
    graphs = {kind.replace("_", " "): build_times(kind) for kind in KINDS if kind.replace("_", " ") in ways}
    graph_head = ["the loader's graph, N = 2", "nodes", "s to build, empty cache", "s, next process", "s, once more"]
    graph_rows = [
        [name, f"{numbers['nodes']}", *(f"{numbers[key]:.2f}" for key in ("cold_s", "warm_s", "again_s"))]
        for name, numbers in graphs.items()
    ]
    print("\n" + text_table(graph_head, graph_rows))
    page = ["CPU milliseconds a clip:", markdown_table(head, rows), markdown_table(graph_head, graph_rows)]
    return {"cpu_ms_per_clip": results, "graphs": graphs}, page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--data", help="on the CPU: folder of class folders of videos; default: made frames")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-frames", type=int, default=64, help="of each clip")
    parser.add_argument("--crop-px", type=int, default=160, help="height and width of each clip")
    parser.add_argument("--workers", type=int, default=min(16, usable_cores()), help="threads of DALI")
    parser.add_argument("--batches", type=int, help="of each repeat; default: 1 on the CPU, 10 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--markdown", help="write the tables here, for a page of results")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.batches = options.batches or (10 if on_gpu else 1)
    what = f"batches of {options.batch_size} clips of {options.num_frames} x {options.crop_px} px"
    print(machine(), what)
    results, page = on_the_gpu(options) if on_gpu else on_the_cpu(options)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")
    if options.markdown:
        write_markdown(options.markdown, what.capitalize() + ".", *page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
