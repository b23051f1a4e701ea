"""RandAugment-T (paper section 3.1, Fig. 2): N operations one after the other, each with a level per frame.

Three levels of entry, which share everything below them:

* :func:`rand_augment_t` draws inside anyone's DALI graph with DALI's random operators;
* :func:`apply_ops` applies given operations, levels and signs inside a graph; :class:`RandAugmentT` draws them in numpy;
* ``ops.OPS`` is the table of operations.

Fig. 2 returns one video per operation; that is a slip of the paper, the operations form a cascade.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from .errors import InputError, check_known
from .magnitude import MAX_LEVEL, SCHEDULES, check_level, resolve_schedule, schedule_levels
from .ops import OPS, RANGE_TABLES, Op, Range, Style


class DrawnOps(NamedTuple):
    """What :class:`RandAugmentT` draws for one clip."""

    op_ids: np.ndarray  # (N,) int32, positions in OPS
    levels_NF: np.ndarray  # (N, F) float32, 0..30
    signs: np.ndarray  # (N,) float32, +1 or -1


@dataclass(frozen=True, kw_only=True)
class RandAugmentT:
    """The policy: which operations, how strong, how they change over time. Checked on construction."""

    n: int = 2
    """Operations applied one after the other."""
    m: float = 10.0
    """RandAugment level, 0..30."""
    schedule: str = "temporal+"
    """How the level changes over the clip; one of ``SCHEDULES``."""
    ranges: str = "paper"
    """Range table, ``paper`` or ``monotonic``."""
    interpolation: str = "nearest"
    """Of geometric operations, ``nearest`` or ``linear``."""
    fill: float = 0.0
    """Grey level outside the frame."""
    translate_max_px: float = 100.0
    """Translation at level 30, in pixels; 100 is the paper's, for 160-pixel crops."""

    def __post_init__(self):
        if self.n < 1:
            raise InputError(f"RandAugment-T needs n of at least 1 operation, got {self.n}")
        check_level(self.m)
        check_known("schedule", self.schedule, SCHEDULES)
        check_known("range table", self.ranges, RANGE_TABLES)
        Style(self.interpolation, self.fill)

    def sample(self, rng: np.random.Generator, num_frames: int) -> DrawnOps:
        """Draw operation ids (N,), levels (N, F) and signs (N,) for one clip of ``num_frames`` frames."""
        schedule = resolve_schedule(self.schedule, rng)
        op_ids = rng.integers(len(OPS), size=self.n).astype(np.int32)
        levels_NF = np.stack([schedule_levels(schedule, self.m, num_frames, rng) for _ in range(self.n)])
        signs = rng.choice(np.float32([-1, 1]), size=self.n)
        return DrawnOps(op_ids, levels_NF, signs)

    def graph_options(self) -> dict:
        """Keyword arguments of :func:`apply_ops`."""
        names = ("n", "ranges", "interpolation", "fill", "translate_max_px")
        return {name: getattr(self, name) for name in names}


def _apply_op(video, op: Op, range_: Range | None, level, sign, style: Style):
    return op.graph(video, None if range_ is None else range_.value(level, sign), style)


def _select(video, index, branches):
    """``branches[index](video)``: a binary tree of conditionals, so that each clip meets 4 of them and not 14."""
    if len(branches) == 1:
        selected = branches[0](video)
    else:
        half = len(branches) // 2
        if index < half:
            selected = _select(video, index, branches[:half])
        else:
            selected = _select(video, index - half, branches[half:])
    return selected


def apply_ops(
    video,
    op_ids,
    levels,
    signs,
    *,
    n: int = 2,
    ranges: str = "paper",
    interpolation: str = "nearest",
    fill: float = 0.0,
    translate_max_px: float = 100.0,
    size_hw: tuple[int, int] | None = None,
):
    """DALI graph function: apply N given operations, one after the other.

    Works in any pipeline made with ``@pipeline_def(enable_conditionals=True)``.

    Args:
        video: (F, H, W, 3) uint8, layout FHWC, on the CPU or the GPU.
        op_ids: (N,) int32 on the CPU, positions in ``OPS``.
        levels: (N, F) float32 on the CPU, 0..30.
        signs: (N,) float32 on the CPU, +1 or -1; ignored by operations without a sign.
        n: N, which a graph must know when it is built. Other sizes of ``op_ids`` end the pipeline with an error.
        ranges: ``paper`` or ``monotonic``.
        interpolation: ``nearest`` or ``linear``, of geometric operations.
        fill: grey level outside the frame.
        translate_max_px: translation at level 30, in pixels.
        size_hw: height and width of all frames, if known; old versions of DALI need it on the GPU.

    Returns:
        (F, H, W, 3) uint8 on the video's device.
    """
    check_known("range table", ranges, RANGE_TABLES)
    style = Style(interpolation, fill, size_hw)
    op_ids = fn.reshape(op_ids, shape=[n])
    for i in range(n):
        branches = [
            partial(
                _apply_op,
                op=op,
                range_=op.range_in(ranges, translate_max_px),
                level=levels[i],
                sign=signs[i],
                style=style,
            )
            for op in OPS.values()
        ]
        video = _select(video, op_ids[i], branches)
    return video


def _random_ends(schedule: str, m: float, uniform):
    """The levels of both ends as DALI nodes; ``uniform(low, high)`` draws. The twin of ``magnitude.SCHEDULES``."""
    if schedule == "temporal":
        return uniform(min(0.1, m), m), uniform(m, m)
    delta = uniform(0.0, 0.0 if schedule == "spatial" else min(0.5 * m, MAX_LEVEL - m))
    return m - delta, m + delta


def rand_augment_t(
    video,
    *,
    num_frames: int,
    n: int = 2,
    m: float = 10.0,
    schedule: str = "temporal+",
    ranges: str = "paper",
    interpolation: str = "nearest",
    fill: float = 0.0,
    translate_max_px: float = 100.0,
    size_hw: tuple[int, int] | None = None,
    seed: int | None = None,
):
    """DALI graph function: RandAugment-T with DALI's own random operators.

    For pipelines made with ``@pipeline_def(enable_conditionals=True)``; parameters as :class:`RandAugmentT`.

    Args:
        video: (F, H, W, 3) uint8, layout FHWC, on the CPU or the GPU, with F = ``num_frames``.
        num_frames: F.
        size_hw: as :func:`apply_ops`.
        seed: makes the draws reproducible; without it they follow the pipeline's seed.

    Returns:
        (F, H, W, 3) uint8 on the video's device.
    """
    policy = RandAugmentT(n=n, m=m, schedule=schedule, ranges=ranges, interpolation=interpolation, fill=fill,
                          translate_max_px=translate_max_px)  # fmt: skip
    # Random operators given equal seeds draw correlated numbers, so each gets its own.
    draws = 1 + 5 * n
    seeds = iter([None] * draws if seed is None else np.random.SeedSequence(seed).generate_state(draws) % 2**31)

    def uniform(low, high):
        return low + (high - low) * fn.random.uniform(range=[0.0, 1.0], **_seed(next(seeds)))

    def coin():
        return fn.cast(fn.random.coin_flip(**_seed(next(seeds))), dtype=types.FLOAT)

    mixed = coin() if schedule == "mix" else 1.0
    time = np.linspace(0, 1, num_frames, dtype=np.float32) if num_frames > 1 else np.zeros(1, np.float32)
    op_ids, levels, signs = [], [], []
    for _ in range(n):
        first, last = _random_ends("temporal+" if schedule == "mix" else schedule, m, uniform)
        if schedule == "mix":
            first, last = m + (first - m) * mixed, m + (last - m) * mixed
        backward = coin()
        start, end = first + (last - first) * backward, last + (first - last) * backward
        op_ids.append(fn.random.uniform(values=list(range(len(OPS))), dtype=types.INT32, **_seed(next(seeds))))
        levels.append(start + (end - start) * types.Constant(time))
        signs.append(coin() * 2.0 - 1.0)
    drawn = fn.stack(*op_ids), fn.stack(*levels), fn.stack(*signs)
    return apply_ops(video, *drawn, size_hw=size_hw, **policy.graph_options())


def _seed(seed) -> dict:
    return {} if seed is None else {"seed": int(seed)}


@lru_cache(maxsize=16)
def _clip_pipeline(device: str, **options):
    device_id = None if device == "cpu" else 0

    @pipeline_def(batch_size=1, num_threads=2, device_id=device_id, enable_conditionals=True, prefetch_queue_depth=1)
    def pipeline():
        video = fn.external_source(name="video", layout="FHWC", no_copy=False)
        inputs = [fn.external_source(name=name) for name in ("op_ids", "levels", "signs")]
        return apply_ops(video.gpu() if device == "gpu" else video, *inputs, **options)

    built = pipeline()
    try:
        built.build()
    except (RuntimeError, AssertionError) as error:
        if device == "gpu":
            raise InputError("device 'gpu' needs an NVIDIA GPU that DALI can use, there is none; choose cpu") from error
        raise
    return built


def augment_clip(
    frames_FHWC: np.ndarray,
    ops: Sequence[str],
    levels,
    signs=None,
    *,
    ranges: str = "paper",
    interpolation: str = "nearest",
    fill: float = 0.0,
    translate_max_px: float = 100.0,
    device: str = "cpu",
) -> np.ndarray:
    """Apply named operations to one clip with the real DALI graph, outside any training.

    Args:
        frames_FHWC: (F, H, W, 3) uint8.
        ops: N names from ``OPS``, applied one after the other.
        levels: (N, F), 0..30.
        signs: (N,) of +1 or -1; None is all +1.
        ranges, interpolation, fill, translate_max_px: as :func:`apply_ops`.
        device: ``cpu`` or ``gpu``.

    Returns:
        (F, H, W, 3) uint8.

    Example: ``augment_clip(frames, ["rotate"], [np.linspace(0, 30, len(frames))])`` turns the last frame by 30 degrees
    counter-clockwise and leaves the first as it is.
    """
    check_known("device", device, ("cpu", "gpu"))
    frames = np.ascontiguousarray(frames_FHWC)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"frames_FHWC must be non-empty (F, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    for name in ops:
        check_known("operation", name, OPS)
    if not len(ops):
        return frames.copy()
    levels_NF = np.asarray(levels, np.float32)
    if levels_NF.shape != (len(ops), len(frames)):
        raise InputError(
            f"levels must have shape {(len(ops), len(frames))} (operations, frames), got {levels_NF.shape}"
        )
    if not ((levels_NF >= 0) & (levels_NF <= MAX_LEVEL)).all():
        raise InputError(f"levels must lie between 0 and {MAX_LEVEL:g}, got {levels_NF.min():g} to {levels_NF.max():g}")
    signs_N = np.ones(len(ops), np.float32) if signs is None else np.asarray(signs, np.float32)
    if signs_N.shape != (len(ops),) or not (abs(signs_N) == 1).all():
        raise InputError(f"signs must be {len(ops)} numbers of +1 or -1, got {signs}")
    pipeline = _clip_pipeline(device, n=len(ops), ranges=ranges, interpolation=interpolation, fill=fill,
                              translate_max_px=translate_max_px)  # fmt: skip
    op_ids = np.array([list(OPS).index(name) for name in ops], np.int32)
    for name, array in (("video", frames), ("op_ids", op_ids), ("levels", levels_NF), ("signs", signs_N)):
        pipeline.feed_input(name, [array])
    (output,) = pipeline.run()
    return np.array((output.as_cpu() if device == "gpu" else output)[0])
