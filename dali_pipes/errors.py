"""Errors whose message is one sentence that a user can act on."""

from collections.abc import Collection
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and what would be right."""


class VideoError(InputError):
    """A video file cannot be read as planned; the message names the file and the reason."""


class TooSlow(VideoError):
    """A video takes more processor time than the limit.

    Pauses and other programs do not count, so trying again would not help.
    """


class NoAnswer(VideoError):
    """A read did not come back within the limit.

    If the disk was away or this process was suspended for a while, the next read may succeed.
    """


OR_A_COPY = "make a copy with python -m dali_pipes.transcode, which is faster to read, or "
"""The advice that transcode leaves out of the sentence."""


def too_slow(limit_s: float) -> str:
    """Return what is said, after its path, of a video that takes more processor time than the limit."""
    return f"takes more than {limit_s:g} s of CPU time to read; {OR_A_COPY}raise the time limit"


def no_answer(limit_s: float) -> str:
    """Return what is said, after its path, of a video at which its reader waits for longer than the limit."""
    return f"cannot be read within {limit_s:g} s; try again when its disk responds faster, or raise the time limit"


def check_known(what: str, name: object, known: Collection, *, of: str = "") -> None:
    """Raise :class:`InputError` unless ``name`` is one of ``known``.

    The message lists them, the one of nearest spelling first, and says of what the name is, if that is given.
    """
    if name not in known:
        names = [str(one) for one in known]
        nearest = get_close_matches(str(name), names, n=1)
        listed = ", ".join(dict.fromkeys(nearest + names))
        raise InputError(f"Invalid {what} {name!r}{of and f' of {of}'}: choose one of {listed}")
