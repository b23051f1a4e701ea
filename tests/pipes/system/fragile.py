"""Calls that go wrong, for processes of :mod:`dali_pipes.system.isolate`;
each notes in a file how often it was tried."""

import os
import signal
import subprocess

from dali_pipes.system import files


def fine(notes: str) -> int:
    """Return how often this was tried."""
    with open(notes, "a") as file:
        file.write("tried\n")
    with open(notes) as file:
        return len(file.readlines())


def killed_once(notes: str) -> int:
    tries = fine(notes)
    if tries == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def stopped(notes: str, seconds: float) -> int:
    tries = fine(notes)
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    return tries


def spinning(notes: str) -> int:
    fine(notes)
    while True:
        pass


def transcode_killed_once(source: str, target: str, *settings: object) -> object:
    """As its namesake; the first time it is killed when the copy is written and not yet in its place."""
    from dali_pipes.dataset.transcode import _transcode

    if fine(f"{source}.notes") == 1:
        files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return _transcode(source, target, *settings)
