"""Number of cores that this process may use, which may be fewer than the machine has."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    These are the cores it may run on, as ``taskset`` sets them, or as many as its control group's quota of time is
    worth, rounded up, as ``docker --cpus`` sets it. A limit that cannot be read does not count.
    """
    quotas = _quotas(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, min([len(os.sched_getaffinity(0)), *(-(-quota // period) for quota, period in quotas)]))


def _quotas(listing: Path, root: Path) -> Iterator[tuple[int, int]]:
    """Yield each limit on the process's group and those above it: time, and in how much time, in the same unit."""
    lines = []
    with suppress(OSError):
        lines = listing.read_text(errors="replace").splitlines()
    for line in lines:
        _, _, kinds_and_path = line.partition(":")
        kinds, _, path = kinds_and_path.partition(":")
        if kinds and "cpu" not in kinds.split(","):
            continue
        mounts = (root / kinds, root / "cpu") if kinds else (root, root / "unified")  # of version 1, of version 2
        # in a container the path may be the host's, of which it sees but the end: then only the mount itself is there
        group = Path("/" if ".." in path else path or "/")
        for mount in mounts:
            for folder in (group, *group.parents):
                found = _quota_in(mount / folder.relative_to("/"), is_first_version=bool(kinds))
                if found:
                    yield found


def _quota_in(folder: Path, is_first_version: bool) -> tuple[int, int] | None:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_first_version else ("cpu.max",)
    try:
        quota, period = map(int, " ".join((folder / name).read_text() for name in names).split())
    except (OSError, ValueError):  # "max" too, which is no limit
        return None
    return (quota, period) if quota > 0 and period > 0 else None
