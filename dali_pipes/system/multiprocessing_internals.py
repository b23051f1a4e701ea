"""Private names of multiprocessing that this library uses: its semaphores and their names.

This is the only file that touches them.

The names below are those of Python 3.10 to 3.13. A test asks the running Python for them.
"""

import contextlib
import multiprocessing
import multiprocessing.process
import platform
import subprocess
from collections.abc import Sequence
from multiprocessing import resource_tracker, util
from typing import Any

SEMAPHORES = ("_lock", "_sleeping_count", "_woken_count", "_wait_semaphore")
"""All semaphores of a ``multiprocessing.Condition``."""
SEMLOCK = "_semlock"
"""A semaphore's C object, which knows its ``name``."""
FINALIZERS = "_finalizer_registry"
"""Registry of finalizers at exit; a semaphore's has one argument, the name, which it unlinks and forgets."""
ARGUMENTS = "_args"
SPAWN = "spawnv_passfds"
"""Function that starts a program with some open files kept; returns its process id."""
CHILDREN = "_children"
"""The set of all processes that multiprocessing started and has not joined."""
IMPORTING = "_inheriting"
"""Attribute that a process has while it imports the main module of the one that started it."""


class PythonChanged(Exception):
    """Raised when this version of Python lacks one of the private names; the message says which."""


def semaphores_of(condition: Any) -> list[Any]:
    """Return the semaphores of a ``multiprocessing.Condition``, its lock among them.

    Raises:
        PythonChanged: a private name is missing.
    """
    missing = [name for name in SEMAPHORES if not hasattr(condition, name)]
    if missing:
        raise PythonChanged(
            f"Python {platform.python_version()}: multiprocessing's Condition has no {missing[0]}, which the loader "
            "needs"
        )
    return [getattr(condition, name) for name in SEMAPHORES]


def unlink_names(semaphores: Sequence[Any]) -> None:
    """Take semaphores out of /dev/shm once all processes that share them have opened them; whoever has them keeps them.

    multiprocessing does so at exit, or its resource tracker when the process was killed: not where both are, by a
    signal to all processes of a job. Does nothing where a private name is missing.
    """
    names = {getattr(getattr(semaphore, SEMLOCK, None), "name", None) for semaphore in semaphores}
    registry = getattr(util, FINALIZERS, {})
    for key in list(registry):  # of all, those of this process's other semaphores among them
        finalizer: Any = registry.get(key)
        arguments = getattr(finalizer, ARGUMENTS, None)
        if arguments and len(arguments) == 1 and isinstance(arguments[0], str) and arguments[0] in names:
            with contextlib.suppress(OSError):  # somebody removed it
                finalizer()


def start_tracker_apart() -> None:
    """Start multiprocessing's resource tracker, if it does not run yet, in a session of its own.

    It unlinks what a killed process left in /dev/shm, but not if it is killed with all processes of a job. So does
    :func:`unlink_names`, but only once the workers have started.
    """
    spawn = getattr(util, SPAWN, None)
    if spawn is None:
        resource_tracker.ensure_running()
        return
    setattr(util, SPAWN, _spawn_apart)
    try:
        resource_tracker.ensure_running()
    finally:
        setattr(util, SPAWN, spawn)


def _spawn_apart(path: bytes | str, arguments: Sequence[str], files: Sequence[int]) -> int:
    child = subprocess.Popen(arguments, executable=path, pass_fds=files, start_new_session=True)
    child.returncode = 0  # multiprocessing waits for it, not this object
    return child.pid


def forget_children(processes: Sequence[Any]) -> None:
    """Forget, in a forked process, the processes that its parent started.

    They are not its own, and multiprocessing would wait for them at exit.
    """
    getattr(multiprocessing.process, CHILDREN, set()).difference_update(processes)


def imports_main_module() -> bool:
    """Return whether this process was spawned and is still importing its parent's main module."""
    return getattr(multiprocessing.current_process(), IMPORTING, False)
