"""Parameters of a mix: the table of the eleven operations, and a batch's draw (paper section 3.2, Table 1).

All operations are one statement: inside a box of frames, rows and columns clip A keeps a weight that may change over
the frames, outside the box it keeps another one, and its partner B in the batch has the rest. An operation only draws
the box and the weights; ``apply.py`` applies them. To add one: a function like ``_cut`` and a row in ``MIXES``. Pure
numpy.

Where this differs from what others do: a label's weight is the share of A in what is seen after clipping and rounding,
not the lambda that was drawn; the edges of mixed regions are rounded without bias, so that few frames or odd sizes
change nothing on average; deleted regions have the paper's size wherever they lie (their label does not depend on it).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dali_pipes.errors import InputError, check_known

AXES = "THW"
Size = tuple[int, int, int]
FrameWeights = Iterable[Any]
"""Numbers, such as a list, an array or a tensor of them."""
DELETED = {"T": 1 / 4, "H": 1 / 2, "W": 1 / 2}  # of a clip: 16 frames of 64, 80 x 80 pixels of 160 x 160
LARGEST_ALPHA = 1e6  # lambda is 0.5 to three digits
REGION_ALPHA = 2.0  # CutMixUp's lambda_2, the region's share, is drawn from Beta(2, 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class MixParams:
    """Parameters of one batch of B clips of T x H x W; P is B, or 1 if all clips share one region and weight.

    The arrays cannot be written to.
    """

    batch_size: int
    """Number of clips, B."""
    size_THW: Size
    """Frames, rows and columns of a clip."""
    partners_B: np.ndarray | None
    """(B,) int64, a permutation: clip b is mixed with clip ``partners_B[b]``. None: its pixels are deleted."""
    start_P3: np.ndarray
    """(P, 3) int64: first frame, row and column of the box."""
    stop_P3: np.ndarray
    """(P, 3) int64: one past its last."""
    inside_P2: np.ndarray
    """(P, 2) float64: the weight of A in the box at the clip's first and last frame, linear between."""
    outside_P: np.ndarray
    """(P,) float64: the weight of A outside the box, 0 or 1."""

    def __post_init__(self) -> None:
        for name in ("partners_B", "start_P3", "stop_P3", "inside_P2", "outside_P"):
            if getattr(self, name) is None:
                continue
            array = np.array(getattr(self, name))
            array.setflags(write=False)
            object.__setattr__(self, name, array)
            rows = self.batch_size if name == "partners_B" or len(self.start_P3) != 1 else 1
            if len(array) != rows:
                raise InputError(
                    f"Invalid {name} of {len(array)} rows: must have {rows} for a batch of {self.batch_size}"
                )
        if self.partners_B is not None and sorted(self.partners_B) != list(range(self.batch_size)):
            raise InputError(
                f"Invalid partners_B {self.partners_B.tolist()}: must contain each number from 0 to "
                f"{self.batch_size - 1} exactly once"
            )

    def in_box(self, axis: int) -> np.ndarray:
        """(P, size of the axis) bool: which frames (axis 0), rows (1) or columns (2) the box holds."""
        number = np.arange(self.size_THW[axis])
        return (number >= self.start_P3[:, axis, None]) & (number < self.stop_P3[:, axis, None])

    @property
    def inside_PT(self) -> np.ndarray:
        """(P, T) float64: the weight of A in the box at each frame (eq. 2: lambda_t)."""
        frames = self.size_THW[0]
        time_T = np.linspace(0, 1, frames) if frames > 1 else np.array([0.5])
        first_P1, last_P1 = self.inside_P2[:, :1], self.inside_P2[:, 1:]
        return first_P1 + (last_P1 - first_P1) * time_T

    @property
    def shares_PT(self) -> np.ndarray:
        """(P, T) float64: the share of A in what is seen of each frame, as a mean over its pixels."""
        area_P = self.in_box(1).mean(axis=1) * self.in_box(2).mean(axis=1)
        area_PT = self.in_box(0) * area_P[:, None]
        return self.outside_P[:, None] * (1 - area_PT) + self.inside_PT * area_PT

    def label_weights_P(self, frame_weights_T: FrameWeights | None = None) -> np.ndarray:
        """(P,) float64: the weight of A's label; B's is the rest.

        Args:
            frame_weights_T: how much each frame counts, for a network that does not look at all of them alike (such as
                :func:`train.models.slowfast.frame_weights`); scaled to a sum of 1. All count the same by default.
        """
        weights_T = None if frame_weights_T is None else check_frame_weights(frame_weights_T)
        if weights_T is not None and len(weights_T) != self.size_THW[0]:
            raise InputError(
                f"Invalid frame_weights_T of {len(weights_T)} numbers: "
                f"must have one number for each of the {self.size_THW[0]} frames"
            )
        if self.partners_B is None:
            return np.ones(len(self.outside_P))
        return self.shares_PT.mean(axis=1) if weights_T is None else self.shares_PT @ weights_T


def check_frame_weights(frame_weights_T: FrameWeights) -> np.ndarray:
    """(T,) float64, scaled to a sum of 1.

    Raises:
        InputError: they are not numbers of at least 0, or all are 0.
    """
    try:
        weights_T = np.array([float(weight) for weight in frame_weights_T])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Invalid frame_weights_T {frame_weights_T!r}: must contain one number for each frame"
        ) from error
    if not (np.isfinite(weights_T).all() and (weights_T >= 0).all() and weights_T.sum() > 0):
        raise InputError(
            f"Invalid frame_weights_T {weights_T.tolist()}: must be finite numbers of at least 0, not all 0"
        )
    return weights_T / weights_T.sum()


# An operation draws, for P clips: start_P3, stop_P3, inside_P2 and outside_P, out of lambda, A's share.
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _delete(lam_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> Drawn:
    """Delete a box of fixed size at a random place.

    Nothing of A is left in it. Of a clip of one frame none is deleted, of two frames one.
    """
    lengths = [
        math.floor(DELETED[axis] * size + 0.5) if axis in axes else size
        for axis, size in zip(AXES, size_THW, strict=True)
    ]
    lengths_P3 = np.broadcast_to(lengths, (len(lam_P), 3))
    start_P3 = rng.integers(0, np.array(size_THW) - lengths_P3 + 1)
    return start_P3, start_P3 + lengths_P3, np.zeros((len(lam_P), 2)), np.ones(len(lam_P))


def _cut(lam_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> Drawn:
    """Replace a box of clip A by clip B: 1 - lambda of the clip, less what lies beyond the border."""
    return *_box(1 - lam_P, axes, size_THW, rng), np.zeros((len(lam_P), 2)), np.ones(len(lam_P))


def _blend(lam_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> Drawn:
    """Blend both clips everywhere: lambda A + (1 - lambda) B."""
    return *_everything(lam_P, size_THW), np.stack([lam_P, lam_P], axis=1), np.zeros(len(lam_P))


def _fade(lam_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> Drawn:
    """Blend with a share of A that goes from lambda - gamma to lambda + gamma over time, or back (eq. 2).

    Gamma is at most the distance from lambda to the nearer of 0 and 1.
    """
    gamma_P = rng.random(len(lam_P)) * np.minimum(lam_P, 1 - lam_P)
    gamma_P = np.where(rng.random(len(lam_P)) < 0.5, gamma_P, -gamma_P)
    inside_P2 = np.stack([lam_P - gamma_P, lam_P + gamma_P], axis=1)
    return *_everything(lam_P, size_THW), inside_P2, np.zeros(len(lam_P))


def _cut_blend(lam_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> Drawn:
    """Blend inside a box (eq. 1); outside it, show only the clip with the smaller share of the blend."""
    share_P = rng.beta(REGION_ALPHA, REGION_ALPHA, len(lam_P))
    return *_box(share_P, axes, size_THW, rng), np.stack([lam_P, lam_P], axis=1), (lam_P < 0.5).astype(float)


def _box(share_P: np.ndarray, axes: str, size_THW: Size, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw boxes of a share of the clip, equally scaled on the cut axes, centred anywhere, clipped at the border."""
    size_3 = np.array(size_THW)
    half_P3 = (share_P ** (1 / len(axes)))[:, None] * size_3 / 2
    centre_P3 = rng.random((len(share_P), 3)) * size_3
    is_cut_3 = np.array([axis in axes for axis in AXES])
    start_P3 = np.where(is_cut_3, _round(np.clip(centre_P3 - half_P3, 0, size_3)), 0)
    stop_P3 = np.where(is_cut_3, _round(np.clip(centre_P3 + half_P3, 0, size_3)), size_3)
    return start_P3, stop_P3


def _everything(lam_P: np.ndarray, size_THW: Size) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(lam_P), 3), np.int64), np.broadcast_to(np.array(size_THW), (len(lam_P), 3))


def _round(positions: np.ndarray) -> np.ndarray:
    return np.floor(positions + 0.5).astype(np.int64)


@dataclass(frozen=True)
class Mix:
    """One operation."""

    draw: Callable[[np.ndarray, str, Size, np.random.Generator], Drawn]
    axes: str
    """Axes along which the share of A changes, of T, H and W."""
    alpha: float | None
    """lambda ~ Beta(alpha, alpha) unless told otherwise; None: A is deleted, nothing is mixed in."""
    prob: float
    """Share of the batches, or of the clips that draw for themselves, that it is applied to unless told otherwise."""

    @property
    def deletes(self) -> bool:
        """Whether the operation deletes pixels of one clip, instead of mixing two clips."""
        return self.alpha is None


# alpha and prob: the better of the paper's rows in Table 4; 1 where the paper says nothing.
MIXES = {
    "cutout": Mix(_delete, "HW", None, 1.0),
    "framecutout": Mix(_delete, "T", None, 1.0),
    "cubecutout": Mix(_delete, "THW", None, 1.0),
    "cutmix": Mix(_cut, "HW", 2.0, 0.5),
    "framecutmix": Mix(_cut, "T", 5.0, 0.5),
    "cubecutmix": Mix(_cut, "THW", 2.0, 0.5),
    "mixup": Mix(_blend, "", 1.0, 1.0),
    "fademixup": Mix(_fade, "T", 1.0, 1.0),
    "cutmixup": Mix(_cut_blend, "HW", 1.0, 1.0),
    "framecutmixup": Mix(_cut_blend, "T", 1.0, 1.0),
    "cubecutmixup": Mix(_cut_blend, "THW", 1.0, 1.0),
}
"""Name -> operation (paper section 3.2, Table 1): along which of the axes T, H, W it cuts, its ``alpha`` and its
``prob``, which hold unless :func:`build_mix` is told otherwise. docs/mixing.md describes each."""


def parse_names(names: str) -> list[str]:
    """Split a list such as ``"cutmix,framecutmix"`` into known names.

    Raises:
        InputError: one of them is unknown.
    """
    parts = [part.strip() for part in names.split(",")]
    for part in parts:
        check_known("mix", part, MIXES)
    return parts


def draw_mix(
    name: str,
    batch_size: int,
    size_THW: Size,
    *,
    rng: np.random.Generator,
    alpha: float | None = None,
    prob: float | None = None,
    per_sample: bool = False,
) -> MixParams:
    """Draw partners, box and weights for a batch.

    Args:
        name: one of ``MIXES``.
        batch_size: number of clips, B.
        size_THW: frames, rows and columns of the clips.
        rng: nothing else is random.
        alpha: lambda ~ Beta(alpha, alpha); by default the operation's own. Without effect on the CutOuts.
        prob: chance that anything is changed, for the batch or for each clip; by default the operation's own.
        per_sample: draw region and weights for each clip, instead of one for the whole batch as in the paper.

    Returns:
        The parameters of this batch, for :func:`apply_mix` and :func:`mix_targets`.

    Raises:
        InputError: unknown name, or a number out of its range.
    """
    check_known("mix", name, MIXES)
    check_alpha_and_prob(alpha, prob)
    mix = MIXES[name]
    alpha = (mix.alpha or 1.0) if alpha is None else alpha
    prob = mix.prob if prob is None else prob
    count = batch_size if per_sample else 1
    partners_B = rng.permutation(batch_size)
    applied_P = rng.random(count) < prob
    start_P3, stop_P3, inside_P2, outside_P = mix.draw(rng.beta(alpha, alpha, count), mix.axes, size_THW, rng)
    shrink_P3 = np.where(applied_P[:, None], 1, [0, 1, 1])  # to no frames, where nothing is mixed
    return MixParams(
        batch_size=batch_size,
        size_THW=size_THW,
        partners_B=None if mix.deletes else partners_B,
        start_P3=start_P3 * shrink_P3,
        stop_P3=stop_P3 * shrink_P3,
        inside_P2=inside_P2,
        outside_P=np.where(applied_P, outside_P, 1.0),
    )


def check_alpha_and_prob(alpha: float | None, prob: float | None, prefix: str = "") -> None:
    """Raise :class:`InputError` unless both are None or in range; ``prefix`` precedes their names."""
    if alpha is not None and not 0 < alpha <= LARGEST_ALPHA:
        raise InputError(f"Invalid {prefix}alpha {alpha}: must be above 0 and at most {LARGEST_ALPHA:g}")
    if prob is not None and not 0 <= prob <= 1:
        raise InputError(f"Invalid {prefix}prob {prob}: must be between 0 and 1")


def check_alpha_is_used(names: list[str], alpha: float | None, option: str) -> None:
    """Raise :class:`InputError` if alpha is given for operations that all draw no lambda."""
    if alpha is not None and all(MIXES[name].deletes for name in names):
        raise InputError(
            f"Invalid {option} {alpha:g}: is not used by {', '.join(names)}, because the deleted regions have "
            "a fixed size; "
            "leave it out"
        )
