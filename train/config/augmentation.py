"""RandAugment-T (paper section 3.1)."""

from dataclasses import dataclass

from dali_pipes.augment import AUGMENTATIONS, INTERPOLATIONS, RANGE_TABLES
from dali_pipes.errors import InputError
from dali_pipes.plan import SCHEDULES

from .option import Group, option

SCHEDULED_AUG = "randaug_t"
"""The value of --aug whose --schedule can be chosen."""


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Group):
    """Augmentation"""

    aug: str = option(
        "randaug_t",
        "Augmentation beside random crops and flips. randaug: RandAugment, its magnitude constant over a clip; "
        "randaug_t: RandAugment-T, its magnitude changing from frame to frame; none: these alone.",
        choices=tuple(AUGMENTATIONS),
    )
    schedule: str = option(
        "temporal+",
        "How RandAugment-T's level changes over a clip; M is --randaug-m. spatial: M all the time; temporal: a line "
        "from a random lower level to M, or back; temporal+: a rising or falling line around M, to at most M/2 above "
        "and below; mix: spatial or temporal+, drawn for each clip; random_walk, fourier: random curves in the same "
        "range. See docs/randaugment_t.md.",
        metavar="NAME",
        choices=tuple(SCHEDULES),
        goes_with="aug",
    )
    randaug_n: int = option(
        2, "Operations that are drawn for each clip: RandAugment's N.", metavar="N", at_least=1, goes_with="aug"
    )
    randaug_m: float = option(
        10.0, "Level of the operations, from 0 to --randaug-scale: RandAugment's M.", metavar="M", goes_with="aug"
    )
    randaug_scale: float = option(
        30.0, "Level at which an operation reaches the end of its range.", metavar="LEVEL", above=0, goes_with="aug"
    )
    randaug_ranges: str = option(
        "paper",
        "Ranges of the operations. paper: the paper's, where a higher level is not always a stronger change; "
        "monotonic: a higher level is always stronger, as in DALI and torchvision.",
        choices=RANGE_TABLES,
        goes_with="aug",
    )
    randaug_interpolation: str = option(
        "nearest",
        "Interpolation of frames that are rotated, sheared or translated.",
        choices=tuple(INTERPOLATIONS),
        goes_with="aug",
    )
    randaug_invert: bool = option(
        False, "Also draw the operation invert, as the authors' program does.", goes_with="aug"
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.schedule != AugmentationOptions.schedule:
            check_schedule_option(self.schedule, self.aug)
        if not 0 <= self.randaug_m <= self.randaug_scale:
            raise InputError(
                f"Invalid --randaug-m {self.randaug_m:g}: must be between 0 and --randaug-scale, {self.randaug_scale:g}"
            )


def check_schedule_option(schedule: str, aug: str) -> None:
    """Raise :class:`InputError` if a schedule is chosen for an augmentation that has none to choose."""
    if aug != SCHEDULED_AUG:
        raise InputError(f"Invalid --schedule {schedule}: needs --aug {SCHEDULED_AUG}, not --aug {aug}")
