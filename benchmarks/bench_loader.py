"""Loader speed, end to end to float clips of 64 x 160 x 160, every contestant on the same files in one run.

    python benchmarks/bench_loader.py [--data DIR] [--rows ours,straightforward] [--num-frames 16] [--crop-px 112]

Each row runs in a process of its own, repeats are interleaved, and the table gives clips per second (median and
spread), milliseconds a batch, CPU milliseconds a clip, the peak memory of all its processes and that of the GPU,
whoever takes it. ``--device cuda`` times the GPU graph instead, from when the GPU is idle to when it is idle again.
Rows named ``long...`` read files of ``LONG_S`` seconds, made of those videos; ``augment_alone`` less ``noise_alone``,
in milliseconds a batch, is the augmentation alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from results_page import machine, markdown_table, text_table, write_markdown
from rows.loader_rows import ASKED_FOR, GPU_ROWS, ROWS, WHY_NOT, loader_of, make_long_videos, manifest_of
from rows.noise_rows import M, N

from dali_pipes.system.cores import usable_cores

MEMORY = "memory_after_epochs"


def _processes() -> list[int]:
    """This process and its descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found


def _proportional_memory_mib(pids) -> float:
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _cpu_seconds(pids) -> float:
    ticks = 0
    for pid in pids:
        try:
            values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(values[11]) + int(values[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class GpuClock:
    """Holds the program to the GPU's time, as a training loop does; for the CPU it does nothing."""

    def __init__(self, device: str):
        self.torch = None
        if device == "cuda":
            import torch

            self.torch, self.earlier = torch, None
            torch.cuda.synchronize()  # starts CUDA here, before another thread asks for its memory

    def wait(self) -> None:
        """Return when the GPU is idle: DALI's streams and torch's."""
        if self.torch is not None:
            self.torch.cuda.synchronize()

    def keep_pace(self) -> None:
        """Return when the batch before this one is done: what was only queued must not count."""
        if self.torch is None:
            return
        done = self.torch.cuda.Event()
        done.record()
        if self.earlier is not None:
            self.earlier.synchronize()
        self.earlier = done

    def used_mib(self) -> float | None:
        """GPU memory that is taken, by whomever."""
        if self.torch is None:
            return None
        free, total = self.torch.cuda.mem_get_info()
        return (total - free) / 2**20


def measure(row, options) -> dict:
    """Warm up, then count clips for ``options.seconds``."""
    clock, peak, gpu_peak, stop = GpuClock(options.device), [0.0], [None], threading.Event()

    def watch():
        while not stop.wait(0.3):
            peak[0] = max(peak[0], _proportional_memory_mib(_processes()))
            used = clock.used_mib()
            gpu_peak[0] = used if used is None else max(used, gpu_peak[0] or 0.0)

    threading.Thread(target=watch, daemon=True).start()
    batches, clips = row(options), 0
    for _ in range(4):
        next(batches)
        clock.keep_pace()
    pids = _processes()
    clock.wait()
    start, cpu = time.perf_counter(), _cpu_seconds(pids)
    while time.perf_counter() - start < options.seconds:
        clips += next(batches)
        clock.keep_pace()
    clock.wait()
    seconds, cpu = time.perf_counter() - start, _cpu_seconds(pids) - cpu
    stop.set()
    return {
        "clips_per_s": clips / seconds,
        "cpu_s_per_clip": cpu / clips,
        "peak_memory_mib": peak[0],
        "gpu_memory_mib": gpu_peak[0],
    }


def memory_after_epochs(options) -> list[float]:
    """MiB of all processes after each epoch of ``ours``: it must not grow."""
    from dali_pipes import RandAugmentT

    loader, after = loader_of(options, augment=RandAugmentT(n=N, m=M)), []
    for _ in range(options.epochs):
        for _ in loader:
            pass
        after.append(_proportional_memory_mib(_processes()))
    return after


def how_augmented(device: str) -> str:
    """Return what the operations of ``ours`` run as, in words."""
    from dali_pipes.augment.parameters import run_as_kernels

    on = "cpu" if device == "cpu" else "gpu"
    return f"{'compiled kernels' if run_as_kernels(on) else 'DALI operators'} on the {on.upper()}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of class folders; default: the demo's training videos")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rows", help="comma-separated names; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--epochs", type=int, default=20, help="watch the memory of ours for so many; 0 leaves it out")
    parser.add_argument("--row-limit-s", type=float, default=600, help="for one measurement of one row")
    parser.add_argument("--limit-s", type=float, default=36_000, help="after this no further measurement is begun")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-frames", type=int, default=64, help="of each clip")
    parser.add_argument("--crop-px", type=int, default=160, help="height and width of each clip")
    parser.add_argument("--workers", type=int, default=min(16, usable_cores()))
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--markdown", help="write the table here, for a page of results")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # one row, in its own process
    return parser.parse_args()


def main():
    options = parse()
    if options.measure:
        print("RESULT " + json.dumps(_measure(options.measure, options)), flush=True)
        os._exit(0)  # leave the workers to the parent's clean-up: nothing of them is needed any more
    known = GPU_ROWS if options.device == "cuda" else ROWS
    default = [name for name in known if options.device == "cuda" or name not in ASKED_FOR]
    names = options.rows.split(",") if options.rows else default
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"Invalid --rows {','.join(sorted(unknown))}: choose one or more of {', '.join(known)}")
    missing = {name: reason for name in names if name in WHY_NOT and (reason := WHY_NOT[name]())}
    for name, reason in missing.items():
        print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
    names = [name for name in names if name not in missing]
    if not options.data:
        from train.data.demo_data import demo_folder

        options.data = str(demo_folder() / "train")
    clips = f"{options.batch_size} clips of {options.num_frames} x {options.crop_px} x {options.crop_px}"
    what = f"Batches of {clips}, {options.workers} workers, N = {N}, M = {M:g}"
    print(machine(), what)
    print(f"RandAugment-T runs as {how_augmented(options.device)}")
    results, end = {name: [] for name in names}, time.monotonic() + options.limit_s
    with tempfile.TemporaryDirectory(prefix="bench_loader_") as long_folder:
        if any(name.startswith("long") for name in names):
            make_long_videos(manifest_of(options), Path(long_folder))
        try:
            for repeat, name in ((repeat, name) for repeat in range(options.repeats) for name in names):
                limit_s = min(options.row_limit_s, end - time.monotonic())
                if limit_s <= 0:
                    print(f"  no time left for repeat {repeat + 1} of {name}", file=sys.stderr, flush=True)
                    continue
                data = long_folder if name.startswith("long") else options.data
                result = _in_a_process(name, options, data, limit_s)
                if result is not None:
                    results[name].append(result)
                    print(f"  {name}: {result['clips_per_s']:.1f} clips/s", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            options.epochs = 0
            print("  interrupted: the table is of what was measured before", file=sys.stderr, flush=True)
    table = [{"name": name, **_summary(runs, options.batch_size)} for name, runs in results.items() if runs]
    head, rows = _cells(table)
    print(text_table(head, rows))
    memory = (
        _in_a_process(MEMORY, options, options.data, options.row_limit_s) if options.epochs and "ours" in names else []
    )
    if memory:
        print(_memory_line(memory))
    if options.markdown:
        notes = [_memory_line(memory)] if memory else []
        notes += [f"`{name}` is left out: {reason}." for name, reason in missing.items()]
        described = [[_described(name), *cells] for name, *cells in rows]
        write_markdown(options.markdown, what + ".", markdown_table(head, described), *notes)
    if options.json:
        names = ("device", "batch_size", "num_frames", "crop_px", "workers", "seconds", "repeats")
        settings = {name: getattr(options, name) for name in names}
        report = {"machine": machine(), "settings": settings, "results": table, MEMORY + "_mib": memory}
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(not names or memory is None or any(not runs for runs in results.values()))


def _measure(name, options):
    if name == MEMORY:
        return memory_after_epochs(options)
    row, options.decoder = GPU_ROWS[name] if options.device == "cuda" else (ROWS[name], "cpu")
    return measure(row, options)


def _memory_line(memory) -> str:
    shown = [epoch for epoch in sorted({0, 1, 4, 9, len(memory) - 1}) if epoch < len(memory)]
    after = ", ".join(f"{memory[epoch]:.0f} after {epoch + 1}" for epoch in shown)
    return f"Memory of ours in MiB of all processes, by epochs: {after}."


def _cells(table) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table as texts; a column without a number is left out."""
    own = next((row["clips_per_s"] for row in table if row["name"] == "straightforward"), None)
    columns = {
        "row": [row["name"] for row in table],
        "clips/s": [f"{row['clips_per_s']:.1f}" for row in table],
        "spread": [f"{row['lowest']:.1f}-{row['highest']:.1f}" for row in table],
        "ms/batch": [f"{row['ms_per_batch']:.1f}" for row in table],
        "CPU ms/clip": [f"{1000 * row['cpu_s_per_clip']:.1f}" for row in table],
        "peak MiB": [f"{row['peak_memory_mib']:.0f}" for row in table],
        "GPU MiB": [f"{row['gpu_memory_mib']:.0f}" for row in table if row["gpu_memory_mib"] is not None],
        "times straightforward": [f"{row['clips_per_s'] / own:.2f}" for row in table if own],
    }
    columns = {head: cells for head, cells in columns.items() if cells}
    return list(columns), [list(cells) for cells in zip(*columns.values(), strict=True)]


def _described(name) -> str:
    """A row's name and what it is."""
    row = ROWS[name] if name in ROWS else GPU_ROWS[name][0]
    return f"`{name}`: {row.__doc__.splitlines()[0].rstrip('.')}"


def _in_a_process(name, options, data, limit_s):
    """The result of one measurement, None if it failed."""
    command = [sys.executable, __file__, "--measure", name, "--data", data]
    for option in ("device", "seconds", "epochs", "batch_size", "num_frames", "crop_px", "workers"):
        command += ["--" + option.replace("_", "-"), str(getattr(options, option))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        print(f"{name}: stopped after {limit_s:.0f} s")
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        print(f"{name}: failed\n{done.stderr[-1500:]}")
    return json.loads(lines[0].removeprefix("RESULT ")) if lines else None


def _summary(runs, batch_size) -> dict:
    speeds = [run["clips_per_s"] for run in runs]
    return {
        "clips_per_s": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "ms_per_batch": 1000 * batch_size / statistics.median(speeds),
        "cpu_s_per_clip": statistics.median(run["cpu_s_per_clip"] for run in runs),
        "peak_memory_mib": max(run["peak_memory_mib"] for run in runs),
        "gpu_memory_mib": max((run["gpu_memory_mib"] or 0.0 for run in runs), default=0.0) or None,
    }


if __name__ == "__main__":
    main()
