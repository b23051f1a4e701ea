"""Frames and clips through the graph functions that the loader uses, without a loader."""

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from dali_pipes import ClipSampler
from dali_pipes.decode.dali import dali_decode
from dali_pipes.loader.clip_reader import clip_pipeline
from dali_pipes.loader.source import ClipSource
from dali_pipes.plan.batches import BatchSampler


def decode_with_dali(path: str, plan, device: str) -> np.ndarray:
    """(K, H, W, 3) uint8; ``device`` is ``cpu`` or ``mixed``."""

    @pipeline_def(batch_size=1, num_threads=1, device_id=None if device == "cpu" else 0)
    def pipeline():
        encoded = fn.external_source(lambda: [np.fromfile(path, np.uint8)], batch=True)
        indices = fn.external_source(lambda: [np.array(plan, np.int32)], batch=True, dtype=types.INT32)
        return dali_decode(encoded, indices, device=device)

    built = pipeline()
    built.build()
    (output,) = built.run()
    return np.array((output if device == "cpu" else output.as_cpu())[0])


def first_four_clips(sampler: ClipSampler, crop_px: int, decoder: str) -> tuple[np.ndarray, list[int]]:
    """(4, F, crop_px, crop_px, 3) float32 by the loader's graph on the CPU, and the videos that they show.

    ``decoder`` is ``cpu``, PyAV, or ``gpu``, as which DALI's own CPU decoder stands in.
    """
    pipeline = clip_pipeline(
        ClipSource(BatchSampler(sampler, 4), crop_px, decoder),
        device="cpu",
        dali_device="cpu",
        crop_px=crop_px,
        augment=sampler.augment,
        parallel=False,
        prefetch_batches=1,
        batch_size=4,
        num_threads=2,
        device_id=None,
    )
    pipeline.build()
    clips, shown, _ = pipeline.run()
    return np.array(clips.as_tensor()), shown.as_array().tolist()
