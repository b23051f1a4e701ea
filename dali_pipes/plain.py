"""Numbers as callers give them, numpy's among them, become Python's:
those are checked, pickled and written as JSON alike."""

import operator
from dataclasses import fields
from numbers import Real
from typing import Any

import numpy as np

from .errors import InputError


def plain(value: Any) -> Any:
    """Return any whole number as an int, any other real number as a float, a tuple with its elements so;
    all else as it is."""
    if isinstance(value, (bool, np.bool_)):
        return value
    if type(value) is tuple:
        return tuple(map(plain, value))
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, Real) else value


def make_plain(settings: Any) -> None:
    """Replace the fields of a dataclass, also a frozen one, by what :func:`plain` makes of them."""
    for item in fields(settings):
        object.__setattr__(settings, item.name, plain(getattr(settings, item.name)))


def is_number(value: object) -> bool:
    """Whether a plain value is a number, which a bool is not."""
    return type(value) in (int, float)


def whole(name: str, value: Any, least: int) -> int:
    """Return the value as an int.

    Raises:
        InputError: it is no whole number, or below ``least``.
    """
    number = plain(value)
    if type(number) is not int:
        raise InputError(f"{name} is {value!r}, it must be a whole number of at least {least}")
    if number < least:
        raise InputError(f"{name} is {number}, it must be at least {least}")
    return number
