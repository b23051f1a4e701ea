"""Runner of the jobs of jobs.py: several at once, each in its own process, with a GPU each or sharing the cores."""

import ctypes
import fcntl
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from dali_pipes.errors import InputError
from dali_pipes.system import PR_SET_PDEATHSIG, make_folder, replacing, usable_cores

from ..config.run import MAX_WORKERS
from ..runtime.run_files import LAST
from ..runtime.stop import StopRequest
from .jobs import DONE, FAILED, Job, state_of

SAY_EVERY_S = 600.0
"""Seconds between two lines that name the running jobs with their epochs."""
STOPPED = {sign for number in (signal.SIGINT, signal.SIGTERM) for sign in (128 + number, -number)}
"""Exit codes of a job that was asked to end."""
_LIBC = ctypes.CDLL(None)


@dataclass
class _RunningJob:
    job: Job
    process: subprocess.Popen
    log: BinaryIO
    """Log file of the job; it holds the lock until it is written how the job ended."""
    slot: int
    since: float


class Runner:
    """A runner of jobs side by side, which says what becomes of them."""

    def __init__(self, jobs: Sequence[Job], slots: int, retry: bool, say: Callable[[str], None] = print):
        self.waiting = list(jobs)
        self.total, self.ended, self.say = len(jobs), 0, say
        self.free = list(range(slots))
        self.slots = slots
        self.retry = retry
        self.running: list[_RunningJob] = []
        self.not_done: dict[Path, str] = {}
        """Folder of a job -> why: it failed, or was left to another process."""

    def run(self, stop: StopRequest) -> None:
        """Run until all jobs have ended, or a stop is asked for: then running jobs write their checkpoints."""
        said = time.monotonic()
        try:
            while (self.waiting or self.running) and not stop.number:
                self._start_ready_jobs()
                self._poll_jobs()
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    for at_work in self.running:
                        self.say(f"{at_work.job.name}: {last_line(at_work.job.log)}")
                time.sleep(0.2)
            if self.running:
                self.say(f"stopping: {len(self.running)} jobs are saving their checkpoints")
            self._ask_to_end()
        finally:
            for at_work in self.running:  # after a second Ctrl-C
                at_work.process.kill()
                at_work.process.wait()
                _unlock(at_work.log)

    def _ask_to_end(self) -> None:
        for at_work in self.running:
            at_work.process.terminate()
        for at_work in self.running:
            at_work.process.wait()

    def _start_ready_jobs(self) -> None:
        for job in list(self.waiting):
            lacking = [need for need in job.needs if need.folder in self.not_done]
            if lacking:
                self._end(job, f"needs {lacking[0].name}, which is not done")
            elif not any(self._pending(need) for need in job.needs) and self.free:
                self.waiting.remove(job)
                try:
                    self._start(job)
                except (InputError, OSError) as error:
                    self._end(job, str(error))

    def _pending(self, job: Job) -> bool:
        return job in self.waiting or any(at_work.job == job for at_work in self.running)

    def _start(self, job: Job) -> None:
        make_folder(job.folder.parent)
        log = open(job.log, "ab")  # noqa: SIM115 - it is held as long as the job is at work
        try:
            if not _lock(log):
                log.close()
                self._end(job, "is running in another process, which will finish it")
                return
            if self._was_ended_before(job):
                log.close()
                return
            goes_on = (job.folder / LAST).exists()
            job.end.unlink(missing_ok=True)
            log.write(f"\n$ {shlex.join(job.command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment_of(self.free[0], self.slots),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        except BaseException:
            log.close()
            raise
        self.running.append(_RunningJob(job, process, log, self.free.pop(0), time.monotonic()))
        self.say(f"{job.name}: {'continues' if goes_on else 'starts'}, see {job.log}")

    def _was_ended_before(self, job: Job) -> bool:
        state, reason = state_of(job)
        if state == DONE:
            self.ended += 1
            self.say(f"[{self.ended}/{self.total}] {job.name}: is already done")
        elif state == FAILED and not self.retry:
            self._end(job, f"failed before (use --retry to try again): {reason}")
        else:
            return False
        return True

    def _poll_jobs(self) -> None:
        for at_work in list(self.running):
            code = at_work.process.poll()
            if code is None:
                continue
            self.running.remove(at_work)
            self.free.append(at_work.slot)
            job, minutes = at_work.job, (time.monotonic() - at_work.since) / 60
            try:
                reason = "was stopped by a signal; run the same command again to continue it" if code in STOPPED else ""
                if not reason:
                    reason = "" if code == 0 else _failure_reason(code, job.log)
                    try:
                        with replacing(job.end) as draft:
                            draft.write_text(json.dumps({"state": FAILED if reason else DONE, "reason": reason}) + "\n")
                    except InputError as error:
                        reason = reason or str(error)
            finally:
                _unlock(at_work.log)
            if reason:
                self._end(job, reason)
            else:
                self.ended += 1
                self.say(f"[{self.ended}/{self.total}] {job.name}: done in {minutes:.1f} min; {last_line(job.log)}")

    def _end(self, job: Job, reason: str) -> None:
        with suppress(ValueError):
            self.waiting.remove(job)
        self.ended += 1
        self.not_done[job.folder] = reason
        self.say(f"[{self.ended}/{self.total}] {job.name}: NOT DONE, {reason}")


def _lock(log: BinaryIO) -> bool:
    """Lock the log of a job; False if another process runs the job."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(f"{log.name}: cannot be locked ({error.strerror})") from error
    return True


def _unlock(log: BinaryIO) -> None:
    """Unlock and close the log of a job that ended, also where a process that it started still has it open."""
    with log:
        fcntl.flock(log, fcntl.LOCK_UN)


def _end_with_parent() -> None:
    """Let this job end after writing its checkpoint if the program that started it is killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _failure_reason(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by signal {-code}{' (out of memory?)' if code == -9 else ''}, see {log}"
    return f"exit code {code}, see {log}: {last_line(log)}"


def last_line(log: Path) -> str:
    """Return the last line of a log, without what a progress bar overwrote."""
    with suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def gpus() -> list[str]:
    """Return the GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[:count] or [str(number) for number in range(count)]


def environment_of(slot: int, slots: int) -> dict[str, str]:
    """Return the environment of one of several jobs: its share of the cores, and a GPU in turn if there is one."""
    found, names = dict(os.environ), gpus()
    if names:
        found["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
    if slots > 1:  # torch takes every core for itself, and so would each of the others
        found.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // slots)))
    return found


def shared_workers(slots: int) -> int:
    """Return the number of decoding processes of each of several jobs at once."""
    return min(MAX_WORKERS, max(1, usable_cores() // slots))
