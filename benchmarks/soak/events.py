"""What befalls a training in benchmarks/soak: each event is a function, the tables at the end name them.

An event leaves the run at work, or ended, and returns in a few words how the run took it.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from starts import (
    END_LIMIT_S,
    Failed,
    Run,
    Soak,
    checkpoint_time,
    command_of,
    ending,
    ends_or_goes_on,
    goes_on,
    has_new_checkpoint,
    mark_of,
    marked,
    send,
    start,
    watch,
)

READER_LIMIT_S = 130.0
"""After which a process that reads a video is given up (TIME_LIMIT_S of dali_pipes, and a grace)."""
NO_SPACE = r"cannot be written \(No space left on device\)"
WORKER_DIED = "a decoding process died|crashes the process that reads it"

# --- events while a run is at work -------------------------------------------------------------------------------


def kill_worker(soak: Soak, run: Run) -> str:
    workers = [pid for pid in sorted(marked(mark_of(soak, run))) if b"spawn_main" in command_of(pid)]
    if not workers:
        raise Failed("has no decoding workers")
    send([soak.rng.choice(workers)], signal.SIGKILL)
    return ends_or_goes_on(soak, run, WORKER_DIED, within_s=60)


def terminate(soak: Soak, run: Run) -> str:
    return stopped(soak, run, signal.SIGTERM, [run.process.pid])


def interrupt(soak: Soak, run: Run) -> str:
    """As a terminal does."""
    return stopped(soak, run, signal.SIGINT, [-run.process.pid])


def stopped(soak: Soak, run: Run, number: signal.Signals, pids: list[int]) -> str:
    before = checkpoint_time(soak.out)
    send(pids, number)
    how = ending(soak, run, (128 + number, 0))
    if checkpoint_time(soak.out) == before:
        raise Failed(f"{how} without a checkpoint of its last step")
    return how


def kill_group(soak: Soak, run: Run) -> str:
    os.killpg(run.process.pid, signal.SIGKILL)
    return ending(soak, run, (-signal.SIGKILL,))


def kill_alone(soak: Soak, run: Run) -> str:
    run.process.kill()
    return ending(soak, run, (-signal.SIGKILL,))


def suspended(soak: Soak, run: Run, seconds: float) -> None:
    """Stop every process of the run, also those in sessions of their own, and wake them."""
    stopped: set[int] = set()
    while new := set(marked(mark_of(soak, run))) - stopped:  # some may be starting others
        send(sorted(new), signal.SIGSTOP)
        stopped |= new
    time.sleep(seconds)
    send(sorted(stopped), signal.SIGCONT)


def suspend(soak: Soak, run: Run) -> str:
    before = checkpoint_time(soak.out)
    suspended(soak, run, soak.rng.uniform(5, 20))
    return goes_on(soak, run, before)


def suspend_long(soak: Soak, run: Run) -> str:
    before = checkpoint_time(soak.out)
    suspended(soak, run, READER_LIMIT_S + soak.rng.uniform(5, 15))
    return goes_on(soak, run, before)


def fill_disk(soak: Soak) -> None:
    """Leave not a byte to others; what they freed since is taken too."""
    with open(soak.ballast, "ab", buffering=0) as file:
        for block in (2**20, 2**12, 1):
            try:
                while file.write(bytes(block)) == block:
                    pass
            except OSError:
                continue


def fill_and_free_disk(soak: Soak, run: Run) -> str:
    try:
        until_s = time.monotonic() + soak.rng.uniform(8, 40)
        while time.monotonic() < until_s and run.process.poll() is None:
            fill_disk(soak)
            time.sleep(0.25)
    finally:
        soak.ballast.unlink(missing_ok=True)
    return ends_or_goes_on(soak, run, NO_SPACE, within_s=20)


def start_second(soak: Soak, run: Run) -> str:
    """Another run, or the same command again, in the folder of one at work must be refused and change nothing."""
    files = [soak.out / name for name in ("config.json", "environment.json", "train.csv", "val.csv")]

    def state() -> list[bytes]:
        return [path.read_bytes() for path in files if path.exists()] + [
            path.name.encode() for path in soak.out.glob("earlier-*")
        ]

    before = state()
    again = soak.rng.random() < 0.3
    second = start(soak, *(["--resume", "auto"] if again else ["--seed", "1"]))
    second.resumed = True  # not one of the soaked runs, whatever it says
    try:
        watch(soak, second, lambda: state() != before, limit_s=END_LIMIT_S)
        if state() != before:
            raise Failed("a second run changed the folder of the one at work")
        return "refused: " + ending(soak, second, (2,), rf"\b{run.process.pid}\b.*--out|--out.*\b{run.process.pid}\b")
    except Failed as failed:
        soak.fail(f"second run: {failed}", second)
        return "failed"
    finally:
        send(marked(mark_of(soak, second)), signal.SIGKILL)
        second.process.wait()


class Away:
    """``with Away(soak) as path``: a training video, or all of a class, is renamed away; put back with its times."""

    def __init__(self, soak: Soak, whole_class: bool = False):
        folders = sorted((soak.data / "train").iterdir())
        folder = soak.rng.choice(folders)
        self.path = folder if whole_class else soak.rng.choice(sorted(folder.iterdir()))
        self.aside = soak.work / "away"

    def __enter__(self) -> Path:
        self.path.rename(self.aside)
        return self.path

    def __exit__(self, *_: object) -> None:
        self.aside.rename(self.path)


def take_video_away(soak: Soak, run: Run) -> str:
    with Away(soak, whole_class=soak.rng.random() < 0.3) as path:
        watch(soak, run, limit_s=soak.rng.uniform(5, 25))
    return ends_or_goes_on(soak, run, re.escape(str(path)), within_s=20)


# --- events while a run is being started --------------------------------------------------------------------------


def forget_videos(soak: Soak) -> None:
    """The next start checks all videos anew."""
    shutil.rmtree(soak.cache / "manifests", ignore_errors=True)


def end_early(soak: Soak) -> str:
    """Without a step of training there is nothing to write, so a signal may end it as it does any program."""
    if soak.rng.random() < 0.5:
        forget_videos(soak)
    number = soak.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    run = soak.run = start(soak)
    watch(soak, run, limit_s=soak.rng.uniform(2, 14))
    os.killpg(run.process.pid, number)
    run.all_killed = number == signal.SIGKILL
    return f"{number.name}: {ending(soak, run, (-number, 128 + number))}"


def suspend_checking(soak: Soak) -> str:
    """For longer than the readers' limit, or not, while they read: no video may be left out for that."""
    forget_videos(soak)
    run = soak.run = start(soak)

    def is_reading() -> bool:
        return any(b"isolate" in command_of(pid) for pid in marked(mark_of(soak, run)))

    if not watch(soak, run, is_reading, limit_s=60):
        raise Failed("did not check the videos")
    time.sleep(soak.rng.uniform(0.5, 2))
    before = checkpoint_time(soak.out)
    seconds = READER_LIMIT_S + 5 if soak.rng.random() < 0.4 else soak.rng.uniform(5, 20)
    suspended(soak, run, seconds)
    return f"{'long' if seconds > READER_LIMIT_S else 'short'}: {goes_on(soak, run, before)}"


def refused(soak: Soak, run: Run, says: str) -> str:
    """It must end with exit code 2 and a sentence before it trains."""
    if watch(soak, run, lambda: has_new_checkpoint(soak, run)):
        raise Failed(f"trains, but must refuse: {says!r}")
    return ending(soak, run, (2,), says)


def start_without_video(soak: Soak) -> str:
    """A video, or all of a class, that is away must not be passed over: what was trained on is not there."""
    if soak.rng.random() < 0.5:
        forget_videos(soak)
    whole_class = soak.rng.random() < 0.5
    with Away(soak, whole_class) as path:
        run = soak.run = start(soak)
        name = "a class" if whole_class else "a video"
        says = f"was trained on|{re.escape(str(path))}"
        if whole_class:
            says += f"|invalid class '{path.name}'"
        return f"{name}: {refused(soak, run, says)}"


def start_on_full_disk(soak: Soak) -> str:
    try:
        fill_disk(soak)
        run = soak.run = start(soak)
        return refused(soak, run, NO_SPACE)
    finally:
        soak.ballast.unlink(missing_ok=True)


AT_WORK: dict[str, Callable[[Soak, Run], str]] = {
    "worker killed": kill_worker,
    "SIGTERM": terminate,
    "Ctrl-C": interrupt,
    "whole group killed": kill_group,
    "main process killed": kill_alone,
    "suspended": suspend,
    "suspended long": suspend_long,
    "disk filled": fill_and_free_disk,
    "second run": start_second,
    "video away": take_video_away,
}
AT_START: dict[str, Callable[[Soak], str]] = {
    "ended while starting": end_early,
    "suspended while checking videos": suspend_checking,
    "started without a video": start_without_video,
    "started on a full disk": start_on_full_disk,
}


def deck(soak: Soak, names: list[str]) -> Iterator[str]:
    """All names in a random order, again and again; the long suspension, which takes minutes, every third time."""
    for turn in range(10**6 if names else 0):
        hand = [name for name in names if name != "suspended long" or turn % 3 == 0]
        if "suspended" in names:
            hand.append("suspended")
        yield from soak.rng.sample(hand, len(hand))


def summary(soak: Soak) -> dict[str, dict[str, int]]:
    """How often each kind of event ended how."""
    kinds: dict[str, dict[str, int]] = {}
    for (kind, outcome), count in sorted(soak.outcomes.items()):
        kinds.setdefault(kind, {})[outcome] = count
    return kinds
