"""Shared fixtures: where the GPU is missing, small videos with known frames, the shared real clips."""

import gc
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from dali_pipes.augment.parameters import why_not_compiled_normalise, why_not_compiled_parameters, why_not_kernels
from tests.videos import write_lossless

# many tests start programs, which would fight for the cores with two threads each and their decoding processes
os.environ.setdefault("OMP_NUM_THREADS", "1")
# tests send Ctrl-C, which a script's background programs ignore, and so would the programs that they start
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the tests' own too, but kept: to compile takes half a minute, in each process that finds nothing
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels")

SHARED_CLIPS = Path(os.environ.get("DALI_PIPES_CLIPS") or Path(__file__).resolve().parents[2] / "shared" / "clips")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        if os.environ.get("FAIL_WITHOUT_GPU") == "1":
            pytest.fail("FAIL_WITHOUT_GPU=1 and there is no CUDA device")
        pytest.skip("no CUDA device")


LEFT = []
"""Processes that outlived the tests of one of pytest-xdist's workers, as the main process hears of them."""


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node):
    LEFT.extend(getattr(node, "workeroutput", {}).get("left", []))


def pytest_sessionfinish(session):
    """A process that outlives the tests would keep pytest from exiting: it is a failure, not a hang."""
    gc.collect()
    end = time.monotonic() + 20
    while (left := multiprocessing.active_children()) and time.monotonic() < end:
        time.sleep(0.2)
    for process in left:
        LEFT.append(f"{process.name} (pid {process.pid})")
        process.kill()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = LEFT
    elif LEFT:
        print(f"\nstill running after the tests: {', '.join(LEFT)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache, nor does what several of them share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DALI_PIPES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for compiled in (why_not_kernels, why_not_compiled_normalise, why_not_compiled_parameters):
            compiled()  # what they say in the log comes in no test
        yield


@pytest.fixture
def shared_clips() -> Path:
    if not SHARED_CLIPS.is_dir():
        pytest.skip(f"there are no real clips in {SHARED_CLIPS}; DALI_PIPES_CLIPS names another folder")
    return SHARED_CLIPS


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory) -> Path:
    """Two classes of lossless videos, 3 + 2, of different lengths and sizes; frame i is luma 20 + 3 i."""
    root = tmp_path_factory.mktemp("videos")
    for label, lengths in (("left", (20, 33, 40)), ("right", (9, 70))):
        for number, length in enumerate(lengths):
            size = (48, 64) if number else (64, 48)
            write_lossless(root / label / f"{label}{number}.avi", length, size)
    return root
