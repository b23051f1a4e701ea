"""The length of the training, and the steps of its optimizer (paper section 4.1)."""

from dataclasses import dataclass

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Group):
    """Length, batch size and learning rate"""

    epochs: int = option(150, "Passes over the training videos.", metavar="N", at_least=1, roles=Role.LENGTH)
    batch_size: int = option(
        16, "Clips per step, over all processes together.", metavar="N", at_least=1, roles=Role.IN_EVALUATION
    )
    lr: float = option(
        1e-4,
        "Peak learning rate of Adam; after --warmup it decays to 0 as a cosine.",
        metavar="LR",
        at_least=0,
        at_most=10,
    )
    warmup: float = option(
        0.1,
        "Share of all steps, from 0 to 1, in which the learning rate rises to its peak.",
        metavar="SHARE",
        at_least=0,
        at_most=1,
    )
    weight_decay: float = option(1e-5, "Weight decay of Adam.", metavar="DECAY", at_least=0, at_most=1)
    max_steps: int = option(
        0,
        "Train so many steps in all, for a short try; the learning rate's whole schedule fits in them. 0 is no limit.",
        metavar="N",
        at_least=0,
        roles=Role.LENGTH | Role.SAME_RECIPE | Role.SET_BY_TABLE,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing: share of each target that is spread over all classes.",
        metavar="SHARE",
        at_least=0,
        at_most=0.99,
    )
    ema: float = option(
        0.0,
        "Decay per step of an exponential moving average of the weights, which is then what is evaluated. 0 is none.",
        metavar="DECAY",
        at_least=0,
        at_most=0.99999,
    )
    accumulate: int = option(
        1,
        "Gradient accumulation: compute each step in N parts, one after the other, to save memory.",
        metavar="N",
        at_least=1,
    )
    even_steps: bool = option(
        False,
        "Deal the clips of an epoch out evenly, so that its steps differ by at most one clip. Off, all steps but the "
        "last have --batch-size clips, which is better for a GPU.",
        roles=Role.SAME_RECIPE,
    )
