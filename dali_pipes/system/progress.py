"""A progress bar: redrawn in a terminal, a widget in a notebook, and now and then a line in a log file."""

import os
import sys
import warnings
from collections.abc import Iterable

from tqdm import tqdm

FIRST_LINE_S = 30.0
"""Seconds of work before the first line in a log file; shorter work writes nothing there."""
LONGEST_SILENCE_S = 600.0
"""Longest time between two lines in a log file, in seconds. Each line comes after twice the time of the one before: ten
hours are some 65 lines."""
REDRAW_S = 1.0
"""Seconds between two drawings of a bar, so that slow connections and notebooks keep up."""


def progress_bar(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    title: str = "",
    unit: str = "it",
    done: int = 0,
    leave: bool = True,
) -> tqdm:
    """Return a bar around an iterable, or one for ``update()`` and ``close()``.

    Of several processes of torchrun only the first shows one.

    Args:
        iterable: what is worked on; None for a bar that is moved by hand.
        total: how many there are.
        title: before the bar.
        unit: what is counted.
        done: of the total before this bar.
        leave: whether it stays in the terminal or notebook when it is closed.
    """
    options = {
        "iterable": iterable,
        "total": total,
        "desc": title,
        "unit": unit,
        "initial": done,
        "mininterval": REDRAW_S,
        "miniters": 1,  # or a slow stretch after a fast one looks like a standstill
    }
    if sys.stderr is None or ("TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0"):
        return tqdm(**options, disable=True)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):  # a notebook's; an IPython in a terminal has none
        with warnings.catch_warnings():  # it says that it is experimental, or without ipywidgets that it becomes text
            warnings.simplefilter("ignore")
            from tqdm.autonotebook import tqdm as notebook_bar
        return notebook_bar(**options, leave=leave)
    if getattr(sys.stderr, "isatty", bool)() and os.environ.get("TERM") != "dumb":
        # some remote shells do not say how large they are, and tqdm would show nothing
        known = os.get_terminal_size(sys.stderr.fileno()).columns
        size = {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
        # two columns are left for the ^C that a terminal shows: it would begin a line and leave half a bar behind
        return tqdm(**options, **size, leave=leave, bar_format="{l_bar}{bar:-2}{r_bar}")
    # of no width: numbers alone; the mean rate, as the lines are far apart
    return _Lines(**options, leave=False, ncols=0, smoothing=0)


class _Lines(tqdm):
    """A bar that writes whole lines; closed as one that does not stay."""

    written_n, due_s = None, FIRST_LINE_S

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line if one is due.

        It is called often; ``msg`` is empty when the bar is closed, and a last line is due if there was any.
        """
        elapsed_s = self.format_dict["elapsed"]
        if elapsed_s >= self.due_s if msg is None else self.written_n not in (None, self.n):
            self.fp.write(f"{self}\n")
            self.fp.flush()
            self.written_n, self.due_s = self.n, elapsed_s + min(elapsed_s, LONGEST_SILENCE_S)

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: no bar stands in the way of other lines."""
