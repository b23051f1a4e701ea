"""What a graph needs of drawn operations: numpy's, the graph's and the compiled numbers are the same."""

import pickle

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipes import OPS, RandAugmentT, register_op
from dali_pipes.augment import graph_ops
from dali_pipes.augment.fused import graph_parameters
from dali_pipes.augment.ops import PAPER_OPS, RANGE_TABLES
from dali_pipes.augment.parameters import GRAPH, KERNELS, WARP, branches_of, inputs_of_clip, op_table, parameters
from dali_pipes.augment.randaugment import apply_inputs, apply_ops
from tests.pipes.augment.ways import without_kernels
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
def test_all_ways_compute_the_same(ranges):
    table = op_table(PAPER_OPS, ranges, 30.0, as_kernels=False)
    op_ids, levels, signs = draws_of_all_ops()
    ours = inputs_of_clip(pickle.loads(pickle.dumps(table)), op_ids, levels, signs, SIZE_HW)
    branches, values, matrices = (ours[name] for name in ("branches", "values", "matrices"))
    assert [array.dtype for array in ours.values()] == [np.int32, np.float32, np.float32]
    assert [array.shape for array in ours.values()] == [(56,), (56, FRAMES), (56, FRAMES, 2, 3)]

    @pipeline_def(batch_size=len(op_ids), num_threads=1, device_id=None)
    def in_graph():
        drawn = [always(data) for data in (op_ids, levels, signs)]
        return tuple(parameters(table, *drawn, SIZE_HW, GRAPH))

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def compiled():
        drawn = [always([data]) for data in (table.rows_OR2[op_ids], levels, signs)]
        return tuple(graph_parameters(*drawn, SIZE_HW))

    built = in_graph()
    built.build()
    graph = [output.as_array() for output in built.run()]
    np.testing.assert_array_equal(branches, graph[0].reshape(-1))
    np.testing.assert_array_equal(values, graph[1])
    np.testing.assert_allclose(matrices, graph[2], rtol=0, atol=2 / 65536)
    assert (matrices == graph[2]).mean() > 0.999

    built = compiled()
    built.build()
    values_64, matrices_64 = (output.as_array()[0] for output in built.run())
    np.testing.assert_allclose(values, values_64, rtol=1e-6, atol=1e-5)  # in float64, and rounded once
    np.testing.assert_allclose(matrices, matrices_64, rtol=0, atol=2 / 65536)
    assert (matrices == matrices_64).mean() > 0.99


def test_branches():
    affine = [name for name in PAPER_OPS if name in "rotate shear_x shear_y translate_x translate_y".split()]
    branches, table = branches_of(PAPER_OPS, as_kernels=False), op_table(PAPER_OPS, "paper", 100.0, as_kernels=False)
    assert len(branches) == len(PAPER_OPS) - len(affine) + 1
    for name, branch in zip(PAPER_OPS, table.branches_O, strict=True):
        assert branches[branch] == (WARP if name in affine else OPS[name].graph)
    assert table.names == ("branches", "values", "matrices")


@pytest.fixture
def half():
    """An operation that has only a graph function, as a user's own."""
    register_op("half", lambda video, value, style: graph_ops.brightness(video, value * 0.0 + 0.5, style))
    yield "half"
    del OPS["half"]


def test_operations_with_kernels_are_one_branch(half):
    assert branches_of(PAPER_OPS, as_kernels=True) == [KERNELS]
    assert op_table(PAPER_OPS, "paper", 100.0, as_kernels=True).names == ("rows", "levels", "signs")
    mixed = [*PAPER_OPS, half]
    assert branches_of(mixed, as_kernels=True) == [KERNELS, OPS[half].graph]
    table = op_table(mixed, "paper", 100.0, as_kernels=True)
    assert table.names == ("rows", "levels", "signs", "branches", "values")
    assert table.branches_O.tolist() == [0] * 14 + [1]


def augment_in_both_ways(policy: RandAugmentT, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The clips of the loader's way, which gets what it needs from its workers,
    and of the way of a graph that draws for itself."""
    frames, rng = noise_clip(8, *SIZE_HW), np.random.default_rng(1)
    drawn = [policy.sample(rng, 8) for _ in range(count)]
    table = policy.table("cpu")
    ready = [inputs_of_clip(table, *draw, SIZE_HW) for draw in drawn]

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

    def by_inputs(video, *inputs):
        named = {name: inputs[i] for i, name in enumerate(table.names)}
        return apply_inputs(video, named, policy=policy, size_hw=SIZE_HW)

    by_draws = run(drawn, lambda video, *inputs: apply_ops(video, *inputs, **policy.graph_options()))
    return by_draws, run([list(inputs.values()) for inputs in ready], by_inputs)


@pytest.mark.parametrize("with_kernels", [True, False])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("mixed", [False, True])
def test_applying_what_workers_compute_is_applying_the_draws(half, with_kernels, n, mixed, monkeypatch):
    if not with_kernels:
        without_kernels(monkeypatch)
    ops = [*PAPER_OPS, *[half] * 7] if mixed else None
    policy = RandAugmentT(n=n, translate_max_px=20, interpolation="nearest", fill=7.0, ranges="monotonic", ops=ops)
    by_draws, by_inputs = augment_in_both_ways(policy, 24)
    assert len({clip.tobytes() for clip in by_draws}) > 12
    np.testing.assert_array_equal(by_draws, by_inputs)


def test_kernels_and_the_graph_give_nearly_the_same_clips(monkeypatch):
    policy = RandAugmentT(n=2, translate_max_px=20)
    kernels, _ = augment_in_both_ways(policy, 48)
    without_kernels(monkeypatch)
    graph, _ = augment_in_both_ways(policy, 48)
    difference = np.abs(kernels.astype(int) - graph)
    assert (difference > 4).mean() < 0.01 and difference.mean() < 0.5
