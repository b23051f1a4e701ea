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
        "Augmentation in addition to random crops and flips. none: only crops and flips; randaug: RandAugment, with "
        "the same magnitude for all frames of a clip; randaug_t: RandAugment-T, with a magnitude that changes from "
        "frame to frame.",
        choices=tuple(AUGMENTATIONS),
    )
    schedule: str = option(
        "temporal+",
        "How the magnitude level changes over a clip in RandAugment-T. M is --randaug-m. spatial: constant M; "
        "temporal: linear, between a random lower level and M, rising or falling; temporal+: linear, rising or "
        "falling, with M in the middle of the clip, starting and ending at most M/2 above or below M; mix: spatial or "
        "temporal+, chosen at random for each clip (unrelated to --mix); random_walk, fourier: random curves, at most "
        "M/2 above and below M. See docs/randaugment_t.md.",
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
        "stronger change.",
        choices=RANGE_TABLES,
        goes_with="aug",
    )
    randaug_interpolation: str = option(
        "nearest",
        "Interpolation of the operations rotate, shear and translate. nearest: nearest pixel; linear: bilinear.",
        choices=tuple(INTERPOLATIONS),
        goes_with="aug",
    )
    randaug_invert: bool = option(
        False, "Also sample the operation invert, as the authors' program does.", goes_with="aug"
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
