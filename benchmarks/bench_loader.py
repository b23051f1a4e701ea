"""Loader speed, end to end to float clips of 64 x 160 x 160, every contestant on the same files in one run.

    python benchmarks/bench_loader.py [--data DIR] [--rows ours,straightforward] [--json FILE]

Each row runs in a process of its own, repeats are interleaved, and the table gives clips per second (median and spread),
CPU seconds per clip and the peak memory of all its processes. ``--device cuda`` times the GPU graph instead. Rows named
``long...`` read files of ``LONG_S`` seconds, made of those videos.
"""

import argparse
import json
import os
import platform
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
FRAMES, SIDE_PX, N, M = 64, 160, 2, 10.0
LONG_S, LONG_FPS, LONG_FILES, LONG_HW = 180, 25, 2, (240, 320)


def _manifest(options):
    from dali_pipes import find_videos, scan_videos
    from dali_pipes.manifest import default_cache

    items = find_videos(options.data)
    manifest = scan_videos(items, cache=default_cache(items))
    # of few videos again and again, so that batches are full
    return replace(manifest, videos=manifest.videos * -(-8 * options.batch_size // len(manifest)))


def _loader(options, **loader_options):
    from dali_pipes import VideoLoader

    return VideoLoader(_manifest(options), batch_size=options.batch_size, num_frames=FRAMES, side_px=SIDE_PX,
                       workers=options.workers, device=options.device, **loader_options)  # fmt: skip


def _ours(options, **loader_options):
    loader = _loader(options, **loader_options)
    while True:
        for batch in loader:
            yield len(batch)


def ours(options):
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), decoder=options.decoder)


def ours_no_aug(options):
    return _ours(options, decoder=options.decoder)


def ours_needed_frames(options):
    """Only every second frame, which is all that SlowFast looks at."""
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), keep_every=2, decoder=options.decoder)


def ours_stream(options):
    """The other reader: DALI opens the files and seeks."""
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), reader="stream")


def ours_two_pipelines(options):
    return _several(ours, options, 2)


def ours_four_pipelines(options):
    return _several(ours, options, 4)


def _several(row, options, count):
    """Pipelines in threads of their own: one alone keeps few of a GPU's decoders busy."""
    options = argparse.Namespace(**vars(options) | {"workers": max(1, options.workers // count)})
    loaders = [row(options) for _ in range(count)]
    for loader in loaders:
        yield next(loader)  # the pipelines are built one after the other
    ready = queue.Queue(maxsize=count)

    def feed(loader):
        for clips in loader:
            ready.put(clips)

    for loader in loaders:
        threading.Thread(target=feed, args=(loader,), daemon=True).start()
    while True:
        yield ready.get(timeout=60)


def make_long_videos(manifest, folder: Path) -> None:
    """Files of ``LONG_S`` seconds in H.264 with a key frame every two, of the frames of ``manifest``'s videos again and again."""
    import av

    for number in range(LONG_FILES):
        path = folder / "long" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted = LONG_S * LONG_FPS
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=LONG_FPS, options={"preset": "ultrafast"})
            (stream.height, stream.width), stream.pix_fmt = LONG_HW, "yuv420p"
            stream.codec_context.gop_size = 2 * LONG_FPS
            for video in cycle(manifest.videos[number:] + manifest.videos[:number]):
                with av.open(video.path, metadata_errors="replace") as container:
                    for frame in container.decode(video=0):
                        if not wanted:
                            break
                        planes = frame.reformat(LONG_HW[1], LONG_HW[0], "yuv420p").to_ndarray()
                        out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
                        wanted -= 1
                if not wanted:
                    break
            out.mux(stream.encode(None))


def _pipeline(options, finish, crop=True):
    """A pipeline of our source whose graph after decoding, cropping and resizing is ``finish(video, inputs)``."""
    from nvidia.dali import pipeline_def

    from dali_pipes import ClipSampler
    from dali_pipes.decode import dali_decode
    from dali_pipes.pipelines import clip_inputs
    from dali_pipes.source import ClipSource, Schedule
    from dali_pipes.spatial import crop_resize

    on_gpu, by_dali = options.device != "cpu", options.decoder == "gpu"
    sampler = ClipSampler(videos=_manifest(options).videos, num_frames=FRAMES)
    source = ClipSource(Schedule(sampler, options.batch_size), SIDE_PX, decode=not by_dali)

    @pipeline_def(enable_conditionals=True, batch_size=options.batch_size, num_threads=options.workers,
                  device_id=0 if on_gpu else None, py_num_workers=options.workers, py_start_method="spawn")  # fmt: skip
    def pipeline():
        inputs = clip_inputs(source, parallel=True, prefetch_batches=2)
        video = inputs["pixels"]
        if by_dali:
            video = dali_decode(video, inputs["frame_indices"], device="mixed")
            if crop:
                video = crop_resize(video, inputs["box"], inputs["flip"], SIDE_PX)
        return finish(video.gpu() if on_gpu else video, inputs)

    built = pipeline()
    built.build()
    while True:
        built.run()
        yield options.batch_size


def decode_only(options):
    return _pipeline(options, lambda video, inputs: video, crop=False)


def dali_auto_aug(options):
    """DALI's own RandAugment, whose magnitude is constant over time, in the same pipeline."""
    from nvidia.dali.auto_aug import rand_augment

    from dali_pipes.spatial import normalise

    def finish(video, inputs):
        video = rand_augment.rand_augment(video, n=N, m=int(M), shape=[SIDE_PX, SIDE_PX], monotonic_mag=False, seed=7)
        return normalise(video)

    return _pipeline(options, finish)


class StraightforwardClips:
    """A dataset as researchers write it: OpenCV reads and seeks, PIL augments frame by frame."""

    def __init__(self, manifest, torchvision_transforms):
        self.videos, self.torchvision_transforms = manifest.videos, torchvision_transforms

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        import cv2
        import numpy as np
        import torch

        cv2.setNumThreads(0)
        rng = np.random.default_rng(index)
        video = self.videos[index % len(self.videos)]
        capture = cv2.VideoCapture(video.path)
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(rng.integers(max(1, video.num_frames - FRAMES + 1))))
        frames = []
        while len(frames) < FRAMES:
            good, frame = capture.read()
            if not good:
                break
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        frames += [frames[-1]] * (FRAMES - len(frames))
        side = min(int(rng.integers(160, 201)), video.height, video.width)
        y, x = rng.integers(video.height - side + 1), rng.integers(video.width - side + 1)
        cropped = [frame[y : y + side, x : x + side] for frame in frames]
        if self.torchvision_transforms:
            from torchvision.transforms import v2

            clip = torch.from_numpy(np.stack(cropped)).permute(0, 3, 1, 2)
            clip = v2.functional.resize(clip, [SIDE_PX, SIDE_PX], antialias=True)
            clip = v2.RandAugment(num_ops=N, magnitude=int(M))(clip)
            return (clip.permute(1, 0, 2, 3).float() - 128) / 128
        images = [cv2.resize(frame, (SIDE_PX, SIDE_PX)) for frame in cropped]
        images = _augment_with_pil(images, rng)
        clip = torch.from_numpy(np.stack(images)).permute(3, 0, 1, 2)
        return (clip.float() - 128) / 128


def _augment_with_pil(images, rng):
    import numpy as np
    from PIL import Image

    from dali_pipes.magnitude import schedule_levels
    from dali_pipes.ops import OPS
    from tests.reference import pil_ops

    images = [Image.fromarray(image) for image in images]
    for name in rng.choice(list(OPS), N):
        levels, sign = schedule_levels("temporal+", M, FRAMES, rng), rng.choice([-1, 1])
        images = [pil_ops.apply(name, image, pil_ops.value_of(name, float(level), sign, "paper"))
                  for image, level in zip(images, levels, strict=True)]  # fmt: skip
    return [np.asarray(image) for image in images]


def _data_loader(options, torchvision_transforms):
    from torch.utils.data import DataLoader

    clips = StraightforwardClips(_manifest(options), torchvision_transforms)
    for batch in DataLoader(clips, batch_size=options.batch_size, num_workers=options.workers, prefetch_factor=2):
        yield len(batch)


def straightforward(options):
    return _data_loader(options, torchvision_transforms=False)


def torchvision(options):
    """torchvision v2's RandAugment, constant over time, on decoded tensors."""
    return _data_loader(options, torchvision_transforms=True)


ROWS = {row.__name__: row for row in (ours, straightforward, torchvision, dali_auto_aug, ours_no_aug, decode_only,
                                      ours_needed_frames, ours_two_pipelines, ours_stream)}  # fmt: skip
ASKED_FOR = ("ours_two_pipelines", "ours_stream")
"""On the CPU only when named: ``ours_stream`` needs videos of VP8, VP9 or MJPEG there."""
GPU_ROWS = {  # name -> row and decoder
    "ours_gpu_decoding": (ours, "gpu"),
    "ours_cpu_decoding": (ours, "cpu"),
    "dali_auto_aug_gpu_decoding": (dali_auto_aug, "gpu"),
    "ours_no_aug_gpu_decoding": (ours_no_aug, "gpu"),
    "ours_no_aug_cpu_decoding": (ours_no_aug, "cpu"),
    "decode_only_gpu": (decode_only, "gpu"),
    "decode_only_cpu": (decode_only, "cpu"),
    "ours_stream": (ours_stream, "gpu"),
    "long_gpu_decoding": (ours, "gpu"),
    "long_cpu_decoding": (ours, "cpu"),
    "long_stream": (ours_stream, "gpu"),
    "ours_two_pipelines_gpu_decoding": (ours_two_pipelines, "gpu"),
    "ours_four_pipelines_gpu_decoding": (ours_four_pipelines, "gpu"),
}


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


def measure(row, options) -> dict:
    """Warm up, then count clips for ``options.seconds``."""
    peak, stop = [0.0], threading.Event()

    def watch():
        while not stop.wait(0.3):
            peak[0] = max(peak[0], _proportional_memory_mib(_processes()))

    threading.Thread(target=watch, daemon=True).start()
    batches, clips = row(options), 0
    for _ in range(4):
        next(batches)
    pids = _processes()
    start, cpu = time.perf_counter(), _cpu_seconds(pids)
    while time.perf_counter() - start < options.seconds:
        clips += next(batches)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds(pids) - cpu
    stop.set()
    return {"clips_per_s": clips / seconds, "cpu_s_per_clip": cpu / clips, "peak_memory_mib": peak[0]}


def memory_after_epochs(options) -> list[float]:
    """MiB of all processes after each epoch of ``ours``: it must not grow."""
    from dali_pipes import RandAugmentT

    loader, after = _loader(options, augment=RandAugmentT(n=N, m=M)), []
    for _ in range(options.epochs):
        for _ in loader:
            pass
        after.append(_proportional_memory_mib(_processes()))
    return after


def machine() -> dict:
    import nvidia.dali
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": model, "cores": os.cpu_count(), "gpu": gpu, "python": platform.python_version(),
            "torch": torch.__version__, "dali": nvidia.dali.__version__}  # fmt: skip


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of class folders; default: the demo's training videos")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--decoder", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--rows", help="comma-separated names; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--epochs", type=int, default=20, help="watch the memory of ours for so many; 0 leaves it out")
    parser.add_argument("--row-limit-s", type=float, default=600, help="for one measurement of one row")
    parser.add_argument("--limit-s", type=float, default=36_000, help="after this no further measurement is begun")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count()))
    parser.add_argument("--json", help="write the results here")
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
        sys.exit(f"unknown rows {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if not options.data:
        from train.demo_data import demo_folder

        options.data = str(demo_folder() / "train")
    print(machine(), f"batches of {options.batch_size}, {options.workers} workers, N = {N}, M = {M:g}")
    results, end = {name: [] for name in names}, time.monotonic() + options.limit_s
    with tempfile.TemporaryDirectory(prefix="bench_loader_") as long_folder:
        if any(name.startswith("long") for name in names):
            make_long_videos(_manifest(options), Path(long_folder))
        for repeat, name in ((repeat, name) for repeat in range(options.repeats) for name in names):
            if time.monotonic() > end:
                print(f"  no time left for repeat {repeat + 1} of {name}", file=sys.stderr, flush=True)
                continue
            result = _in_a_process(name, options, long_folder if name.startswith("long") else options.data)
            if result is not None:
                results[name].append(result)
                print(f"  {name}: {result['clips_per_s']:.1f} clips/s", file=sys.stderr, flush=True)
    table = [{"name": name, **_summary(runs)} for name, runs in results.items() if runs]
    print(f"{'row':34} {'clips/s':>8} {'spread':>15} {'CPU ms/clip':>12} {'peak MiB':>9}")
    for row in table:
        print(f"{row['name']:34} {row['clips_per_s']:8.1f} {row['lowest']:7.1f}-{row['highest']:<7.1f} "
              f"{1000 * row['cpu_s_per_clip']:12.1f} {row['peak_memory_mib']:9.0f}")  # fmt: skip
    memory = _in_a_process(MEMORY, options, options.data) if options.epochs and "ours" in names else []
    if memory:
        shown = ", ".join(f"{memory[epoch]:.0f} after {epoch + 1}" for epoch in sorted({0, 1, 4, 9, len(memory) - 1})
                          if epoch < len(memory))  # fmt: skip
        print(f"memory of ours in MiB by epochs: {shown}")
    if options.json:
        report = {"machine": machine(), "results": table, MEMORY + "_mib": memory}
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(memory is None or any(not runs for runs in results.values()))


def _measure(name, options):
    if name == MEMORY:
        return memory_after_epochs(options)
    row, options.decoder = GPU_ROWS[name] if options.device == "cuda" else (ROWS[name], "cpu")
    return measure(row, options)


def _in_a_process(name, options, data):
    """The result of one measurement, None if it failed."""
    command = [sys.executable, __file__, "--measure", name, "--data", data]
    for option in ("device", "seconds", "epochs", "batch_size", "workers"):
        command += ["--" + option.replace("_", "-"), str(getattr(options, option))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.row_limit_s)
    except subprocess.TimeoutExpired:
        print(f"{name}: stopped after {options.row_limit_s:g} s")
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        print(f"{name}: failed\n{done.stderr[-1500:]}")
    return json.loads(lines[0].removeprefix("RESULT ")) if lines else None


def _summary(runs) -> dict:
    speeds = [run["clips_per_s"] for run in runs]
    return {
        "clips_per_s": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "cpu_s_per_clip": statistics.median(run["cpu_s_per_clip"] for run in runs),
        "peak_memory_mib": max(run["peak_memory_mib"] for run in runs),
    }


if __name__ == "__main__":
    main()
