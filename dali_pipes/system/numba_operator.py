"""DALI operators of functions that numba compiles once for a machine and keeps on disk.

DALI's plugin for numba compiles whenever a graph is made, for seconds. Here compiled functions come from a cache, and
the plugin gets their addresses. A function reads and writes arrays through :func:`shape_at` and :func:`data_at`.
"""

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .dali_internals import RUN_ARGUMENTS, SETUP_ARGUMENTS, operator_of_addresses
from .files import cache_folder

TELL_AFTER_S = 2.0
"""Compiling that takes longer is told in the log while it goes on."""
_log = logging.getLogger("dali_pipes")


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """Return an address as a pointer, for ``carray``."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@njit
def shape_at(shapes: Any, position: Any, ndim: Any) -> Any:
    """Return the shape, (ndim,) int64, at a position in DALI's list of shapes; writable for an output's."""
    address = carray(_pointer(shapes), position + 1, np.uint64)[position]
    return carray(_pointer(address), ndim, np.int64)


@njit
def data_at(data: Any, position: Any) -> Any:
    """Return a pointer, for ``carray``, to the data at a position in DALI's list of data."""
    return _pointer(carray(_pointer(data), position + 1, np.uint64)[position])


def make_operator(
    run: Callable,
    setup: Callable,
    *,
    outputs: Sequence[tuple[Any, int]],
    inputs: Sequence[tuple[Any, int]],
    sources: Sequence[Path],
) -> Callable:
    """Compile two functions, or load them from the cache, and return an operator of them for the CPU.

    Args:
        run: ``(data, shapes, ndims, count)`` of the outputs, then of the inputs; writes the outputs of one sample.
        setup: ``(shapes, ndims, count)`` of the outputs, then of the inputs, then the number of samples; writes the
            outputs' shapes. The shape of output ``i`` of sample ``s`` is at ``i * samples + s``.
        outputs: DALI's type and the number of dimensions of each.
        inputs: as ``outputs``.
        sources: files whose change makes what is cached stale: those of the functions and all that these call.

    Returns:
        a function of DALI nodes, for any number of graphs.

    Raises:
        DaliChanged: this version of DALI has another plugin.
        RuntimeError: numba is switched off.
        Exception: whatever importing the plugin or compiling raises.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    folder = _own_folder() / _digest([*sources, Path(__file__)])
    with _told_if_slow(folder):
        compiled_run = _compile(run, types.void(*(getattr(types, name) for name in RUN_ARGUMENTS)), folder)
        compiled_setup = _compile(setup, types.void(*(getattr(types, name) for name in SETUP_ARGUMENTS)), folder)
    operator = operator_of_addresses(compiled_run.address, compiled_setup.address, outputs, inputs)
    operator.compiled = compiled_run, compiled_setup  # they live as long as whoever calls them
    return operator


def _own_folder() -> Path:
    """Return the folder of all compiled functions: the user's choice, or one that nobody else may write to."""
    return Path(numba.config.CACHE_DIR or cache_folder() / f"kernels-{os.getuid()}")


def _check_folder(folder: Path) -> None:
    """Make the folder if it is not there.

    Raises:
        OSError: it cannot be written; numba would take another folder, where it does not see that sources changed.
        PermissionError: others may write to it, and what is in it is run.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    for path in (folder.parent, folder) if not numba.config.CACHE_DIR else ():
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"others own {path} or may write to it")


def _digest(sources: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _compile(function: Callable, signature: Any, folder: Path) -> Any:
    """Return the compiled function; without a cache where that cannot be used, and the log says so."""
    options = {"nopython": True, "error_model": "numpy"}
    try:
        _check_folder(folder)
        with _cache_in(folder):
            return cfunc(signature, cache=True, **options)(function)
    except Exception as error:  # no folder that can be written, a full disk, a damaged file: numba has no common one
        compiled = cfunc(signature, **options)(function)
        _log.warning(
            "%s: cannot keep compiled functions (%s), so they were compiled anew; make it writable, or delete it",
            folder,
            error,
        )
        return compiled


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Let numba cache what is decorated in here in a folder."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


@contextmanager
def _told_if_slow(folder: Path) -> Iterator[None]:
    text = "Compiling the augmentation for this machine, which takes up to half a minute; it is then kept in %s"
    timer = threading.Timer(TELL_AFTER_S, _log.warning, (text, folder))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
