"""How many nodes the loader's graph for two drawn operations has, and how long it takes to build, for bench_ops.py.

    python benchmarks/graph_build.py kernels|graph_functions

builds it twice in one process and prints a line of JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rows.noise_rows import M, N
from rows.op_ways import without_kernels

from dali_pipes import ClipSampler, RandAugmentT
from dali_pipes.decode.video_info import VideoInfo
from dali_pipes.loader.clip_reader import clip_pipeline
from dali_pipes.loader.source import ClipSource
from dali_pipes.plan.batches import BatchSampler

KINDS = ("kernels", "graph_functions")


def built_graph(kind: str):
    """The loader's pipeline for clips on the CPU, built but not run: without workers, of a video that is not there."""
    with nullcontext() if kind == "kernels" else without_kernels():
        policy, video = RandAugmentT(n=N, m=M), VideoInfo("none.mp4", 0, 100, 25.0, 320, 240, "h264", 1, 0)
        sampler = ClipSampler(videos=[video] * 16, num_frames=64, augment=policy)
        pipeline = clip_pipeline(
            ClipSource(BatchSampler(sampler, 16), 160, "cpu"),
            device="cpu",
            crop_px=160,
            augment=policy,
            parallel=False,
            prefetch_batches=2,
            batch_size=16,
            num_threads=2,
            device_id=None,
        )
        pipeline.build()
    return pipeline


def node_count(kind: str) -> int:
    return len(built_graph(kind)._ops)


def build_times(kind: str) -> dict:
    """``nodes``, and the seconds of three builds: by a process with an empty cache, by another one, and once more."""
    with tempfile.TemporaryDirectory(prefix="graph_build_") as cache:
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        environment |= {"DALI_PIPES_CACHE": cache}
        cold, warm = (_in_a_process(kind, environment) for _ in range(2))
    return {"nodes": cold["nodes"], "cold_s": cold["first_s"], "warm_s": warm["first_s"], "again_s": warm["again_s"]}


def _in_a_process(kind, environment) -> dict:
    command = [sys.executable, __file__, kind]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def main() -> int:
    (kind,) = sys.argv[1:]
    times = []
    for _ in range(2):
        start = time.perf_counter()
        nodes = node_count(kind)
        times.append(time.perf_counter() - start)
    print(json.dumps({"nodes": nodes, "first_s": times[0], "again_s": times[1]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
