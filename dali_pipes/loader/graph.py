"""DALI graph functions for the clips of a reader: crop and resize, RandAugment-T, normalise."""

from nvidia.dali import fn, types

from ..augment.parameters import why_not_compiled_normalise
from ..augment.randaugment import apply_inputs
from ..decode.frames import ANTIALIAS_ABOVE
from ..hints import Node
from ..plan.sampling import Policy
from .source import ClipArrays
from .workers import EndsWithParent

MEAN = STD = 128.0
"""Pixel normalisation (x - 128) / 128 (paper section 4.1)."""


_TYPES = {
    "frames": types.UINT8,
    "encoded": types.UINT8,
    "frame_indices": types.INT32,
    "order": types.INT32,
    "box": types.FLOAT,
    "flip": types.INT32,
    "shown": types.INT64,
    "bad": types.UINT8,
    "number": types.INT32,
    "rows": types.INT32,
    "levels": types.FLOAT,
    "signs": types.FLOAT,
    "branches": types.INT32,
    "values": types.FLOAT,
    "matrices": types.FLOAT,
}


def clip_inputs(source: ClipArrays, *, parallel: bool, prefetch_batches: int) -> dict[str, Node]:
    """The source's arrays as DALI nodes on the CPU, by name."""
    nodes = fn.external_source(
        EndsWithParent(source) if parallel else source,
        num_outputs=len(source.names),
        batch=False,
        parallel=parallel,
        layout=["FHWC" if name == "frames" else "" for name in source.names],
        dtype=[_TYPES[name] for name in source.names],
        **({"prefetch_queue_depth": prefetch_batches} if parallel else {}),
    )
    return dict(zip(source.names, nodes))  # noqa: B905 - the graph tracer's zip knows no strict


def crop_resize(video: Node, box_yxyx: Node, flip: Node, crop_px: int) -> Node:
    """DALI graph function: crop every frame to a box, resize it (linear), and mirror it where ``flip`` is 1.

    For videos that DALI decodes; the CPU's workers do the same while they convert colours, which is cheaper.

    Args:
        video: (F, H, W, 3) uint8.
        box_yxyx: (4,) float32 on the CPU, in the video's pixels.
        flip: 0 or 1, int32 scalar on the CPU.
        crop_px: of the result; a box more than ``ANTIALIAS_ABOVE`` times as large is smoothed first.

    Returns:
        (F, crop_px, crop_px, 3) uint8.
    """
    y0, x0, y1, x1 = (box_yxyx[edge] for edge in range(4))
    shift = (x1 - x0) * flip  # a region that ends left of its start is mirrored
    place = {"roi_start": fn.stack(y0, x0 + shift), "roi_end": fn.stack(y1, x1 - shift), "size": [crop_px, crop_px]}
    if box_yxyx[2] - box_yxyx[0] > ANTIALIAS_ABOVE * crop_px:
        scaled = fn.resize(video, **place, interp_type=types.INTERP_LINEAR, antialias=True)
    else:
        scaled = fn.resize(video, **place, interp_type=types.INTERP_LINEAR, antialias=False)
    return scaled


def normalise(video: Node) -> Node:
    """DALI graph function: (F, H, W, 3) uint8 -> float32, (x - 128) / 128."""
    if video.device == "cpu" and why_not_compiled_normalise() is None:
        from ..augment.fused import normalise_by_kernel

        return normalise_by_kernel(video, MEAN, STD)
    return fn.brightness(video, brightness=1.0 / STD, brightness_shift=-MEAN / STD, dtype=types.FLOAT)


def clip_graph(video: Node, inputs: dict[str, Node], *, device: str, crop_px: int, augment: Policy | None) -> Node:
    """DALI graph function: from a reader's frames, cropped and resized, to clips.

    Args:
        video: (F, crop_px, crop_px, 3) uint8.
        inputs: nodes by name, from :func:`clip_inputs`.
        device: ``cpu`` or ``gpu``, where clips are augmented.
        crop_px: crop side.
        augment: the policy whose draws are among the inputs, or None.

    Returns:
        (F, crop_px, crop_px, 3) float32 clips; the loader only looks at them as (3, F, crop_px, crop_px).
    """
    if device == "gpu":
        video = video.gpu()
    if augment is not None:
        video = apply_inputs(video, inputs, policy=augment, size_hw=(crop_px, crop_px))
    return normalise(video)
