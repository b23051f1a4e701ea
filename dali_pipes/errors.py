"""Errors whose message is one sentence that a user can act on."""

from collections.abc import Collection


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and what would be right."""


class VideoError(InputError):
    """A video file cannot be read as planned; the message names the file and the reason."""


def check_known(what: str, name: object, known: Collection) -> None:
    """Raise :class:`InputError` unless ``name`` is one of ``known``; the message lists them."""
    if name not in known:
        raise InputError(f"unknown {what} {name!r}: choose one of {', '.join(map(str, known))}")
