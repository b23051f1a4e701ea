"""AugMix over time: chains of operations, blended with each other and with the clip (Hendrycks et al., ICLR 2020).

The clip becomes ``(1 - s) clip + s (w1 chain1(clip) + w2 chain2(clip) + w3 chain3(clip))``, with s from Beta(a, a) and
w from Dirichlet(a, a, a). All of it is drawn as operations of one cascade: a chain ends with the operation
``blend_in``, whose level is the share that the mixture so far takes in. So the weights are levels, and may change over
time as those of other operations.

AugMix's loss, which compares three augmentations of a clip, is no part of this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, check_known
from ..plan.magnitude import MAX_LEVEL, NUMBERS, RandomLevel, check_level, check_schedule, curve
from ..python_values import fields_to_python, is_number, whole_number
from .graph_ops import Style
from .ops import BLEND_IN, PAPER_TRANSLATE_MAX_PX, RANGE_TABLES, check_translate_max_px
from .parameters import OpTable, op_table, run_as_kernels
from .randaugment import DrawnOps, check_ops

AUGMIX_OPS = tuple("auto_contrast equalize posterize rotate solarize shear_x shear_y translate_x translate_y".split())
"""The operations of the authors' program: none that the corruptions of ImageNet-C contain."""
MAX_ALPHA = 1e6
"""Above it, all weights are nearly equal; numpy draws NaN or 0 of infinite and of huge ones."""
IDENTITY = "identity"
"""Fills the chains that have fewer operations than the longest."""


@dataclass(frozen=True, kw_only=True)
class AugMix:
    """The policy: how many chains, of what, how strong, and how they are blended. Checked on construction.

    Raises:
        InputError: a field is out of range, or names something unknown.
    """

    chains: int = 3
    """Number of chains."""
    depth: int = 3
    """Most operations of a chain; each chain has 1 to so many, all numbers alike."""
    m: float = 9.0
    """RandAugment level, 0..30, that the schedule gets; 9 is the authors' severity 3 of 10."""
    alpha: float = 1.0
    """Parameter of both distributions, of the chains' weights and of the share of all chains."""
    schedule: str | Callable = RandomLevel(low=0.3)  # noqa: RUF009 - frozen
    """Course of the level over the clip, drawn anew for each operation: as of ``RandAugmentT``. The default keeps a
    level that is uniform between 0.3 and m."""
    fade: bool = False
    """Let the share s of all chains change linearly over the clip, by at most min(s, 1 - s) to either side, rising or
    falling, as in FadeMixUp; otherwise it is constant."""
    ops: Sequence[str] = AUGMIX_OPS
    """Names to draw from, uniformly with replacement."""
    ranges: str = "increasing"
    """Range table, as of ``RandAugmentT``."""
    interpolation: str = "linear"
    """Interpolation of geometric operations, ``nearest`` or ``linear``."""
    fill: float = 0.0
    """Grey level outside the frame."""
    translate_max_px: float = PAPER_TRANSLATE_MAX_PX
    """Translation at level 30, in pixels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", check_ops(self.ops))
        fields_to_python(self)
        for name in ("chains", "depth"):
            whole_number(name, getattr(self, name), 1)
        if not is_number(self.alpha) or not 1e-3 <= self.alpha <= MAX_ALPHA:
            raise InputError(f"Invalid alpha {self.alpha!r}: must be a number between 0.001 and {MAX_ALPHA:g}")
        check_translate_max_px(self.translate_max_px)
        check_level(self.m)
        check_schedule(self.schedule, self.m)
        check_known("ranges", self.ranges, RANGE_TABLES)
        Style(self.interpolation, self.fill)

    @property
    def op_names(self) -> Sequence[str]:
        """The operations to which the drawn positions refer."""
        return (*self.ops, IDENTITY, BLEND_IN.name)

    @property
    def n(self) -> int:
        """The number of drawn operations: of each chain the most it may have, and one that blends it in."""
        return self.chains * (self.depth + 1)

    @property
    def blend_at(self) -> tuple[int, ...]:
        """The places of ``blend_in`` among the operations: the end of each chain."""
        return tuple(range(self.depth, self.n, self.depth + 1))

    def sample(self, rng: np.random.Generator, num_frames: int) -> DrawnOps:
        """Draw for one clip of ``num_frames`` frames.

        Returns:
            op_ids (N,) int32, positions in ``op_names``; levels_NF (N, F) float32, 0..30; signs (N,) float32, +1 or -1.
        """
        chains, depth, last = self.chains, self.depth, len(self.op_names) - 1
        op_ids_CD = rng.integers(len(self.ops), size=(chains, depth))
        op_ids_CD[np.arange(depth) >= rng.integers(1, depth + 1, size=(chains, 1))] = last - 1
        signs_CD = rng.choice(np.array([-1, 1], np.float32), size=(chains, depth))
        numbers_CDU = rng.random((chains, depth, NUMBERS))
        numbers_CDU[..., 0] = numbers_CDU[0, 0, 0]
        levels_CDF = np.array(
            [[curve(self.schedule, self.m, num_frames, u) for u in numbers_DU] for numbers_DU in numbers_CDU]
        )
        weights_C = rng.dirichlet([self.alpha] * chains)
        share_F = np.full(num_frames, rng.beta(self.alpha, self.alpha))
        change, way = rng.random(), rng.choice([-1.0, 1.0])
        if self.fade:
            share_F = share_F + way * change * min(share_F[0], 1 - share_F[0]) * np.linspace(-1, 1, num_frames)
        blended_CF = blend_shares(weights_C, share_F)
        levels_CEF = np.concatenate([levels_CDF, MAX_LEVEL * blended_CF[:, None]], axis=1)
        ends_C1 = np.ones((chains, 1))
        return DrawnOps(
            np.concatenate([op_ids_CD, last * ends_C1], axis=1).ravel().astype(np.int32),
            levels_CEF.reshape(self.n, num_frames).astype(np.float32),
            np.concatenate([signs_CD, ends_C1], axis=1).ravel().astype(np.float32),
        )

    def table(self, device: str) -> OpTable:
        """Return the operations as numbers, as of ``RandAugmentT``."""
        return op_table(self.op_names, self.ranges, self.translate_max_px, run_as_kernels(device))

    def graph_options(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`apply_ops`."""
        names = ("n", "ranges", "interpolation", "fill", "translate_max_px", "blend_at")
        return {"ops": self.op_names} | {name: getattr(self, name) for name in names}


def blend_shares(weights_C: np.ndarray, share_F: np.ndarray) -> np.ndarray:
    """Return the share that a mixture takes in of each chain, one after the other, so that all end with their weights.

    Args:
        weights_C: (C,) weights of the chains, of sum 1.
        share_F: (F,) share of all chains, 0..1; the rest is the clip's.

    Returns:
        (C, F), 0..1.

    Example: two chains of equal weight and the share 1/2 are blended in with 1/3, then 1/4: the clip keeps 2/3 * 3/4.
    """
    weights_CF = weights_C[:, None] * share_F
    so_far_CF = 1 - share_F + np.cumsum(weights_CF, axis=0)
    return np.clip(weights_CF / np.maximum(so_far_CF, 1e-12), 0, 1)
