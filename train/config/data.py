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
        "Videos to train on: a folder with one subfolder per class (or with train/ and val/ that have such "
        "subfolders), the folder that holds an official dataset (see --dataset), a list such as a .csv file, or a "
        f"generated dataset: {' or '.join(GENERATED_DATA)}. See docs/datasets.md.",
        metavar="PATH",
        must_name="a folder or file",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    val_data: str = option(
        "",
        "Validation videos: a folder or a list. If there are none, the test videos are used for validation; if there "
        "are no test videos either, the training videos are used.",
        metavar="PATH",
        default_means="val/ in --data; in a list, the rows with val in the column split",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.IS_READ,
    )
    dataset: str = option(
        "auto",
        f"Type of --data. auto: detect whether it is a folder or a list; {FOLDER_DATA}: the top-level folders are the "
        "classes (or train/ and val/), even if all of them have the same "
        "subfolders, which could be the classes, too; csv: a list; "
        f"{', '.join(DATASETS)}: this official dataset with its official splits, see docs/datasets.md; "
        f"{UNLABELLED_DATA}: videos without labels for --predict (a folder, a list of paths or one video file).",
        metavar="KIND",
        choices=KINDS,
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER,
    )
    split: str = option(
        "",
        "Official split: 1, 2 or 3 for --dataset ucf101 and hmdb51; train, train+val or test (only with --predict) "
        "for --dataset vipriors.",
        metavar="SPLIT",
        default_means="1 for ucf101 and hmdb51, train for vipriors",
        roles=Role.IN_EVALUATION | Role.NAMES_VIDEOS | Role.AS_IN_PAPER | Role.SET_BY_TABLE,
    )
    num_frames: int = option(
        64,
        "Number of frames of the window, the part of a video that a clip is taken from. Depending on the network, "
        "every 2nd or 4th frame of it is used, see docs/models.md. SlowFast needs a multiple of 16.",
        metavar="N",
        at_least=1,
        roles=Role.FOR_PUBLISHED,
    )
    stride_frames: int = option(
        1,
        "Distance between consecutive frames of the window, in frames of the video. 1: every frame.",
        metavar="N",
        at_least=1,
        roles=Role.FOR_PUBLISHED,
    )
    crop_px: int = option(
        PAPER_CROP_PX, "Width and height of the clips, in pixels.", metavar="PX", at_least=40, roles=Role.IN_EVALUATION
    )
    crop_mode: str = option(
        "crop",
        "How training crops are sampled. crop: crop a square of random size (its side is 2/3 to 5/6 of the frame's "
        "short side) and resize it to --crop-px; short_side: resize the frame so that its short side has a "
        "random length (1 to 1.25 times --crop-px), and crop a square of --crop-px.",
        choices=CROP_MODES,
        roles=Role.IN_EVALUATION,
    )
    short_videos: str = option(
        "slow_down",
        "How to fill the window if a video is shorter. slow_down: repeat each frame 2, 4, ... times; pad: repeat the "
        "last frame.",
        choices=SHORT_VIDEOS,
        roles=Role.FOR_PUBLISHED,
    )
    on_bad_video: str = option(
        "error",
        "What to do if a video cannot be read during the run although it passed the check before training. error: stop "
        "the run; skip: log the video and use another one of its class instead (in evaluation, leave it out).",
        choices=ON_BAD_VIDEO,
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    max_bad_percent: float = option(
        1.0,
        "With --on-bad-video skip, stop the run if more than this percentage of the videos cannot be read.",
        metavar="PERCENT",
        at_least=0,
        at_most=100,
        goes_with="on_bad_video",
        roles=Role.MAY_CHANGE | Role.IN_EVALUATION,
    )
    time_limit_s: float = option(
        TIME_LIMIT_S,
        "CPU time limit, in seconds, for reading one video in the check before training. Videos that take longer are "
        "left out. During training, the limit for reading one clip is 4 times as high.",
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
                f"Invalid --dataset {self.dataset}: needs --data; give the folder into which its archives were unpacked"
            )
        check_source(val_data=self.val_data, dataset=self.dataset, split=self.split, name=flag)
