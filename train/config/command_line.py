"""The command line, derived from the fields of Config and Job, and the settings that it asks for."""

import argparse
import shlex
import typing
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from dali_pipes.dataset import UNLABELLED_DATA
from dali_pipes.errors import InputError
from dali_pipes.system import flag, with_todays_options

from .augmentation import AugmentationOptions, check_policy_options, options_in_use
from .data import GENERATED_DATA, DataOptions
from .evaluation import EvaluationOptions
from .help import ABOUT, USAGE, Formatter, about_small, choices_of, examples, help_of, invocation, is_switch
from .mixing import MixingOptions
from .model import ModelOptions
from .optimisation import OptimisationOptions
from .option import Role, names_in, option, options_going_with
from .options import Config, paper, small
from .run import MachineOptions, RunOptions, processes_of_machine

RESUME_WORDS = RESUME_LAST, RESUME_AUTO = "last", "auto"
INIT_WEIGHTS = "--init"
"""The value of --eval-only without one: the weights of --init."""
DATA_VIDEOS = "--data"
"""The value of --predict without one: the videos of --data."""


@dataclass(frozen=True, kw_only=True)
class ActionOptions:
    """Resuming, evaluating and predicting"""

    resume: str = option(
        "",
        "Resume the run of CHECKPOINT instead of starting a new run. Without a value, resume the run in --out. auto: "
        "resume the run in --out if there is one, otherwise start a new run.",
        metavar="CHECKPOINT",
        default_means="off",
        without_value=RESUME_LAST,
    )
    eval_only: str = option(
        "",
        "Evaluate CHECKPOINT on the validation videos instead of training. Without a value, evaluate the published "
        "weights of --init; output i of the network is then class i of --data.",
        metavar="CHECKPOINT",
        default_means="off",
        without_value=INIT_WEIGHTS,
    )
    ensemble: list[str] = option(
        (),
        "Evaluate several checkpoints as an ensemble instead of training. Their softmax scores are averaged.",
        metavar="CHECKPOINT",
        default_means="off",
    )
    ensemble_weights: list[float] = option(
        (),
        "Weights of the average of --ensemble, one number per checkpoint.",
        metavar="WEIGHT",
        default_means="equal weights",
    )
    predict: list[str] = option(
        (),
        "With --eval-only or --ensemble, write the most probable classes of each video of --data to predictions.csv. "
        "If VIDEO files are given, use these instead of --data, and also print the classes.",
        metavar="VIDEO",
        default_means="off",
        without_value=[DATA_VIDEOS],
    )

    def __post_init__(self) -> None:
        chosen = [name for name in ("resume", "eval_only", "ensemble") if getattr(self, name)]
        if len(chosen) > 1:
            raise InputError(
                f"Invalid {flag(chosen[0])}: cannot be combined with {' and '.join(map(flag, chosen[1:]))}; "
                "choose one of them"
            )
        if self.predict and not self.checkpoints:
            raise InputError(
                "Invalid --predict: needs a network; add --eval-only CHECKPOINT, --ensemble CHECKPOINT CHECKPOINT, "
                "or --init FILE --eval-only"
            )
        count, expected = len(self.ensemble_weights), len(self.ensemble)
        weights = " ".join(f"{weight:g}" for weight in self.ensemble_weights)
        if count and count != expected:
            raise InputError(
                f"Invalid --ensemble-weights {weights}: must be one number for each of the {expected} checkpoints "
                "of --ensemble"
            )
        if count and not (min(self.ensemble_weights) >= 0 and 0 < sum(self.ensemble_weights) < float("inf")):
            raise InputError(f"Invalid --ensemble-weights {weights}: must be finite, not negative, and not all 0")

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints to evaluate; empty for a training."""
        return [self.eval_only] if self.eval_only else list(self.ensemble)

    @property
    def videos(self) -> list[str]:
        """The videos that --predict names."""
        return [] if self.predict == [DATA_VIDEOS] else list(self.predict)


def parse(arguments: list[str]) -> tuple[dict, ActionOptions]:
    """The settings of ``Config`` that a command line gives, and what it asks for.

    Raises:
        InputError: an option or value is wrong.
    """
    overrides = vars(_parser().parse_args(with_todays_options(arguments)))
    asked = {item: overrides.pop(item.name) for item in fields(ActionOptions) if item.name in overrides}
    action = ActionOptions(
        **{item.name: item.metadata["without_value"] if value == [] else value for item, value in asked.items()}
    )
    if "" in action.videos:
        raise InputError(
            "Invalid --predict '': must be followed by video files, or by no argument for the videos of --data"
        )
    named_twice = (
        [flag(name) for name in names_in(Config, Role.NAMES_VIDEOS) if name in overrides] if action.videos else []
    )
    if named_twice:
        raise InputError(
            f"Invalid {', '.join(named_twice)}: cannot be combined with --predict {action.videos[0]}, which "
            "already names the videos; leave out one of them"
        )
    if action.eval_only == INIT_WEIGHTS:
        _check_published(overrides, action)
    return overrides, action


def _check_published(overrides: dict, action: ActionOptions) -> None:
    if not overrides.get("init"):
        raise InputError(
            "Invalid --eval-only: must be followed by a CHECKPOINT, or combined with --init FILE of published weights"
        )
    if action.videos:
        raise InputError(
            f"Invalid --predict {action.videos[0]}: cannot be combined with --init FILE --eval-only, because published "
            "weights contain no class names; give --predict without a video, and a folder of class folders with --data"
        )
    if "data" not in overrides or overrides.get("dataset") == UNLABELLED_DATA:
        raise InputError(
            "Invalid --eval-only: needs --data with videos of all classes of the published weights, because they "
            "contain no class names"
        )


def new_config(overrides: dict, has_gpu: bool) -> tuple[Config, str]:
    """The settings of a new run, and one line that says which preset they start from.

    Raises:
        InputError: a value is wrong.
    """
    check_policy_options(overrides, overrides.get("aug", Config.aug))  # also defaults that are given
    use_small = overrides.get("data", Config.data) in GENERATED_DATA and (
        not has_gpu or overrides.get("device") == "cpu"
    )
    if not use_small:
        config = _with_overrides(paper(), overrides)
        return config, _preset_note(config, "Preset paper (section 4.1 of the paper)")
    config = _with_overrides(small(), overrides)
    return config, _preset_note(config, "Preset small (for generated datasets without a GPU)")


def _preset_note(config: Config, preset: str) -> str:
    randaug = f"--aug {config.aug}, "
    if "randaug_n" in options_in_use(config.aug):
        randaug = f"RandAugment N={config.randaug_n} M={config.randaug_m:g}, "
    return (
        f"{preset} with the given options: {config.num_frames} frames of {config.crop_px}x{config.crop_px} pixels, "
        f"{config.epochs} epochs, batch size {config.batch_size}, lr {config.lr:g}, {randaug}"
        f"dropout {config.dropout:g}, {config.eval_clips} clips per video in evaluation."
    )


def resumed_config(overrides: dict, saved: Config, path: str | Path) -> Config:
    """The settings of a checkpoint's run; what is given may only differ where the result does not depend on it.

    Raises:
        InputError: a setting differs, which is named with both values.
    """
    may_change, of_length = (names_in(Config, role) for role in (Role.MAY_CHANGE, Role.LENGTH))
    differing = [name for name, value in overrides.items() if name not in may_change and value != getattr(saved, name)]
    if differing:
        theirs = ", ".join(f"{flag(name)} {getattr(saved, name)}, not {overrides[name]}" for name in differing)
        length = " ".join(f"{flag(name)} {overrides[name]}" for name in differing if name in of_length)
        init = f"--init {shlex.quote(str(path))} {length} --out OTHER"
        longer = f"; to train a new run from its weights, give its options and {init}"
        what = "these options" if len(differing) > 1 else "the option"
        raise InputError(
            f"{path}: was trained with {theirs}; to resume, leave {what} out; to start a new run, choose another --out"
            f"{longer if length else ''}"
        )
    base = _with_defaults(saved, names_in(Config, Role.RESET_ON_RESUME), overrides)
    return _with_overrides(replace(base, out=str(Path(path).parent)), overrides)


def evaluation_config(overrides: dict, saved: Config) -> Config:
    """The settings of a checkpoint's run, with what is given for its evaluation.

    Raises:
        InputError: something that is given is of no use.
    """
    takes = names_in(Config, Role.IN_EVALUATION)
    useless = [flag(name) for name in overrides if name not in takes]
    if useless:
        raise InputError(
            f"Invalid {', '.join(useless)}: cannot be given for an evaluation, which uses the settings of the "
            f"checkpoint; leave {'them' if useless[1:] else 'it'} out"
        )
    names = names_in(Config, Role.RESET_IN_EVALUATION)
    if "data" in overrides or "dataset" in overrides:  # what belonged to the checkpoint's data
        names += [name for name in names_in(Config, Role.NAMES_VIDEOS) if name != "data"]
    if overrides.get("dataset") == UNLABELLED_DATA and "data" not in overrides:
        raise InputError(f"Invalid --dataset {UNLABELLED_DATA}: needs --data; give a folder or a list of videos")
    return _with_overrides(_with_defaults(saved, names, overrides), overrides)


def published_config(overrides: dict) -> Config:
    """The settings to evaluate the weights of --init as they are.

    Raises:
        InputError: something that is given is of no use, or a value is wrong.
    """
    takes = names_in(Config, Role.IN_EVALUATION | Role.FOR_PUBLISHED)
    useless = [flag(name) for name in overrides if name not in takes]
    if useless:
        raise InputError(
            f"Invalid {', '.join(useless)}: cannot be given for an evaluation, which trains nothing; "
            f"leave {'them' if useless[1:] else 'it'} out"
        )
    return _with_overrides(paper(), overrides)


def _with_defaults(saved: Config, names: list[str], overrides: dict) -> Config:
    """Return ``saved`` with some settings at their defaults, so that they do not contradict what is given."""
    if "on_bad_video" in overrides:
        names = [*names, *options_going_with(Config, "on_bad_video")]
    return replace(saved, **{name: getattr(Config, name) for name in names})


def _with_overrides(base: Config, overrides: dict) -> Config:
    """Return the options as given; on a machine with several processes each gets its share of the cores."""
    workers = max(1, base.workers // processes_of_machine()) if base.workers else 0
    return replace(base, **{"workers": workers} | overrides)


class _SwitchOrChoice(argparse.BooleanOptionalAction):
    """``--name``, ``--no-name`` or ``--name VALUE``."""

    def __init__(self, *args: Any, **known: Any):
        choices = known.pop("choices")
        super().__init__(*args, **known)
        self.nargs, self.choices = "?", choices

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is None:
            super().__call__(parser, namespace, values, option_string)
        elif str(option_string).startswith("--no-"):
            parser.error(f"Invalid {option_string} {values!r}: takes no value; leave the value out")
        else:
            setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


SECTIONS: tuple[type, ...] = (
    DataOptions,
    AugmentationOptions,
    MixingOptions,
    ModelOptions,
    OptimisationOptions,
    EvaluationOptions,
    ActionOptions,
    RunOptions,
    MachineOptions,
)
"""The groups of options as --help and docs/options.md show them, those needed most often first."""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="run.py",
        usage=USAGE,
        description=f"{ABOUT}\n\n{about_small()}",
        epilog=examples(),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    for options in SECTIONS:
        group = parser.add_argument_group(str(options.__doc__))
        for item in fields(options):
            action = group.add_argument(flag(item.name), **_argument(item))
            action.shown = invocation(item)  # type: ignore[attr-defined]
    return parser


def _argument(item: Field) -> dict[str, Any]:
    """Return the keyword arguments of ``add_argument`` for an option."""
    about = item.metadata
    known: dict[str, Any] = {"default": argparse.SUPPRESS, "help": help_of(item)}
    if item.type is bool:
        return known | {"action": argparse.BooleanOptionalAction}
    if is_switch(item):
        return known | {"action": _SwitchOrChoice, "choices": choices_of(item)}
    is_list = typing.get_origin(item.type) is list
    if about["without_value"] is not None:
        known |= {"nargs": "*"} if is_list else {"nargs": "?", "const": about["without_value"]}
    elif is_list:
        known["nargs"] = "+"
    kind = (typing.get_args(item.type) or (item.type,))[0]  # float of float | None and of list[float]
    return known | {"type": kind, "choices": about["choices"]}
