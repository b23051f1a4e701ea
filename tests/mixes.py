"""What the tests of mixing share."""

import numpy as np
import pytest

from train.mixing.params import MIXES, draw_mix

NAMES = list(MIXES)
MIXING = [name for name in NAMES if not name.endswith("cutout")]
both_ways = pytest.mark.parametrize("per_sample", [False, True], ids=["batch", "clip"])


def is_applied(params) -> np.ndarray:
    """(P,) bool; a box may also be empty by chance, where the clip is short."""
    return (params.stop_P3[:, 0] > params.start_P3[:, 0]) | (params.outside_P == 0)


def draws(name, batch_size, size_THW, count, **options):
    rng = np.random.default_rng(3)
    return [draw_mix(name, batch_size, size_THW, rng=rng, **{"prob": 1.0} | options) for _ in range(count)]
