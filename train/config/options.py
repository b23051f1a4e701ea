"""All settings of a training run: a frozen dataclass, checked on construction, and two presets.

Each option is declared in the class of its group: data.py, model.py, augmentation.py, mixing.py, optimisation.py,
evaluation.py, run.py.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dali_pipes.errors import InputError
from dali_pipes.system import RENAMED_OPTIONS, flag, replacing, usable_cores

from ..models.zoo import check_clips
from .augmentation import SCHEDULED_AUG, AugmentationOptions
from .data import DataOptions
from .evaluation import EvaluationOptions
from .mixing import MixingOptions
from .model import ModelOptions
from .optimisation import OptimisationOptions
from .option import Group, Role, check_value, names_in
from .run import CUDA_GRAPHS, MachineOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class Config(
    # the last one's fields come first
    MachineOptions,
    RunOptions,
    EvaluationOptions,
    OptimisationOptions,
    MixingOptions,
    AugmentationOptions,
    ModelOptions,
    DataOptions,
):
    """One training run. The defaults are the paper's (section 4.1); checked on construction."""

    def __post_init__(self) -> None:
        for item in fields(self):
            check_value(item, getattr(self, item.name))
        for group in GROUPS:
            group.check(self)
        check_clips(self.model, self.num_frames, self.crop_px)
        if self.compile == CUDA_GRAPHS and self.accumulate > 1:  # a part's gradients would take the last one's place
            raise InputError(
                f"Invalid --accumulate {self.accumulate}: cannot be combined with --compile {CUDA_GRAPHS}, because "
                "PyTorch cannot accumulate gradients over CUDA graphs; leave out one of them"
            )
        if self.needs_partners and self.batch_size == 1:
            raise InputError(
                f"Invalid --batch-size 1: must be at least 2 with --mix {self.mix}, which mixes two clips of a batch"
            )

    def save(self, path: Path) -> None:
        """Write the options as JSON."""
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2) + "\n")


GROUPS: tuple[type[Group], ...] = tuple(reversed(Config.__bases__))


FLAGS = {item.name: flag(item.name) for item in fields(Config)}
"""Setting -> option, see :func:`dali_pipes.system.with_flags`."""


def with_todays_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that a run saved, also an earlier version's, by the names that they have today."""
    return {RENAMED_OPTIONS.get(name, name): value for name, value in settings.items()}


def paths_read(config: Config) -> dict[str, str]:
    """Return what is read, by the options that name it: flag -> path, empty where none is given."""
    return {flag(name): getattr(config, name) for name in names_in(Config, Role.IS_READ)}


def from_saved(settings: dict[str, Any]) -> Config:
    """Return the settings that a run saved, also an earlier version's.

    Its options had other names, it took a schedule that nothing used, and its steps were even: its runs go on so, and
    show each clip once an epoch.
    """
    settings = {"even_steps": True} | with_todays_names(settings)
    if settings.get("aug", Config.aug) != SCHEDULED_AUG:
        settings = settings | {"schedule": Config.schedule}
    return Config(**settings)


def paper() -> Config:
    """Return the settings of section 4.1 of the paper."""
    return Config()


def small() -> Config:
    """The same network on clips small enough for two CPU cores: the demo data in four to six minutes."""
    return Config(
        num_frames=32,
        crop_px=56,
        batch_size=8,
        epochs=9,
        lr=1e-3,
        warmup=0.2,
        dropout=0.0,
        randaug_n=1,
        randaug_m=5.0,
        eval_clips=2,
        workers=min(2, usable_cores()),
    )
