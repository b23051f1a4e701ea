"""All settings of a training run: a frozen dataclass, two presets, and the command line derived from the fields."""

import argparse
import json
import os
import typing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from dali_pipes.datasets import DATASETS
from dali_pipes.errors import InputError, check_known
from dali_pipes.files import replacing
from dali_pipes.magnitude import SCHEDULES, check_level
from dali_pipes.sampling import CROP_MODES, SHORT_VIDEOS
from dali_pipes.source import ON_BAD_VIDEO

from .mix_params import MIXES, check_alpha_is_used, check_numbers, parse_names

AUGMENTATIONS = ("none", "randaug", "randaug_t")
PAPER_CROP_PX = 160
PAPER_TRANSLATE_PX = 100.0


def option(default, help: str, choices=None, at_least=None):
    return field(default=default, metadata={"help": help, "choices": choices, "at_least": at_least})


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run. The defaults are the paper's (section 4.1); checked on construction."""

    data: str = option(
        "demo", "folder of class folders (or of train/ and val/ with them), of an official --dataset, a .csv, or demo"
    )
    val_data: str = option("", "folder or .csv of validation videos; by default val/ in --data, if there is one")
    dataset: str = option(
        "auto", "what --data is; auto: demo, folder or csv", choices=("auto", "folder", "csv", *DATASETS)
    )
    split: str = option("", "official split: 1, 2 or 3; of vipriors train or train+val; by default the first")
    aug: str = option("randaug_t", "data augmentation", choices=AUGMENTATIONS)
    schedule: str = option("temporal+", "how RandAugment-T's level changes over a clip", choices=tuple(SCHEDULES))
    randaug_n: int = option(2, "operations per clip", at_least=1)
    randaug_m: float = option(10.0, "RandAugment level, 0 to 30")
    mix: str = option("none", f"delete, mix or blend: {', '.join(MIXES)}; of several with commas each batch gets one")
    mix_alpha: float | None = option(None, "lambda is drawn from Beta(alpha, alpha)")
    mix_prob: float | None = option(None, "share of the batches (or clips, see --mix-draw) that are mixed")
    mix_draw: str = option("batch", "what one region and lambda are drawn for", choices=("batch", "clip"))
    mix_labels: str = option("all_frames", "which frames a label's share is of", choices=("all_frames", "seen_frames"))
    epochs: int = option(150, "passes over the training videos", at_least=1)
    batch_size: int = option(16, "clips per step", at_least=1)
    frames: int = option(64, "frames in a clip window, a multiple of 16", at_least=16)
    stride: int = option(1, "step between the frames of a window", at_least=1)
    crop: int = option(160, "side of the clips in pixels", at_least=40)
    crop_mode: str = option("crop", "how training crops are drawn", choices=CROP_MODES)
    short: str = option("slow_down", "how short videos fill a window", choices=SHORT_VIDEOS)
    lr: float = option(1e-4, "highest learning rate of Adam")
    weight_decay: float = option(1e-5, "Adam's weight decay")
    warmup: float = option(0.1, "share of all steps in which the learning rate rises; then it falls as a cosine to 0")
    dropout: float = option(0.5, "dropout before the classifier")
    eval_clips: int = option(10, "clips per video in evaluation, averaged", at_least=1)
    eval_every: int = option(1, "epochs between evaluations; the last epoch always has one", at_least=1)
    seed: int = option(0, "of everything that is drawn", at_least=0)
    workers: int = option(min(8, os.cpu_count() or 2), "decoding processes; 0 decodes in the main one", at_least=0)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    decoder: str = option("auto", "where videos are decoded", choices=("auto", "cpu", "gpu"))
    on_bad_video: str = option(
        "error",
        "a video that can no longer be read stops the run, or is replaced by one of its class and named in the log",
        choices=ON_BAD_VIDEO,
    )
    max_bad_percent: float = option(1.0, "stop when more of the videos are bad")
    out: str = option("runs/latest", "folder for checkpoints, metrics and pictures")
    max_steps: int = option(0, "stop after this many steps, for a short try; 0 is no limit", at_least=0)

    def __post_init__(self):
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
        self._check_split()
        check_level(self.randaug_m)
        self._check_mix()
        if self.frames % 16:
            raise InputError(f"--frames is {self.frames}, SlowFast needs a multiple of 16")
        for name, low, high in (("lr", 0, 10), ("weight_decay", 0, 1), ("warmup", 0, 1), ("dropout", 0, 0.99),
                                ("max_bad_percent", 0, 100)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{flag(name)} is {getattr(self, name)}, it must lie between {low} and {high}")

    def _check_split(self):
        if self.dataset not in DATASETS:
            if self.split:
                raise InputError(f"--split {self.split} needs a --dataset with official splits: {', '.join(DATASETS)}")
            return
        if self.data == "demo":
            raise InputError(f"--dataset {self.dataset} needs --data, the folder that its archives were unpacked to")
        if self.val_data:
            raise InputError(
                f"--val-data {self.val_data} is of no use with --dataset {self.dataset}, whose lists say what is for validation"
            )
        if self.split:
            check_known(f"--split of {self.dataset}", self.split, DATASETS[self.dataset].splits)

    def _check_mix(self):
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
        mixing = [MIXES[name] for name in names if not MIXES[name].deletes]
        if self.mix_labels == "seen_frames" and not any("T" in mix.axes for mix in mixing):
            raise InputError(
                f"--mix-labels seen_frames is of no use: the labels of {self.mix} do not depend on the frames"
            )
        if mixing and self.batch_size == 1:
            raise InputError(f"--batch-size 1 leaves --mix {self.mix} no other clip to mix with, it must be at least 2")

    @property
    def translate_max_px(self) -> float:
        """Translation at level 30: 100 pixels of the paper's 160-pixel crop, in proportion."""
        return PAPER_TRANSLATE_PX * self.crop / PAPER_CROP_PX

    def save(self, path: Path) -> None:
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2) + "\n")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def paper() -> Config:
    """Section 4.1 of the paper."""
    return Config()


def small() -> Config:
    """The same network on clips small enough for two CPU cores: the demo data in about five minutes."""
    return Config(frames=32, crop=56, batch_size=8, epochs=9, lr=1e-3, warmup=0.2, dropout=0.0, randaug_n=1, randaug_m=5.0,
                  eval_clips=2, workers=2)  # fmt: skip


def parse(arguments: list[str], has_gpu: bool) -> tuple[Config, str]:
    """The configuration from a command line, and one line that says which preset it starts from.

    Raises:
        InputError: an option or value is wrong.
    """
    given = vars(_parser().parse_args(arguments))
    aug = given.get("aug", Config.aug)
    if "schedule" in given and aug != "randaug_t":
        raise InputError(f"--schedule {given['schedule']} is for --aug randaug_t, not for --aug {aug}")
    use_small = given.get("data", "demo") == "demo" and (not has_gpu or given.get("device") == "cpu")
    if not use_small:
        return replace(paper(), **given), "Preset paper: section 4.1."
    config = replace(small(), **given)
    return config, (
        f"Preset small, for the demo data without a GPU: {config.frames} frames of {config.crop}x{config.crop}, "
        f"{config.epochs} epochs, batches of {config.batch_size}, lr {config.lr:g}, RandAugment N={config.randaug_n} "
        f"M={config.randaug_m:g}, dropout {config.dropout:g}, {config.eval_clips} test clips; the same SlowFast-50."
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="run.py", description="Train SlowFast-50 on video through a DALI graph.", allow_abbrev=False)
    for item in fields(Config):
        default = "default: none" if item.default == "" else f"default: {item.default}"
        default = "default: the operation's own" if item.default is None else default
        kind = (typing.get_args(item.type) or (item.type,))[0]  # float of float | None
        parser.add_argument(flag(item.name), type=kind, choices=item.metadata["choices"],
                            default=argparse.SUPPRESS, help=f"{item.metadata['help']} ({default})")  # fmt: skip
    return parser
