"""The length of the training, and the steps of its optimizer (paper section 4.1)."""

from dataclasses import dataclass

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Group):
    """Training length, batch size and learning rate"""

    epochs: int = option(150, "Number of passes over the training videos.", metavar="N", at_least=1, roles=Role.LENGTH)
    batch_size: int = option(
        16,
        "Number of clips per step, over all training processes together.",
        metavar="N",
        at_least=1,
        roles=Role.IN_EVALUATION,
    )
    lr: float = option(
        1e-4,
        "Peak learning rate of Adam. After --warmup, the learning rate decays to 0 with a cosine schedule.",
        metavar="LR",
        at_least=0,
        at_most=10,
    )
    warmup: float = option(
        0.1,
        "Fraction of all steps, from 0 to 1, during which the learning rate rises to its peak.",
        metavar="FRACTION",
        at_least=0,
        at_most=1,
    )
    weight_decay: float = option(1e-5, "Weight decay of Adam.", metavar="DECAY", at_least=0, at_most=1)
    max_steps: int = option(
        0,
        "Maximum number of steps, for a short test. The learning rate schedule is shortened to this number. 0: no "
        "limit.",
        metavar="N",
        at_least=0,
        roles=Role.LENGTH | Role.SAME_RECIPE | Role.SET_BY_TABLE,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing: fraction of each target that is spread over all classes.",
        metavar="FRACTION",
        at_least=0,
        at_most=0.99,
    )
    ema: float = option(
        0.0,
        "Decay per step of an exponential moving average (EMA) of the weights. If there is an average, it is evaluated "
        "instead of the weights. 0: no average.",
        metavar="DECAY",
        at_least=0,
        at_most=0.99999,
    )
    accumulate: int = option(
        1,
        "Gradient accumulation: compute each step in N micro-batches, one after the other, to save memory. "
        "--batch-size is still the number of clips of the whole step.",
        metavar="N",
        at_least=1,
    )
    even_steps: bool = option(
        False,
        "Distribute the clips of an epoch evenly, so that the sizes of its steps differ by at most one clip. If off, "
        "all steps except the last have --batch-size clips; off is better for a GPU, because only the last step has "
        "another size.",
        roles=Role.SAME_RECIPE,
    )
