"""Ctrl-C and SIGTERM while training: noted, so that the step at hand is finished and a checkpoint written.

A program that a script starts in the background ignores the terminal's Ctrl-C, and goes on doing so here.
"""

import signal
import time
from types import FrameType

AT_ONCE_AFTER_S = 2.0
"""A second Ctrl-C this much later ends the run without a checkpoint. torchrun repeats the first one sooner."""


class Stopped(Exception):  # noqa: N818 - not an error
    """The run was asked to end; a training has written its checkpoint."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class StopRequest:
    """``with StopRequest() as stop``: ``stop.number`` is the signal that asked for the end, 0 before."""

    def __enter__(self) -> "StopRequest":
        self.number, self._since = 0, 0.0
        heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT and time.monotonic() - self._since > AT_ONCE_AFTER_S:
            raise KeyboardInterrupt
        self.number, self._since = self.number or number, self._since or time.monotonic()
