"""Clips that are mixed with others of their batch (paper sections 3.2 and 3.3)."""

from dataclasses import dataclass

from dali_pipes.errors import InputError, check_known
from dali_pipes.system import flag

from ..mixing.params import MIXES, check_alpha_is_used, check_numbers, parse_names
from .option import Group, Role, names_of, option


@dataclass(frozen=True, kw_only=True)
class MixingOptions(Group):
    """Deleting, mixing and blending"""

    mix: str = option(
        "none",
        f"delete, mix or blend: {', '.join(MIXES)}; of several with commas each batch gets one",
        roles=Role.ANEW_IN_EVALUATION,
    )
    mix_alpha: float | None = option(
        None, "lambda is drawn from Beta(alpha, alpha)", of="mix", roles=Role.ANEW_IN_EVALUATION
    )
    mix_prob: float | None = option(
        None,
        "share of the batches (or clips, see --mix-draw) that are mixed",
        of="mix",
        roles=Role.ANEW_IN_EVALUATION,
    )
    mix_draw: str = option(
        "batch",
        "what one region and lambda are drawn for",
        choices=("batch", "clip"),
        of="mix",
        roles=Role.ANEW_IN_EVALUATION,
    )
    mix_labels: str = option(
        "all_frames",
        "which frames a label's share is of",
        choices=("all_frames", "seen_frames"),
        of="mix",
        roles=Role.ANEW_IN_EVALUATION,
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.mix == "none":
            for name in names_of(MixingOptions, "mix"):
                if getattr(self, name) != getattr(MixingOptions, name):
                    known = ", ".join(MIXES)
                    raise InputError(f"{flag(name)} {getattr(self, name)} needs a --mix: choose one of {known}")
            return
        if "," not in self.mix:
            check_known("--mix", self.mix, ("none", *MIXES))
        names = parse_names(self.mix)
        check_numbers(self.mix_alpha, self.mix_prob, "--mix-")
        check_alpha_is_used(names, self.mix_alpha, "--mix-alpha")
        if self.mix_labels == "seen_frames" and not any("T" in MIXES[name].axes for name in self.needs_partners):
            raise InputError(
                f"--mix-labels seen_frames is of no use: the labels of {self.mix} do not depend on the frames"
            )

    @property
    def needs_partners(self) -> list[str]:
        """The operations of --mix that mix two clips."""
        names = [] if self.mix == "none" else parse_names(self.mix)
        return [name for name in names if not MIXES[name].deletes]
