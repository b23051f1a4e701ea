"""SlowFast with an eighth of the channels and one block a stage in the place of SlowFast-50, where only speed matters.

Most of a short run's time goes into making, loading and saving weights; this network has a third of the tensors and
1/190 of the numbers. The program of a test's own processes is ``python -m tests.training.narrow OPTIONS``:
``train/run.py`` with that network.
"""

import sys
from contextlib import contextmanager
from dataclasses import replace

WIDTH, BLOCKS = 8, (1, 1, 1, 1)


def narrow_slowfast(num_classes, kept_frames, side, dropout, lateral, width, blocks=BLOCKS):
    from train.models.slowfast import SlowFast

    return SlowFast(num_classes, fast_stride=1, dropout=dropout, width=WIDTH, lateral=lateral, blocks=blocks)


@contextmanager
def narrow_network(build=narrow_slowfast):
    """In here ``--model slowfast50``, the default, is narrow, or what ``build`` makes."""
    from train.models import MODELS  # imports torch, which the decoding processes of the program below do not need

    real = MODELS["slowfast50"]
    MODELS["slowfast50"] = replace(real, build=build)
    try:
        yield
    finally:
        MODELS["slowfast50"] = real


if __name__ == "__main__":
    from train.run import main

    with narrow_network():
        sys.exit(main(sys.argv[1:]))
