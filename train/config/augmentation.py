"""The policy of augmentation: RandAugment-T (paper section 3.1), or another of the table of policies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dali_pipes.augment import INTERPOLATIONS, NO_POLICY, POLICIES, RANGE_TABLES, is_recipe, policy_row
from dali_pipes.errors import InputError
from dali_pipes.plan import SCHEDULES
from dali_pipes.system import flag

from .option import Group, option

SCHEDULED_AUG = "randaug_t"
"""The value of --aug whose --schedule can be chosen."""
FIELD_OF_OPTION = {
    "schedule": "schedule",
    "randaug_n": "n",
    "randaug_m": "m",
    "randaug_scale": "m",
    "randaug_ranges": "ranges",
    "randaug_interpolation": "interpolation",
    "randaug_invert": "ops",
}
"""Option of a policy -> the field that it sets; ``PolicyRow.free`` names the fields that may be set."""


class _PolicyNames(tuple):
    """The names of policies. All recipes are among them too; which are correct, ``check`` says."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or is_recipe(str(name))


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Group):
    """Augmentation"""

    aug: str = option(
        "randaug_t",
        "Augmentation in addition to random crops and flips. none: only crops and flips; randaug: RandAugment, with "
        "the same magnitude for all frames of a clip; randaug_t: RandAugment-T, with a magnitude that changes from "
        "frame to frame; dynaaugment, trivial, augmix: other policies of the literature; trivial_t, augmix_t: the "
        "same, with magnitudes that change over time. A recipe of timm such as rand-m7-n4-mstd0.5-inc1 is read too, "
        "and rand_t-m7-n4-mstd0.5-inc1 is its form over time. See docs/policies.md.",
        metavar="NAME",
        choices=_PolicyNames((NO_POLICY, *POLICIES)),
    )
    schedule: str = option(
        "temporal+",
        "How the magnitude level changes over a clip in RandAugment-T. M is --randaug-m. spatial: constant M; "
        "temporal: linear, between a random lower level and M, rising or falling; temporal+: linear, rising or "
        "falling, with M in the middle of the clip, starting and ending at most M/2 above or below M; mix: spatial or "
        "temporal+, chosen at random for each clip (unrelated to --mix); random_walk, fourier: random curves, at most "
        "M/2 above and below M; fourier_wide: random curves between 0 and 2 M; uniform: constant, at a random level up "
        "to M; uniform_ends: linear, between two such levels. See docs/randaugment_t.md.",
        metavar="NAME",
        choices=tuple(SCHEDULES),
        goes_with="aug",
    )
    randaug_n: int = option(
        2, "Number of operations per clip (N of RandAugment).", metavar="N", at_least=1, goes_with="aug"
    )
    randaug_m: float = option(
        10.0,
        "Magnitude level of the operations, from 0 to --randaug-scale (M of RandAugment).",
        metavar="M",
        goes_with="aug",
    )
    randaug_scale: float = option(
        30.0,
        "Highest value of --randaug-m. At this level, an operation has the value at the end of its range, see "
        "--randaug-ranges.",
        metavar="LEVEL",
        above=0,
        goes_with="aug",
    )
    randaug_ranges: str = option(
        "paper",
        "Ranges of the operations' values, see docs/randaugment_t.md. paper: as in the paper, where a higher level is "
        "not always a stronger change; monotonic: as in DALI and torchvision, where a higher level is always a "
        "stronger change; increasing: the same, but posterize is stronger, as in timm; wide: the same, but most ranges "
        "are wider, as in torchvision's TrivialAugmentWide.",
        choices=RANGE_TABLES,
        goes_with="aug",
    )
    randaug_interpolation: str = option(
        "nearest",
        "Interpolation of the operations rotate, shear, translate and zoom. nearest: nearest pixel; linear: bilinear.",
        choices=tuple(INTERPOLATIONS),
        goes_with="aug",
    )
    randaug_invert: bool = option(
        False, "Also sample the operation invert, as the authors' program does.", goes_with="aug"
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.aug != NO_POLICY:
            policy_row(self.aug)
        if self.schedule != AugmentationOptions.schedule:
            check_policy_options({"schedule": self.schedule}, self.aug)
        if not 0 <= self.randaug_m <= self.randaug_scale:
            raise InputError(
                f"Invalid --randaug-m {self.randaug_m:g}: must be between 0 and --randaug-scale, {self.randaug_scale:g}"
            )


def options_in_use(aug: str) -> list[str]:
    """Return the options that change a policy, such as ``randaug_n``."""
    free = () if aug == NO_POLICY else policy_row(aug).free
    return [name for name, field in FIELD_OF_OPTION.items() if field in free]


def check_policy_options(given: Mapping[str, Any], aug: str) -> None:
    """Raise :class:`InputError` if an option is given that the policy does not have.

    Those of RandAugment change nothing with ``none``, as all options of an augmentation, and are accepted there.
    """
    for name in _misplaced(given, aug):
        with_it = [policy for policy in POLICIES if name in options_in_use(policy)]
        raise InputError(f"Invalid {flag(name)} {given[name]}: needs --aug {' or '.join(with_it)}, not --aug {aug}")


def _misplaced(given: Iterable[str], aug: str) -> list[str]:
    accepted = [name for name in FIELD_OF_OPTION if name != "schedule"] if aug == NO_POLICY else options_in_use(aug)
    return [name for name in given if name in FIELD_OF_OPTION and name not in accepted]
