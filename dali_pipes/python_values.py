"""Conversion of callers' numbers, such as numpy's, to Python's.

Then all of them are checked, pickled and written as JSON alike.
"""

import operator
from dataclasses import fields
from numbers import Real
from typing import Any

import numpy as np

from .errors import InputError


def to_python(value: Any) -> Any:
    """Return a whole number as an int and any other real number as a float.

    The elements of a tuple are converted too; all other values stay as they are.
    """
    if isinstance(value, (bool, np.bool_)):
        return value
    if type(value) is tuple:
        return tuple(map(to_python, value))
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, Real) else value


def fields_to_python(settings: Any) -> None:
    """Replace the fields of a dataclass, also a frozen one, by what :func:`to_python` makes of them."""
    for item in fields(settings):
        object.__setattr__(settings, item.name, to_python(getattr(settings, item.name)))


def is_number(value: object) -> bool:
    """Return whether a plain value is a number; a bool is not."""
    return type(value) in (int, float)


def whole_number(name: str, value: Any, least: int) -> int:
    """Return the value as an int.

    Raises:
        InputError: it is no whole number, or below ``least``.
    """
    number = to_python(value)
    if type(number) is not int:
        raise InputError(f"Invalid {name} {value!r}: must be a whole number of at least {least}")
    if number < least:
        raise InputError(f"Invalid {name} {number}: must be at least {least}")
    return number
