"""Options of evaluation: its epochs, and the views of a video (paper section 4.1)."""

from dataclasses import dataclass

from dali_pipes.plan import CROPS_PER_VIDEO

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Group):
    """Evaluation"""

    eval_clips: int = option(
        10,
        "Clips per video in evaluation; their softmax scores are averaged.",
        metavar="N",
        at_least=1,
        roles=Role.IN_EVALUATION,
    )
    eval_crops: int = option(
        1,
        "Crops of each of these clips: 1 in the centre, or 3 along the long side.",
        choices=CROPS_PER_VIDEO,
        roles=Role.IN_EVALUATION,
    )
    eval_every: int = option(
        1,
        "Epochs from one evaluation to the next; the last epoch always has one.",
        metavar="EPOCHS",
        at_least=1,
        roles=Role.SAME_RECIPE,
    )
