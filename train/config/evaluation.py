"""Options of evaluation: its epochs, and the views of a video (paper section 4.1)."""

from dataclasses import dataclass

from dali_pipes.plan import CROPS_PER_VIDEO

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Group):
    """Evaluation"""

    eval_clips: int = option(
        10,
        "Number of clips per video in evaluation. Their softmax scores are averaged.",
        metavar="N",
        at_least=1,
        roles=Role.IN_EVALUATION,
    )
    eval_crops: int = option(
        1,
        "Number of crops per evaluation clip. 1: in the centre; 3: spread along the long side of the frame.",
        choices=CROPS_PER_VIDEO,
        roles=Role.IN_EVALUATION,
    )
    eval_every: int = option(
        1,
        "Evaluate every EPOCHS epochs, and always after the last one.",
        metavar="EPOCHS",
        at_least=1,
        roles=Role.SAME_RECIPE,
    )
