"""The parameters of drawn operations: numpy's and the graph's are the same numbers."""

import pickle

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipes import OPS, RandAugmentT
from dali_pipes.augment.ops import PAPER_OPS, RANGE_TABLES
from dali_pipes.augment.parameters import GRAPH, branches_of, op_table, parameters, parameters_of_clip
from dali_pipes.augment.randaugment import apply_ops, apply_parameters
from tests.videos import noise_clip

FRAMES, SIZE_HW = 31, (41, 56)


def always(samples):
    """A node that gives these samples in each batch."""
    return fn.external_source(lambda: list(samples))


def draws_of_all_ops() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each operation with both signs, at levels that rise through 0 and 30 and whole numbers, and at others."""
    op_ids = np.repeat(np.arange(len(PAPER_OPS), dtype=np.int32), 4)
    signs = np.tile(np.array([1, -1], np.float32), 2 * len(PAPER_OPS))
    rng = np.random.default_rng(0)
    whole, other = np.linspace(0, 30, FRAMES, dtype=np.float32), rng.uniform(0, 30, FRAMES).astype(np.float32)
    return op_ids, np.array([whole, whole, other, other] * len(PAPER_OPS)), signs


@pytest.mark.parametrize("ranges", RANGE_TABLES)
def test_numpy_and_graph_compute_the_same(ranges):
    table = op_table(PAPER_OPS, ranges, 30.0)
    op_ids, levels, signs = draws_of_all_ops()
    ours = parameters_of_clip(pickle.loads(pickle.dumps(table)), op_ids, levels, signs, SIZE_HW)
    assert [array.dtype for array in ours] == [np.int32, np.float32, np.float32]
    assert [array.shape for array in ours] == [(56,), (56, FRAMES), (56, FRAMES, 2, 3)]

    @pipeline_def(batch_size=len(op_ids), num_threads=1, device_id=None)
    def pipeline():
        drawn = [always(data) for data in (op_ids, levels, signs)]
        return tuple(parameters(table, *drawn, SIZE_HW, GRAPH))

    built = pipeline()
    built.build()
    graph = [output.as_array() for output in built.run()]
    np.testing.assert_array_equal(ours.branch, graph[0].reshape(-1))
    np.testing.assert_array_equal(ours.value, graph[1])
    np.testing.assert_allclose(ours.matrices, graph[2], rtol=0, atol=2 / 65536)
    assert (ours.matrices == graph[2]).mean() > 0.999


def test_branches():
    affine = [name for name in PAPER_OPS if name in "rotate shear_x shear_y translate_x translate_y".split()]
    branches, table = branches_of(PAPER_OPS), op_table(PAPER_OPS, "paper", 100.0)
    assert len(branches) == len(PAPER_OPS) - len(affine) + 1
    for name, branch in zip(PAPER_OPS, table.branches_O, strict=True):
        assert branches[branch] is (None if name in affine else OPS[name].graph)


def test_applying_parameters_is_applying_the_draws():
    """The loader's way, with parameters from its workers, against the way of a graph that draws for itself."""
    policy = RandAugmentT(n=2, translate_max_px=20, interpolation="nearest", fill=7.0, ranges="monotonic")
    frames, rng = noise_clip(8, *SIZE_HW), np.random.default_rng(1)
    drawn = [policy.sample(rng, 8) for _ in range(24)]
    ready = [parameters_of_clip(policy.table(), *draw, SIZE_HW) for draw in drawn]

    def run(arrays, graph):
        columns = list(zip(*arrays, strict=True))

        @pipeline_def(batch_size=len(drawn), num_threads=2, device_id=None, enable_conditionals=True)
        def pipeline():
            video = fn.external_source(lambda: [frames] * len(drawn), layout="FHWC")
            inputs = [always(column) for column in columns]
            return graph(video, *inputs)

        built = pipeline()
        built.build()
        return built.run()[0].as_array()

    by_draws = run(drawn, lambda video, *inputs: apply_ops(video, *inputs, **policy.graph_options()))
    by_parameters = run(ready, lambda video, *inputs: apply_parameters(video, *inputs, policy=policy, size_hw=SIZE_HW))
    assert len({clip.tobytes() for clip in by_draws}) > 16
    np.testing.assert_array_equal(by_draws, by_parameters)
