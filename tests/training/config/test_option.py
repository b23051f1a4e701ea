"""Every option is declared once, in its group; what may be done with it follows from its roles."""

from dataclasses import dataclass, fields

import numpy as np
import pytest

from dali_pipes import InputError
from train.config.command_line import _parser
from train.config.option import Group, Role, check_value, names_in, option, options_going_with
from train.config.options import GROUPS, Config
from train.paper.recipes import METHODS
from train.paper.tables import SET_BY_RECIPES
from train.runtime.run_folder import CONFIG_KEYS

MAY_CHANGE = (
    "data val_data device decoder reader workers precision tf32 channels_last compile fused_adam on_bad_video "
    "max_bad_percent time_limit_s out checkpoint_minutes tensorboard"
)
IN_EVALUATION = (
    "data val_data dataset split batch_size crop_px crop_mode eval_clips eval_crops device decoder reader workers "
    "precision tf32 channels_last compile on_bad_video max_bad_percent time_limit_s out"
)
MEMBERS = {
    Role.MAY_CHANGE: MAY_CHANGE,
    Role.RESET_ON_RESUME: "device decoder workers",
    Role.IN_EVALUATION: IN_EVALUATION,
    Role.FOR_PUBLISHED: "init model lateral num_frames stride_frames short_videos",
    Role.RESET_IN_EVALUATION: "device decoder reader workers precision mix mix_alpha mix_prob mix_draw mix_labels",
    Role.IS_READ: "data val_data init",
    Role.NAMES_VIDEOS: "data val_data dataset split",
    Role.LENGTH: "epochs max_steps",
    Role.SAME_RECIPE: "seed eval_every even_steps max_steps",
    Role.AS_IN_PAPER: "dataset split model width",
    Role.SET_BY_TABLE: "split seed out max_steps",
}


def test_each_option_is_declared_in_one_group_under_a_heading_of_its_own():
    declared = [item.name for group in GROUPS for item in fields(group)]
    assert len(set(declared)) == len(declared) and declared == [item.name for item in fields(Config)]
    headings = {group.title: [action.dest for action in group._group_actions] for group in _parser()._action_groups}
    for group in GROUPS:
        assert headings[group.__doc__] == [item.name for item in fields(group)]
    assert headings["Resuming, evaluating and predicting"][0] == "resume"


@pytest.mark.parametrize("role", MEMBERS, ids=lambda role: role.name)
def test_the_options_of_each_role(role):
    assert sorted(names_in(Config, role)) == sorted(MEMBERS[role].split())


def test_what_goes_with_another_option():
    of = {owner: options_going_with(Config, owner) for owner in ("aug", "mix", "on_bad_video")}
    assert of == {
        "aug": "schedule randaug_n randaug_m randaug_scale randaug_ranges randaug_interpolation randaug_invert".split(),
        "mix": "mix_alpha mix_prob mix_draw mix_labels".split(),
        "on_bad_video": ["max_bad_percent"],
    }
    assert sum(map(len, of.values())) == sum(bool(item.metadata["goes_with"]) for item in fields(Config))


def test_what_the_rows_of_a_table_choose():
    expected = "aug max_steps mix mix_alpha mix_prob out randaug_m randaug_n schedule seed split"
    assert expected.split() == SET_BY_RECIPES
    names = {item.name for item in fields(Config)}
    assert {name for method in METHODS.values() for name in method} <= names and names >= CONFIG_KEYS


def test_an_option_without_roles_is_the_careful_case():
    @dataclass(frozen=True, kw_only=True)
    class Options(Group):
        new: int = option(0, "of which nothing is said")

    assert set(MEMBERS) == set(Role.__members__.values()) - {Role.NONE}
    assert not any(names_in(Options, role) for role in MEMBERS)


@pytest.mark.parametrize(
    "limits, value, message",
    [
        ({"at_least": 2}, 1, "Invalid --rate-hz 1: must be at least 2"),
        ({"at_least": 0, "at_most": 1}, 1.5, "Invalid --rate-hz 1.5: must be between 0 and 1"),
        ({"at_least": 0, "at_most": 1}, float("nan"), "Invalid --rate-hz nan: must be between 0 and 1"),
        ({"above": 0}, 0.0, "Invalid --rate-hz 0: must be above 0"),
        ({"above": 0, "at_most": 8}, 9.0, "Invalid --rate-hz 9: must be above 0 and at most 8"),
        ({"choices": (1, 3)}, 2, "Invalid --rate-hz 2: choose one of 1, 3"),
        ({"must_name": "a folder"}, "", "Invalid --rate-hz '': must name a folder"),
    ],
)
def test_limits(limits, value, message):
    @dataclass(frozen=True, kw_only=True)
    class Options(Group):
        rate_hz: float | str = option(2, "", **limits)

    (item,) = fields(Options)
    with pytest.raises(InputError) as error:
        check_value(item, value)
    assert str(error.value) == message
    check_value(item, 1 if limits.get("at_most") == 1 else 3)


def test_settings_that_contradict_each_other_are_refused_from_python_too():
    with pytest.raises(InputError, match="^Invalid --schedule mix: needs --aug randaug_t, not --aug randaug$"):
        Config(aug="randaug", schedule="mix")
    for aug in ("none", "randaug"):  # every config.json names a schedule
        assert Config(aug=aug, schedule="temporal+").aug == aug


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 2.5}, "Invalid --epochs 2.5: must be a whole number"),
        ({"epochs": "3"}, "Invalid --epochs '3': must be a whole number"),
        ({"seed": True}, "Invalid --seed True: must be a whole number"),
        ({"tensorboard": "no"}, "Invalid --tensorboard 'no': must be true or false"),
        ({"out": 3}, "Invalid --out 3: must be a text"),
        ({"init": None}, "Invalid --init None: must be a text"),
        ({"dataset": ["a"]}, r"Invalid --dataset \['a'\]: must be a text"),
        ({"lr": float("nan")}, "Invalid --lr nan: must be between 0 and 10"),
        ({"randaug_scale": float("inf")}, "Invalid --randaug-scale inf: must be finite"),
        ({"mix": "mixup", "mix_alpha": "x"}, "Invalid --mix-alpha 'x': must be a number or null"),
    ],
)
def test_values_of_another_type_are_refused(settings, message):
    """As a file or a program may give them; the command line turns texts into numbers itself."""
    with pytest.raises(InputError, match=f"^{message}$"):
        Config(**settings)


def test_whole_numbers_are_numbers():
    assert Config(lr=1, mix="mixup", mix_alpha=2).lr == 1 and Config(epochs=np.int64(3)).epochs == 3
