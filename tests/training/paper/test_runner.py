"""Jobs side by side: failures, locks, what is needed first, what is left behind. On programs that are no trainings."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.training.test_run import ROOT
from train.paper import jobs as table_jobs
from train.paper import runner as table_runner
from train.paper.jobs import Job
from train.paper.runner import Runner, last_line
from train.runtime.stop import StopRequest


def stub(tmp_path, name: str, script: str, needs=()) -> Job:
    """Leaves a checkpoint, unless it ends before."""
    folder = tmp_path / name / "seed-0"

    class Stub(Job):
        command = ["bash", "-c", f"{script} && mkdir -p {folder} && touch {folder}/last.pt"]

    return Stub(name, folder, {}, (), tuple(needs))


def run_all(jobs, slots=2, retry=False):
    said = []
    runner = Runner(jobs, slots, retry, said.append)
    with StopRequest() as stop:
        runner.run(stop)
    return runner, said


def test_what_someone_else_stopped_is_no_failure(tmp_path):
    job = stub(tmp_path, "job", "test -e again || { touch again; kill $$; }".replace("again", str(tmp_path / "again")))
    runner, _ = run_all([job])
    assert "was stopped by a signal" in runner.not_done[job.folder]
    runner, _ = run_all([job])
    assert not runner.not_done


def test_failures_are_told_and_retried_on_demand_only(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    jobs = [
        stub(tmp_path, "good", "echo all is well"),
        stub(tmp_path, "bad", f"echo error: no such luck; test ! -e {broken}"),
        stub(tmp_path, "shot", "kill -9 $$"),
    ]
    jobs.append(stub(tmp_path, "last", "true", needs=[jobs[1]]))
    runner, said = run_all(jobs)
    reasons = {folder.parent.name: reason for folder, reason in runner.not_done.items()}
    assert set(reasons) == {"bad", "shot", "last"}
    assert reasons["bad"].startswith("exit code 1") and reasons["bad"].endswith("error: no such luck")
    assert reasons["shot"].startswith("killed by signal 9 (out of memory?)")
    assert reasons["last"] == "needs bad, which is not done"
    assert any("good: done in" in line and line.endswith("all is well") for line in said)

    broken.unlink()
    runner, said = run_all(jobs)
    assert set(runner.not_done) == {job.folder for job in jobs[1:]} and "good: is already done" in " ".join(said)
    assert "failed before (use --retry to try again): exit code 1" in runner.not_done[jobs[1].folder]
    runner, said = run_all(jobs, retry=True)
    assert set(runner.not_done) == {jobs[2].folder} and sum("done in" in line for line in said) == 2


def test_a_folder_that_cannot_be_made_takes_no_other_job_with_it(tmp_path):
    (tmp_path / "blocked").touch()
    locked = tmp_path / "unwritable" / "seed-0.json"
    jobs = [
        stub(tmp_path, "blocked", "true"),
        stub(tmp_path, "good", "sleep 1"),
        stub(tmp_path, "unwritable", f"mkdir {locked}"),
    ]
    runner, said = run_all(jobs, slots=3)
    assert {folder.parent.name for folder in runner.not_done} == {"blocked", "unwritable"}
    assert "cannot be created as a folder" in runner.not_done[jobs[0].folder]
    assert "cannot be written" in runner.not_done[jobs[2].folder] and "good: done in" in " ".join(said)


def test_a_removed_folder_is_trained_again(tmp_path):
    job = stub(tmp_path, "job", "true")
    run_all([job])
    (job.folder / "last.pt").unlink()
    _, said = run_all([job])
    assert "done in" in said[-1]


@pytest.mark.parametrize("content", ["[]", "{}", "{", "null"])
def test_a_damaged_file_is_named(tmp_path, content):
    job = stub(tmp_path, "job", "true")
    run_all([job])
    job.end.write_text(content)
    runner, _ = run_all([job])
    assert f"{job.end}: is cut off or damaged" in runner.not_done[job.folder]


def test_so_many_at_once_and_each_after_what_it_needs(tmp_path):
    log = tmp_path / "log"
    three = f"test $(grep -c start {log}) -ge 3"  # a job waits for two others, however slow the machine is
    script = f"echo start >> {log}; for i in {{1..300}}; do {three} && break; sleep 0.1; done; echo end >> {log}"
    jobs = [stub(tmp_path, str(number), script) for number in range(5)]
    jobs.insert(0, stub(tmp_path, "after", f"echo after >> {log}", needs=jobs[:2]))
    runner, _ = run_all(jobs, slots=3)
    assert not runner.not_done
    depth = deepest = 0
    lines = log.read_text().split()
    for line in lines:
        depth += {"start": 1, "end": -1, "after": 0}[line]
        deepest = max(deepest, depth)
    assert deepest == 3 and lines.index("after") > [i for i, line in enumerate(lines) if line == "end"][1]


def test_a_job_of_another_process_is_left_to_it(tmp_path):
    job = stub(tmp_path, "job", "sleep 60")
    first = Runner([job], 1, False, lambda line: None)
    first._start_ready_jobs()
    try:
        runner, _ = run_all([job])
        assert runner.not_done[job.folder] == "is running in another process, which will finish it"
    finally:
        first.running[0].process.kill()
        first.running[0].process.wait()
        first.running[0].log.close()


def test_a_process_that_outlives_its_job_does_not_hold_its_lock(tmp_path):
    """As Python's own helpers do for a moment, which have the job's log open."""
    pid = tmp_path / "pid"
    job = stub(tmp_path, "job", f"(sleep 600 & echo $! > {pid})")
    run_all([job])
    try:
        runner, said = run_all([job])
        assert not runner.not_done and said == ["[1/1] job: is already done"]
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)  # there is one


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def refuse(file, operation):
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(table_runner.fcntl, "flock", refuse)
    job = stub(tmp_path, "job", "true")
    assert run_all([job])[0].not_done == {job.folder: f"{job.log}: cannot be locked (No locks available)"}


def test_an_evaluation_is_done_again_after_its_networks(tmp_path):
    training = stub(tmp_path, "training", "true")
    evaluation = stub(tmp_path, "evaluation", "true", needs=[training])
    run_all([training, evaluation])
    assert table_jobs.state_of(evaluation)[0] == "done"
    os.utime(training.end, (time.time() + 5, time.time() + 5))
    assert table_jobs.state_of(evaluation) == ("", "")


def test_each_job_gets_its_share_of_the_cores_and_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(table_runner, "usable_cores", lambda: 8)
    monkeypatch.setattr(table_runner.torch.cuda, "device_count", lambda: 0)
    assert table_runner.environment_of(1, 3)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in table_runner.environment_of(0, 1)
    monkeypatch.setattr(table_runner.torch.cuda, "device_count", lambda: 2)
    found = [table_runner.environment_of(slot, 4) for slot in range(4)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in found] == ["0", "1", "0", "1"]
    assert {environment["OMP_NUM_THREADS"] for environment in found} == {"2"}
    assert "OMP_NUM_THREADS" not in table_runner.environment_of(0, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert table_runner.environment_of(0, 4)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert table_runner.environment_of(1, 2)["CUDA_VISIBLE_DEVICES"] == "7"


def test_the_last_line_is_what_a_terminal_would_show(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 9000 + b"\nepoch 1\rbar 50 %\rbar 99 %\n\n")
    assert last_line(log) == "bar 99 %" and last_line(tmp_path / "none") == ""


def test_a_killed_program_leaves_no_job_behind(tmp_path):
    """They are asked to end, so that trainings write their checkpoints."""
    script = "trap 'echo asked to end; exit' TERM; echo at work; while true; do sleep 0.1; done"
    program = (
        "from pathlib import Path\n"
        "from train.paper.jobs import Job\n"
        "from train.paper.runner import Runner\n"
        "from train.runtime.stop import StopRequest\n"
        f"class Stub(Job): command = ['bash', '-c', {script!r}]\n"
        f"job = Stub('job', Path({str(tmp_path)!r}) / 'seed-0', {{}}, ())\n"
        "with StopRequest() as stop: Runner([job], 1, False).run(stop)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    log, end = tmp_path / "seed-0.log", time.monotonic() + 600

    def wait_for(line: str) -> None:
        while not (log.exists() and line in log.read_text().splitlines()):
            assert time.monotonic() < end, f"no line {line!r}"
            time.sleep(0.05)

    wait_for("at work")
    process.kill()
    process.communicate()
    wait_for("asked to end")
