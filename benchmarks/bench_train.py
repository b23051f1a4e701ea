"""How fast training steps are, and what they wait for: ``python benchmarks/bench_train.py [--data real|synthetic]``.

Both are measured in one run unless one is chosen: clips of the demo videos through the whole loader, and one batch of
noise that is already there. The difference is what the loader costs. Prints a Markdown table: clips per second (median
and range over the repeats), the share of time spent waiting for data, memory, and the arithmetic: operations counted by
PyTorch over forward and backward pass, against what a large matrix product reaches here in the same precision. The
first step, and the first three, have columns of their own, in which compilation is, and cuDNN's search for the fastest
kernels; the second row's are short, as both are done by then. ``--no-cudnn-search`` goes without the search.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from dali_pipes import ClipBatch
from dali_pipes.errors import InputError
from train.config.command_line import ActionOptions, new_config, parse
from train.data.loaders import make_loaders
from train.data.videos import load_manifests
from train.engine.logbook import Logbook
from train.engine.loop import train_step
from train.engine.network import make_network
from train.engine.precision import choose_precision
from train.engine.to_host import HostCopy
from train.engine.training import Training
from train.models.zoo import MODELS
from train.runtime.processes import Processes

WARM_UP_STEPS = 3
MATRIX = {"cpu": 2048, "cuda": 8192}


class Noise:
    """In the place of the loader: the same batch again and again."""

    def __init__(self, loader, config):
        kept = config.num_frames // MODELS[config.model].keep_every
        clips = torch.rand(config.batch_size, kept, config.crop_px, config.crop_px, 3, device=loader.device) * 2 - 1
        labels = torch.arange(config.batch_size, device=loader.device) % len(loader.manifest.classes)
        self._batch = clips.permute(0, 4, 1, 2, 3), labels, labels.cpu()

    def __next__(self) -> ClipBatch:
        clips, labels, videos = self._batch
        return ClipBatch(clips.clone(memory_format=torch.preserve_format), labels, videos)  # a mix may overwrite it


def full_batches(loader, batch_size: int):
    """Without the smaller last one of an epoch, for whose size cuDNN would search and the compiler compile anew."""
    while True:
        full = 0
        for batch in loader:
            if len(batch) == batch_size:
                full += 1
                yield batch
        if not full:
            raise InputError(
                f"Invalid --batch-size {batch_size}: no batch of an epoch has so many clips, with "
                f"{len(loader.manifest)} videos; give a smaller one, or leave out --even-steps"
            )


def synchronise(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def highest_flops(device, precision: str) -> float:
    """Operations per second of a large matrix product."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    side = MATRIX[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    a @ b
    best = float("inf")
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        a @ b
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def flops_per_clip(config, num_classes: int) -> float:
    """Of a forward and a backward pass, by shapes alone."""
    model = make_network(config, num_classes).to("meta").train()
    kept = config.num_frames // MODELS[config.model].keep_every
    clips_BCTHW = torch.empty(config.batch_size, 3, kept, config.crop_px, config.crop_px, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(clips_BCTHW).sum().backward()
    return counter.get_total_flops() / config.batch_size


def memory_mib(device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Measured:
    """Of one kind of data."""

    warm_up_s: list[float] = field(default_factory=list)
    """Of each of the first steps, without waiting for data."""
    rates: list[float] = field(default_factory=list)
    """Clips per second of each repeat."""
    waits: list[float] = field(default_factory=list)
    """Share of waiting for data of each repeat, in percent."""


def measure(training: Training, batches, repeats: int, seconds: float) -> Measured:
    device, step, measured = training.train_loader.device, 1, Measured()
    for _ in range(WARM_UP_STEPS):
        batch = next(batches)
        synchronise(device)
        start = time.perf_counter()
        train_step(training, batch, step)
        synchronise(device)
        measured.warm_up_s.append(time.perf_counter() - start)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(repeats):
        synchronise(device)
        numbers = HostCopy(torch.zeros(1))
        start, clips, waited = time.perf_counter(), 0, 0.0
        while time.perf_counter() - start < seconds:
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            numbers, earlier = HostCopy(train_step(training, batch, step)), numbers
            earlier.wait()  # as the loop does, one step later, so that the GPU always has work
            clips, step = clips + len(batch), step + 1
        synchronise(device)
        took = time.perf_counter() - start
        measured.rates.append(clips / took)
        measured.waits.append(100 * waited / took)
    return measured


def run(options, overrides: dict) -> None:
    torch.manual_seed(0)
    config, preset = new_config(overrides, has_gpu=torch.cuda.is_available() and overrides.get("device") != "cpu")
    # the learning rate is 0: networks of noise must not run away
    config = replace(config, out=tempfile.gettempdir(), tensorboard=False, lr=0.0, epochs=10**6)
    train_videos, val_videos, _ = load_manifests(config)
    train_loader, val_loader = make_loaders(config, train_videos, val_videos, Processes())
    device = train_loader.device
    config = replace(config, precision=choose_precision(config.precision, device))
    model = make_network(config, len(train_videos.classes)).to(device)
    training = Training(config, Processes(), model, train_loader, val_loader, Logbook(None))
    training.parallel.train()
    if options.no_cudnn_search:
        torch.backends.cudnn.benchmark = False
    noise = Noise(train_loader, config)
    flops = flops_per_clip(config, len(train_videos.classes))
    peak = highest_flops(device, config.precision)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    kept = config.num_frames // MODELS[config.model].keep_every
    arithmetic = f", compile {config.compile}" if config.compile else ""
    if device.type == "cuda":
        arithmetic += f", {'without' if options.no_cudnn_search else 'with'} cuDNN's search"
    print(preset)
    print(
        f"{name}, torch {torch.__version__}: {config.model}, {kept} of {config.num_frames} frames of "
        f"{config.crop_px}x{config.crop_px}, batches of {config.batch_size}, {config.precision}, aug {config.aug}, mix "
        f"{config.mix}, {config.workers} workers, decoding on {train_loader.decoder}{arithmetic}; "
        f"{flops / 1e9:.1f} GFLOP per clip, matrix product {peak / 1e12:.3f} TFLOP/s\n"
    )
    print(
        "| data | clips/s (range) | waiting for data | peak memory MiB | TFLOP/s | of the matrix product "
        f"| first step s | first {WARM_UP_STEPS} s |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for data in options.data.split(","):
        batches = noise if data == "synthetic" else full_batches(train_loader, config.batch_size)
        measured = measure(training, batches, options.repeats, options.seconds)
        rates, rate = measured.rates, statistics.median(measured.rates)
        print(
            f"| {data} | {rate:.2f} ({min(rates):.2f}-{max(rates):.2f}) | {statistics.median(measured.waits):.0f} % | "
            f"{memory_mib(device):.0f} | {rate * flops / 1e12:.3f} | {100 * rate * flops / peak:.0f} % | "
            f"{measured.warm_up_s[0]:.2f} | {sum(measured.warm_up_s):.2f} |",
            flush=True,
        )
    training.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other options are those of train/run.py."
    )
    parser.add_argument(
        "--data", default="synthetic,real", choices=("synthetic,real", "real", "synthetic"), help="what is fed"
    )
    parser.add_argument("--videos", help="folder or .csv of training videos instead of the demo's")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--no-cudnn-search", action="store_true", help="take the kernels that cuDNN thinks fastest, without trying them"
    )
    options, rest = parser.parse_known_args()
    try:
        overrides, action = parse(rest)
        if action != ActionOptions():
            raise InputError(
                "Invalid --resume, --eval-only, --ensemble or --predict: "
                "cannot be given, as training steps are measured"
            )
        run(options, overrides | ({"data": options.videos} if options.videos else {}))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
