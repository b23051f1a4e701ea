"""Common parts of the programs: how they end, and how they print names."""

import argparse
import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from ..errors import InputError
from .cores import usable_cores

MAX_TIME_LIMIT_S = 1e6
"""The highest time limit."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which job systems and ``docker stop`` send: the program ends as after Ctrl-C."""


def run_program(name: str, program: Callable[[], int | None], flags: Mapping[str, str] | None = None) -> int:
    """Run ``program`` and return the exit code: what it returns, or 0.

    It is 2, with one sentence on stderr, for a user's mistake or what cannot be read or written; 130 after Ctrl-C and
    143 after SIGTERM, with the exception's message on stderr.

    Args:
        name: the program's, before the sentence.
        program: what to run.
        flags: Python parameter -> the program's option for it, see :func:`with_flags`.
    """
    escape_invalid_text()
    formatted = warnings.formatwarning

    def said(message: object) -> str:
        return with_flags(str(message), flags or {})

    warnings.formatwarning = lambda message, *_, **__: f"warning: {said(message)}\n"  # without the line of this program
    try:
        with _sigterm_raises():
            return program() or 0
    except BrokenPipeError:  # whoever reads the output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InputError, OSError) as error:
        print(f"{name}: {said(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        words = ["interrupted" if number == signal.SIGINT else "stopped by SIGTERM", *map(str, interrupt.args)]
        print("; ".join(words), file=sys.stderr)
        return 128 + number
    finally:
        warnings.formatwarning = formatted


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise :class:`Terminated` at the first SIGTERM; a second one ends the program at once.

    A caller's own handler stays in place.
    """
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    if is_ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def escape_invalid_text() -> None:
    """Names that are no valid text are printed with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")


def flag(name: str) -> str:
    """The option of a setting: ``short_side_px`` -> ``--short-side-px``."""
    return "--" + name.replace("_", "-")


def flags_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the long option of each setting of a command line, see :func:`with_flags`."""
    return {action.dest: option for action in parser._actions for option in action.option_strings if option[:2] == "--"}


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """Return the library's message in the words of a command line.

    ``Invalid fps -1: ...`` becomes ``Invalid --fps -1: ...``, and ``workers=0`` becomes ``--workers 0``.

    Args:
        message: names Python parameters.
        flags: parameter -> option; other parameters stay as they are.
    """

    def option(match: re.Match) -> str:
        name, value = match["invalid"] or match["given"], match["quoted"] or match["plain"] or ""
        if name not in flags:
            return match[0]
        return f"Invalid {flags[name]}" if match["invalid"] else " ".join(filter(None, (flags[name], value)))

    return _PARAMETER.sub(option, message)


_PARAMETER = re.compile(
    r"(?<![^\s(])(?:Invalid (?P<invalid>\w+)(?= )|"
    r"(?P<given>\w+)=(?:\.\.\.|'(?P<quoted>\w+)'|(?P<plain>\w+))(?![^\s,;)]))"
)
"""A parameter that is said to be invalid, or with a value; not a part of a path."""


RENAMED_OPTIONS = {
    "frames": "num_frames",
    "stride": "stride_frames",
    "crop": "crop_px",
    "size": "crop_px",
    "short": "short_videos",
    "time_limit": "time_limit_s",
}
"""Settings of earlier versions -> their names today, see :func:`flag`; saved settings are read by both."""


def with_todays_options(arguments: Sequence[str] | None) -> list[str]:
    """Return a command line with today's names for options that were renamed, of which it warns on stderr.

    Args:
        arguments: the command line; None is that of this program.
    """
    found, renamed = [], {flag(old): flag(new) for old, new in RENAMED_OPTIONS.items()}
    for word in sys.argv[1:] if arguments is None else arguments:
        old, equals, value = word.partition("=")
        if new := renamed.get(old):
            print(f"warning: {old} is now called {new}; the old name will be removed", file=sys.stderr)
            word = new + equals + value
        found.append(word)
    return found


def described_by(docstring: str) -> dict[str, Any]:
    """Return a parser's ``description`` and ``epilog``: the first two paragraphs of its program's docstring."""
    description, example = docstring.split("\n\n")[:2]
    return {"description": description, "epilog": example.replace("``", "")}


def one_line(path: str) -> str:
    """A name with a newline in it must not look like two."""
    return path.replace("\n", "\\n")


def add_limits(parser: argparse.ArgumentParser, time_limit_s: float, what: str) -> None:
    """Add ``--workers`` and ``--time-limit-s``; ``what`` says what happens to files that take longer: "left out"."""
    parser.add_argument(
        "--workers",
        type=int,
        default=usable_cores(),
        help="number of worker processes (default: one per CPU core, here %(default)s)",
    )
    parser.add_argument(
        "--time-limit-s",
        type=float,
        default=time_limit_s,
        metavar="SECONDS",
        help=f"CPU time limit per file, in seconds; files that take longer are {what} (default: %(default)g)",
    )


def check_limits(workers: int, time_limit_s: float) -> None:
    """Raise :class:`InputError` unless both can be used."""
    if workers < 1:
        raise InputError(f"Invalid workers {workers}: must be at least 1")
    if not 0 < time_limit_s <= MAX_TIME_LIMIT_S:
        raise InputError(f"Invalid time_limit_s {time_limit_s:g}: must be above 0 and at most {MAX_TIME_LIMIT_S:g}")
