"""Declaration of an option: its default, help, limits and roles, in the class of its group."""

from collections.abc import Collection, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import Flag, auto
from math import isfinite
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args

from dali_pipes.errors import InputError, check_known
from dali_pipes.system import flag


class Role(Flag):
    """Roles of an option: what may be done with it.

    One without roles is the careful case: refused on resume and in an evaluation, and counted as changing the result.
    """

    NONE = 0
    MAY_CHANGE = auto()
    """May differ when a run is resumed: it changes where and how fast a run computes, not its result."""
    RESET_ON_RESUME = auto()
    """A run that is resumed does not take it from its checkpoint: the machine may be another."""
    IN_EVALUATION = auto()
    """May be given with --eval-only and --ensemble; all else is the checkpoint's."""
    FOR_PUBLISHED = auto()
    """May be given to evaluate published weights too: no checkpoint says how their clips are made."""
    RESET_IN_EVALUATION = auto()
    """An evaluation does not take it from the checkpoint: the machine may be another, or it is for training alone."""
    IS_READ = auto()
    """Names a file or folder that is read, which nothing may replace."""
    NAMES_VIDEOS = auto()
    """Says which videos are used: those of one data set mean nothing with another."""
    LENGTH = auto()
    """Sets the length of the training."""
    SAME_RECIPE = auto()
    """Trainings that differ in it are still of one recipe of the tables."""
    AS_IN_PAPER = auto()
    """A training that differs in it from its recipe is not compared with the paper's figure."""
    SET_BY_TABLE = auto()
    """The rows and seeds of a table choose it, as they do what recipes.METHODS name: not given for a whole table."""


def option(
    default: Any,
    help: str,
    *,
    roles: Role = Role.NONE,
    choices: Collection | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    must_name: str = "",
    goes_with: str = "",
    without_value: object = None,
    metavar: str = "",
    default_means: str = "",
) -> Any:
    """Declare an option as a field of its group's dataclass; its name and type are the field's.

    Args:
        default: the value if it is not given.
        help: for ``--help``, docs/options.md and reports: what it does, with its unit, in whole sentences.
        roles: what may be done with it.
        choices: the values it may have.
        at_least: its least value.
        above: its lower limit, exclusive; instead of ``at_least``.
        at_most: its greatest value.
        must_name: what it names, such as ``"a folder"``, if it must not be empty.
        goes_with: name of the option that it goes with: without that, or with its ``none``, it changes nothing.
        without_value: what it means on the command line without a value.
        metavar: what stands for its value in ``--help``, such as ``"PX"``; may be left out for a switch, or for a few
            choices, which are listed then.
        default_means: the default in words, where the value does not tell, or is another on each machine.
    """
    about = {
        "help": help,
        "roles": roles,
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "must_name": must_name,
        "goes_with": goes_with,
        "without_value": without_value,
        "metavar": metavar,
        "default_means": default_means,
    }
    return field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options that ``--help`` shows under one heading, the docstring of their class, those needed most often first."""

    def check(self) -> None:
        """Raise :class:`InputError` if these options contradict each other."""


TYPES: dict[type, tuple[type, str]] = {
    str: (str, "a text"),
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    NoneType: (NoneType, "null"),
}
"""An option's type -> the values that are of it, and its name in messages; a bool is no number."""


def _check_type(name: str, kinds: Sequence[type], value: Any) -> None:
    for kind in kinds:
        if isinstance(value, TYPES[kind][0]) and (kind is bool or not isinstance(value, bool)):
            break
    else:
        raise InputError(f"Invalid {name} {value!r}: must be {' or '.join(TYPES[kind][1] for kind in kinds)}")


def check_value(item: Field, value: Any) -> None:
    """Raise :class:`InputError` unless the option can have the value, also where it comes from a file or a program."""
    about, name = item.metadata, flag(item.name)
    _check_type(name, get_args(item.type) or (item.type,), value)
    if value is None:
        return
    if about["choices"]:
        check_known(name, value, about["choices"])
    if about["must_name"] and not value:
        raise InputError(f"Invalid {name} {value!r}: must name {about['must_name']}")
    at_least, above, at_most = about["at_least"], about["above"], about["at_most"]
    if above is not None and not above < value <= (float("inf") if at_most is None else at_most):
        end = "" if at_most is None else f" and at most {at_most:g}"
        raise InputError(f"Invalid {name} {value:g}: must be above {above:g}{end}")
    if at_least is not None and at_most is not None and not at_least <= value <= at_most:
        raise InputError(f"Invalid {name} {value}: must be between {at_least} and {at_most}")
    if at_least is not None and at_most is None and not value >= at_least:
        raise InputError(f"Invalid {name} {value}: must be at least {at_least}")
    if isinstance(value, Real) and not isfinite(value):
        raise InputError(f"Invalid {name} {value}: must be finite")


def names_in(options: type[Group], roles: Role) -> list[str]:
    """Return the names of the options that have one of the roles."""
    return [item.name for item in fields(options) if item.metadata["roles"] & roles]


def options_going_with(options: type[Group], owner: str) -> list[str]:
    """Return the names of the options that go with ``owner``, see :func:`option`."""
    return [item.name for item in fields(options) if item.metadata["goes_with"] == owner]
