"""How many cores a process may use: its affinity, and the quotas of its control groups in fake trees of files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dali_pipes.system import cores


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("listing", "files", "expected"),
    {
        "no groups at all": ("", {}, 64),
        "version 2, of a container": ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),  # rounded up
        "no limit": ("0::/a\n", {"cpu.max": "max 100000\n", "a/cpu.max": "max 100000\n"}, 64),
        "its own": ("0::/a/b\n", {"a/cpu.max": "max 100000\n", "a/b/cpu.max": "20000 100000\n"}, 1),
        "one above it": ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, 4),
        "another's": ("0::/a\n", {"a/cpu.max": "max 100000\n", "b/cpu.max": "100000 100000\n"}, 64),
        "beside version 1": ("1:cpu:/\n0::/a\n", {"unified/a/cpu.max": "200000 100000\n"}, 2),
        "version 1": (
            "3:cpu,cpuacct:/a\n2:cpuset:/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "50000\n"},
            3,
        ),
        "version 1 without a limit": (
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        "the host's path in a container": (
            "3:cpu,cpuacct:/docker/1f\n",
            {"cpu/cpu.cfs_quota_us": "500000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            5,
        ),
        "outside its name space": ("0::/../x\n", {"cpu.max": "700000 100000\n"}, 7),
        "not as it should be": ("nonsense\n0::/\n", {"cpu.max": "many\n"}, 64),
    }.values(),
)
def test_quotas_of_control_groups(tmp_path, monkeypatch, listing, files, expected):
    root = tree(tmp_path / "cgroup", files)
    (tmp_path / "self").write_text(listing)
    quotas = cores._quotas
    monkeypatch.setattr(cores, "_quotas", lambda *_: quotas(tmp_path / "self", root))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cores.usable_cores() == expected


def test_what_cannot_be_read_is_no_limit(tmp_path):
    assert list(cores._quotas(tmp_path / "none", tmp_path)) == []


PROGRAM = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from dali_pipes.system.cores import usable_cores
from dali_pipes.dataset import manifest, summary, transcode
from train.config.command_line import _parser
from train.config.options import Config, small
from train.paper.runner import shared_workers
seen = []
for module in (manifest, transcode):
    module.map_isolated = lambda *_, workers, **__: seen.append(workers) or (_ for _ in ())
try:
    manifest.scan_videos([("a.mp4", 0)])
except KeyError:  # nobody looked at it
    pass
print(usable_cores(), *seen, summary._parser().get_default("workers"), transcode._parser().get_default("workers"),
      Config().workers, small().workers, shared_workers(1))
"""


def test_the_affinity_holds_for_every_default():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"] * 7
