"""Options of the videos, and of the clips that are taken from them."""

from dataclasses import dataclass

from dali_pipes.augment import PAPER_CROP_PX
from dali_pipes.dataset import DATASETS, FOLDER_DATA, KINDS, UNLABELLED_DATA, check_source
from dali_pipes.decode import TIME_LIMIT_S
from dali_pipes.errors import InputError
from dali_pipes.loader import ON_BAD_VIDEO
from dali_pipes.plan import CROP_MODES, SHORT_VIDEOS
from dali_pipes.system import MAX_TIME_LIMIT_S, flag

from .option import Group, Role, option

GENERATED_DATA = ("demo", "perturbed")
"""Data sets that this program makes itself, see demo_data.py and perturbed_data.py."""


@dataclass(frozen=True, kw_only=True)
class DataOptions(Group):
    """Data"""

    data: str = option(
        "demo",
        "Videos to train on: a folder of class folders (or of train/ and val/ with them), the folder of an official "
        "--dataset, a list such as a .csv, or a data set that this program makes itself: "
        f"{' or '.join(GENERATED_DATA)}.",
        metavar="PATH",
        must_name="a folder or file",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    val_data: str = option(
        "",
        "Validation videos, a folder or a list. Where there are none, the training videos are evaluated.",
        metavar="PATH",
        default_means="val/ in --data, or its column split",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    dataset: str = option(
        "auto",
        f"Kind of --data. auto: by what is there; {FOLDER_DATA}: its topmost folders are the classes, or train/ and "
        f"val/, whatever they hold; csv: a list; {', '.join(DATASETS)}: with the official lists, see docs/datasets.md; "
        f"{UNLABELLED_DATA}: any folder, or a list of paths, for --predict.",
        metavar="KIND",
        choices=KINDS,
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER,
    )
    split: str = option(
        "",
        "Official split of --dataset: 1, 2 or 3 of ucf101 and hmdb51; train, train+val or (for --predict) test of "
        "vipriors.",
        metavar="SPLIT",
        default_means="the first",
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER | Role.SET_BY_TABLE,
    )
    num_frames: int = option(
        64,
        "Window of a clip in frames; the network sees every 2nd or 4th of them, see docs/models.md. SlowFast needs a "
        "multiple of 16.",
        metavar="N",
        at_least=1,
        roles=Role.FOR_PUBLISHED,
    )
    stride_frames: int = option(
        1,
        "Step between the frames of a window, in frames of the video.",
        metavar="N",
        at_least=1,
        roles=Role.FOR_PUBLISHED,
    )
    crop_px: int = option(
        PAPER_CROP_PX, "Width and height of the clips, in pixels.", metavar="PX", at_least=40, roles=Role.IN_EVALUATION
    )
    crop_mode: str = option(
        "crop",
        "How training crops are drawn. crop: cut out a square of random size and scale it to --crop-px; short_side: "
        "scale the frame's short side to a random length and cut out a square of --crop-px.",
        choices=CROP_MODES,
        roles=Role.IN_EVALUATION,
    )
    short_videos: str = option(
        "slow_down",
        "How videos shorter than the window fill it. slow_down: each frame is shown 2, 4, ... times; pad: the last "
        "frame is repeated.",
        choices=SHORT_VIDEOS,
        roles=Role.FOR_PUBLISHED,
    )
    on_bad_video: str = option(
        "error",
        "What happens when a video can no longer be read. error: the run stops; skip: the video is named in the log "
        "and replaced by another one of its class, or left out of evaluation.",
        choices=ON_BAD_VIDEO,
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    max_bad_percent: float = option(
        1.0,
        "With --on-bad-video skip, stop the run when more than this percentage of the videos are bad.",
        metavar="PERCENT",
        at_least=0,
        at_most=100,
        goes_with="on_bad_video",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    time_limit_s: float = option(
        TIME_LIMIT_S,
        "Processor time, in seconds, that reading a video may take when it is checked before the training; slower "
        "ones are left out. Reading a clip of it may later take 4 times as long.",
        metavar="SECONDS",
        above=0,
        at_most=MAX_TIME_LIMIT_S,
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )

    def check(self) -> None:
        """Raise :class:`InputError` if an option contradicts another."""
        if self.on_bad_video == "error" and self.max_bad_percent != DataOptions.max_bad_percent:
            raise InputError(f"Invalid --max-bad-percent {self.max_bad_percent:g}: needs --on-bad-video skip")
        if KINDS[self.dataset].splits and self.data in GENERATED_DATA:
            raise InputError(
                f"Invalid --dataset {self.dataset}: needs --data; give the folder that its archives were unpacked to"
            )
        check_source(val_data=self.val_data, dataset=self.dataset, split=self.split, name=flag)
