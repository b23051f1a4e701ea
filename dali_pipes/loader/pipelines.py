"""The graph that every clip passes: decode, crop, resize -> RandAugment-T -> normalise.

One function for both backends. They differ in two places: who decodes, crops and resizes, and ``.gpu()``.
"""

from nvidia.dali import fn, pipeline_def, types

from ..augment.randaugment import RandAugmentT, apply_ops
from ..decode.frames import dali_decode
from ..hints import Node
from .source import ClipArrays, ClipSource
from .spatial import crop_resize, normalise
from .workers import EndsWithParent

_TYPES = {"pixels": types.UINT8, "frame_indices": types.INT32, "box": types.FLOAT, "flip": types.INT32,
          "shown": types.INT64, "bad": types.UINT8, "number": types.INT32, "op_ids": types.INT32, "levels": types.FLOAT, "signs": types.FLOAT}  # fmt: skip


def clip_inputs(source: ClipArrays, *, parallel: bool, prefetch_batches: int) -> dict[str, Node]:
    """The source's arrays as DALI nodes on the CPU, by name."""
    nodes = fn.external_source(
        EndsWithParent(source) if parallel else source,
        num_outputs=len(source.names),
        batch=False,
        parallel=parallel,
        layout=["FHWC" if name == "pixels" and source.decode else "" for name in source.names],
        dtype=[_TYPES[name] for name in source.names],
        **({"prefetch_queue_depth": prefetch_batches} if parallel else {}),
    )
    return dict(zip(source.names, nodes))  # noqa: B905 - the graph tracer's zip knows no strict


def clip_graph(
    inputs: dict[str, Node], *, device: str, decoder: str, side_px: int, augment: RandAugmentT | None
) -> Node:
    """DALI graph function from the source's nodes to clips.

    Args:
        inputs: nodes by name, from :func:`clip_inputs`.
        device: ``cpu`` or ``gpu``, where the nodes are.
        decoder: ``pyav`` (the workers have decoded, cropped, resized and mirrored), ``stream`` (DALI's reader has decoded a
            sequence that holds the frames), or the device of DALI's decoder, ``mixed`` or ``cpu``.
        side_px: crop side of the output.
        augment: the policy whose draws are among the inputs, or None.

    Returns:
        (F, side_px, side_px, 3) float32 clips; the loader only looks at them as (3, F, side_px, side_px).
    """
    video = inputs["pixels"]
    if decoder == "stream":
        video = crop_resize(video, inputs["box"], inputs["flip"], side_px)
        video = fn.sequence_rearrange(video, new_order=inputs["frame_indices"])
    elif decoder != "pyav":
        video = crop_resize(
            dali_decode(video, inputs["frame_indices"], device=decoder), inputs["box"], inputs["flip"], side_px
        )
    if device == "gpu":
        video = video.gpu()
    if augment is not None:
        video = apply_ops(video, *(inputs[name] for name in ("op_ids", "levels", "signs")), size_hw=(side_px, side_px),
                          **augment.graph_options())  # fmt: skip
    return normalise(video)


@pipeline_def(enable_conditionals=True)
def clip_pipeline(
    source: ClipSource, *, device: str, decoder: str, side_px: int, augment: RandAugmentT | None, parallel: bool,
    prefetch_batches: int,
) -> tuple[Node, Node, Node]:  # fmt: skip
    """Pipeline of (clip, the video that it shows or -1, what could not be read); arguments as :func:`clip_inputs` and :func:`clip_graph`."""
    inputs = clip_inputs(source, parallel=parallel, prefetch_batches=prefetch_batches)
    clips = clip_graph(inputs, device=device, decoder=decoder, side_px=side_px, augment=augment)
    return clips, inputs["shown"], inputs["bad"]
