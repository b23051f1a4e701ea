"""Check that the user's script can be imported again, as each of the loader's worker processes does."""

import os
import sys
import threading
from pathlib import Path

from ..errors import InputError
from ..system.multiprocessing_internals import imports_main_module

WORKER = "DALI_PIPES_WORKER"
"""An environment variable that workers have."""
UNGUARDED = 86
"""A worker's exit code when the script that it imports starts a loader."""
GUARD = '`if __name__ == "__main__":`'
KNOWS_WORKERS = (b"__name__", b"parent_process", b"current_process", b"MainProcess")
"""A script with one of these may ask whether it is run or imported by a worker."""


def check_main_module() -> None:
    """Check that workers can import the user's script again; call this before they are started.

    A worker that gets here by that import ends: the script has no guard. The process that started it sees the exit
    code and says so; here only where it is certain at once.

    Raises:
        InputError: the script cannot be imported, or would run again.
    """
    if imports_main_module() and WORKER in os.environ:
        os._exit(UNGUARDED)
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path == "<stdin>":
        raise InputError(
            "Cannot start the loader's worker processes: they cannot import a script that is read from standard "
            f"input; save it to a file, with its code under {GUARD}, or use workers=0"
        )
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    if path is None or frame is None or frame.f_code.co_filename != path or not os.path.isfile(path):
        return  # no script, or one run by another program
    source = Path(path).read_bytes()
    if not any(word in source for word in KNOWS_WORKERS):
        raise unguarded_error()


def unguarded_error() -> InputError:
    """Return the error to raise when the script would start a loader in each worker."""
    path = getattr(sys.modules["__main__"], "__file__", "the main module")
    return InputError(
        f"{path}: the loader's worker processes import this script again, and each would start another loader; put its "
        f"code under {GUARD}, or use workers=0"
    )
