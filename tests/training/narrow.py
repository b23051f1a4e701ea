"""SlowFast-50 with an eighth of its channels in the place of the real one: for tests to which only its speed matters.

It has 1/63 of the weights: most time of a short run goes into making and saving those. The program of a test's
own processes is ``python -m tests.training.narrow OPTIONS``: ``train/run.py`` with that network.
"""

import sys
from contextlib import contextmanager
from dataclasses import replace

WIDTH = 8


def narrow_slowfast(num_classes, kept_frames, side, dropout, lateral, width):
    from train.models.slowfast import SlowFast

    return SlowFast(num_classes, fast_stride=1, dropout=dropout, width=WIDTH, lateral=lateral)


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
