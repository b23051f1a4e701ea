"""The operators of the kernels: what they refuse, and what takes their place where they cannot run."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipes import OPS, PAPER_OPS, Range, apply_ops, augment_clip, register_op
from dali_pipes.augment import clips, fused, graph_ops, parameters
from dali_pipes.loader.graph import normalise
from dali_pipes.system import dali_internals
from tests.pipes.augment.ways import without_kernels
from tests.reference import pil_ops
from tests.videos import noise_clip

ROOT = Path(__file__).resolve().parents[3]


def always(array):
    """A node that gives this array in each batch."""
    return fn.external_source(lambda: [array])


def run_apply_ops(frames, op_ids, levels, signs, n=1, ops=None):
    @pipeline_def(batch_size=1, num_threads=1, device_id=None, enable_conditionals=True)
    def pipeline():
        video = fn.external_source(lambda: [frames], layout="FHWC")
        inputs = [always(array) for array in (op_ids, levels, signs)]
        return apply_ops(video, *inputs, n=n, ops=ops)

    built = pipeline()
    built.build()
    (output,) = built.run()
    assert output.layout() == "FHWC"
    return np.array(output[0])


ONE = np.array([1], np.float32)


@pytest.mark.parametrize("types", [(np.int32, np.float32), (np.int64, np.float64), (np.uint8, np.int32)])
def test_any_type_of_numbers_will_do(types):
    ids, numbers = types
    frames, levels = noise_clip(4), np.full((1, 4), 7)
    ours = run_apply_ops(frames, np.array([PAPER_OPS.index("rotate")], ids), levels.astype(numbers), ONE)
    np.testing.assert_array_equal(ours, pil_ops.apply_to_clip(frames, ["rotate"], levels, [1]))


@pytest.mark.parametrize(
    "levels", [np.zeros((1, 3)), np.zeros((1, 5)), np.zeros((2, 4)), np.zeros((4, 1)), np.zeros(4)]
)
def test_levels_of_another_shape_are_refused(levels):
    with pytest.raises(RuntimeError, match="non negative|number of dimensions"):
        run_apply_ops(noise_clip(4), np.array([0], np.int32), levels.astype(np.float32), ONE)


@pytest.fixture
def own_op():
    """An operation that has only a graph function."""
    register_op("own", graph_ops.brightness, ranges=Range(0.5, 0.5))
    yield "own"
    del OPS["own"]


@pytest.mark.parametrize("count", [2, 400_000])
def test_levels_of_more_operations_are_refused_without_kernels_too(own_op, count):
    with pytest.raises(RuntimeError, match="non negative"):
        run_apply_ops(noise_clip(4), np.array([0], np.int32), np.zeros((count, 4), np.float32), ONE, ops=[own_op])


@pytest.mark.parametrize("size_hw", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("name", PAPER_OPS)
def test_empty_frames_stay_empty(name, size_hw):
    frames, op_ids = np.zeros((4, *size_hw, 3), np.uint8), np.array([PAPER_OPS.index(name)], np.int32)
    assert run_apply_ops(frames, op_ids, np.zeros((1, 4), np.float32), ONE).shape == (4, *size_hw, 3)


@pytest.mark.parametrize("op_id", [-15, 14, 1000])
def test_an_operation_that_is_not_in_the_table_is_refused(op_id):
    with pytest.raises(RuntimeError, match="out of range|out of bounds|invalid"):
        run_apply_ops(noise_clip(4), np.array([op_id], np.int32), np.zeros((1, 4), np.float32), ONE)


def test_frames_of_another_number_of_channels_are_refused():
    grey = np.ascontiguousarray(noise_clip(4)[..., :1])
    with pytest.raises(RuntimeError, match="non negative"):
        run_apply_ops(grey, np.array([0], np.int32), np.zeros((1, 4), np.float32), ONE)


def test_normalise_is_exact(monkeypatch):
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)

    def run():
        @pipeline_def(batch_size=1, num_threads=1, device_id=None)
        def pipeline():
            return normalise(fn.external_source(lambda: [frames], layout="FHWC"))

        built = pipeline()
        built.build()
        return built.run()[0].as_array()[0]

    expected = (frames.astype(np.float32) - 128) / 128
    np.testing.assert_array_equal(run(), expected)
    without_kernels(monkeypatch)
    np.testing.assert_array_equal(run(), expected)


@pytest.fixture
def asked_anew(monkeypatch):
    """As if no kernel had been asked for yet."""
    monkeypatch.setattr(clips, "_clip_pipelines", clips._ClipPipelines())
    for cached in (parameters._why_not, parameters._tell_once, fused.augment_operator):
        cached.cache_clear()
    yield
    for cached in (parameters._why_not, parameters._tell_once, fused.augment_operator):
        cached.cache_clear()


def test_a_plugin_that_is_not_known_leaves_the_graph_functions(asked_anew, monkeypatch, caplog):
    monkeypatch.setattr(dali_internals, "RUN_ADDRESS", "_gone")
    frames, levels = noise_clip(), np.full((1, 6), 10.0)
    for _ in range(2):
        ours = augment_clip(frames, ["solarize"], levels)
        np.testing.assert_array_equal(ours, pil_ops.apply_to_clip(frames, ["solarize"], levels, [1]))
    (message,) = [
        text for text in map(logging.LogRecord.getMessage, caplog.records) if not text.startswith("Compiling")
    ]
    assert message.startswith("Cannot compile the augmentation with DALI ")
    assert "NumbaFunction has no _gone" in message


def test_numba_that_is_switched_off_leaves_the_graph_functions():
    program = (
        "import numpy as np; from dali_pipes import augment_clip; "
        "print(augment_clip(np.full((1, 2, 2, 3), 200, np.uint8), ['solarize'], [[15.0]]).max())"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "55\n"), done.stderr
    assert "DALI operators are used instead" in done.stderr and "NUMBA_DISABLE_JIT is set" in done.stderr
