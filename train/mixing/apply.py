"""Delete, mix and blend: eleven ways to train on parts of clips (paper section 3.2, Fig. 4, eqs. 1 and 2).

``build_mix`` gives a function for the training loop. Its parts: ``draw_mix`` (params.py) draws what happens to a
batch, ``apply_mix`` and ``mix_targets`` do it to clips and labels. Everything is drawn on the host, so nothing here
waits for a GPU, and clips on a GPU get what those on a CPU get.
"""

from collections.abc import Callable

import numpy as np
import torch

from dali_pipes.errors import InputError

from .params import MIXES, FrameWeights, MixParams, check_alpha_and_prob, check_frame_weights, draw_mix, parse_names

__all__ = ["MIXES", "MixParams", "apply_mix", "build_mix", "draw_mix", "mix_targets", "one_hot"]


def apply_mix(clips_BCTHW: torch.Tensor, params: MixParams, *, overwrite: bool = False) -> torch.Tensor:
    """The mixed clips: same shape, dtype, device and memory format. Deleted pixels are 0, the grey of normalised clips.

    Needs the memory of one more batch, often less with ``overwrite``. What is drawn per sample needs masks too:
    CubeCutMixUp one of (B, 1, T, H, W), other cuts in space one of a single frame, (B, C, 1, H, W). Weights have the
    clips' dtype, so in half precision a blend is true to its label to 3 digits.

    Args:
        clips_BCTHW: (B, C, T, H, W), any float dtype, on any device.
        params: from :func:`draw_mix` for this batch.
        overwrite: the given clips may be changed, and are of no use afterwards; they must not require a gradient.

    Returns:
        (B, C, T, H, W), the mixed clips.

    Raises:
        InputError: the clips are no floats of five axes, or the parameters are of another batch size or clip size.
    """
    _check_clips(clips_BCTHW)
    drawn_for = params.batch_size, *params.size_THW
    if drawn_for != (len(clips_BCTHW), *clips_BCTHW.shape[2:]):
        raise InputError(
            f"Invalid clips_BCTHW of shape {tuple(clips_BCTHW.shape)}: must be (B, C, T, H, W) with B, T, H, W = "
            f"{drawn_for}, the size that params were made for"
        )
    apply = _apply_shared if len(params.outside_P) == 1 else _apply_per_sample
    return apply(clips_BCTHW, params, overwrite)


def _apply_shared(clips_BCTHW: torch.Tensor, params: MixParams, overwrite: bool) -> torch.Tensor:
    """Mix by one box for all clips, known on the host: only its pixels are touched, or all but its pixels are B's."""
    ends = zip(params.start_P3[0].tolist(), params.stop_P3[0].tolist(), strict=True)
    frames, rows, columns = (slice(*pair) for pair in ends)
    box = (..., frames, rows, columns)
    if params.partners_B is None:
        mixed_BCTHW = clips_BCTHW if overwrite else clips_BCTHW.clone()
        mixed_BCTHW[box] = 0
        return mixed_BCTHW
    a_in_box = clips_BCTHW[box]
    if params.outside_P[0] == 0:
        mixed_BCTHW = clips_BCTHW[_to_device(params.partners_B, clips_BCTHW)]
    else:
        a_in_box = a_in_box.clone() if overwrite else a_in_box
        mixed_BCTHW = clips_BCTHW if overwrite else clips_BCTHW.clone()
        receivers_B = _to_device(np.argsort(params.partners_B), clips_BCTHW)
        mixed_BCTHW[box].index_copy_(0, receivers_B, a_in_box)  # B's pixels, without gathering them first
    inside_T = params.inside_PT[0, frames]
    if inside_T.any():
        mixed_BCTHW[box].lerp_(a_in_box, _to_device(inside_T, clips_BCTHW, clips_BCTHW.dtype)[:, None, None])
    return mixed_BCTHW


def _apply_per_sample(clips_BCTHW: torch.Tensor, params: MixParams, overwrite: bool) -> torch.Tensor:
    """Mix with A's weight, outside + change x held: change (B, 1, T, 1, 1) in time, held (B, 1, 1, H, W) in space."""
    held_BT, held_BH, held_BW = (params.in_box(axis) for axis in range(3))
    change_BT = held_BT * (params.inside_PT - params.outside_P[:, None])
    if (change_BT == change_BT[:, :1]).all():
        change_BT = change_BT[:, :1]
    if held_BH.all() and held_BW.all():
        held_BH, held_BW = held_BH[:, :1], held_BW[:, :1]
    numbers = change_BT, held_BH, held_BW, params.outside_P[:, None]
    change, held_H, held_W, outside = (
        _to_device(x, clips_BCTHW, clips_BCTHW.dtype)[:, None, None, None] for x in numbers
    )
    change, held = change.movedim(-1, 2), held_H.mT * held_W
    if params.partners_B is None and overwrite:
        return clips_BCTHW.mul_(torch.addcmul(outside, change, held))
    if params.partners_B is None:
        mixed_BCTHW = torch.zeros_like(clips_BCTHW)
    else:
        mixed_BCTHW = clips_BCTHW[_to_device(params.partners_B, clips_BCTHW)]
    if (params.outside_P == 0).any():
        return mixed_BCTHW.lerp_(clips_BCTHW, torch.addcmul(outside, change, held))
    # A is outside every box, so B's weight is a product and can be had in two steps, without a mask of whole clips
    around = 1 - held
    if around.shape[4] > 1 and clips_BCTHW.stride(1) == 1:  # channels are last, so too here: three times as fast
        around = torch.empty_like(clips_BCTHW[:, :, :1]).copy_(around)
    return mixed_BCTHW.lerp_(clips_BCTHW, 1 + change).lerp_(clips_BCTHW, around)


def _to_device(numbers: np.ndarray, beside: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Copy an array to the device of ``beside`` without making the host wait; the dtype is by default numpy's."""
    return torch.tensor(numbers, dtype=dtype).to(beside.device, non_blocking=True)


def _check_clips(clips_BCTHW: torch.Tensor) -> None:
    if clips_BCTHW.ndim != 5 or not clips_BCTHW.is_floating_point():
        shape = tuple(clips_BCTHW.shape)
        raise InputError(
            f"Invalid clips_BCTHW of shape {shape} and type {clips_BCTHW.dtype}: must be a floating-point "
            "tensor of shape (B, C, T, H, W)"
        )


def mix_targets(
    labels_B: torch.Tensor,
    params: MixParams,
    num_classes: int,
    *,
    frame_weights_T: FrameWeights | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """(B, K) target probabilities of the mixed clips, on the labels' device; each row sums to 1.

    Args:
        labels_B: (B,) int64 classes of the clips given to :func:`apply_mix`.
        params: the same as there.
        num_classes: K, the number of classes.
        frame_weights_T: see :meth:`MixParams.label_weights_P`.
        dtype: of the result.

    Returns:
        (B, K), the target probabilities.

    Raises:
        InputError: a label (on the CPU) is not one of 0 to K - 1, or the parameters are of another batch.
    """
    if labels_B.shape != (params.batch_size,):
        raise InputError(
            f"Invalid labels_B of shape {tuple(labels_B.shape)}: "
            f"must be ({params.batch_size},), one label for each clip that params were made for"
        )
    weights_P1 = params.label_weights_P(frame_weights_T)[:, None]
    targets_BK = one_hot(labels_B, num_classes, dtype)
    if params.partners_B is None:
        return targets_BK
    ours_P1, theirs_P1 = (_to_device(weights, labels_B, dtype) for weights in (weights_P1, 1 - weights_P1))
    return targets_BK * ours_P1 + targets_BK[_to_device(params.partners_B, labels_B)] * theirs_P1


def one_hot(labels_B: torch.Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(B, K) targets of clips that are not mixed: 1 for a clip's class, 0 for the others.

    Args:
        labels_B: (B,) int64 classes.
        num_classes: K, the number of classes.
        dtype: of the result.

    Returns:
        (B, K), the targets, on the labels' device.

    Raises:
        InputError: a label (on the CPU) is not one of 0 to K - 1.
    """
    if labels_B.device.type == "cpu" and len(labels_B):
        lowest, highest = int(labels_B.min()), int(labels_B.max())
        if lowest < 0 or highest >= num_classes:
            raise InputError(
                f"Invalid labels_B from {lowest} to {highest}: must be between 0 and {num_classes - 1} for "
                f"{num_classes} "
                "classes"
            )
    zeros_BK = torch.zeros(len(labels_B), num_classes, dtype=dtype, device=labels_B.device)
    return zeros_BK.scatter_(1, labels_B[:, None], 1.0)


def build_mix(
    name: str,
    num_classes: int,
    alpha: float | None = None,
    prob: float | None = None,
    *,
    per_sample: bool = False,
    frame_weights_T: FrameWeights | None = None,
    overwrite: bool = False,
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A function ``mix(clips_BCTHW, labels_B, generator=...) -> (clips_BCTHW, targets_BK)``.

    >>> mix = build_mix("framecutmix", num_classes=2, prob=1.0)
    >>> generator = torch.Generator().manual_seed(1)
    >>> clips, targets = mix(torch.rand(2, 3, 16, 8, 8), torch.tensor([0, 1]), generator=generator)

    A few of each clip's 16 frames are now the other's, and if they are 5, its target is 11/16 of its own class.

    Args:
        name: one of ``MIXES``, or several with commas: one of them is drawn for each batch.
        num_classes: K, the number of classes.
        alpha: lambda ~ Beta(alpha, alpha); by default the operation's own. Without effect on the CutOuts.
        prob: chance that anything is changed, for a batch or for each clip; by default the operation's own.
        per_sample: draw region and weights for each clip, instead of one for the whole batch as in the paper.
        frame_weights_T: how much each of the T frames counts in a label, for a network that does not look at all of
            them alike (such as :func:`train.models.slowfast.frame_weights`); scaled to a sum of 1. All count the same
            by default.
        overwrite: the given clips may be changed, which takes less memory, and are of no use afterwards.

    Returns:
        The function. It takes clips (B, C, T, H, W) of any float dtype on any device, int64 labels (B,), and a
        ``torch.Generator`` on the CPU or a numpy generator, all chance of the batch. It gives clips of the same shape,
        dtype and device, in which deleted pixels are 0, and targets (B, K), at least float32, whose rows sum to 1.

    Raises:
        InputError: unknown name, or a number out of range; the function raises it for clips or labels of other kinds.
    """
    names = parse_names(name)
    check_alpha_and_prob(alpha, prob)
    if num_classes < 1:
        raise InputError(f"Invalid num_classes {num_classes}: must be at least 1")
    weights_T = None if frame_weights_T is None else check_frame_weights(frame_weights_T)

    def mix(
        clips_BCTHW: torch.Tensor, labels_B: torch.Tensor, *, generator: torch.Generator | np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _check_clips(clips_BCTHW)
        if labels_B.shape != clips_BCTHW.shape[:1] or labels_B.dtype != torch.int64:
            raise InputError(
                f"Invalid labels_B of shape {tuple(labels_B.shape)} and type {labels_B.dtype}: must be int64, one for "
                f"each of {len(clips_BCTHW)} clips"
            )
        rng = _numpy_generator(generator)
        chosen = names[rng.integers(len(names))]
        frames, height, width = clips_BCTHW.shape[2:]
        params = draw_mix(
            chosen, len(labels_B), (frames, height, width), rng=rng, alpha=alpha, prob=prob, per_sample=per_sample
        )
        dtype = torch.promote_types(clips_BCTHW.dtype, torch.float32)
        targets_BK = mix_targets(labels_B, params, num_classes, frame_weights_T=weights_T, dtype=dtype)
        return apply_mix(clips_BCTHW, params, overwrite=overwrite), targets_BK

    return mix


def _numpy_generator(generator: object) -> np.random.Generator:
    if isinstance(generator, np.random.Generator):
        return generator
    if isinstance(generator, torch.Generator) and generator.device.type == "cpu":
        return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    what = f"on {generator.device}" if isinstance(generator, torch.Generator) else f"of type {type(generator).__name__}"
    raise InputError(
        f"Invalid generator {what}: must be a numpy.random.Generator or a torch.Generator() on the CPU, also for clips "
        "on a GPU, because the CPU would have to wait for random numbers from the GPU"
    )
