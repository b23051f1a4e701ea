"""Files opened for reading, and numbers read from them, alike in PyAV 17, 18 and 19."""

from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer

# PyAV 19 reads texts so by itself, and has no such argument; before, one that is not UTF-8 was an error.
_TEXTS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_input(path: str, timeout_s: float | None = None) -> InputContainer:
    """Open a file of the disk; its titles and comments need not be UTF-8."""
    # a name like 12:30.avi is no protocol
    return cast(InputContainer, av.open(f"file:{path}", timeout=timeout_s, **_TEXTS))


def fraction_of(number: Any) -> Fraction | None:
    """Return what PyAV gives as a fraction, or None where it is not known: PyAV 19 then gives 0/1 or 0/0."""
    return Fraction(number.numerator, number.denominator) if number else None
