"""The network, and what it starts from."""

from dataclasses import dataclass

from ..models.slowfast import LATERALS, WIDTH
from ..models.zoo import MODELS, check_slowfast_options
from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Group):
    """Model"""

    model: str = option(
        "slowfast50",
        f"Network: {', '.join(MODELS)}. All except slowfast50 are from torchvision. docs/models.md lists the clip "
        "sizes that each network accepts.",
        metavar="NAME",
        choices=tuple(MODELS),
        roles=Role.FOR_PUBLISHED | Role.AS_IN_PAPER,
    )
    init: str = option(
        "",
        "Initial weights: a file of published weights (see docs/models.md) or a checkpoint of an earlier run.",
        metavar="FILE",
        default_means="random weights",
        roles=Role.FOR_PUBLISHED | Role.IS_READ,
    )
    lateral: str = option(
        "plain",
        "Lateral connections of SlowFast. plain: only convolutions, as in the SlowFast paper; norm_relu: convolutions "
        "with batch norm and ReLU, as in the published Kinetics weights.",
        choices=LATERALS,
        roles=Role.FOR_PUBLISHED,
    )
    width: int = option(
        WIDTH,
        "Width of SlowFast: channels of the slow pathway's first layer, a multiple of 8; all layers change in "
        f"proportion. {WIDTH} is the paper's; half the width has a quarter of the weights, and trains faster on a CPU.",
        metavar="CHANNELS",
        at_least=8,
        roles=Role.AS_IN_PAPER,
    )
    dropout: float = option(0.5, "Dropout probability before the classifier.", metavar="P", at_least=0, at_most=0.99)

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        check_slowfast_options(self.model, self.lateral, self.width)
