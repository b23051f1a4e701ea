"""Common parts of the programs: how they end, and how they print names."""

import argparse
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ..errors import InputError
from .cores import usable_cores

MOST_S = 1e6
"""The highest time limit."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which job systems and ``docker stop`` send: the program ends as after Ctrl-C."""


def end_of(name: str, program: Callable[[], int | None]) -> int:
    """Run ``program`` and return the exit code: what it returns, or 0.

    It is 2, with one sentence on stderr, for a user's mistake or what cannot be read or written; 130 after Ctrl-C and
    143 after SIGTERM, with the exception's message on stderr.
    """
    print_any_name()
    formatted = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # without the line of this program
    try:
        with _sigterm_raises():
            return program() or 0
    except BrokenPipeError:  # whoever reads the output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InputError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        said = ["interrupted" if number == signal.SIGINT else "stopped by SIGTERM", *map(str, interrupt.args)]
        print("; ".join(said), file=sys.stderr)
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


def print_any_name() -> None:
    """Names that are no valid text are printed with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")


def flag(name: str) -> str:
    """The option of a setting: ``short_side_px`` -> ``--short-side-px``."""
    return "--" + name.replace("_", "-")


def one_line(path: str) -> str:
    """A name with a newline in it must not look like two."""
    return path.replace("\n", "\\n")


def add_limits(parser: argparse.ArgumentParser, time_limit_s: float, what: str) -> None:
    """Add ``--workers`` and ``--time-limit``, of which ``what`` says what is done to a file that takes longer."""
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (default: %(default)s)")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=time_limit_s,
        metavar="SECONDS",
        help=f"{what} a file that takes more processor time (default: %(default)g)",
    )


def check_limits(workers: int, time_limit_s: float) -> None:
    """Raise :class:`InputError` unless both can be used."""
    if workers < 1 or not 0 < time_limit_s <= MOST_S:
        raise InputError(
            f"--workers {workers} and --time-limit {time_limit_s:g} must be above 0, the limit at most {MOST_S:g}"
        )
