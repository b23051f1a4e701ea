"""What DALI keeps private is there in the installed version;
where a version lacks it, a sentence says so and nothing else breaks."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nvidia import dali
from nvidia.dali import fn, pipeline_def

from dali_pipes import VideoLoader, find_videos, scan_videos
from dali_pipes.system.dali_internals import (
    CONDITION,
    MEMORY,
    OBSERVER,
    POOL,
    PROCESSES,
    RESULTS,
    TASKS,
    THREAD,
    WAKE,
    DaliChanged,
    WorkerPool,
)

ROOT = Path(__file__).resolve().parents[3]


class Source:
    def __call__(self, sample_info):
        return np.zeros(1, np.uint8)


@pipeline_def(batch_size=1, num_threads=1, device_id=None, py_num_workers=2, py_start_method="spawn")
def pipeline_with_workers():
    return fn.external_source(Source(), batch=False, parallel=True)


def test_this_dali_has_all_that_is_needed():
    pipeline = pipeline_with_workers()
    pipeline.build()
    pool = WorkerPool(pipeline)  # raises a sentence with the version and the name that is missing
    assert len(pool.processes) == 2
    for process in pool.processes:
        assert process.pid > 0 and process.exitcode is None and callable(process.kill)
    real = pipeline
    for name in POOL.split("."):
        real = getattr(real, name)
    assert getattr(real, OBSERVER) is not None, f"DALI {dali.__version__} gives up without its observing thread"
    pipeline.run()  # it works without the thread that ends the processes
    real.close()
    assert all(process.exitcode is None for process in pool.processes), "DALI ends the processes itself"
    pool.end_waits()
    with pytest.raises((AttributeError, RuntimeError)):
        for _ in range(10):  # the first are prepared already
            pipeline.run()
    for process in pool.processes:
        process.kill()
        process.join(10)


@pytest.mark.parametrize(
    "missing", [*POOL.split("."), OBSERVER, PROCESSES, RESULTS, TASKS, WAKE, THREAD, CONDITION, MEMORY, "_woken_count"]
)
def test_a_missing_name_is_a_sentence(missing):
    def owner(**names):
        return SimpleNamespace(**{name: value for name, value in names.items() if name != missing})

    outer, inner = POOL.split(".")
    condition = owner(_lock=None, _sleeping_count=None, _woken_count=None, _wait_semaphore=None)
    queue = owner(**{CONDITION: condition, MEMORY: None})
    observer = owner(**{PROCESSES: [], RESULTS: queue, TASKS: [], WAKE: None, THREAD: None})
    with pytest.raises(DaliChanged, match=rf"^(DALI|Python) [\d.]+: .*\w+ has no {missing}\b"):
        WorkerPool(owner(**{outer: owner(**{inner: owner(**{OBSERVER: observer})})}))


def test_a_loader_works_without_them(monkeypatch, caplog, class_folders):
    monkeypatch.setattr("dali_pipes.system.dali_internals.PROCESSES", "_children")
    manifest = scan_videos(find_videos(class_folders))
    loader = VideoLoader(manifest, workers=1, batch_size=2, crop_px=32, num_frames=16, device="cpu")
    assert sum(map(len, loader)) == len(manifest)
    loader.close()
    (record,) = caplog.records
    assert f"DALI {dali.__version__}: Observer has no _children" in record.getMessage()
    assert "if a decoding process dies, DALI may not notice this" in record.getMessage()


def test_no_other_file_reads_private_names():
    """Private names are those of another object than self or cls;
    names between single underscores, as those of an Enum, are not private."""
    allowed = {("os", "_exit"), ("sys", "_current_frames"), ("loader", "_forget_in_child")}
    # argparse has no other way to list a parser's options, or to lay its help out
    allowed |= {("parser", "_actions"), ("super()", "_fill_text"), ("super()", "_format_action_invocation")}
    # DALI shows the number of a graph's operators nowhere else, and only a benchmark asks
    allowed |= {("built_graph(kind)", "_ops")}
    found = set()
    for path in [
        path for folder in ("dali_pipes", "train", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*[^_\W]", node.attr):
                owner = ast.unparse(node.value)
                if owner not in ("self", "cls") and (owner, node.attr) not in allowed:
                    found.add(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    assert not found
