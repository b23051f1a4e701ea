"""What benchmarks/soak checks at the end, and its report."""

import argparse
import math
import platform
import shlex
import sys
from collections import Counter
from pathlib import Path

import events
import numpy as np
import starts
from starts import Soak

SETTLED_S = 120.0
SHORTEST_STRETCH_S, MOST_GROWTH_MIB_PER_H = 600.0, 150.0
TIMES = ("clips_per_s", "data_wait_fraction", "epoch_s")
"""Columns of metrics.csv that are measured."""


Check = tuple[str, bool, str]
"""What must be so, whether it is, and words."""


def checks_of_events(soak: Soak, options: argparse.Namespace) -> list[Check]:
    seen = {kind for kind, _ in soak.outcomes}
    missed = [kind for kind in (*events.AT_WORK, *events.AT_START) if kind not in {*seen, *options.without}]
    return [
        (
            "every run took its events as it must",
            not soak.failures,
            f"{len(soak.failures)} failures" if soak.failures else "",
        ),
        ("every kind of event happened", not missed, f"not: {', '.join(missed)}" if missed else ""),
        ("the training was finished", soak.done, ""),
    ]


def checks_of_results(soak: Soak, reference: Path) -> list[Check]:
    """Against the undisturbed run."""
    import torch  # here, so that the rest needs no memory for it

    def load(folder: Path, name: str) -> dict:
        return torch.load(folder / name, weights_only=True) if (folder / name).exists() else {}

    def same(ours: object, theirs: object) -> bool:
        if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
            return torch.equal(ours, theirs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            return ours.keys() == theirs.keys() and all(same(value, theirs[key]) for key, value in ours.items())
        if isinstance(ours, list) and isinstance(theirs, list):
            return len(ours) == len(theirs) and all(map(same, ours, theirs))
        return ours == theirs

    checks: list[Check] = []
    for name, parts in (("last.pt", ("model", "optimizer", "epoch", "step")), ("best.pt", ("model", "epoch"))):
        ours, theirs = load(soak.out, name), load(reference, name)
        different = [part for part in parts if part not in ours or not same(ours[part], theirs.get(part))]
        title = f"{name}: {', '.join(parts)} are those of the undisturbed run, bit for bit"
        checks.append((title, not different, f"different: {', '.join(different)}" if different else ""))
    rows, expected = ([without_times(row) for row in read_metrics(folder)] for folder in (soak.out, reference))
    title = "metrics.csv: all that is not a time is equal"
    checks.append((title, rows == expected and bool(rows), f"{len(rows)} and {len(expected)} epochs"))
    bad = [row["epoch"] for row in rows if row.get("bad_videos") != "0"]
    checks.append(("no video was left out", not bad, f"epochs {', '.join(bad)}" if bad else ""))
    names = [{path.name for path in folder.glob("*")} for folder in (soak.out, reference)]
    wrong = sorted(names[0] ^ names[1])
    checks.append(("the folder holds the same files, no drafts, no other run", not wrong, ", ".join(wrong)))
    return checks


def read_metrics(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()] if path.exists() else [[]]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def without_times(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in TIMES}


def longest_stretch(soak: Soak) -> np.ndarray:
    """(N, 2) of seconds and MiB: the longest time without an event of one run, from two minutes after its start on."""
    stretches = [np.zeros((0, 2))]
    for run in soak.runs:
        samples = np.array([(at_s, mib) for number, at_s, mib in soak.samples if number == run.number]).reshape(-1, 2)
        edges = [SETTLED_S, *(at_s for at_s in run.disturbed_s if at_s > SETTLED_S), math.inf]
        stretches += [
            samples[(samples[:, 0] >= low) & (samples[:, 0] < high)]
            for low, high in zip(edges, edges[1:], strict=False)
        ]
    return max(stretches, key=lambda part: float(np.ptp(part[:, 0])) if len(part) else 0.0)


def checks_of_memory(soak: Soak) -> list[Check]:
    part = longest_stretch(soak)
    length_s = float(np.ptp(part[:, 0])) if len(part) else 0.0
    title = f"memory, {soak.name}: grows by less than {MOST_GROWTH_MIB_PER_H:.0f} MiB an hour over the longest stretch"
    if length_s < 60:
        return []
    slope = float(np.polyfit(part[:, 0], part[:, 1], 1)[0]) * 3600
    words = f"{slope:+.0f} MiB/h over {length_s / 60:.1f} minutes, {part[:, 1].min():.0f} to {part[:, 1].max():.0f} MiB"
    if length_s < SHORTEST_STRETCH_S:
        return [(title, True, f"too short to tell: {words}")]
    return [(title, slope < MOST_GROWTH_MIB_PER_H, words)]


def memory_line(soak: Soak) -> str:
    """Two minutes after each start that lived so long, and the most."""
    first: dict[int, float] = {}
    for number, at_s, mib in soak.samples:
        if at_s >= SETTLED_S:
            first.setdefault(number, mib)
    settled = ", ".join(f"{mib:.0f}" for mib in first.values()) or "no run lived so long"
    most = max((mib for *_, mib in soak.samples), default=0)
    return f"- {soak.name}: two minutes after each start: {settled}; the most: {most:.0f}"


def report(soak: Soak, undisturbed: Soak, options: argparse.Namespace, epochs: int, checks: list[Check]) -> str:
    environment = starts.read_json(soak.out / "environment.json")
    first = environment[0] if environment else {}
    git = first.get("git") or {}
    versions = ", ".join(f"{name} {version}" for name, version in first.get("packages", {}).items())
    took = undisturbed.runs[0] if undisturbed.runs else None
    rows = [
        (kind, sum(outcomes.values()), "; ".join(f"{outcome} ({count})" for outcome, count in outcomes.items()))
        for kind, outcomes in events.summary(soak).items()
    ]
    ends = Counter(soak.ends)
    size = sum(path.stat().st_size for name in soak.left_by_kill if (path := starts.SHM / name).exists())
    lines = [
        "# Soak: training through an hour of trouble" if options.minutes >= 60 else "# Soak, rehearsed",
        "",
        "```bash",
        f"python benchmarks/soak {shlex.join(sys.argv[1:])}".rstrip(),
        "```",
        "",
        f"{cpu_name()}, 2 cores beside a process that takes one; {platform.platform()}; "
        f"Python {platform.python_version()}, {versions}; commit "
        f"{git.get('commit', 'unknown')[:12]}{', changed' if git.get('changed') else ''}. "
        f"`train/run.py {options.training} --epochs {epochs}`, "
        + (f"undisturbed in {took.ended_s / 60:.1f} minutes." if took else f"compared with {options.reference}."),
        "",
        f"{options.minutes:g} minutes of events, seed {options.seed}; {len(soak.runs)} starts, which ended so: "
        f"{', '.join(f'{how} {count} times' for how, count in ends.most_common())}. After SIGKILL of all of a run's "
        f"processes {len(soak.left_by_kill)} entries with {size} bytes were left in /dev/shm, "
        "which nobody was left to remove.",
        "",
        "| event | times | how the run took it |",
        "|---|---:|---|",
        *(f"| {kind} | {count} | {words} |" for kind, count, words in rows),
        "",
        "| what must be so | | |",
        "|---|---|---|",
        *(f"| {title} | {'yes' if passed else '**no**'} | {words} |" for title, passed, words in checks),
        "",
        "Memory, MiB of all processes of a run together, sampled every 5 seconds (shared pages counted once):",
        "",
        memory_line(undisturbed),
        memory_line(soak),
        "",
        *(["## Failures", "", *(f"```\n{text}\n```\n" for text in soak.failures)] if soak.failures else []),
    ]
    return "\n".join(lines)


def cpu_name() -> str:
    found = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return found[0] if found else platform.machine()
