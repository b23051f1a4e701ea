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
        f"Delete parts of clips, or mix or blend them with others of the batch: none, {', '.join(MIXES)}. Of several, "
        "with commas between, each batch draws one. See docs/mixing.md.",
        metavar="NAME[,NAME...]",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_alpha: float | None = option(
        None,
        "Draw lambda, the share of a clip that is kept, from Beta(ALPHA, ALPHA).",
        metavar="ALPHA",
        default_means="the operation's own",
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_prob: float | None = option(
        None,
        "Probability, from 0 to 1, that a batch is mixed (or a clip, with --mix-draw clip).",
        metavar="P",
        default_means="the operation's own",
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_draw: str = option(
        "batch",
        "Draw region and lambda once for a batch, as in the paper, or for each clip.",
        choices=("batch", "clip"),
        goes_with="mix",
        roles=Role.RESET_IN_EVALUATION,
    )
    mix_labels: str = option(
        "all_frames",
        "Frames of which a label's weight is the share. all_frames: all of the window; seen_frames: those that the "
        "network looks at.",
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
                    raise InputError(f"Invalid {flag(name)} {getattr(self, name)}: needs --mix; choose one of {known}")
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
