"""RandAugment-T (paper section 3.1, Fig. 2): N operations one after the other, each with a level per frame.

Three levels of entry, which share everything below them:

* :func:`rand_augment_t` draws inside anyone's DALI graph with DALI's random operators;
* :func:`apply_ops` applies given operations, levels and signs inside a graph;
  :class:`RandAugmentT` draws them in numpy;
* ``ops.OPS`` is the table of operations.

Fig. 2 returns one video per operation; that is a slip of the paper, the operations form a cascade.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from nvidia.dali import fn, math, types

from ..errors import InputError, check_known
from ..hints import Node
from ..plan.magnitude import MAX_LEVEL, NUMBERS, check_level, check_schedule, curve, schedule_function
from ..plan.sampling import Policy
from ..python_values import fields_to_python, whole_number
from .graph_ops import Style, blend_in, round_to_uint8, size_of, warp
from .ops import BLEND_IN, OPS, PAPER_OPS, PAPER_TRANSLATE_MAX_PX, RANGE_TABLES, check_translate_max_px, op_named
from .parameters import (
    GRAPH,
    KERNELS,
    OpTable,
    branches_of,
    is_one_operator,
    op_table,
    parameters,
    run_as_kernels,
    why_not_compiled_parameters,
)


class DrawnOps(NamedTuple):
    """The operations, levels and signs that :class:`RandAugmentT` draws for one clip."""

    op_ids: np.ndarray  # (N,) int32, positions in the policy's ops
    levels_NF: np.ndarray  # (N, F) float32, 0..30
    signs: np.ndarray  # (N,) float32, +1 or -1


@dataclass(frozen=True, kw_only=True)
class RandAugmentT:
    """The policy: which operations, how strong, how they change over time (paper section 3.1). Checked on construction.

    Raises:
        InputError: a field is out of range, or names something unknown.
    """

    n: int = 2
    """Operations applied one after the other."""
    m: float = 10.0
    """RandAugment level, 0..30."""
    schedule: str | Callable = "temporal+"
    """Course of the level over the clip, drawn anew for each operation:
    a name in ``SCHEDULES``, or a function like those."""
    ops: Sequence[str] | None = None
    """Names to draw from, uniformly with replacement; None is the paper's 14, ``PAPER_OPS``."""
    ranges: str = "paper"
    """Range table: ``paper``, ``monotonic``, ``increasing`` or ``wide``."""
    interpolation: str = "nearest"
    """Interpolation of geometric operations, ``nearest`` or ``linear``."""
    fill: float = 0.0
    """Grey level outside the frame."""
    translate_max_px: float = PAPER_TRANSLATE_MAX_PX
    """Translation at level 30, in pixels; 100 is the paper's, for 160-pixel crops."""

    def __post_init__(self) -> None:
        # As names, so that worker processes need not know the user's own operations.
        object.__setattr__(self, "ops", check_ops(PAPER_OPS if self.ops is None else self.ops))
        fields_to_python(self)
        if type(self.n) is not int or self.n < 1:
            raise InputError(f"Invalid n {self.n!r}: must be a whole number of at least 1")
        check_translate_max_px(self.translate_max_px)
        check_level(self.m)
        check_schedule(self.schedule, self.m)
        check_known("ranges", self.ranges, RANGE_TABLES)
        Style(self.interpolation, self.fill)

    blend_at: ClassVar[tuple[int, ...]] = ()
    """Positions of ``blend_in`` among a clip's operations: none, as they are one chain."""

    @property
    def op_names(self) -> Sequence[str]:
        """The names in ``ops``, where None is the paper's operations."""
        assert self.ops is not None, "set on construction"
        return self.ops

    def sample(self, rng: np.random.Generator, num_frames: int) -> DrawnOps:
        """Draw for one clip of ``num_frames`` frames.

        Returns:
            op_ids (N,) int32, positions in ``ops``; levels_NF (N, F) float32, 0..30; signs (N,) float32, +1 or -1.
        """
        op_ids = rng.integers(len(self.op_names), size=self.n).astype(np.int32)
        signs = rng.choice(np.array([-1, 1], np.float32), size=self.n)
        numbers = rng.random((self.n, NUMBERS))
        numbers[:, 0] = numbers[0, 0]
        levels_NF = np.stack([curve(self.schedule, self.m, num_frames, u) for u in numbers])
        return DrawnOps(op_ids, levels_NF, signs)

    def table(self, device: str) -> OpTable:
        """Return the policy's operations as numbers, for :func:`~dali_pipes.augment.parameters.inputs_of_clip`.

        ``device`` is where the clips will be, ``cpu`` or ``gpu``.
        """
        return op_table(self.op_names, self.ranges, self.translate_max_px, run_as_kernels(device))

    def graph_options(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`apply_ops`."""
        names = ("n", "ops", "ranges", "interpolation", "fill", "translate_max_px")
        return {name: getattr(self, name) for name in names}


def check_ops(names: Collection[str], blends: bool = False) -> tuple[str, ...]:
    """The names as a tuple; raises :class:`InputError` if one is unknown or there is none.

    ``blends`` says whether ``blend_in`` may be one of them.
    """
    if isinstance(names, str):
        raise InputError(f"Invalid ops {names!r}: must be a list of names, not a string")
    for name in names:
        op_named(name)
    if BLEND_IN.name in names and not blends:
        raise InputError(f"Invalid operation {BLEND_IN.name!r}: must have fixed places, so no policy can draw it")
    if not len(names):
        raise InputError(f"Invalid ops {names!r}: must name at least one of {', '.join(OPS)}")
    return tuple(names)


def _select(video: Node, index: Node, branches: Sequence[Callable], first: int = 0) -> Node:
    """Return ``branches[index - first](video)``.

    The branches form a binary tree of conditionals, so a clip passes 4 of them instead of 10.
    """
    if len(branches) == 1:
        selected = branches[0](video)
    else:
        half = len(branches) // 2
        if index < first + half:
            selected = _select(video, index, branches[:half], first)
        else:
            selected = _select(video, index, branches[half:], first + half)
    return selected


def _bind(branch: Callable | str, inputs: Mapping[str, Any], i: int, style: Style) -> Callable:
    """Return step ``i`` of a branch as a function of the video."""
    if branch == KERNELS:
        from .fused import apply_kernels

        rows, levels, signs = (inputs[name][i : i + 1] for name in ("rows", "levels", "signs"))
        return lambda video: apply_kernels(video, rows, levels, signs, style)
    if callable(branch):
        return lambda video: branch(video, inputs["values"][i], style)
    return lambda video: warp(video, inputs["matrices"][i], style)


def apply_inputs(video: Node, inputs: Mapping[str, Any], *, policy: Policy, size_hw: tuple[int, int] | None) -> Node:
    """DALI graph function: apply drawn operations, given as :func:`~dali_pipes.augment.parameters.inputs_of_clip` does.

    Args:
        video: as :func:`apply_ops`.
        inputs: nodes on the CPU by the names in ``policy.table(device).names``; all but ``rows``, ``levels`` and
            ``signs`` may also be lists of N nodes.
        policy: which operations, and how.
        size_hw: height and width of all frames; as :func:`apply_ops`.
    """
    style = Style(policy.interpolation, policy.fill, size_hw)
    return _apply(video, inputs, policy.op_names, policy.n, style, policy.blend_at)


def _apply(
    video: Node, inputs: Mapping[str, Any], names: Sequence[str], n: int, style: Style, blend_at: Collection[int]
) -> Node:
    if is_one_operator(names, video.device):
        from .fused import apply_kernels

        return apply_kernels(video, inputs["rows"], inputs["levels"], inputs["signs"], style)
    branches = branches_of(names, run_as_kernels(video.device))
    original, mixture = video, fn.cast(video, dtype=types.FLOAT) if blend_at else None
    for i in range(n):
        if i in blend_at:
            mixture, video = blend_in(mixture, video, inputs["values"][i]), original
            continue
        index = inputs["branches"][i] if len(branches) > 1 else None
        video = _select(video, index, [_bind(branch, inputs, i, style) for branch in branches])
    return round_to_uint8(mixture) if blend_at else video


def _inputs_in_graph(
    video: Node, op_ids: Node, levels: Node, signs: Node, table: OpTable, n: int, style: Style
) -> dict[str, Any]:
    """Return what :func:`inputs_of_clip` computes, as nodes of a graph that draws for itself."""
    op_ids = fn.reshape(op_ids, shape=[n])
    inputs = {
        "rows": fn.stack(*[types.Constant(table.rows_OR2)[op_ids[i]] for i in range(n)]),
        "levels": fn.cast(levels, dtype=types.FLOAT),
        "signs": fn.cast(fn.reshape(signs, shape=[n]), dtype=types.FLOAT),
    }
    if not set(table.names) - set(inputs):
        return inputs
    size_hw = size_of(video, style) if "matrices" in table.names else (0, 0)  # only warps ask for it
    if why_not_compiled_parameters() is None:
        from .fused import graph_parameters

        values, matrices = graph_parameters(inputs["rows"], inputs["levels"], inputs["signs"], size_hw)
        branches = [types.Constant(table.branches_O)[op_ids[i]] for i in range(n)]
    else:
        each = [parameters(table, op_ids[i], levels[i], signs[i], size_hw, GRAPH) for i in range(n)]
        branches, values, matrices = ([one[k] for one in each] for k in range(3))
    return inputs | {"branches": branches, "values": values, "matrices": matrices}


def apply_ops(
    video: Node,
    op_ids: Node,
    levels: Node,
    signs: Node,
    *,
    n: int = 2,
    ops: Sequence[str] | None = None,
    ranges: str = "paper",
    interpolation: str = "nearest",
    fill: float = 0.0,
    translate_max_px: float = PAPER_TRANSLATE_MAX_PX,
    size_hw: tuple[int, int] | None = None,
    blend_at: Collection[int] = (),
) -> Node:
    """DALI graph function: apply N given operations, one after the other.

    Works in any pipeline made with ``@pipeline_def(enable_conditionals=True)``.

    Args:
        video: (F, H, W, 3) uint8, layout FHWC, on the CPU or the GPU.
        op_ids: (N,) int32 on the CPU, positions in ``ops``.
        levels: (N, F) float32 on the CPU, 0..30.
        signs: (N,) float32 on the CPU, +1 or -1; ignored by operations without a sign.
        n: N, which a graph must know when it is built. Inputs of other shapes end the pipeline with an error.
        ops: names of the operations that may occur; None is ``PAPER_OPS``.
        ranges: ``paper``, ``monotonic``, ``increasing`` or ``wide``.
        interpolation: ``nearest`` or ``linear``, of geometric operations.
        fill: grey level outside the frame.
        translate_max_px: translation at level 30, in pixels.
        size_hw: height and width of all frames, if known; old versions of DALI need it on the GPU.
        blend_at: positions of ``blend_in`` among the N operations, the same ones for all clips, see ``AugMix``.

    Returns:
        (F, H, W, 3) uint8 on the video's device.

    Raises:
        InputError: an operation, range table or interpolation is unknown, ``fill`` is no grey level, ``n`` is below 1,
            or ``translate_max_px`` is below 0 or infinite.
    """
    names = check_ops(PAPER_OPS if ops is None else ops, blends=bool(blend_at))
    check_known("ranges", ranges, RANGE_TABLES)
    style, n = Style(interpolation, fill, size_hw), whole_number("n", n, 1)
    table = op_table(names, ranges, check_translate_max_px(translate_max_px), run_as_kernels(video.device))
    inputs = _inputs_in_graph(video, op_ids, levels, signs, table, n, style)
    return _apply(video, inputs, names, n, style, blend_at)


SCHEDULE_GRAPH = SimpleNamespace(
    abs=math.abs,
    floor=math.floor,
    sin=math.sin,
    log=math.log,
    sqrt=math.sqrt,
    clip=math.clamp,
    min=fn.reductions.min,
    max=fn.reductions.max,
)
"""The functions of DALI that a schedule uses in a graph, see magnitude.py."""


def draw_ops(policy: RandAugmentT, num_frames: int, seed: int | None = None) -> tuple[Node, Node, Node]:
    """DALI graph function: the draws of :meth:`RandAugmentT.sample` with DALI's random operators.

    Returns:
        op_ids (N,) int32, levels (N, F) float32 and signs (N,) float32, for :func:`apply_ops`.
    """
    # Random operators given equal seeds draw correlated numbers, so each gets its own.
    own = [None] * 4 if seed is None else np.random.SeedSequence(seed).generate_state(4) % 2**31
    seeds = iter({} if number is None else {"seed": int(number)} for number in own)
    n = policy.n
    op_ids = fn.random.uniform(values=list(range(len(policy.op_names))), shape=[n], dtype=types.INT32, **next(seeds))
    signs = fn.random.uniform(values=[-1.0, 1.0], shape=[n], **next(seeds))
    own = fn.random.uniform(range=[0.0, 1.0], shape=[n, NUMBERS - 1], **next(seeds))
    shared = fn.random.uniform(range=[0.0, 1.0], shape=[1], **next(seeds))
    time = types.Constant(np.linspace(0, 1, num_frames, dtype=np.float32))
    schedule = schedule_function(policy.schedule)
    levels = fn.stack(*[schedule(fn.cat(shared, own[i]), policy.m, time, SCHEDULE_GRAPH) for i in range(n)])
    return op_ids, math.clamp(levels, 0.0, MAX_LEVEL), signs


def rand_augment_t(
    video: Node,
    *,
    num_frames: int,
    size_hw: tuple[int, int] | None = None,
    seed: int | None = None,
    **policy: Any,
) -> Node:
    """DALI graph function: RandAugment-T with DALI's own random operators.

    For pipelines made with ``@pipeline_def(enable_conditionals=True)``.

    Args:
        video: (F, H, W, 3) uint8, layout FHWC, on the CPU or the GPU, with F = ``num_frames``.
        num_frames: F, the number of frames.
        size_hw: as :func:`apply_ops`.
        seed: makes the draws reproducible; without it they follow the pipeline's seed.
        **policy: fields of :class:`RandAugmentT`: n, m, schedule, ops, ranges, interpolation, fill, translate_max_px.

    Returns:
        (F, H, W, 3) uint8 on the video's device.

    Raises:
        InputError: as :class:`RandAugmentT`.
    """
    checked, num_frames = RandAugmentT(**policy), whole_number("num_frames", num_frames, 1)
    return apply_ops(video, *draw_ops(checked, num_frames, seed), size_hw=size_hw, **checked.graph_options())
