"""The length of the training, and the steps of its optimizer (paper section 4.1)."""

from dataclasses import dataclass

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Group):
    """Optimisation"""

    epochs: int = option(150, "passes over the training videos", at_least=1, roles=Role.LENGTH)
    batch_size: int = option(16, "clips per step, over all processes", at_least=1, roles=Role.IN_EVALUATION)
    even_steps: bool = option(
        False,
        "steps of an epoch differ by at most one clip; else all have --batch-size but the last, best for a GPU",
        roles=Role.SAME_RECIPE,
    )
    lr: float = option(1e-4, "highest learning rate of Adam", at_least=0, at_most=10)
    warmup: float = option(
        0.1,
        "share of all steps in which the learning rate rises; then it falls as a cosine to 0",
        at_least=0,
        at_most=1,
    )
    weight_decay: float = option(1e-5, "Adam's weight decay", at_least=0, at_most=1)
    label_smoothing: float = option(
        0.0, "share of each target that is spread over all classes", at_least=0, at_most=0.99
    )
    ema: float = option(
        0.0,
        "decay per step of a running average of the weights, which is then what is evaluated; 0 is none",
        at_least=0,
        at_most=0.99999,
    )
    accumulate: int = option(1, "parts that a process computes its share of a step in, to save memory", at_least=1)
    max_steps: int = option(
        0,
        "train so many steps in all, for a short try, with the whole schedule of the learning rate; 0 is no limit",
        at_least=0,
        roles=Role.LENGTH | Role.SAME_RECIPE | Role.OF_ROWS,
    )
