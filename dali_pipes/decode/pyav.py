"""Files opened for reading, and what is read from them, alike in PyAV 17, 18 and 19."""

from enum import Enum
from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type

_BEFORE_19 = int(av.__version__.split(".")[0]) < 19
# PyAV 19 reads texts so by itself, and has no such argument; before, one that is not UTF-8 was an error.
_TEXTS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if _BEFORE_19 else {}


def open_input(path: str, timeout_s: float | None = None, stored_times: bool = False) -> InputContainer:
    """Open a file of the disk; its titles and comments need not be UTF-8.

    Args:
        path: the file.
        timeout_s: for each read.
        stored_times: packets carry the times that the file holds; otherwise FFmpeg fills in what is missing.
    """
    options = {"fflags": "nofillin"} if stored_times else {}
    # a name like 12:30.avi is no protocol
    container = av.open(f"file:{path}", timeout=timeout_s, container_options=options, **_TEXTS)
    return cast(InputContainer, container)


def fraction_of(number: Any) -> Fraction | None:
    """Return what PyAV gives as a fraction, or None where it is not known: PyAV 19 then gives 0/1 or 0/0."""
    return Fraction(number.numerator, number.denominator) if number else None


def _unnamed(kind: type[Enum], value: int) -> Enum:
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member


# Side data of a kind that PyAV has no name for, such as EXIF in Motion JPEG: an error before PyAV 19.
if _BEFORE_19:
    setattr(Type, "_missing_", classmethod(_unnamed))  # noqa: B010 - a plain assignment is no type's
