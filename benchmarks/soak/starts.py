"""The runs of benchmarks/soak: how one is started, watched, ended and checked, and what memory it takes."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SHM = Path("/dev/shm")
MARK = "DALI_PIPES_SOAK"
"""Environment variable by which the processes of a run are known, in whatever session they are."""
PATIENCE_S = 300.0
"""Without a sign of life a run that is not suspended hangs."""
END_LIMIT_S = 120.0


class Failed(Exception):
    """An event did not end as it must."""


class Sample(NamedTuple):
    run: int
    at_s: float
    """Since that run's start."""
    mib: float


@dataclass
class Run:
    """One start of the program."""

    number: int
    process: subprocess.Popen
    logs: tuple[Path, Path]
    checkpoint: int
    """When last.pt was written, as it was at the start."""
    had_checkpoint: bool
    shm: set[str]
    started_s: float = field(default_factory=time.monotonic)
    disturbed_s: list[float] = field(default_factory=list)
    """Since the start."""
    excused: str = ""
    """Pattern of the sentence with which it may yet end, for what was done to it."""
    resumed: bool = False
    """Its first line was read."""
    all_killed: bool = False
    """Together with multiprocessing's process that removes what is left in /dev/shm."""
    ended_s: float = 0.0
    """Since the start."""

    @property
    def out_text(self) -> str:
        return self.logs[0].read_text(errors="replace")

    @property
    def err_text(self) -> str:
        return self.logs[1].read_text(errors="replace")


@dataclass
class Soak:
    """Where everything lies, and what happened so far."""

    name: str
    """Of its logs."""
    work: Path
    out: Path
    options: list[str]
    """Of train/run.py, but for --out."""
    rng: random.Random
    run: Run | None = None
    done: bool = False
    runs: list[Run] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    progress: tuple[int, int] = (0, 0)
    """Epochs and steps done, where the last start went on."""
    left_by_kill: list[str] = field(default_factory=list)
    """Entries in /dev/shm of runs of which every process was killed."""
    started_s: float = field(default_factory=time.monotonic)

    @property
    def mark(self) -> str:
        """What the marks of all its processes begin with."""
        return f"{os.getpid()}-{self.name}-"

    @property
    def data(self) -> Path:
        return self.work / "data"

    @property
    def cache(self) -> Path:
        return self.work / "cache"

    @property
    def ballast(self) -> Path:
        return self.out.parent / "ballast"

    def log(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started_s), 60)
        print(f"{datetime.now():%H:%M:%S}  {minutes:3}:{seconds:02}  {text}", flush=True)

    def fail(self, text: str, run: Run | None = None) -> None:
        if run is not None:
            said = run.err_text.splitlines()
            lines = [*run.out_text.splitlines()[-5:], *(said if len(said) < 30 else [*said[:8], "...", *said[-20:]])]
            text = "\n    ".join([f"{text} (start {run.number})", *lines])
        self.failures.append(text)
        self.log(f"FAILED: {text}")


# --- processes ---------------------------------------------------------------------------------------------------


def marked(mark: str) -> list[int]:
    """Process ids of those whose environment holds ``MARK=mark``,
    or a value that begins with it if that ends with a dash."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(entry == wanted or (mark.endswith("-") and entry.startswith(wanted)) for entry in entries):
            found.append(int(folder.name))
    return found


def command_of(pid: int) -> bytes:
    """Its arguments, each ended by a zero byte; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def mark_of(soak: Soak, run: Run) -> str:
    return f"{soak.mark}{run.number}"


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end_all(soak: Soak) -> None:
    """Kill whatever process of the soak's runs there is."""
    while pids := marked(soak.mark):
        send(pids, signal.SIGKILL)
        time.sleep(0.1)
        for run in soak.runs:
            run.process.poll()


def memory_mib(pids: list[int]) -> float:
    """Of all together: proportional, where that can be read, or else resident."""
    total = 0
    for pid in pids:
        for name, pattern in (("smaps_rollup", r"^Pss:\s+(\d+)"), ("status", r"^VmRSS:\s+(\d+)")):
            try:
                found = re.search(pattern, Path(f"/proc/{pid}/{name}").read_text(), re.MULTILINE)
            except OSError:
                continue
            if found:
                total += int(found[1])
                break
    return total / 1024


def sample_memory(soak: Soak, every_s: float = 5.0) -> None:
    """Start a thread that does it until the program ends."""

    def loop() -> None:
        while True:
            run = soak.run
            if run is not None and run.process.returncode is None:
                mib = memory_mib(marked(mark_of(soak, run)))
                soak.samples.append(Sample(run.number, time.monotonic() - run.started_s, mib))
            time.sleep(every_s)

    threading.Thread(target=loop, daemon=True).start()


# --- starts and ends ---------------------------------------------------------------------------------------------


def checkpoint_time(out: Path) -> int:
    return (out / "last.pt").stat().st_mtime_ns if (out / "last.pt").exists() else 0


def start(soak: Soak, *more: str) -> Run:
    """``python train/run.py --resume auto``, or with other options, in a session of its own."""
    number, out = len(soak.runs) + 1, soak.out
    logs = tuple(soak.work / "logs" / f"{soak.name}-{number:03}.{name}" for name in ("out", "err"))
    command = [sys.executable, "train/run.py", *(more or ("--resume", "auto")), *soak.options, "--out", str(out)]
    environment = os.environ | {
        MARK: f"{soak.mark}{number}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "DALI_PIPES_CACHE": str(soak.cache),
    }
    had_checkpoint = any((out / name).exists() for name in ("last.pt", "previous.pt"))
    shm = set(os.listdir(SHM))
    with open(logs[0], "wb") as stdout, open(logs[1], "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    run = Run(number, process, (logs[0], logs[1]), checkpoint_time(out), had_checkpoint, shm)
    soak.runs.append(run)
    return run


def check_first_line(soak: Soak, run: Run) -> None:
    """A start must go on from the checkpoint that is there, and not from an earlier one than the start before."""
    if run.resumed or not (text := run.out_text):
        return
    run.resumed = True
    found = re.match(r"Resuming (.*): (\d+) epochs and (\d+) steps are done", text)
    if run.had_checkpoint and not found:
        soak.fail("started a new run, although there is a checkpoint", run)
    if found:
        progress = int(found[2]), int(found[3])
        soak.log(f"start {run.number}: {found[0]}")
        if progress < soak.progress and not found[1].endswith("previous.pt"):
            soak.fail(f"continued at {progress}, but the start before it at {soak.progress} (epochs, steps)", run)
        soak.progress = progress


def watch(soak: Soak, run: Run, until: Callable[[], bool] = lambda: False, limit_s: float = math.inf) -> bool:
    """Wait until ``until()`` holds, the run ended, or the time is over; returns whether ``until()`` holds.

    Raises:
        Failed: the run shows no sign of life.
    """
    began_s = seen_s = time.monotonic()
    seen, out = None, soak.out
    while True:
        if until():
            return True
        if run.process.poll() is not None or time.monotonic() - began_s >= limit_s:
            return False
        files = (*run.logs, out / "last.pt", out / "best.pt", out / "metrics.csv")
        signs = [(path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.exists()]
        if signs != seen:
            seen, seen_s = signs, time.monotonic()
        if time.monotonic() - seen_s > PATIENCE_S:
            raise Failed(f"hangs: no sign of life for {PATIENCE_S:.0f} s")
        check_first_line(soak, run)
        time.sleep(0.25)


def has_new_checkpoint(soak: Soak, run: Run, since: int | None = None) -> bool:
    """A step and a checkpoint came after this start, or after another checkpoint."""
    return checkpoint_time(soak.out) not in (0, run.checkpoint if since is None else since)


def ending(soak: Soak, run: Run, codes: tuple[int, ...], says: str = "", limit_s: float = END_LIMIT_S) -> str:
    """Wait for the run's end and check it: exit code, what it said, and that nothing is left of it.

    Returns:
        "exit 143" or the like.

    Raises:
        Failed: something is not as it must be.
    """
    try:
        code = run.process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end within {limit_s:.0f} s") from None
    run.ended_s = time.monotonic() - run.started_s
    check_first_line(soak, run)
    is_first = run is soak.run  # not a second one in the same folder
    if is_first:
        soak.run = None
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    soak.ends[how] += 1
    _check_processes(soak, run)
    if is_first:
        _check_shm(soak, run)
    if code not in codes:
        raise Failed(f"{how}, expected {' or '.join(map(str, codes))}")
    if "Traceback" in run.err_text:
        raise Failed(f"{how} with a traceback")
    if run.had_checkpoint and not any((soak.out / name).exists() for name in ("last.pt", "previous.pt")):
        raise Failed("no checkpoint is left")
    # warnings and the lines of the progress bar apart
    said = [
        line for line in run.err_text.splitlines() if not re.match(r"warning: |(epoch|validation|checking)\b.*%", line)
    ]
    if code == 2 and (len(said) != 1 or not said[0].startswith("error: ")):
        raise Failed(f"{how} with {len(said)} lines instead of one sentence")
    if code == 2 and not re.search(says, said[0]):
        raise Failed(f"{how} and says {said[0]!r}, which is not about {says!r}")
    if code == 2:
        how += f", {_kind_of(said[0])}"
    soak.done |= code == 0 and is_first
    return how


def _kind_of(sentence: str) -> str:
    """The sentence without what differs from time to time."""
    text = re.sub(r"[^\s(]*/\S+?(?=[:,;)\s]|$)", "PATH", sentence.removeprefix("error: "))
    return f'"{re.sub(r"[0-9]+", "N", text)[:120]}"'


def _check_processes(soak: Soak, run: Run) -> None:
    """What ends with the run is given some seconds."""
    give_up_s = time.monotonic() + 20
    while (pids := marked(mark_of(soak, run))) and time.monotonic() < give_up_s:
        time.sleep(0.25)
    if pids:
        names = [command_of(pid).replace(b"\0", b" ").decode()[:200] for pid in pids]
        soak.fail(f"{len(pids)} processes outlived the run: {'; '.join(names)}", run)
        send(pids, signal.SIGKILL)


def _check_shm(soak: Soak, run: Run) -> None:
    left = sorted(set(os.listdir(SHM)) - run.shm)
    if run.all_killed:
        soak.left_by_kill += left
    elif left:
        soak.fail(f"left in {SHM}: {', '.join(left)}", run)


def ends_or_goes_on(soak: Soak, run: Run, says: str, within_s: float) -> str:
    """It may end with exit code 2 and a sentence, or finish, or work on; it may also end so later."""
    run.excused = f"{run.excused}|{says}" if run.excused else says
    watch(soak, run, limit_s=within_s)
    return ending(soak, run, (0, 2), run.excused) if run.process.poll() is not None else "went on"


def goes_on(soak: Soak, run: Run, before: int) -> str:
    """It must write another checkpoint than the one of ``before``, or finish."""
    if watch(soak, run, lambda: has_new_checkpoint(soak, run, before)):
        return "went on"
    return ending(soak, run, (0, 2) if run.excused else (0,), run.excused)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
