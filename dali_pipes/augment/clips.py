"""Operations and perturbations applied to single clips, outside any training, by small pipelines that are kept."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import RLock
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def

from ..errors import InputError, check_known
from ..hints import Node
from ..plan.magnitude import MAX_LEVEL
from ..plan.sampling import perturbed_name
from ..system.dali_internals import never_destroy
from .graph_ops import Style
from .ops import BLEND_IN, PAPER_OPS, PAPER_TRANSLATE_MAX_PX, RANGE_TABLES
from .parameters import inputs_of_clip
from .perturbations import Perturbations
from .randaugment import apply_inputs, apply_ops, check_ops

MAX_CLIP_PIPELINES = 32
_Graph = Callable[[Node, dict[str, Node]], Node]
"""A graph function: from a clip and its inputs by name to a clip."""


class _ClipPipelines:
    """Pipelines of single clips by what sets them apart, those used last at the end.

    A pipeline holds the inputs of one call, so ``lock`` is held from feeding it to copying what comes out. A fork waits
    for the lock too: nobody is left in the middle of a call whose thread the child lacks, neither here nor in DALI.
    """

    def __init__(self, forked_from_gpu: bool = False) -> None:
        self.lock = RLock()  # one thread may fork from a signal handler while it is in here
        self.built: dict[tuple, Any] = {}
        self.forked_from_gpu = forked_from_gpu

    def get(self, device: str, key: tuple, graph: _Graph, names: Sequence[str]) -> Any:
        """Return the pipeline of a device and key, built if none is kept; the caller holds the lock."""
        if device == "gpu" and self.forked_from_gpu:
            raise InputError(
                "Invalid device 'gpu': cannot be used in a process that was forked from one that used the GPU; "
                "start the process with the start method spawn, or choose cpu"
            )
        key = (device, *key)
        found = self.built[key] = self.built.pop(key, None) or _build_clip_pipeline(device, graph, names)
        while len(self.built) > MAX_CLIP_PIPELINES:
            del self.built[next(iter(self.built))]
        return found

    def forget(self, device: str, key: tuple) -> None:
        """Keep the pipeline of a device and key no longer; the caller holds the lock."""
        self.built.pop((device, *key), None)

    def of_child(self) -> "_ClipPipelines":
        """Return those of a forked process: none yet. The parent's are left alone, see :func:`never_destroy`."""
        for pipeline in self.built.values():
            never_destroy(pipeline)
        return _ClipPipelines(self.forked_from_gpu or any(device == "gpu" for device, *_ in self.built))


_clip_pipelines = _ClipPipelines()


def _before_fork() -> None:
    _clip_pipelines.lock.acquire()


def _after_fork_in_parent() -> None:
    _clip_pipelines.lock.release()


def _after_fork_in_child() -> None:
    global _clip_pipelines
    _clip_pipelines = _clip_pipelines.of_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _build_clip_pipeline(device: str, graph: _Graph, names: Sequence[str]) -> Any:
    device_id = None if device == "cpu" else 0

    @pipeline_def(batch_size=1, num_threads=2, device_id=device_id, enable_conditionals=True, prefetch_queue_depth=1)
    def pipeline() -> Node:
        video = fn.external_source(name="video", layout="FHWC", no_copy=False)
        inputs = {name: fn.external_source(name=name) for name in names}
        return graph(video.gpu() if device == "gpu" else video, inputs)

    built = pipeline()
    try:
        built.build()
    except (RuntimeError, AssertionError) as error:
        if device == "gpu":
            raise InputError(
                "Invalid device 'gpu': needs an NVIDIA GPU that DALI can use, and there is none; choose cpu"
            ) from error
        raise
    return built


def _run_on_clip(
    device: str,
    key: tuple,
    graph: _Graph,
    frames_FHWC: np.ndarray,
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Return what ``graph`` makes of a clip and of its inputs by name.

    One pipeline is kept for each device and key, which say all that the graph depends on but its inputs.
    """
    with _clip_pipelines.lock:
        pipeline = _clip_pipelines.get(device, key, graph, list(inputs))
        try:
            for name, array in (("video", frames_FHWC), *inputs.items()):
                pipeline.feed_input(name, [array])
            (output,) = pipeline.run()
            return np.array((output.as_cpu() if device == "gpu" else output)[0])
        except BaseException:  # such as Ctrl-C: what was fed and not fetched would be the next call's clip
            _clip_pipelines.forget(device, key)
            raise


def augment_clip(
    frames_FHWC: np.ndarray,
    ops: Sequence[str],
    levels: Sequence[Sequence[float] | np.ndarray] | np.ndarray,
    signs: Sequence[float] | np.ndarray | None = None,
    *,
    ranges: str = "paper",
    interpolation: str = "nearest",
    fill: float = 0.0,
    translate_max_px: float = PAPER_TRANSLATE_MAX_PX,
    device: str = "cpu",
) -> np.ndarray:
    """Apply named operations to one clip with the real DALI graph, outside any training.

    Threads may call it at once, and take turns. So may processes forked from one that called it, on the CPU.

    Args:
        frames_FHWC: (F, H, W, 3) uint8.
        ops: N names from ``OPS``, applied one after the other. ``blend_in`` ends a chain: the clip becomes a mixture of
            what all chains made of it, see ``AugMix``.
        levels: (N, F), 0..30.
        signs: (N,) of +1 or -1; None is all +1.
        ranges: as :func:`apply_ops`.
        interpolation: as :func:`apply_ops`.
        fill: as :func:`apply_ops`.
        translate_max_px: as :func:`apply_ops`.
        device: ``cpu`` or ``gpu``.

    Returns:
        (F, H, W, 3) uint8.

    Raises:
        InputError: a shape, type, name or number is not as above, or ``device`` is ``gpu`` and there is none or it was
            used by the process that this one was forked from.

    Example: ``augment_clip(frames, ["rotate"], [np.linspace(0, 30, len(frames))])`` turns the last frame by 30 degrees
    counter-clockwise and leaves the first as it is.
    """
    check_known("device", device, ("cpu", "gpu"))
    frames = np.ascontiguousarray(frames_FHWC)
    _check_frames(frames)
    if not len(ops):
        return frames.copy()
    names = check_ops(ops, blends=True)
    levels_NF = np.asarray(levels, np.float32)
    if levels_NF.shape != (len(ops), len(frames)):
        raise InputError(
            f"Invalid levels of shape {levels_NF.shape}: must have the shape "
            f"(operations, frames) = {(len(ops), len(frames))}"
        )
    if not ((levels_NF >= 0) & (levels_NF <= MAX_LEVEL)).all():
        raise InputError(
            f"Invalid levels from {levels_NF.min():g} to {levels_NF.max():g}: must be between 0 and {MAX_LEVEL:g}"
        )
    signs_N = np.ones(len(ops), np.float32) if signs is None else np.asarray(signs, np.float32)
    if signs_N.shape != (len(ops),) or not (abs(signs_N) == 1).all():
        raise InputError(f"Invalid signs {signs}: must be {len(ops)} numbers, each +1 or -1")
    check_known("ranges", ranges, RANGE_TABLES)
    Style(interpolation, fill)
    known_ops = list(dict.fromkeys((*PAPER_OPS, *names)))  # a user's own operations only where asked for
    size_hw = frames.shape[1:3] if device == "gpu" else None  # before DALI 2, a GPU graph must know it
    style = {"ranges": ranges, "interpolation": interpolation, "fill": fill, "translate_max_px": translate_max_px}
    op_ids = np.array([known_ops.index(name) for name in names], np.int32)
    blend_at = tuple(i for i, name in enumerate(names) if name == BLEND_IN.name)
    options = {"n": len(ops), "ops": tuple(known_ops), "size_hw": size_hw, "blend_at": blend_at, **style}
    inputs = {"op_ids": op_ids, "levels": levels_NF, "signs": signs_N}
    return _run_on_clip(device, tuple(options.items()), partial(_apply_given, options=options), frames, inputs)


def _apply_given(video: Node, inputs: dict[str, Node], options: dict[str, Any]) -> Node:
    return apply_ops(video, inputs["op_ids"], inputs["levels"], inputs["signs"], **options)


def _check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(
            f"Invalid frames_FHWC of shape {frames.shape} and type {frames.dtype}: must be uint8 of shape "
            "(F, H, W, 3), and no dimension may be 0"
        )


def perturb_clip(
    frames_FHWC: np.ndarray, kind: str, strength: int, *, video: str = "", first_frame: int = 0, seed: int = 0
) -> np.ndarray:
    """Perturb one clip as a loader with ``Perturbations`` does, on the CPU.

    Threads and forked processes may call it, as they may :func:`augment_clip`.

    Args:
        frames_FHWC: (F, S, S, 3) uint8.
        kind: a name in ``PERTURBATIONS``.
        strength: 0 to 5; 0 changes nothing.
        video: path of the video; the draws depend on the names of the file and of its folder.
        first_frame: first frame of the segment of the file, which they depend on too.
        seed: seed of the draws.

    Returns:
        (F, S, S, 3) uint8.

    Raises:
        InputError: the kind or the strength is unknown, or the frames are no such array.
    """
    _check_frames(frames_FHWC)
    num_frames, size_hw = len(frames_FHWC), frames_FHWC.shape[1:3]
    if size_hw[0] != size_hw[1]:
        raise InputError(f"Invalid frames_FHWC of shape {frames_FHWC.shape}: must be square")
    policy = Perturbations(conditions=[(kind, strength)], crop_px=size_hw[0], seed=seed)
    op_ids, levels_NF, signs, positions_F = policy.perturb(0, perturbed_name(video, first_frame), 0, num_frames)
    inputs = inputs_of_clip(policy.table("cpu"), op_ids, levels_NF, signs, size_hw)
    frames = np.ascontiguousarray(frames_FHWC[positions_F])
    # one graph for all kinds, strengths and sizes, which reach it as inputs
    graph = partial(apply_inputs, policy=policy, size_hw=None)
    return _run_on_clip("cpu", ("perturb",), graph, frames, inputs)
