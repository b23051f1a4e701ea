"""The operations' benchmark: that all ways do the same, the size of the graphs, and the pages it writes."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from dali_pipes import PAPER_OPS
from dali_pipes.augment.parameters import why_not_kernels

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import bench_ops  # noqa: E402
import graph_build  # noqa: E402
import results_page  # noqa: E402
from rows import op_ways  # noqa: E402

LITTLE = {"data": None, "num_frames": 4, "crop_px": 64, "batch_size": 2, "workers": 1, "batches": 1, "repeats": 1}
NEED_KERNELS = pytest.mark.skipif(why_not_kernels() is not None, reason="no kernel can run here")


def options(**changes):
    return Namespace(**LITTLE | {"device": "cpu"} | changes)


def frames(result) -> np.ndarray:
    """What a way gave: of DALI, or images or tensors clip by clip."""
    if isinstance(result, list):
        return np.stack(
            [np.moveaxis(clip.numpy(), 1, -1) if hasattr(clip, "numpy") else stack(clip) for clip in result]
        )
    return result[0].as_array()


def stack(images) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("name", PAPER_OPS)
def test_all_ways_do_the_same(name):
    """But for DALI's own operations, whose ranges are others."""
    pytest.importorskip("torchvision")
    work = op_ways.work_of(op_ways.clips_of(options()), 1, 1, n=1, ops=[name], schedule="spatial")
    wanted = frames(op_ways.pil(work)()).astype(np.float32)
    for way in (op_ways.kernels, op_ways.graph_functions, op_ways.torchvision):
        assert abs(frames(way(work)()) - wanted).mean() < 1, way
    assert frames(op_ways.dali_auto_aug(work)()).shape == wanted.shape


def test_drawn_operations_take_turns():
    clips = op_ways.clips_of(options())
    work = op_ways.work_of(clips, 1, 2, n=2)
    run = op_ways.pil(work)
    first, second, again = (frames(run()) for _ in range(3))
    assert (first == again).all() and (first != second).any()
    assert frames(op_ways.dali_auto_aug(work)()).shape == first.shape == (2, 4, 64, 64, 3)


def test_clips_of_videos(class_folders):
    clips = op_ways.clips_of(options(data=str(class_folders), num_frames=30, crop_px=32, batch_size=5))
    assert [clip.shape for clip in clips] == [(30, 32, 32, 3)] * 5


@NEED_KERNELS
def test_the_graph_with_kernels_is_far_smaller():
    nodes = {kind: graph_build.node_count(kind) for kind in graph_build.KINDS}
    assert 10 * nodes["kernels"] < nodes["graph_functions"]


def test_the_page_of_the_cpu(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torchvision")
    times = {"nodes": 5, "cold_s": 20.0, "warm_s": 1.0, "again_s": 0.5}
    monkeypatch.setattr(graph_build, "build_times", lambda kind: times)
    monkeypatch.setattr(bench_ops, "PAPER_OPS", ("invert", "rotate"))
    monkeypatch.setattr(op_ways, "WAYS", {"PIL": op_ways.pil, "graph functions": op_ways.graph_functions})
    results, (_, operations, graphs) = bench_ops.on_the_cpu(options())
    assert list(results["cpu_ms_per_clip"]) == ["invert", "rotate", bench_ops.DRAWN]
    assert all(list(found) == ["PIL", "graph functions"] for found in results["cpu_ms_per_clip"].values())
    assert operations.splitlines()[:2] == ["| operation | PIL | graph functions |", "| --- | ---: | ---: |"]
    assert graphs.splitlines()[2:] == ["| graph functions | 5 | 20.00 | 1.00 | 0.50 |"]
    assert "two of all, drawn" in capsys.readouterr().out


def test_the_rows_of_a_gpu(monkeypatch, capsys):
    """On the CPU, whose graph takes the same rows."""
    monkeypatch.setattr(bench_ops, "PAPER_OPS", ("posterize",))
    results, (table,) = bench_ops.on_the_gpu(options(num_frames=2, crop_px=32))
    names = ["noise alone", "posterize", "two of all, drawn", "two, all at once"]
    assert list(results["ms_per_batch"])[:3] == names[:3] and set(results["ms_per_batch"]) <= set(names)
    assert table.splitlines()[0] == "| operation | ms/batch | range |"
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][:3] == ["operation", "noise", "posterize"]


def test_a_page(tmp_path, monkeypatch):
    files = ["--markdown", str(tmp_path / "a.md"), "--json=b.json"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bench_ops.py", "--data", "my clips", *files, "--repeats", "3"])
    results_page.write_markdown(tmp_path / "a.md", results_page.markdown_table(["a", "b"], [["c", "1.0"]]))
    machine, *rest = (tmp_path / "a.md").read_text().split("\n\n")
    assert rest == [
        "`python benchmarks/bench_ops.py --data 'my clips' --repeats 3`",
        "| a | b |\n| --- | ---: |\n| c | 1.0 |\n",
    ]
    assert " cores" in machine and "numba " in machine and machine.endswith(".")


def test_columns_of_the_terminal_are_aligned():
    text = results_page.text_table(["operation", "ms"], [["a", "1.0"], ["longer than all", "10.0"]])
    assert text.splitlines() == ["operation          ms", "a                 1.0", "longer than all  10.0"]
