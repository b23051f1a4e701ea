"""An hour of training during which what can go wrong does, on two cores beside a process that takes one of them.

``python benchmarks/soak -o benchmarks/results/soak.md``: a training of the demo videos is stopped, killed, suspended,
robbed of its workers, videos and disk, and started twice, at random moments, and continued each time with ``--resume
auto``. At the end its weights must be those of an undisturbed run, bit for bit; that run comes first and takes a third
of --minutes, and the rest of the disturbed one may take as long. What happens and when is printed; --seed sets the
order of the events, the moments also depend on the machine. Prints a report in Markdown and ends with exit code 1 if
anything was not as it must be.

As root its folder is a small file system of its own, which nobody else sees, as is /dev/shm; otherwise --disk names
one, and nothing else on the machine should use /dev/shm.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import events
import report
import starts
from starts import ROOT, Failed, Run, Soak, ending, has_new_checkpoint, start, watch

INSIDE = "DALI_PIPES_SOAK_INSIDE"
HOG = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10**5))"
TRAINING = (
    "--model s3d --num-frames 16 --crop-px 48 --batch-size 8 --workers 2 --aug randaug_t --eval-clips 1 --lr 1e-3 "
    "--device cpu --checkpoint-minutes 0.2"
)
"""The network with the smallest checkpoint: 91 MiB with Adam's state."""
DISK_MIB = 400
"""Two checkpoints, the draft of a third, the best weights and the draft of others."""
SHARE = 1 / 3
"""Of the time that an undisturbed training would take."""
EARLY = 0.5
"""Share of the starts at which something happens."""


def main() -> int:
    options = parse()
    if not options.disk:
        refused = make_namespace()
        if refused:
            print(f"soak: {refused}", file=sys.stderr)
            return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores Ctrl-C, and so would the runs
        signal.signal(number, signal.default_int_handler)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    work = Path(options.work or tempfile.mkdtemp(prefix="soak-")).resolve()
    hog = subprocess.Popen([sys.executable, "-c", HOG], start_new_session=True)
    soaks: list[Soak] = []
    try:
        text, passed = soak_all(options, work, soaks)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Failed as failed:  # of the undisturbed runs
        print(f"soak: an undisturbed run {failed}; logs in {work / 'logs'}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # another one must not leave half of it behind
            signal.signal(number, signal.SIG_IGN)
        hog.kill()
        for soak in soaks:
            starts.end_all(soak)
            soak.ballast.unlink(missing_ok=True)
        if not options.disk:
            subprocess.run(["umount", work / "disk"], check=False, capture_output=True)
    print(text)
    if options.output:
        options.output.write_text(text)
    if passed and not options.work:
        shutil.rmtree(work)
    else:
        print(f"Logs, and the undisturbed run: {work}", file=sys.stderr)
    return 0 if passed else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of events (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the events (default: 0)")
    parser.add_argument(
        "--epochs", type=int, default=0, help="of the training; by default a third of --minutes, measured"
    )
    parser.add_argument("--training", default=TRAINING, help=f"options of train/run.py (default: {TRAINING})")
    parser.add_argument("--reference", type=Path, help="folder of an undisturbed run of an earlier soak, to reuse")
    parser.add_argument(
        "--work", type=Path, help="folder for logs, data and the undisturbed run; by default a temporary one"
    )
    parser.add_argument("--disk", type=Path, help="a folder on a small file system for the run; as root one is made")
    parser.add_argument("--disk-mib", type=int, default=DISK_MIB, help=f"its size if it is made (default: {DISK_MIB})")
    known = ", ".join([*events.AT_WORK, *events.AT_START])
    parser.add_argument("--without", nargs="+", default=[], metavar="EVENT", help=f"events to leave out, of: {known}")
    parser.add_argument("-o", "--output", type=Path, help="file for the report")
    options = parser.parse_args()
    if unknown := set(options.without) - {*events.AT_WORK, *events.AT_START}:
        parser.error(f"Invalid --without {', '.join(sorted(unknown))}: choose one or more of {known}")
    if set(events.AT_WORK) <= set(options.without):
        parser.error(
            f"Invalid --without {', '.join(options.without)}: must leave at least one of {', '.join(events.AT_WORK)}"
        )
    return options


def make_namespace() -> str:
    """Go on in a mount namespace of its own, where /dev/shm is empty; returns why not, if that cannot be."""
    if INSIDE not in os.environ:
        if os.geteuid() != 0 or not shutil.which("unshare"):
            return (
                "Cannot mount a small file system for the run: needs root and unshare; "
                "give a folder on one with --disk DIR"
            )
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    return mount(starts.SHM, "50%")


def mount(folder: Path, size: str) -> str:
    """Mount an empty file system in memory; returns why not, if that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    return f"Cannot mount a file system: {done.stderr.strip()}; give one with --disk DIR" if done.returncode else ""


def soak_all(options: argparse.Namespace, work: Path, soaks: list[Soak]) -> tuple[str, bool]:
    """The report, and whether all is as it must be."""
    (work / "logs").mkdir(parents=True, exist_ok=True)
    disk = options.disk or work / "disk"
    if not options.disk and (refused := mount(disk, f"{options.disk_mib}m")):
        raise SystemExit(f"soak: {refused}")
    if not (work / "data").exists():
        from train.data.demo_data import demo_folder

        shutil.copytree(demo_folder(), work / "data")
    training = [*shlex.split(options.training), "--data", str(work / "data")]
    epochs = options.epochs

    def soak_of(name: str, out: Path) -> Soak:
        soak = Soak(name, work, out, [*training, "--epochs", str(epochs)], random.Random(options.seed))
        starts.sample_memory(soak)
        soaks.append(soak)
        return soak

    reference = options.reference or work / "reference"
    if options.reference:
        epochs = starts.read_json(reference / "config.json")["epochs"]
    elif not epochs:
        epochs = 3
        seconds = seconds_per_epoch(soak_of("calibration", work / "calibration"))
        epochs = max(3, round(60 * options.minutes * SHARE / seconds))
        print(f"{seconds:.1f} s per epoch: {epochs} epochs", flush=True)
    undisturbed = soak_of("undisturbed", reference)
    if not options.reference:
        shutil.rmtree(reference, ignore_errors=True)
        train_undisturbed(undisturbed)
    soak = soak_of("soak", disk / "run")
    shutil.rmtree(soak.out, ignore_errors=True)
    disturb(soak, options)
    soak.log("undisturbed from here on")
    finish(soak)
    shm_at_end = sorted(set(os.listdir(starts.SHM)) - soak.runs[0].shm - set(soak.left_by_kill))
    left = starts.marked(soak.mark)
    checks = [
        *report.checks_of_events(soak, options),
        *report.checks_of_results(soak, reference),
        ("nothing else is left in /dev/shm", not shm_at_end, ", ".join(shm_at_end)),
        ("no process is left", not left, str(left or "")),
        *(check for of in (undisturbed, soak) for check in report.checks_of_memory(of)),
    ]
    return report.report(soak, undisturbed, options, epochs, checks), all(passed for _, passed, _ in checks)


def seconds_per_epoch(soak: Soak) -> float:
    """From the first to the second epoch's line, beside the other process."""
    seen: dict[int, float] = {}

    def has_two() -> bool:
        for line in run.out_text.splitlines():
            if line.startswith("epoch"):
                seen.setdefault(int(line.split()[1].split("/")[0]), time.monotonic())
        return len(seen) > 1

    shutil.rmtree(soak.out, ignore_errors=True)
    run = start(soak)
    if not watch(soak, run, has_two):
        raise Failed(f"ended with exit code {run.process.returncode}: {run.err_text[-500:]}")
    starts.end_all(soak)
    shutil.rmtree(soak.out)
    return seen[2] - seen[1]


def train_undisturbed(soak: Soak) -> None:
    run = soak.run = start(soak)
    watch(soak, run)
    soak.log(f"undisturbed run: {ending(soak, run, (0,))} after {time.monotonic() - run.started_s:.0f} s")


def disturb(soak: Soak, options: argparse.Namespace) -> None:
    """Events until the time is over, or the training done."""
    end_s = time.monotonic() + 60 * options.minutes
    at_work = events.deck(soak, [name for name in events.AT_WORK if name not in options.without])
    at_start = events.deck(soak, [name for name in events.AT_START if name not in options.without])
    kind = next(at_work)
    while time.monotonic() < end_s and not soak.done:
        if soak.run is None:
            if has_checkpoint(soak) and soak.rng.random() < EARLY and (name := next(at_start, None)):
                happen(soak, name, lambda: events.AT_START[name](soak))  # noqa: B023 - called at once
                continue
            soak.run = start(soak)
        run, pause_s = soak.run, soak.rng.uniform(3, 20)
        try:  # an event only after some work was done
            watch(soak, run, lambda: has_new_checkpoint(soak, run))  # noqa: B023
            watch(soak, run, limit_s=min(pause_s, max(0.0, end_s - time.monotonic())))
            if run.process.poll() is not None:
                took = ending(soak, run, (0, 2) if run.excused else (0,), run.excused)
                soak.log(f"{took}" if soak.done else f"{took}, late")
                continue
        except Failed as failed:
            give_up(soak, run, f"undisturbed: {failed}")
            continue
        if time.monotonic() < end_s:
            happen(soak, kind, lambda: events.AT_WORK[kind](soak, run))  # noqa: B023
            kind = next(at_work)


def has_checkpoint(soak: Soak) -> bool:
    return (soak.out / "last.pt").exists()


def happen(soak: Soak, kind: str, event: Callable[[], str]) -> None:
    soak.log(kind)
    if soak.run is not None:
        soak.run.disturbed_s.append(time.monotonic() - soak.run.started_s)
    before = len(soak.runs)
    try:
        outcome = event()
    except Failed as failed:
        give_up(
            soak,
            soak.runs[before] if soak.run is None and len(soak.runs) > before else soak.run or soak.runs[-1],
            f"{kind}: {failed}",
        )
        outcome = "FAILED"
    if soak.run is not None:
        soak.run.disturbed_s.append(time.monotonic() - soak.run.started_s)
    soak.outcomes[kind, outcome] += 1
    soak.log(f"{kind}: {outcome}")


def give_up(soak: Soak, run: Run, text: str) -> None:
    """Note a failure, and end what is left of the run."""
    soak.fail(text, run)
    starts.end_all(soak)
    soak.left_by_kill += set(os.listdir(starts.SHM)) - run.shm - set(soak.left_by_kill)
    soak.run = None


def finish(soak: Soak) -> None:
    """The rest of the training, without events."""
    for _ in range(3):
        if soak.done:
            return
        run = soak.run = soak.run or start(soak)
        try:
            watch(soak, run)
            soak.log(ending(soak, run, (0, 2) if run.excused else (0,), run.excused))
        except Failed as failed:
            give_up(soak, run, f"the undisturbed end: {failed}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
