"""A call in a process of its own ends with a result or with one sentence, and what passes is no reason to give up."""

import contextlib
import itertools
import os
import time
from pathlib import Path

import pytest

from dali_pipes.system import isolate
from dali_pipes.system.isolate import NoResult, map_isolated
from tests.pipes.system import fragile


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(isolate, "GRACE_S", 0.0)
    monkeypatch.setattr(isolate, "SLICE_S", 0.1)


def outcomes(function, calls, time_limit_s=5.0):
    return [result for _, result in sorted(map_isolated(function, calls, workers=2, time_limit_s=time_limit_s))]


def tries(notes: Path) -> int:
    return len(notes.read_text().splitlines())


def test_what_reads_a_file_may_crash():
    assert outcomes(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]
    assert outcomes(os.abort, [(), (), ()]) == [NoResult("crashes the process that reads it (SIGABRT)")] * 3
    with pytest.raises(ZeroDivisionError):
        list(map_isolated(divmod, [(1, 0)], workers=1, time_limit_s=5))


def test_what_reads_a_file_may_hang(impatient):
    slow = outcomes(time.sleep, [(0,), (60,), (0,)], time_limit_s=0.5)
    assert slow[::2] == [None, None] and slow[1].is_timeout
    assert slow[1].reason.startswith("cannot be read within 0.5 s; try again")


def test_what_never_ends_is_refused_after_two_tries(impatient, tmp_path):
    (refused,) = outcomes(fragile.spinning, [(str(tmp_path / "notes"),)], time_limit_s=0.3)
    assert refused.is_timeout and refused.reason.startswith("takes more than 0.3 s of CPU time to read; make a copy")
    assert tries(tmp_path / "notes") == 2


def test_what_was_killed_is_tried_again_after_all_others(tmp_path):
    """The kernel ends the largest process when memory runs out, whichever file that reads."""
    calls = [(str(tmp_path / name),) for name in ("a", "b")]
    assert list(map_isolated(fragile.killed_once, calls, workers=1, time_limit_s=5)) == [(0, 2), (1, 2)]
    (tmp_path / "a").unlink()
    assert list(map_isolated(fragile.killed_once, calls, workers=1, time_limit_s=5)) == [(1, 3), (0, 2)]


def test_time_in_which_a_process_was_stopped_does_not_count(impatient, tmp_path):
    assert outcomes(fragile.stopped, [(str(tmp_path / "notes"), 1.0)], time_limit_s=0.5) == [1]


def test_time_in_which_this_process_was_away_does_not_count(monkeypatch, impatient):
    """Frozen, as by docker pause, it sees no signal, only that the clock has leapt."""
    started, leaps = [], itertools.count(0.0, 1000.0)
    start = isolate._start
    monkeypatch.setattr(isolate, "_start", lambda: started.append(1) or start())
    monkeypatch.setattr(isolate.time, "monotonic", lambda: next(leaps))
    assert outcomes(time.sleep, [(0.5,)]) == [None] and len(started) == 1


def test_an_answer_that_is_there_is_read_at_the_limit_too(monkeypatch):
    class Selector(contextlib.nullcontext):
        def register(self, *_):
            pass

        def select(self, timeout_s):
            return next(looks)

    class Child:
        pid, stdin, stdout = 1, "calls", "answers"

    looks = iter([[], ["an answer"], ["an answer"]])
    used_s = itertools.count(0.0, 1000.0)
    monkeypatch.setattr(isolate.selectors, "DefaultSelector", lambda: Selector(Selector()))
    monkeypatch.setattr(isolate, "_look_at", lambda pid: ("R", next(used_s)))
    assert isolate._wait(Child, 5.0) is None


def test_the_state_of_a_process():
    before_s = time.process_time()
    state, used_s = isolate._look_at(os.getpid())
    assert state == "R" and abs(used_s - before_s) < 1.0
