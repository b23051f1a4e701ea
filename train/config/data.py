"""Options of the videos, and of the clips that are taken from them."""

from dataclasses import dataclass

from dali_pipes.augment import PAPER_CROP_PX
from dali_pipes.dataset import FOLDER_DATA, KINDS, UNLABELLED_DATA, check_source
from dali_pipes.decode import TIME_LIMIT_S
from dali_pipes.errors import InputError
from dali_pipes.loader import ON_BAD_VIDEO
from dali_pipes.plan import CROP_MODES, SHORT_VIDEOS
from dali_pipes.system import MOST_S, flag

from .option import Group, Role, option

GENERATED_DATA = ("demo", "perturbed")
"""Data sets that this program makes itself, see demo_data.py and perturbed_data.py."""


@dataclass(frozen=True, kw_only=True)
class DataOptions(Group):
    """Videos and clips"""

    data: str = option(
        "demo",
        "folder of class folders (or of train/ and val/ with them), of an official --dataset, "
        f"a list of videos such as a .csv, or one that is made: {', '.join(GENERATED_DATA)}",
        must_name="a folder or file",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    val_data: str = option(
        "",
        "folder or list of validation videos; by default val/ in --data, or its column split",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    dataset: str = option(
        "auto",
        f"what --data is; {FOLDER_DATA}: its topmost folders are the classes, or train/ and val/, whatever they hold; "
        f"csv: a list; {UNLABELLED_DATA}: any folder, or a list of paths, to --predict",
        choices=KINDS,
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER,
    )
    split: str = option(
        "",
        "official split: 1, 2 or 3; of vipriors train, train+val, or test to --predict; by default the first",
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER | Role.OF_ROWS,
    )
    frames: int = option(
        64, "frames in a clip window, for SlowFast a multiple of 16", at_least=1, roles=Role.OF_PUBLISHED
    )
    stride: int = option(1, "step between the frames of a window", at_least=1, roles=Role.OF_PUBLISHED)
    crop: int = option(PAPER_CROP_PX, "side of the clips in pixels", at_least=40, roles=Role.IN_EVALUATION)
    crop_mode: str = option("crop", "how training crops are drawn", choices=CROP_MODES, roles=Role.IN_EVALUATION)
    short: str = option("slow_down", "how short videos fill a window", choices=SHORT_VIDEOS, roles=Role.OF_PUBLISHED)
    on_bad_video: str = option(
        "error",
        "a video that can no longer be read stops the run, or is named in the log and replaced by one of its class, "
        "in evaluation left out",
        choices=ON_BAD_VIDEO,
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    max_bad_percent: float = option(
        1.0,
        "stop when more of the videos are bad",
        at_least=0,
        at_most=100,
        of="on_bad_video",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    time_limit: float = option(
        TIME_LIMIT_S,
        "leave out a video that takes more seconds of processor time to read; a clip of it may take 4 times as many",
        above=0,
        at_most=MOST_S,
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.on_bad_video == "error" and self.max_bad_percent != DataOptions.max_bad_percent:
            raise InputError(f"--max-bad-percent {self.max_bad_percent:g} needs --on-bad-video skip")
        if KINDS[self.dataset].splits and self.data in GENERATED_DATA:
            raise InputError(f"--dataset {self.dataset} needs --data, the folder that its archives were unpacked to")
        check_source(val_data=self.val_data, dataset=self.dataset, split=self.split, name=flag)
