"""Locks by which processes learn of each other: a folder that one of them works in, a file that one writes at a time.

They are the kernel's, so that a process that ends, even killed, holds none. They reach as far as the file system takes
them: over all containers of a machine, and over machines where a shared disk knows locks. Where it does not, the file
``.in-use`` shows that its writer lives: its time changes every few seconds.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import InputError

IN_USE = ".in-use"
"""Name of the file in a folder that a process works in: it says as JSON which process."""
HEARTBEAT_S = 3.0
"""The time between two changes of that file's time."""
WATCH_HEARTBEAT_S = 10.0
"""Time for which a holder on another machine is watched for a sign of life, in seconds."""


@contextmanager
def exclusive_use(folder: Path, advice: str) -> Iterator[None]:
    """Work alone in a folder that exists.

    Args:
        folder: the folder.
        advice: what to do if another process works there, such as "choose another --out".

    Raises:
        InputError: another process works there, which is named, or the folder cannot be written.
    """
    path = folder / IN_USE
    file, is_locked = _open_own(path, folder, advice)
    try:
        holder = _read(file)
        if holder and (not is_locked or holder.get("boot") != _boot()) and _is_alive(path, folder, holder):
            raise InputError(_named(folder, holder, advice))
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(_self()).encode(), 0)
        done = threading.Event()
        alive = threading.Thread(target=_send_heartbeats, args=(file, done), daemon=True)
        alive.start()
    except BaseException as error:
        os.close(file)
        if isinstance(error, OSError):
            with suppress(OSError):
                path.unlink()
            raise InputError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
        raise
    try:
        yield
    finally:
        done.set()
        alive.join()
        with suppress(OSError):
            if is_open_at(file, path):  # not another's, should this one have been moved away
                path.unlink()  # before the lock goes: whoever waits for it sees that the file is no longer there
        os.close(file)


def _open_own(path: Path, folder: Path, advice: str) -> tuple[int, bool]:
    """The file, and whether it is locked: False where the file system knows no locks."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError as error:
            _remove_left_over(path, folder, advice, error)
            continue
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror}); {advice}") from error
        try:
            lock(file)
        except BlockingIOError:
            holder = _read(file)
            os.close(file)
            raise InputError(_named(folder, holder, advice)) from None
        except OSError:
            return file, False
        if is_open_at(file, path):
            return file, True
        os.close(file)  # its holder has just ended and removed it


def _remove_left_over(path: Path, folder: Path, advice: str, error: PermissionError) -> None:
    """Remove the file that another user's killed process left.

    It is an error if that process lives, or if the folder is another user's.
    """
    refusal = InputError(f"{folder}: cannot be written ({error.strerror}); {advice}")
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        raise refusal from error
    try:
        lock(file, alone=False)
        path.unlink()
    except BlockingIOError:
        raise InputError(_named(folder, _read(file), advice)) from None
    except OSError:
        raise refusal from error
    finally:
        os.close(file)


_LOCKED_BYTE = 1 << 62


def lock(file: int, *, alone: bool = True, wait: bool = False) -> None:
    """Lock an open file, until it is closed in all processes that have it.

    The lock is on a byte far behind the file's end: on a Windows share nobody else can read or write what is locked.

    Args:
        file: its descriptor; open for writing, if ``alone``.
        alone: nobody else may hold it; otherwise nobody may hold it alone.
        wait: until it is free.

    Raises:
        BlockingIOError: another has locked it.
        OSError: the file system knows no locks.
    """
    how = struct.pack("@hhqqi4x", fcntl.F_WRLCK if alone else fcntl.F_RDLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
    fcntl.fcntl(file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, how)


def is_open_at(file: int, path: str | os.PathLike) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _boot() -> str:
    """Return an id of this start of this machine; the same in all its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _self() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    command = [os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]]
    return {
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "boot": _boot(),
        "since": since,
        "command": command,
    }


def _read(file: int) -> dict[str, Any]:
    """Return who holds the folder; empty if the file does not say so."""
    with suppress(OSError, ValueError):
        found = json.loads(os.pread(file, 10**6, 0))
        if isinstance(found, dict):
            return found
    return {}


def _named(folder: Path, holder: dict[str, Any], advice: str) -> str:
    if not holder:
        return f"{folder}: is in use by another process; {advice}"
    command = " ".join(map(str, holder.get("command", ())))
    return (
        f"{folder}: is in use by process {holder.get('process')} on {holder.get('machine')} "
        f"since {holder.get('since')} ({command[:200]}); {advice}"
    )


def _is_alive(path: Path, folder: Path, holder: dict[str, Any]) -> bool:
    """Return whether the file's time changes.

    Times are not compared with this machine's clock, as clocks of machines differ.
    """
    print(
        f"{folder}: may still be in use on {holder.get('machine')}; waiting {WATCH_HEARTBEAT_S:g} s to find out",
        file=sys.stderr,
        flush=True,
    )
    seen: set[int] = set()
    end = time.monotonic() + WATCH_HEARTBEAT_S
    while time.monotonic() < end and len(seen) < 2:
        with suppress(OSError), open(path) as again:  # a shared disk asks its server when a file is opened
            seen.add(os.fstat(again.fileno()).st_mtime_ns)
        time.sleep(min(0.5, WATCH_HEARTBEAT_S / 4))
    return len(seen) > 1


def _send_heartbeats(file: int, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_S):
        with suppress(OSError):
            os.utime(file)


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same path.

    The file at that path is made and stays. Where it cannot be made, or the file system knows no locks, nobody waits.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        try:
            lock(file)
        except BlockingIOError:
            print(f"{path}: is in use by another process; waiting until it is free", file=sys.stderr, flush=True)
            with suppress(OSError):
                lock(file, wait=True)
        except OSError:  # no locks
            pass
        yield
    finally:
        os.close(file)
