"""Processes that work in one folder or write one file learn of each other, and a killed one is in nobody's way."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dali_pipes import InputError
from dali_pipes.system import locks
from dali_pipes.system.locks import IN_USE, exclusive_use, lock, wait_for_lock

HOLD = """
import sys, time, pathlib
from dali_pipes.system.locks import exclusive_use
with exclusive_use(pathlib.Path(sys.argv[1]), 'x'):
    print('in', flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process at work in ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_is_at_work(tmp_path, holder):
    with pytest.raises(InputError) as refused, exclusive_use(tmp_path, "choose another --out"):
        pass
    assert str(refused.value).startswith(f"{tmp_path}: is in use by process {holder.pid} on ")
    assert str(refused.value).endswith(f"(-c {tmp_path}); choose another --out")
    assert (tmp_path / IN_USE).exists()  # still the first one's


def test_a_killed_holder_is_in_nobodys_way(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / IN_USE).read_text())["process"] == holder.pid
    with exclusive_use(tmp_path, "x"):
        assert json.loads((tmp_path / IN_USE).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_who_does_not_say_who_it_is(tmp_path):
    file = os.open(tmp_path / IN_USE, os.O_RDWR | os.O_CREAT)
    lock(file)
    with (
        pytest.raises(InputError, match="is in use by another process; choose another"),
        exclusive_use(tmp_path, "choose another"),
    ):
        pass
    os.close(file)


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("is_alive", [True, False])
def test_a_holder_on_another_machine_is_alive_if_its_files_time_changes(
    tmp_path, monkeypatch, capsys, has_locks, is_alive
):
    """A shared disk may have no locks, or such as hold on one machine alone."""
    monkeypatch.setattr(locks, "WATCH_HEARTBEAT_S", 1.0)
    there = {"process": 7, "machine": "elsewhere", "boot": "another", "since": "noon", "command": ["run.py"]}
    (tmp_path / IN_USE).write_text(json.dumps(there))
    if not has_locks:
        monkeypatch.setattr(fcntl, "fcntl", raises_no_locks)
    if is_alive:
        threading.Timer(0.4, os.utime, (tmp_path / IN_USE,)).start()
        with (
            pytest.raises(InputError, match="is in use by process 7 on elsewhere since noon .run.py.; x"),
            exclusive_use(tmp_path, "x"),
        ):
            pass
    else:
        with exclusive_use(tmp_path, "x"):
            assert json.loads((tmp_path / IN_USE).read_text())["process"] == os.getpid()
    assert "may still be in use on elsewhere; waiting 1 s to find out" in capsys.readouterr().err


def raises_no_locks(*_):
    raise OSError(38, "Function not implemented")


def test_without_locks_a_holder_on_this_machine_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "WATCH_HEARTBEAT_S", 2.0)
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(fcntl, "fcntl", raises_no_locks)
    refused = pytest.raises(InputError, match=f"is in use by process {os.getpid()} on .* since")
    with exclusive_use(tmp_path, "x"), refused, exclusive_use(tmp_path, "x"):
        pass
    with exclusive_use(tmp_path, "x"):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / IN_USE).mkdir()
    with (
        pytest.raises(InputError, match=rf"^{tmp_path}: cannot be written .Is a directory.; choose"),
        exclusive_use(tmp_path, "choose"),
    ):
        pass


def test_a_full_disk_leaves_no_empty_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r".in-use: cannot be written .No space left"), exclusive_use(tmp_path, "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_who_leaves_does_not_take_anothers_sign_away(tmp_path):
    with exclusive_use(tmp_path, "x"):
        (tmp_path / IN_USE).rename(tmp_path / "moved")
        with exclusive_use(tmp_path, "x"):
            held = (tmp_path / IN_USE).read_text()
            (tmp_path / IN_USE).rename(tmp_path / "moved too")
            (tmp_path / IN_USE).write_text(held)
    assert (tmp_path / IN_USE).exists()


@pytest.mark.parametrize("is_alive", [True, False])
def test_another_users_file(tmp_path, monkeypatch, is_alive):
    """It can be read, not written."""
    (tmp_path / IN_USE).write_text(json.dumps({"process": 7, "machine": "here", "since": "noon", "boot": "x"}))
    file, opened = os.open(tmp_path / IN_USE, os.O_RDWR), os.open
    if is_alive:
        lock(file)

    def open_as_another(path, how, *mode):
        if Path(path).exists() and how & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, how, *mode)

    monkeypatch.setattr(os, "open", open_as_another)
    if is_alive:
        with (
            pytest.raises(InputError, match="is in use by process 7 on here since noon"),
            exclusive_use(tmp_path, "x"),
        ):
            pass
    else:
        with exclusive_use(tmp_path, "x"):
            pass
        assert not list(tmp_path.iterdir())
    os.close(file)


def test_a_locked_file_is_read_and_written_by_others(tmp_path):
    """The lock is behind its end, where a Windows share keeps nobody from anything."""
    with open(tmp_path / "x", "wb+") as file:
        lock(file.fileno())
        how = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1 << 40, 0)
        with open(tmp_path / "x", "rb+") as again:
            fcntl.fcntl(again.fileno(), fcntl.F_OFD_SETLK, how)  # all that a file may hold
            with pytest.raises(BlockingIOError):
                lock(again.fileno())


def test_one_at_a_time(tmp_path):
    """Eight threads add one to a number in a file, each with a lock of its own."""
    path, number = tmp_path / "lock", tmp_path / "number"
    number.write_text("0")

    def add():
        for _ in range(20):
            with wait_for_lock(path):
                number.write_text(str(int(number.read_text()) + 1))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number.read_text() == "160"
    with wait_for_lock(Path("/proc/nowhere/lock")):  # where none can be made, nobody waits
        pass
