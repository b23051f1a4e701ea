"""RandAugment-T (paper section 3.1)."""

from dataclasses import dataclass

from dali_pipes.augment import AUGMENTATIONS, INTERPOLATIONS, RANGE_TABLES
from dali_pipes.errors import InputError
from dali_pipes.plan import SCHEDULES

from .option import Group, option

OF_SCHEDULE = "randaug_t"
"""The value of --aug whose --schedule can be chosen."""


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Group):
    """Augmentation"""

    aug: str = option("randaug_t", "data augmentation", choices=tuple(AUGMENTATIONS))
    schedule: str = option(
        "temporal+", "how RandAugment-T's level changes over a clip", choices=tuple(SCHEDULES), of="aug"
    )
    randaug_n: int = option(2, "operations per clip", at_least=1, of="aug")
    randaug_m: float = option(10.0, "RandAugment level, from 0 to --randaug-scale", of="aug")
    randaug_scale: float = option(30.0, "the level at which an operation is at the end of its range", above=0, of="aug")
    randaug_ranges: str = option(
        "paper",
        "what a level means: the paper's ranges, or such that higher is always stronger",
        choices=RANGE_TABLES,
        of="aug",
    )
    randaug_interpolation: str = option(
        "nearest", "of turned, sheared and shifted frames", choices=tuple(INTERPOLATIONS), of="aug"
    )
    randaug_invert: bool = option(False, "also draw the operation invert, as the authors' program does", of="aug")

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.schedule != AugmentationOptions.schedule:
            check_schedule(self.schedule, self.aug)
        if not 0 <= self.randaug_m <= self.randaug_scale:
            raise InputError(
                f"--randaug-m is {self.randaug_m:g}, it must lie between 0 and --randaug-scale, {self.randaug_scale:g}"
            )


def check_schedule(schedule: str, aug: str) -> None:
    """Raise :class:`InputError` if a schedule is chosen for an augmentation that has none to choose."""
    if aug != OF_SCHEDULE:
        raise InputError(f"--schedule {schedule} is for --aug {OF_SCHEDULE}, not for --aug {aug}")
