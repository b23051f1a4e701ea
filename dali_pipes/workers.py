"""DALI's decoding processes: whether there is memory for them, and what to say when one dies."""

import os
import selectors
import signal
import threading
import time
from collections.abc import Sequence

from .errors import InputError, VideoError
from .isolate import Died, map_isolated
from .probe import VideoInfo, probe
from .video_file import TIME_LIMIT_S

SHM_FOLDER = "/dev/shm"
DALI_NOTICES_S = 5.0
"""DALI itself ends a run whose worker died, unless the worker was killed while it waited for work."""

_HINTS = {
    "SIGKILL": "perhaps memory ran out: lower --batch-size or --workers",
    "SIGBUS": f"perhaps {SHM_FOLDER} is full: start Docker with --shm-size=8g, lower --batch-size, or use --workers 0",
}


def check_shared_memory(needed: int) -> None:
    """Raise :class:`InputError` if so many bytes do not fit into shared memory; DALI itself would just die."""
    stat = os.statvfs(SHM_FOLDER)
    free = stat.f_bavail * stat.f_frsize
    if needed > free:
        raise InputError(
            f"{SHM_FOLDER} has {free / 2**20:.0f} MiB free, the loader's workers need about {needed / 2**20:.0f} MiB: "
            "start Docker with --shm-size=8g, lower the batch size, or use --workers 0"
        )


class Watch:
    """Notices that a worker died; interrupts the main thread if that waits for it in vain."""

    def __init__(self, processes: Sequence):
        """``processes``: with ``pid`` and ``exitcode``, as of ``multiprocessing``."""
        self.processes, self.waiting, self.closed, self.interrupted = list(processes), False, False, False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for process in self.processes:
                selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ)
            while not self.closed and not selector.select(1.0):
                pass
            for key in list(selector.get_map().values()):
                os.close(key.fd)
        time.sleep(DALI_NOTICES_S)
        if self.waiting and not self.closed:
            self.interrupted = True
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def cause(self) -> str | None:
        """How the first worker died, or None if all live or were ended by DALI."""
        codes = [process.exitcode for process in self.processes]
        signals = [signal.Signals(-code).name for code in codes if code is not None and code < 0]
        return next((name for name in signals if name != "SIGTERM"), None)


def death_error(cause: str, candidates: Sequence[VideoInfo], workers: int) -> InputError:
    """What to raise: names the video that crashes its reader, if one of those that were being read does."""
    paths = sorted({video.path for video in candidates})
    calls = [(path, True, TIME_LIMIT_S) for path in paths]
    for place, outcome in map_isolated(probe, calls, workers=workers, time_limit_s=TIME_LIMIT_S):
        if isinstance(outcome, Died):
            return VideoError(f"{paths[place]}: {outcome}")
    hint = _HINTS.get(cause, "none of the videos being read does so when read alone")
    return InputError(f"a decoding process died ({cause}); {hint}")
