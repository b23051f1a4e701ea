"""From rows of tables to jobs, each one run of train/run.py in a process of its own, several at once.

A job's folder is ``OUT/<data>/<method>/seed-<n>``; beside it lie ``seed-<n>.log``, what it printed, and
``seed-<n>.json``, how it ended. What is done is not done again, what was interrupted goes on from its checkpoint, what
failed is tried again only when that is asked for.
"""

import ctypes
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from dali_pipes.errors import InputError
from dali_pipes.files import make_folder, replacing
from dali_pipes.isolate import PR_SET_PDEATHSIG

from .checkpoint import LAST
from .command_line import MAY_CHANGE, OF_EVALUATION, RESUME_AUTO, resumed_config
from .config import GENERATED_DATA, Config, flag
from .recipes import DATA, METHODS, RECIPES, Row, Settings
from .stop import StopRequest

DONE, FAILED = "done", "failed"
OF_DATA = ("data", "dataset", "split")
SAY_EVERY_S = 600.0
"""How often the jobs at work are named with their epochs."""


@dataclass(frozen=True)
class Job:
    """One run of train/run.py."""

    name: str
    folder: Path
    settings: Settings
    """Given to a training; empty for an evaluation."""
    arguments: tuple[str, ...]
    needs: tuple["Job", ...] = ()
    """Trainings whose networks it evaluates."""

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def end(self) -> Path:
        return self.folder.with_name(self.folder.name + ".json")

    @property
    def command(self) -> list[str]:
        # under -m the program's folder does not come first on the import path
        return [sys.executable, "-m", "train.run", *self.arguments]


def settings_of(recipe: str, given: Settings) -> Settings:
    """A recipe's settings with what the user gives for all.

    Data of the user's own takes the place of the recipe's; for data that is made here, its preset holds.
    """
    data, _, method = recipe.partition("/")
    if given.get("data") in GENERATED_DATA and given["data"] != DATA[data].get("data"):
        return METHODS[method] | given
    kept = {name: value for name, value in DATA[data].items() if "dataset" not in given or name not in OF_DATA}
    return kept | METHODS[method] | given


def as_arguments(settings: Settings) -> tuple[str, ...]:
    """The settings as a command line of train/run.py."""
    found: list[str] = []
    for name, value in settings.items():
        if isinstance(value, bool):
            found.append(flag(name) if value else flag(name).replace("--", "--no-", 1))
        else:
            found += [flag(name), str(value)]
    return tuple(found)


def training(recipe: str, seed: int, given: Settings, out: Path) -> Job:
    settings = settings_of(recipe, given) | {"seed": seed}
    folder = out / recipe / f"seed-{seed}"
    return Job(
        f"{recipe}, seed {seed}",
        folder,
        settings,
        (*as_arguments(settings), "--out", str(folder), "--resume", RESUME_AUTO),
    )


def evaluation(row: Row, seed: int, given: Settings, out: Path) -> Job:
    """Of the averaged scores of a row's networks, or of its only one, where that is not what training prints."""
    needs = tuple(training(recipe, seed, given, out) for recipe in row.recipes)
    checkpoints = [str(job.folder / LAST) for job in needs]
    data = row.recipes[0].partition("/")[0]
    folder = out / data / row.name / f"seed-{seed}"
    what = ("--ensemble", *checkpoints) if row.combine == "ensemble" else ("--eval-only", *checkpoints)
    where = {name: value for name, value in given.items() if name in OF_EVALUATION}
    where |= {name: needs[0].settings[name] for name in ("data", "dataset") if name in needs[0].settings}
    if row.test and "split" in needs[0].settings:
        where["split"] = "test"
    arguments = (*what, "--predict", *as_arguments(where), "--out", str(folder))
    return Job(f"{data}/{row.name}, seed {seed}", folder, {}, arguments, needs)


def jobs_of(rows: Iterable[Row], seeds: Iterable[int], given: Settings, out: Path) -> list[Job]:
    """Every job of the rows once; of one seed all rows before the next seed, trainings before what needs them."""
    rows, jobs = list(rows), {}
    for seed in seeds:
        for row in rows:
            own = [training(recipe, seed, given, out) for recipe in row.recipes]
            if is_evaluated(row):
                own.append(evaluation(row, seed, given, out))
            jobs |= {job.folder: job for job in own}
    return list(jobs.values())


def is_evaluated(row: Row) -> bool:
    return row.test or row.combine == "ensemble"


def state_of(job: Job) -> tuple[str, str]:
    """``done``, ``failed`` or nothing, and the reason of a failure.

    Raises:
        InputError: what was done there was done with other settings.
    """
    saved = saved_settings(job.folder)
    if job.settings and saved:
        ours = job.settings.get("data")
        if ours != saved.data and {ours, saved.data} & set(GENERATED_DATA):
            raise InputError(f"{job.folder}: was trained on --data {saved.data}, not {ours}; choose another --out")
        resumed_config(job.settings, saved, job.folder)
    if not job.end.exists():
        return "", ""
    if any(need.end.stat().st_mtime > job.end.stat().st_mtime for need in job.needs if need.end.exists()):
        return "", ""  # of networks that were trained again since
    end = _read_json(job.end)
    return str(end.get("state", "")), str(end.get("reason", ""))


def saved_settings(folder: Path) -> Config | None:
    """Those of the run in a folder, if there is one.

    Raises:
        InputError: they cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        return Config(**_read_json(path))
    except TypeError as error:
        raise InputError(f"{path}: was written by another version ({error}); choose another --out") from error


def _read_json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is cut off or damaged ({error}); remove it to do the job again") from error


@dataclass
class _AtWork:
    job: Job
    process: subprocess.Popen
    slot: int
    since: float


class Runner:
    """Runs jobs side by side, and says what becomes of them."""

    def __init__(self, jobs: Sequence[Job], slots: int, retry: bool, say: Callable[[str], None] = print):
        self.waiting = list(jobs)
        self.total, self.finished, self.say = len(jobs), 0, say
        self.free = list(range(slots))
        self.slots = slots
        self.retry = retry
        self.running: list[_AtWork] = []
        self.failed: dict[Path, str] = {}
        """Folder of a job -> why."""

    def run(self, stop: StopRequest) -> None:
        """Until all have ended, or until it is asked to stop; then the jobs at work write their checkpoints."""
        said = time.monotonic()
        try:
            while (self.waiting or self.running) and not stop.number:
                self._start_what_can_be()
                self._look()
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    for at_work in self.running:
                        self.say(f"{at_work.job.name}: {last_line(at_work.job.log)}")
                time.sleep(0.2)
            if self.running:
                self.say(f"stopping: {len(self.running)} jobs write their checkpoints")
            for at_work in self.running:
                at_work.process.terminate()
            for at_work in self.running:
                at_work.process.wait()
        finally:
            for at_work in self.running:
                at_work.process.kill()
                at_work.process.wait()

    def _start_what_can_be(self) -> None:
        for job in list(self.waiting):
            lacking = [need for need in job.needs if need.folder in self.failed]
            if lacking:
                self._end(job, f"needs {lacking[0].name}, which failed")
            elif not any(self._pending(need) for need in job.needs) and self.free:
                self._start(job)

    def _pending(self, job: Job) -> bool:
        return job in self.waiting or any(at_work.job == job for at_work in self.running)

    def _start(self, job: Job) -> None:
        self.waiting.remove(job)
        try:
            state, reason = state_of(job)
        except InputError as error:
            self._end(job, str(error))
            return
        if state == DONE:
            self.finished += 1
            self.say(f"[{self.finished}/{self.total}] {job.name}: was done before")
            return
        if state == FAILED and not self.retry:
            self._end(job, f"failed before, try again with --retry: {reason}")
            return
        make_folder(job.folder.parent)
        with open(job.log, "ab") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held as long as a process of the job can print
            except OSError:
                self._end(job, "is at work in another process, which it is left to")
                return
            job.end.unlink(missing_ok=True)
            log.write(f"\n$ {shlex.join(job.command)}\n".encode())
            log.flush()
            slot = self.free.pop(0)
            process = subprocess.Popen(
                job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment_of(slot, self.slots),
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.say(f"{job.name}: {'goes on' if (job.folder / LAST).exists() else 'starts'}, see {job.log}")
        self.running.append(_AtWork(job, process, slot, time.monotonic()))

    def _look(self) -> None:
        for at_work in list(self.running):
            code = at_work.process.poll()
            if code is None:
                continue
            self.running.remove(at_work)
            self.free.append(at_work.slot)
            job, minutes = at_work.job, (time.monotonic() - at_work.since) / 60
            if code in STOPPED:
                self._end(job, "was stopped by someone else; the same command goes on with it")
                continue
            reason = "" if code == 0 else _why(code, job.log)
            with replacing(job.end) as draft:
                draft.write_text(json.dumps({"state": FAILED if reason else DONE, "reason": reason}) + "\n")
            if reason:
                self._end(job, reason)
            else:
                self.finished += 1
                self.say(f"[{self.finished}/{self.total}] {job.name}: done in {minutes:.1f} min; {last_line(job.log)}")

    def _end(self, job: Job, reason: str) -> None:
        with suppress(ValueError):
            self.waiting.remove(job)
        self.finished += 1
        self.failed[job.folder] = reason
        self.say(f"[{self.finished}/{self.total}] {job.name}: FAILED, {reason}")


_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Should this program be killed, its jobs write their checkpoints and end; they are not left alone."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


STOPPED = {sign for number in (signal.SIGINT, signal.SIGTERM) for sign in (128 + number, -number)}


def _why(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by signal {-code}{' (out of memory?)' if code == -9 else ''}, see {log}"
    return f"exit code {code}, see {log}: {last_line(log)}"


def last_line(log: Path) -> str:
    """What was printed last, without what a progress bar overwrote."""
    with suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def gpus() -> list[str]:
    """Of this machine, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[:count] or [str(number) for number in range(count)]


def environment_of(slot: int, slots: int) -> dict[str, str]:
    """Of one of several jobs at once: a GPU for each in turn; without one, its share of the cores."""
    found, names = dict(os.environ), gpus()
    if names:
        found["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
    elif slots > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // slots)))
    return found


def shared_workers(slots: int) -> int:
    """Decoding processes of each of several jobs at once."""
    return max(1, Config.workers // slots)


def not_the_recipe(job: Job, recipe: str) -> dict[str, tuple[object, object]]:
    """In what the training in a job's folder differs from its recipe: setting -> (trained with, the recipe's)."""
    saved = saved_settings(job.folder)
    planned = Config(**{"data": "of the recipe"} | RECIPES[recipe])
    found = {name: (getattr(saved, name), getattr(planned, name)) for name in MATTERS} if saved else {}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


MATTERS = [
    item.name
    for item in fields(Config)
    if item.name not in (*MAY_CHANGE, "seed", "eval_every", "accumulate", "max_steps")
]
"""Settings that a result depends on."""
