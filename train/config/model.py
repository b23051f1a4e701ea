"""The network, and what it starts from."""

from dataclasses import dataclass

from ..models.slowfast import LATERALS
from ..models.zoo import MODELS, check_lateral
from .option import Group, Role, option


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Group):
    """Network"""

    model: str = option("slowfast50", "the network", choices=tuple(MODELS), roles=Role.OF_PUBLISHED | Role.AS_IN_PAPER)
    init: str = option(
        "",
        "file of weights to start from: published ones, see docs/models.md, or a checkpoint of an earlier run",
        roles=Role.OF_PUBLISHED | Role.IS_READ,
    )
    lateral: str = option(
        "plain",
        "SlowFast's lateral convolutions: the paper's, or with batch norm and ReLU as published for Kinetics",
        choices=LATERALS,
        roles=Role.OF_PUBLISHED,
    )
    dropout: float = option(0.5, "dropout before the classifier", at_least=0, at_most=0.99)

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        check_lateral(self.model, self.lateral)
