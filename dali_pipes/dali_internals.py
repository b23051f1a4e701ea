"""What DALI keeps private and this library needs: the processes of a pipeline's parallel sources, and the list of pipelines to
destroy at exit. The only file that touches it.

The names below are those of DALI 1.34 to 2.4. A test asks the installed DALI for them, so that an upgrade that lacks one fails with
a sentence; a training goes on without.
"""

import ctypes
import weakref
from typing import Any

from nvidia import dali

POOL = "_py_pool.pool"
"""What started the processes of a built pipeline."""
PROCESSES = "_processes"
"""The pool's processes, objects as ``multiprocessing.Process``."""
OBSERVER = "_observer"
"""The pool's thread that ends the processes; without one, closing the pool waits for nothing."""

PIPELINES = "_pipes"
"""The class's set of weak references to all pipelines, which are destroyed at exit."""


class DaliChanged(Exception):
    """This version of DALI lacks one of the private names; the message says which."""


class WorkerPool:
    """The processes of a built pipeline's parallel sources.

    Args:
        pipeline: DALI's.

    Attributes:
        processes: with ``pid``, ``exitcode`` and ``kill()``.

    Raises:
        DaliChanged: a private name is missing.
    """

    def __init__(self, pipeline: Any):
        pool = _private(pipeline, POOL)
        _private(pool, OBSERVER)
        self.processes: list[Any] = list(_private(pool, PROCESSES))
        self._pool = weakref.ref(pool)  # its shared memory goes when the pipeline does

    def forget_observer(self) -> None:
        """Keep DALI from waiting for its observing thread, which may never end."""
        pool = self._pool()
        if pool is not None:
            setattr(pool, OBSERVER, None)


def never_destroy(pipeline: Any) -> None:
    """Keep a pipeline for ever, in a forked child: its threads are the parent's alone, to wait for them would hang or crash."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pipeline))
    getattr(type(pipeline), PIPELINES, set()).discard(weakref.ref(pipeline))


def _private(owner: Any, path: str) -> Any:
    for name in path.split("."):
        if not hasattr(owner, name):
            raise DaliChanged(
                f"DALI {dali.__version__}: {type(owner).__name__} has no {name}, by which dali_pipes/dali_internals.py finds the "
                "decoding processes"
            )
        owner = getattr(owner, name)
    return owner
