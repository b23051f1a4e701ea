"""DALI's decoding processes: whether there is memory for them, and what to say when one dies."""

import atexit
import contextlib
import multiprocessing
import os
import selectors
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from ..dataset.probe import probe
from ..decode.video_file import TIME_LIMIT_S
from ..decode.video_info import VideoInfo
from ..errors import InputError, VideoError
from ..system.dali_internals import WorkerPool, processes_of_failed_build
from ..system.isolate import NoResult, map_isolated
from ..system.multiprocessing_internals import start_tracker_apart, unlink_names
from .main_module import UNGUARDED, WORKER, unguarded_error

SHM_FOLDER = "/dev/shm"
END_LIMIT_S = 5.0
"""Longest wait for a killed worker, in seconds; one that reads from a network folder that is gone ends later."""
PAUSE_S, IDLE_S, LOOK_S = 0.01, 0.2, 0.5

_MORE_SHM = "start Docker with --shm-size=8g, use a smaller batch size, or use workers=0"
_HINTS = {
    "SIGKILL": "the memory may be full: use a smaller batch size or fewer workers",
    "SIGBUS": f"{SHM_FOLDER} may be full: {_MORE_SHM}",
}


def check_shared_memory(needed: int) -> None:
    """Raise :class:`InputError` if so many bytes do not fit into shared memory; DALI itself would just die."""
    stat = os.statvfs(SHM_FOLDER)
    free = stat.f_bavail * stat.f_frsize
    if needed > free:
        raise InputError(
            f"{SHM_FOLDER}: has {free / 2**20:.0f} MiB free, but the loader's workers need about "
            f"{needed / 2**20:.0f} MiB; " + _MORE_SHM
        )


class EndsWithParent:
    """A source for DALI's worker processes that ends its process together with the parent process.

    The parent asks for the end by SIGTERM, as DALI does, or it is gone, even killed. Otherwise workers would wait for
    work for ever, and keep its output open.
    """

    def __init__(self, source: Callable[[Any], tuple]):
        self.source = source

    def __call__(self, sample_info: Any) -> tuple:
        """Return the arrays of one sample."""
        return self.source(sample_info)

    def __setstate__(self, state: dict[str, Any]) -> None:  # unpickled: this is a worker
        self.__dict__.update(state)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
            threading.Thread(target=_exit_on_sigterm_of_parent, args=(parent.pid,), daemon=True).start()


def _exit_with_parent(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _exit_on_sigterm_of_parent(parent: int) -> None:
    """End the worker at a SIGTERM of the parent; no other counts. They are blocked, see :func:`starting_workers`."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(1)


class WorkerWatch:
    """A watch over the workers: it ends all when one died, when the loader is closed or forgotten, and at exit.

    Whoever waits for a worker that died gets an error, in any thread: not only DALI's own, which may never come.

    Attributes:
        cause: the signal or exit code with which a worker died; None while all live, or were ended from here.
        processes: the workers.
    """

    def __init__(self, pool: WorkerPool, pipeline: Any):
        self.processes = pool.processes
        self.cause: str | None = None
        self._pool, self._process = pool, os.getpid()
        self._running, self._closed = False, threading.Event()
        unlink_names(pool.semaphores)  # the pipeline is built, so all workers have opened them
        weakref.finalize(pipeline, self.close).atexit = False
        atexit.register(self.close)  # before multiprocessing waits for the workers, whose place was taken earlier
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark the time in which something may wait for the workers."""
        self._running = True
        try:
            if self._closed.is_set():
                raise RuntimeError(
                    "Cannot continue: another thread closed the loader while it was in use; "
                    "close it after its last batch"
                )
            yield
        finally:
            self._running = False

    def _watch(self) -> None:
        _wait_for_one(self.processes)
        if not self._closed.is_set():
            self.cause = _cause(self.processes)
        for process in self.processes:
            process.kill()
        while self._running or not self._closed.is_set():
            self._pool.end_waits()
            time.sleep(PAUSE_S if self._running else IDLE_S)

    def close(self) -> None:
        """End the workers, in the process that started them."""
        if self._closed.is_set() or os.getpid() != self._process:
            return
        self._closed.set()
        atexit.unregister(self.close)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join(END_LIMIT_S)


def _wait_for_one(processes: Sequence[Any]) -> None:
    """Return when one has ended."""
    try:
        _wait_by_pidfd(processes)
    except (AttributeError, OSError):  # Python was built without, as conda's is, or the kernel refuses
        while all(process.exitcode is None for process in processes):
            time.sleep(LOOK_S)


def _wait_by_pidfd(processes: Sequence[Any]) -> None:
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as files:
        for process in processes:
            try:
                file = os.pidfd_open(process.pid)
            except ProcessLookupError:  # it has ended, and somebody has asked how
                return
            files.callback(os.close, file)
            selector.register(file, selectors.EVENT_READ)
        selector.select()


def _cause(processes: Sequence[Any]) -> str:
    """Return how one of the processes ended."""
    for _ in range(100):
        codes = [process.exitcode for process in processes if process.exitcode is not None]
        if codes:
            return _how_it_ended(min(codes))
        time.sleep(PAUSE_S)  # another thread is just asking
    return "nobody knows how"


def _how_it_ended(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


_one_starts = threading.Lock()
"""Lock for loaders in several threads: they share one environment."""


@contextmanager
def starting_workers() -> Iterator[None]:
    """Let workers that start in here leave Ctrl-C and SIGTERM to this process, see :class:`EndsWithParent`.

    Both often go to all processes of a job; a training that is asked to end needs its workers for the step at hand.
    They also know that they are workers, see ``main_module.py``.
    """
    with _one_starts:
        start_tracker_apart()  # with the signals blocked it would let them through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        os.environ[WORKER] = "1"
        try:
            yield
        finally:
            os.environ.pop(WORKER, None)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def build_error(error: Exception) -> Exception:
    """Return the error to raise when the workers could not be started.

    It is a sentence where the cause is known, else DALI's error.
    """
    codes = [process.exitcode for process in processes_of_failed_build(error)]
    if UNGUARDED in codes:
        return unguarded_error()
    for cause in [_how_it_ended(code) for code in codes if code is not None and code < 0]:
        hint = _HINTS.get(cause)
        return InputError(
            f"Cannot decode: a decoding process died while starting ({cause})" + (f"; {hint}" if hint else "")
        )
    return error


def worker_death_error(
    cause: str, candidates: Sequence[VideoInfo], workers: int, time_limit_s: float = TIME_LIMIT_S
) -> InputError:
    """Return the error to raise when a worker died; it names the video that crashes its reader, if one does."""
    paths = sorted({video.path for video in candidates})
    calls = [(path, True, time_limit_s) for path in paths]
    for place, outcome in map_isolated(probe, calls, workers=workers, time_limit_s=time_limit_s):
        if isinstance(outcome, NoResult):
            return VideoError(f"{paths[place]}: {outcome.reason}")
    hint = _HINTS.get(
        cause, "each of the videos that it was reading can be read on its own; try again with fewer workers"
    )
    return InputError(f"Cannot decode: a decoding process died ({cause}); {hint}")
