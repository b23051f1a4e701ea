"""Chosen frames of one file through the graph function that the loader uses, on either device."""

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from dali_pipes.decode.dali import dali_decode


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
