"""Private names of DALI that this library uses: of processes, of pipelines to destroy at exit, of the numba plugin.

This is the only file that touches them.

The names below are those of DALI 1.34 to 2.4. A test asks the installed DALI for them, so that an upgrade that lacks
one fails with a sentence; a training goes on without.
"""

import contextlib
import ctypes
import weakref
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from nvidia import dali

from .multiprocessing_internals import PythonChanged, semaphores_of

POOL = "_py_pool.pool"
"""Attribute that holds the pool of a built pipeline's processes."""
PROCESSES = "_processes"
"""The pool's processes, objects as ``multiprocessing.Process``; the observer has them by the same name."""
OBSERVER = "_observer"
"""The pool's thread that ends the processes; the pool works while it has one."""
RESULTS, TASKS = "_result_queue", "_task_queues"
"""The observer's queues, through which the pool and its processes talk; all waiting is for one of them."""
WAKE, THREAD = "interrupt_pipe", "thread"
"""The observer's pipe and thread: what is sent to the pipe ends the thread;
closing the pool joins the thread unless it is None."""
CONDITION, MEMORY = "cv_not_empty", "shm"
"""A queue's condition that is waited for, and the memory that holds the messages."""

PIPELINES = "_pipes"
"""The class's set of weak references to all pipelines, which are destroyed at exit."""


OPERATOR = "NumbaFunction"
"""Class of the plugin's operator, in ``nvidia.dali.plugin.numba.experimental``."""
RUN_ADDRESS, SETUP_ADDRESS = "_get_run_fn_cpu", "_get_setup_fn_cpu"
"""The operator's methods that compile a function and return its address."""
RUN_SIGNATURE, SETUP_SIGNATURE = "_run_fn_sig", "_setup_fn_sig"
"""The operator's methods that return the numba signature with which the functions are called."""
RUN_ARGUMENTS = ("uint64", "uint64", "uint64", "int32", "uint64", "uint64", "uint64", "int32")
"""Types of what the operator passes to a run function: addresses of the data, shapes and numbers of dimensions, and the
count, of the outputs, then of the inputs."""
SETUP_ARGUMENTS = ("uint64", "uint64", "int32", "uint64", "uint64", "int32", "int32")
"""Types of what it passes to a setup function: the same without data, then the number of samples."""


class DaliChanged(Exception):
    """Raised when this version of DALI lacks one of the private names; the message says which."""


class WorkerPool:
    """The processes of a built pipeline's parallel sources. From here on not DALI ends them, but whoever makes this.

    DALI's observing thread ends them when one died, but not for sure: if that held the lock of a queue, the thread
    waits for the lock, or breaks off. So it is dismissed.

    Args:
        pipeline: DALI's.

    Attributes:
        processes: with ``pid``, ``exitcode``, ``kill()`` and ``join()``.
        semaphores: all that they share with this process.

    Raises:
        DaliChanged: a private name is missing; then DALI goes on as usual.
    """

    def __init__(self, pipeline: Any):
        observer = _private(pipeline, f"{POOL}.{OBSERVER}")
        for name in (WAKE, THREAD):
            _private(observer, name)
        self.processes: list[Any] = list(_private(observer, PROCESSES))
        self._queues = [_private(observer, RESULTS), *_private(observer, TASKS)]
        for queue in self._queues:
            _private(queue, MEMORY)
        try:
            self.semaphores = [s for queue in self._queues for s in semaphores_of(_private(queue, CONDITION))]
        except PythonChanged as changed:
            raise DaliChanged(str(changed)) from None
        setattr(observer, PROCESSES, [])
        setattr(observer, TASKS, [])
        setattr(observer, RESULTS, SimpleNamespace(close=lambda: None))
        getattr(observer, WAKE).send(None)
        setattr(observer, THREAD, None)  # not joined: if a process died just now, it may wait for ever

    def end_waits(self) -> None:
        """Make whoever waits for the processes, or will, raise an error; to be repeated until it has.

        When they are dead, nobody but that thread uses the semaphores, and with each that it gets it comes nearer to
        the queue's memory, where it fails. A process that is just dying may be woken in its place: so each is taken
        back and given again, every time.
        """
        for queue in self._queues:
            setattr(queue, MEMORY, None)
        for semaphore in self.semaphores:
            semaphore.acquire(block=False)
            with contextlib.suppress(ValueError):  # the thread was quicker to give it back
                semaphore.release()


def processes_of_failed_build(error: BaseException) -> list[Any]:
    """The processes that DALI had started when building a pipeline failed; none where they are not found."""
    found: list[Any] = []
    traceback = error.__traceback__
    while traceback is not None:  # DALI keeps the pool nowhere
        processes = getattr(traceback.tb_frame.f_locals.get("self"), PROCESSES, None)
        found = processes if isinstance(processes, list) else found
        traceback = traceback.tb_next
    return found


def never_destroy(pipeline: Any) -> None:
    """Keep a pipeline for ever, in a forked child.

    Its threads exist only in the parent: to wait for them would hang or crash.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pipeline))
    getattr(type(pipeline), PIPELINES, set()).discard(weakref.ref(pipeline))


def operator_of_addresses(
    run: int, setup: int, outputs: Sequence[tuple[Any, int]], inputs: Sequence[tuple[Any, int]]
) -> Any:
    """Return an operator of DALI's plugin for numba that calls compiled functions, for the CPU.

    Args:
        run: address of a function of ``RUN_ARGUMENTS``.
        setup: address of a function of ``SETUP_ARGUMENTS``.
        outputs: DALI's type and the number of dimensions of each.
        inputs: as ``outputs``.

    Raises:
        DaliChanged: the plugin compiles or calls functions in another way.
        Exception: whatever importing the plugin raises, such as for a version of numba that it does not take.
    """
    from numba import types
    from nvidia.dali.plugin.numba import experimental

    operator = _private(experimental, OPERATOR)
    for name in (RUN_ADDRESS, SETUP_ADDRESS):
        _private(operator, name)
    for name, arguments in ((RUN_SIGNATURE, RUN_ARGUMENTS), (SETUP_SIGNATURE, SETUP_ARGUMENTS)):
        passed = _private(operator, name)(None)
        if passed != types.void(*(getattr(types, argument) for argument in arguments)):
            raise DaliChanged(f"DALI {dali.__version__}: {OPERATOR} calls a function with {passed}")
    given = {RUN_ADDRESS: lambda self, address, *types: address, SETUP_ADDRESS: lambda self, address: address}
    (out_types, outs_ndim), (in_types, ins_ndim) = (map(list, zip(*some, strict=True)) for some in (outputs, inputs))
    return type(OPERATOR, (operator,), given)(
        run_fn=run, setup_fn=setup, out_types=out_types, outs_ndim=outs_ndim, in_types=in_types, ins_ndim=ins_ndim
    )


def _private(owner: Any, path: str) -> Any:
    for name in path.split("."):
        if not hasattr(owner, name):
            whose = owner.__name__ if isinstance(owner, type | ModuleType) else type(owner).__name__
            raise DaliChanged(
                f"DALI {dali.__version__}: {whose} has no {name}, which dali_pipes/system/dali_internals.py needs"
            )
        owner = getattr(owner, name)
    return owner
