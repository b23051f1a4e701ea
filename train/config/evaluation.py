"""Options of evaluation: its epochs, and the views of a video (paper section 4.1)."""

from dataclasses import dataclass

from dali_pipes.plan import CROPS_PER_VIDEO

from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Group):
    """Evaluation"""

    eval_clips: int = option(10, "clips per video in evaluation, averaged", at_least=1, roles=Role.IN_EVALUATION)
    eval_crops: int = option(
        1,
        "crops of each of them: 1 in the centre, or 3 along the long side",
        choices=CROPS_PER_VIDEO,
        roles=Role.IN_EVALUATION,
    )
    eval_every: int = option(
        1,
        "epochs between evaluations; the last epoch always has one",
        at_least=1,
        roles=Role.SAME_RECIPE,
    )
