"""Call a function on many arguments in processes of its own: one that crashes or hangs takes no one with it.

Unlike ``multiprocessing``, a process that dies or overstays is replaced and its argument named, and the caller's main
module is not imported again, so that scripts need no guard.

What limits a call is the processor time of its process, and how long that waits for something, such as a disk. Not the
time in which it was stopped (Ctrl-Z, a suspended job) or, with this process, frozen (docker pause), nor what other
programs take.
"""

import contextlib
import ctypes
import os
import pickle
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import IO, Any

from ..errors import InputError, no_answer, too_slow

START_LIMIT_S = 60.0
GRACE_S = 10.0
SLICE_S = 1.0
"""Interval between two looks at a process that is waited for, in seconds."""
READY = b"ready"
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class NoResult:
    """A call without a result, and why."""

    reason: str
    """The words after the argument's name in a sentence, such as ``crashes the process that reads it (SIGSEGV)``."""
    is_timeout: bool = False
    """Whether the call took too long; otherwise its process crashed or was killed."""


def map_isolated(
    function: Callable, arguments: Sequence[tuple], *, workers: int, time_limit_s: float
) -> Generator[tuple[int, Any], None, None]:
    """Call ``function(*a)`` for each ``a`` of ``arguments``, in processes of their own.

    Args:
        function: of a module that can be imported; arguments and results are pickled.
        arguments: tuples.
        workers: processes.
        time_limit_s: processor time of one call, or the time that it waits without using any,
            and ``GRACE_S`` more; then its process is killed.

    A call whose process crashed or was killed is tried once more, after all others:
    memory may have run out meanwhile, or a disk may have been away.

    Yields:
        (position in ``arguments``, result) as they come, with :class:`NoResult` for a result where the process crashed
        or took too long twice; an exception is raised here.

    Raises:
        InputError: no process can be started.
    """
    count = max(1, min(workers, len(arguments)))
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    processes = [_Process() for _ in range(count)]
    for process in processes:
        idle.put(process)

    def call(argument: tuple) -> Any:
        process = idle.get()
        try:
            return process.call(function, argument, time_limit_s)
        finally:
            idle.put(process)

    pool = ThreadPoolExecutor(count)
    try:
        waiting: Sequence[int] = range(len(arguments))
        for is_last in (False, True):
            places = {pool.submit(call, arguments[place]): place for place in waiting}
            waiting = []
            for future in as_completed(places):
                outcome = future.result()
                if isinstance(outcome, Exception):
                    raise outcome
                if isinstance(outcome, NoResult) and not is_last:
                    waiting.append(places[future])
                else:
                    yield places[future], outcome
    finally:
        for process in processes:
            process.stop()
        pool.shutdown(wait=True, cancel_futures=True)  # what waited for an answer sees that there is none
        for process in processes:
            process.end()


class _Process:
    """One child, started when first needed and again after it died."""

    def __init__(self) -> None:
        self.child: subprocess.Popen | None = None
        self.stopped, self.lock = False, threading.Lock()

    def call(self, function: Callable, argument: tuple, time_limit_s: float) -> Any:
        with self.lock:
            if self.stopped:
                return NoResult("was not read")
            started = self.child is None
            child = self.child = self.child or _start()
        calls, answers = _pipes(child)
        if started and (_wait(child, START_LIMIT_S) or answers.read(len(READY)) != READY):
            self.end()
            raise InputError(
                f"Cannot read videos: a process that reads them did not start (exit code {child.returncode}); "
                "try again with fewer workers"
            )
        try:
            pickle.dump((function, argument), calls)
            calls.flush()
            sentence = _wait(child, time_limit_s + GRACE_S)
            if sentence is None:
                return pickle.load(answers)
            outcome = NoResult(sentence(time_limit_s), is_timeout=True)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            child.wait()
            code = child.returncode
            outcome = NoResult(
                f"crashes the process that reads it ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
            )
        self.end()
        return outcome

    def stop(self) -> None:
        """Kill the child; its pipes stay open until the thread that waits for it has seen that."""
        with self.lock:
            self.stopped = True
            if self.child is not None:
                self.child.kill()

    def end(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in _pipes(child):
                with contextlib.suppress(OSError):
                    pipe.close()


def _pipes(child: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipes of calls and of answers."""
    assert child.stdin is not None and child.stdout is not None
    return child.stdin, child.stdout


NOT_WAITING = "RTt"
"""States of a process: waiting for a processor, stopped, stopped by a debugger."""


def _wait(child: subprocess.Popen, limit_s: float) -> Callable[[float], str] | None:
    """Return as soon as an answer is there, or the end; otherwise, at the limit, what is to be said about it."""
    first_s = used_s = _look_at(child.pid)[1]
    still_s = 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(_pipes(child)[1], selectors.EVENT_READ)
        while True:
            began = time.monotonic()
            if selector.select(SLICE_S):
                return None
            # more has passed only if this process was away itself, and the child perhaps too
            passed_s = min(time.monotonic() - began, 2 * SLICE_S)
            before_s = used_s
            state, used_s = _look_at(child.pid)
            if used_s != before_s:
                still_s = 0.0
            elif state not in NOT_WAITING:
                still_s += passed_s
            sentence = too_slow if used_s - first_s > limit_s else no_answer if still_s > limit_s else None
            if sentence is not None and not selector.select(0):
                return sentence


def _look_at(pid: int) -> tuple[str, float]:
    """Return state and processor time, in seconds, of a child process that was not waited for yet.

    A process that was waited for reads as ended.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # behind the name, in which anything may stand
    except OSError:
        return "X", 0.0
    return fields[0].decode(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start() -> subprocess.Popen:
    # -c puts the working folder first, whose files might hide the standard library's
    command = [
        sys.executable,
        "-c",
        "import sys; del sys.path[0]; from dali_pipes.system.isolate import serve; serve()",
    ]
    paths = (os.fspath(path) or os.getcwd() for path in sys.path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # a session of its own: Ctrl-C is for the parent, which ends its children
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def serve() -> None:
    """The child's side: answer calls until the parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whatever becomes of the parent, this process ends
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    calls = os.fdopen(0, "rb", closefd=False)
    answers.write(READY)
    answers.flush()
    while True:
        if not calls.peek(1):
            return
        try:
            function, argument = pickle.load(calls)
            outcome = function(*argument)
        except Exception as error:
            outcome = error
        pickle.dump(outcome, answers)
        answers.flush()
