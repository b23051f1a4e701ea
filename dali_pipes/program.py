"""What the programs share: how they end, and how they print names."""

import io
import os
import sys
import warnings
from collections.abc import Callable

from .errors import InputError


def end_of(name: str, program: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run ``program`` and return the exit code: what it returns, or 0; 2 with one sentence on stderr for what the user got wrong or
    cannot be read or written; 130 with the sentence ``interrupted`` after Ctrl-C."""
    print_any_name()
    formatted = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # without the line of this program
    try:
        return program() or 0
    except BrokenPipeError:  # whoever reads the output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InputError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = formatted


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


def check_limits(workers: int, time_limit_s: float) -> None:
    """Raise :class:`InputError` unless both can be used."""
    if workers < 1 or not 0 < time_limit_s <= 10**6:
        raise InputError(
            f"--workers {workers} and --time-limit {time_limit_s:g} must be above 0, the limit at most 1e6"
        )
