"""All settings of a training run: a frozen dataclass, checked on construction, and two presets."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dali_pipes.augment import INTERPOLATIONS, RANGE_TABLES
from dali_pipes.dataset import FOLDER_DATA, KINDS, UNLABELLED_DATA, check_source
from dali_pipes.decode import MOST_S, TIME_LIMIT_S
from dali_pipes.errors import InputError, check_known
from dali_pipes.loader import ON_BAD_VIDEO, READERS
from dali_pipes.plan import CROP_MODES, CROPS_PER_VIDEO, SCHEDULES, SHORT_VIDEOS
from dali_pipes.system import flag, replacing, usable_cores

from ..mixing.params import MIXES, check_alpha_is_used, check_numbers, parse_names
from ..models.slowfast import LATERALS
from ..models.zoo import MODELS, check_clips

AUGMENTATIONS = ("none", "randaug", "randaug_t")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
GENERATED_DATA = ("demo", "perturbed")
"""Data sets that this program makes itself, see demo_data.py and perturbed_data.py."""
MOST_WORKERS = 8
PAPER_CROP_PX = 160
PAPER_TRANSLATE_PX = 100.0


def processes_of_machine() -> int:
    """How many processes of this training torchrun started on this machine; 1 without it."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def option(default: Any, help: str, choices: Iterable | None = None, at_least: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "at_least": at_least})


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run. The defaults are the paper's (section 4.1); checked on construction."""

    data: str = option(
        "demo",
        "folder of class folders (or of train/ and val/ with them), of an official --dataset, a list of videos such as a .csv, "
        f"or one that is made: {', '.join(GENERATED_DATA)}",
    )
    val_data: str = option("", "folder or list of validation videos; by default val/ in --data, or its column split")
    dataset: str = option(
        "auto",
        f"what --data is; {FOLDER_DATA}: its topmost folders are the classes, or train/ and val/, whatever they hold; csv: a list; "
        f"{UNLABELLED_DATA}: any folder, or a list of paths, to --predict",
        choices=KINDS,
    )
    split: str = option(
        "", "official split: 1, 2 or 3; of vipriors train, train+val, or test to --predict; by default the first"
    )
    model: str = option("slowfast50", "the network", choices=tuple(MODELS))
    lateral: str = option(
        "plain",
        "SlowFast's lateral convolutions: the paper's, or with batch norm and ReLU as published for Kinetics",
        choices=LATERALS,
    )
    init: str = option(
        "", "file of weights to start from: published ones, see docs/models.md, or a checkpoint of an earlier run"
    )
    aug: str = option("randaug_t", "data augmentation", choices=AUGMENTATIONS)
    schedule: str = option("temporal+", "how RandAugment-T's level changes over a clip", choices=tuple(SCHEDULES))
    randaug_n: int = option(2, "operations per clip", at_least=1)
    randaug_m: float = option(10.0, "RandAugment level, from 0 to --randaug-scale")
    randaug_scale: float = option(30.0, "the level at which an operation is at the end of its range")
    randaug_ranges: str = option(
        "paper", "what a level means: the paper's ranges, or such that higher is always stronger", choices=RANGE_TABLES
    )
    randaug_interpolation: str = option(
        "nearest", "of turned, sheared and shifted frames", choices=tuple(INTERPOLATIONS)
    )
    randaug_invert: bool = option(False, "also draw the operation invert, as the authors' program does")
    mix: str = option("none", f"delete, mix or blend: {', '.join(MIXES)}; of several with commas each batch gets one")
    mix_alpha: float | None = option(None, "lambda is drawn from Beta(alpha, alpha)")
    mix_prob: float | None = option(None, "share of the batches (or clips, see --mix-draw) that are mixed")
    mix_draw: str = option("batch", "what one region and lambda are drawn for", choices=("batch", "clip"))
    mix_labels: str = option("all_frames", "which frames a label's share is of", choices=("all_frames", "seen_frames"))
    epochs: int = option(150, "passes over the training videos", at_least=1)
    batch_size: int = option(16, "clips per step, over all processes", at_least=1)
    accumulate: int = option(1, "parts that a process computes its share of a step in, to save memory", at_least=1)
    frames: int = option(64, "frames in a clip window, for SlowFast a multiple of 16", at_least=1)
    stride: int = option(1, "step between the frames of a window", at_least=1)
    crop: int = option(160, "side of the clips in pixels", at_least=40)
    crop_mode: str = option("crop", "how training crops are drawn", choices=CROP_MODES)
    short: str = option("slow_down", "how short videos fill a window", choices=SHORT_VIDEOS)
    lr: float = option(1e-4, "highest learning rate of Adam")
    weight_decay: float = option(1e-5, "Adam's weight decay")
    warmup: float = option(0.1, "share of all steps in which the learning rate rises; then it falls as a cosine to 0")
    dropout: float = option(0.5, "dropout before the classifier")
    label_smoothing: float = option(0.0, "share of each target that is spread over all classes")
    ema: float = option(
        0.0, "decay per step of a running average of the weights, which is then what is evaluated; 0 is none"
    )
    eval_clips: int = option(10, "clips per video in evaluation, averaged", at_least=1)
    eval_crops: int = option(
        1, "crops of each of them: 1 in the centre, or 3 along the long side", choices=CROPS_PER_VIDEO
    )
    eval_every: int = option(1, "epochs between evaluations; the last epoch always has one", at_least=1)
    seed: int = option(0, "of everything that is drawn", at_least=0)
    workers: int = option(
        min(MOST_WORKERS, usable_cores()),
        "processes that check and decode videos; 0 decodes in the main one",
        at_least=0,
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    decoder: str = option("auto", "where videos are decoded", choices=("auto", "cpu", "gpu"))
    reader: str = option(
        "clips",
        "clips: each is decoded by itself; stream: DALI seeks in the files, for long ones, see docs/videos.md",
        choices=READERS,
    )
    precision: str = option(
        "auto", "of the network's arithmetic; auto: bf16 or fp16 on a GPU, else fp32", choices=PRECISIONS
    )
    tf32: bool = option(True, "on a GPU, multiply float32 matrices with 10 bits of mantissa")
    channels_last: bool = option(True, "on a GPU, keep the network's weights as channels_last_3d, as the clips are")
    compile: bool = option(False, "torch.compile the network: minutes at the start, faster steps")
    fused_adam: bool = option(True, "on a GPU, Adam in one kernel")
    on_bad_video: str = option(
        "error",
        "a video that can no longer be read stops the run, or is named in the log and replaced by one of its class, in evaluation left out",
        choices=ON_BAD_VIDEO,
    )
    max_bad_percent: float = option(1.0, "stop when more of the videos are bad")
    time_limit: float = option(
        TIME_LIMIT_S,
        "leave out a video that takes more seconds of processor time to read; a clip of it may take 4 times as many",
    )
    out: str = option("runs/latest", "folder for checkpoints, metrics and pictures")
    checkpoint_minutes: float = option(
        10.0, "most minutes between checkpoints within an epoch; each epoch's end has one"
    )
    tensorboard: bool = option(True, "write scalars, settings and sample clips for TensorBoard")
    max_steps: int = option(
        0,
        "train so many steps in all, for a short try, with the whole schedule of the learning rate; 0 is no limit",
        at_least=0,
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value, at_least, choices = getattr(self, item.name), item.metadata["at_least"], item.metadata["choices"]
            if choices:
                check_known(flag(item.name), value, choices)
            if at_least is not None and value < at_least:
                raise InputError(f"{flag(item.name)} is {value}, it must be at least {at_least}")
        for name in ("data", "out"):
            if not getattr(self, name):
                raise InputError(f"{flag(name)} is empty, it must name a folder or file")
        if self.on_bad_video == "error" and self.max_bad_percent != Config.max_bad_percent:
            raise InputError(f"--max-bad-percent {self.max_bad_percent:g} needs --on-bad-video skip")
        if not 0 < self.time_limit <= MOST_S:
            raise InputError(f"--time-limit is {self.time_limit:g}, it must be above 0 and at most {MOST_S:g}")
        self._check_split()
        self._check_levels()
        self._check_mix()
        check_clips(self.model, self.frames, self.crop)
        if self.lateral != "plain" and self.model != "slowfast50":
            raise InputError(
                f"--lateral {self.lateral} is for --model slowfast50, {self.model} has no lateral convolutions"
            )
        for name, low, high in (("lr", 0, 10), ("weight_decay", 0, 1), ("warmup", 0, 1), ("dropout", 0, 0.99),
                                ("max_bad_percent", 0, 100), ("label_smoothing", 0, 0.99), ("ema", 0, 0.99999),
                                ("checkpoint_minutes", 0, 10_000)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{flag(name)} is {getattr(self, name)}, it must lie between {low} and {high}")

    def _check_split(self) -> None:
        if KINDS[self.dataset].splits and self.data in GENERATED_DATA:
            raise InputError(f"--dataset {self.dataset} needs --data, the folder that its archives were unpacked to")
        check_source(val_data=self.val_data, dataset=self.dataset, split=self.split, name=flag)

    def _check_levels(self) -> None:
        if not self.randaug_scale > 0:
            raise InputError(f"--randaug-scale is {self.randaug_scale:g}, it must be above 0")
        if not 0 <= self.randaug_m <= self.randaug_scale:
            raise InputError(
                f"--randaug-m is {self.randaug_m:g}, it must lie between 0 and --randaug-scale, {self.randaug_scale:g}"
            )

    def _check_mix(self) -> None:
        if self.mix == "none":
            for name in ("mix_alpha", "mix_prob", "mix_draw", "mix_labels"):
                if getattr(self, name) != getattr(Config, name):
                    known = ", ".join(MIXES)
                    raise InputError(f"{flag(name)} {getattr(self, name)} needs a --mix: choose one of {known}")
            return
        if "," not in self.mix:
            check_known("--mix", self.mix, ("none", *MIXES))
        names = parse_names(self.mix)
        check_numbers(self.mix_alpha, self.mix_prob, "--mix-")
        check_alpha_is_used(names, self.mix_alpha, "--mix-alpha")
        mixing = self.needs_partners
        if self.mix_labels == "seen_frames" and not any("T" in MIXES[name].axes for name in mixing):
            raise InputError(
                f"--mix-labels seen_frames is of no use: the labels of {self.mix} do not depend on the frames"
            )
        if mixing and self.batch_size == 1:
            raise InputError(f"--batch-size 1 leaves --mix {self.mix} no other clip to mix with, it must be at least 2")

    @property
    def needs_partners(self) -> list[str]:
        """Those operations of --mix that mix two clips."""
        names = [] if self.mix == "none" else parse_names(self.mix)
        return [name for name in names if not MIXES[name].deletes]

    @property
    def translate_max_px(self) -> float:
        """Translation at level 30: 100 pixels of the paper's 160-pixel crop, in proportion."""
        return PAPER_TRANSLATE_PX * self.crop / PAPER_CROP_PX

    def save(self, path: Path) -> None:
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2) + "\n")


def paper() -> Config:
    """Section 4.1 of the paper."""
    return Config()


def small() -> Config:
    """The same network on clips small enough for two CPU cores: the demo data in about four minutes."""
    return Config(frames=32, crop=56, batch_size=8, epochs=9, lr=1e-3, warmup=0.2, dropout=0.0, randaug_n=1, randaug_m=5.0,
                  eval_clips=2, workers=min(2, usable_cores()))  # fmt: skip
