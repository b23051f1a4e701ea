"""An operation and a schedule of your own, beside the paper's.

    python examples/own_operation.py FOLDER

FOLDER holds <class>/<file>. Both are plain functions; registering the operation is all it takes to draw it in training,
and the GPU runs the same function.
"""

import sys

from nvidia.dali import fn

from dali_pipes import PAPER_OPS, Affine, RandAugmentT, Range, VideoLoader, register_op, resolve_videos, scan_videos


def tint(video, value, style):
    """Turn the colours of each frame by its value, in degrees. Takes and gives (F, H, W, 3) uint8."""
    return fn.hue(video, hue=fn.per_frame(value))


def pulse(u, m, time, xp):
    """Level m around a random moment of the clip, falling to 0 within a quarter of it."""
    return m * xp.clip(1 - 4 * xp.abs(time - u[1]), 0, 1)


register_op("tint", tint, unit="degrees", ranges=Range(0, 90, signed=True))
# An affine operation is given by what one unit of its value adds to PIL's six AFFINE numbers; here
# a stretch from the upper left corner.
register_op("stretch", Affine(slope=(1, 0, 0, 0, 1, 0)), unit="share", ranges=Range(0, 0.5, signed=True))


def main(folder):
    manifest = scan_videos(resolve_videos(folder).train)
    policy = RandAugmentT(n=2, m=15, schedule=pulse, ops=(*PAPER_OPS, "tint", "stretch"), translate_max_px=70)
    loader = VideoLoader(manifest, batch_size=4, num_frames=32, crop_px=112, augment=policy, workers=2)
    for batch in loader:
        print(tuple(batch.clips_BCTHW.shape), [manifest.classes[label] for label in batch.labels_B])


if __name__ == "__main__":  # the worker processes import this file again
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1])
