"""The network, and what it starts from."""

from dataclasses import dataclass

from ..models.slowfast import LATERALS
from ..models.zoo import MODELS, check_lateral
from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Group):
    """Model"""

    model: str = option(
        "slowfast50",
        f"Network: {', '.join(MODELS)}. All but slowfast50 are torchvision's. What clips each takes is in "
        "docs/models.md.",
        metavar="NAME",
        choices=tuple(MODELS),
        roles=Role.FOR_PUBLISHED | Role.AS_IN_PAPER,
    )
    init: str = option(
        "",
        "Weights to start from: a file of published ones, see docs/models.md, or a checkpoint of an earlier run.",
        metavar="FILE",
        default_means="random weights",
        roles=Role.FOR_PUBLISHED | Role.IS_READ,
    )
    lateral: str = option(
        "plain",
        "Lateral connections of SlowFast. plain: convolutions alone, as in the paper; norm_relu: with batch norm and "
        "ReLU, as in the weights published for Kinetics.",
        choices=LATERALS,
        roles=Role.FOR_PUBLISHED,
    )
    dropout: float = option(0.5, "Dropout probability before the classifier.", metavar="P", at_least=0, at_most=0.99)

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        check_lateral(self.model, self.lateral)
