"""Clips that are mixed with others of their batch (paper sections 3.2 and 3.3)."""

from dataclasses import dataclass

from dali_pipes.errors import InputError, check_known
from dali_pipes.system import flag

from ..mixing.params import MIXES, check_alpha_and_prob, check_alpha_is_used, parse_names
from .option import Group, Role, option, options_going_with


@dataclass(frozen=True, kw_only=True)
class MixingOptions(Group):
    """Mixing"""

    mix: str = option(
        "none",
        f"Mixing operation: none, {', '.join(MIXES)}. It deletes parts of clips, or mixes or blends clips with other "
        "clips of the batch. If several are given, separated by commas, one is chosen at random for each batch. See "
        "docs/mixing.md.",
        metavar="NAME[,NAME...]",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_alpha: float | None = option(
        None,
        "Parameter of the distribution Beta(ALPHA, ALPHA), from which lambda is sampled. Lambda is the fraction of a "
        "clip that is kept.",
        metavar="ALPHA",
        default_means="depends on --mix, see docs/mixing.md",
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_prob: float | None = option(
        None,
        "Probability, from 0 to 1, of mixing a batch (with --mix-draw clip: of mixing a clip).",
        metavar="P",
        default_means="depends on --mix, see docs/mixing.md",
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_draw: str = option(
        "batch",
        "How often the mixed region and lambda are sampled. batch: once per batch, as in the paper; clip: once per "
        "clip.",
        choices=("batch", "clip"),
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_labels: str = option(
        "all_frames",
        "Frames that count for the label weights. The weight of a label is the visible fraction of its clip, measured "
        "over these frames. all_frames: all frames of the window; seen_frames: only the frames that the network "
        "uses; both pathways of SlowFast have the same weight.",
        choices=("all_frames", "seen_frames"),
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.mix == "none":
            for name in options_going_with(MixingOptions, "mix"):
                if getattr(self, name) != getattr(MixingOptions, name):
                    known = ", ".join(MIXES)
                    raise InputError(f"Invalid {flag(name)} {getattr(self, name)}: needs --mix with one of {known}")
            return
        if "," not in self.mix:
            check_known("--mix", self.mix, ("none", *MIXES))
        names = parse_names(self.mix)
        check_alpha_and_prob(self.mix_alpha, self.mix_prob, "--mix-")
        check_alpha_is_used(names, self.mix_alpha, "--mix-alpha")
        if self.mix_labels == "seen_frames" and not any("T" in MIXES[name].axes for name in self.needs_partners):
            raise InputError(
                f"Invalid --mix-labels seen_frames: cannot be combined with --mix {self.mix}, whose labels do not "
                "depend on the frames; leave out --mix-labels"
            )

    @property
    def needs_partners(self) -> list[str]:
        """The operations of --mix that mix two clips."""
        names = [] if self.mix == "none" else parse_names(self.mix)
        return [name for name in names if not MIXES[name].deletes]
