"""DALI's decoding processes: whether there is memory for them, and what to say when one dies."""

import multiprocessing
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from .dali_internals import WorkerPool
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


class EndsWithParent:
    """A source for DALI's worker processes; there it ends the process when the one that started it asks for that by SIGTERM,
    as DALI does, or is gone, even killed. Otherwise workers would wait for work for ever, and keep its output open.
    """

    def __init__(self, source: Callable[[Any], tuple]):
        self.source = source

    def __call__(self, sample_info: Any) -> tuple:
        return self.source(sample_info)

    def __setstate__(self, state: dict[str, Any]) -> None:  # unpickled: this is a worker
        self.__dict__.update(state)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_outlive, args=(parent,), daemon=True).start()
            threading.Thread(target=_obey, args=(parent.pid,), daemon=True).start()


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _obey(parent: int) -> None:
    """Of SIGTERMs only the parent's counts. They are blocked, see :func:`workers_without_signals`."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(1)


class Watch:
    """Notices that a worker died, ends the others, and interrupts the main thread if that waits for it in vain.

    DALI does the first two too, but not if the worker died holding the lock of a queue: then its observing thread waits
    for that lock, or breaks off, and the workers that it should have ended keep this process from exiting.
    """

    def __init__(self, pool: WorkerPool):
        self.pool, self.processes = pool, pool.processes
        self.waiting, self.closed, self.interrupted = False, False, False
        self._cause: str | None = None
        self._main_thread = threading.main_thread().ident or 0
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """In the main thread a wait in here ends with KeyboardInterrupt after a death, whatever handles Ctrl-C."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        others = signal.getsignal(signal.SIGINT)

        def handle(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            if callable(others):
                others(number, frame)

        signal.signal(signal.SIGINT, handle)
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
            signal.signal(signal.SIGINT, others)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for process in self.processes:
                selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ)
            while not self.closed and not selector.select(1.0):
                pass
            for key in list(selector.get_map().values()):
                os.close(key.fd)
        if self.closed:
            return
        time.sleep(DALI_NOTICES_S)
        self.end_workers()
        if self.waiting and not self.closed:
            self.interrupted = True
            signal.pthread_kill(self._main_thread, signal.SIGINT)

    def cause(self) -> str | None:
        """The signal that ended a worker, or None if all live or were ended by DALI."""
        if self._cause is None:
            codes = [process.exitcode for process in self.processes]
            signals = [signal.Signals(-code).name for code in codes if code is not None and code < 0]
            self._cause = next(iter(signals), None)
        return self._cause

    def end_workers(self) -> None:
        """After a death: leave nothing that this process would wait for, neither workers nor DALI's observing thread."""
        self.cause()  # asked before they are killed
        if any(process.exitcode is not None for process in self.processes):
            self.pool.forget_observer()
            for process in self.processes:
                process.kill()

    def close(self) -> None:
        self.closed = True
        self.end_workers()


@contextmanager
def workers_without_signals() -> Iterator[None]:
    """Processes started in here leave Ctrl-C and SIGTERM to this one, which ends them, see :class:`EndsWithParent`.

    Both often go to all processes of a job; a training that is asked to end needs its workers for the step at hand.
    """
    resource_tracker.ensure_running()  # starting it in here would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def death_error(cause: str, candidates: Sequence[VideoInfo], workers: int) -> InputError:
    """What to raise: names the video that crashes its reader, if one of those that were being read does."""
    paths = sorted({video.path for video in candidates})
    calls = [(path, True, TIME_LIMIT_S) for path in paths]
    for place, outcome in map_isolated(probe, calls, workers=workers, time_limit_s=TIME_LIMIT_S):
        if isinstance(outcome, Died):
            return VideoError(f"{paths[place]}: {outcome}")
    hint = _HINTS.get(cause, "none of the videos being read does so when read alone")
    return InputError(f"a decoding process died ({cause}); {hint}")
