"""The decoding processes: what a death does to whoever waits, what a kill leaves behind,
scripts that they cannot import."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.synchronize import Condition
from pathlib import Path
from types import SimpleNamespace

import pytest
from nvidia.dali._multiproc.shared_queue import ShmMessageDesc, ShmQueue

from dali_pipes import InputError, VideoLoader, find_videos, scan_videos
from dali_pipes.loader import workers
from dali_pipes.system.dali_internals import WorkerPool
from dali_pipes.system.multiprocessing_internals import PythonChanged, semaphores_of, unlink_names

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"batch_size": 2, "crop_px": 32, "num_frames": 16, "device": "cpu", "seed": 4}
HANG_S = 120


class Process:
    """Stands in for a worker."""

    def __init__(self):
        self.child = subprocess.Popen(["sleep", "1000"])
        self.pid, self.kill, self.join = self.child.pid, self.child.kill, self.child.wait

    @property
    def exitcode(self):
        return self.child.poll()


class Pipeline:
    """DALI's queues and processes without DALI."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.results, self.tasks = ShmQueue(context, 4), ShmQueue(context, 4)
        self.processes = [Process(), Process()]
        self.woken = []
        observer = SimpleNamespace(
            _processes=self.processes,
            _result_queue=self.results,
            _task_queues=[self.tasks],
            thread=object(),
            interrupt_pipe=SimpleNamespace(send=self.woken.append),
        )
        self._py_pool = SimpleNamespace(pool=SimpleNamespace(_observer=observer))


def outcome_of(function) -> list[BaseException]:
    """What a function raised in another thread than the main one, which must not hang."""
    raised = []

    def call():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "it hangs"
    return raised


def wait_for_results(pipeline):
    pipeline.results.get()


def wait_for_the_lock_of_the_results(pipeline):
    pipeline.results.lock.acquire()  # as a worker that dies while it holds it
    pipeline.results.get()


def wait_for_the_lock_of_the_tasks(pipeline):
    pipeline.tasks.lock.acquire()
    pipeline.tasks.put([ShmMessageDesc(0, 0, 0, 0, 0)])


def wait_for_a_worker_to_wake(pipeline):
    pipeline.tasks.cv_not_empty._sleeping_count.release()  # as a worker that dies while it waits for tasks
    pipeline.tasks.put([ShmMessageDesc(0, 0, 0, 0, 0)])


@pytest.mark.parametrize(
    "wait",
    [
        wait_for_results,
        wait_for_the_lock_of_the_results,
        wait_for_the_lock_of_the_tasks,
        wait_for_a_worker_to_wake,
    ],
)
def test_whatever_waits_for_a_dead_worker_ends(wait):
    pipeline = Pipeline()
    watch = workers.WorkerWatch(WorkerPool(pipeline), pipeline)
    assert pipeline.woken == [None]  # DALI's thread is dismissed

    def run():
        with watch.running():
            threading.Timer(0.1, os.kill, (pipeline.processes[1].pid, signal.SIGBUS)).start()
            wait(pipeline)

    assert outcome_of(run) and watch.cause == "SIGBUS"
    assert pipeline.processes[0].child.wait(HANG_S) == -signal.SIGKILL  # nothing is left
    watch.close()
    with pytest.raises(RuntimeError, match="another thread closed the loader"), watch.running():
        pass


def test_a_dead_worker_is_seen_where_python_has_no_pidfd(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(workers, "LOOK_S", 0.01)
    pipeline = Pipeline()
    watch = workers.WorkerWatch(WorkerPool(pipeline), pipeline)

    def run():
        with watch.running():
            pipeline.processes[0].kill()
            wait_for_results(pipeline)

    assert outcome_of(run) and watch.cause == "SIGKILL"
    watch.close()


def test_a_dying_process_does_not_keep_the_lock_from_the_waiting_thread():
    """When the lock is given back, such a process may be woken in the thread's place, and never take it."""
    pipeline = Pipeline()
    pool = WorkerPool(pipeline)
    lock = pipeline.results.lock
    lock.acquire()
    waiting = threading.Thread(target=outcome_of, args=(pipeline.results.get,), daemon=True)
    waiting.start()
    time.sleep(0.2)  # until it waits
    with file_of(lock._semlock.name).open("r+b") as memory:  # glibc's: free, and the waiting thread not woken
        assert memory.read(4) == bytes(4)
        memory.seek(0)
        memory.write((1).to_bytes(4, sys.byteorder))
    for _ in range(250):
        if waiting.is_alive():
            pool.end_waits()
            waiting.join(0.02)
    for process in pipeline.processes:
        process.kill()
    assert not waiting.is_alive()


def test_closing_ends_a_wait_in_another_thread_and_is_no_death():
    pipeline = Pipeline()
    watch = workers.WorkerWatch(WorkerPool(pipeline), pipeline)

    def run():
        with watch.running():
            threading.Timer(0.1, watch.close).start()
            wait_for_results(pipeline)

    assert outcome_of(run) and watch.cause is None
    assert [process.child.wait(HANG_S) for process in pipeline.processes] == [-signal.SIGKILL] * 2


def test_a_pipeline_that_is_forgotten_ends_its_workers():
    pipeline = Pipeline()
    watch = workers.WorkerWatch(WorkerPool(pipeline), pipeline)
    processes = pipeline.processes
    del pipeline
    assert [process.child.wait(HANG_S) for process in processes] == [-signal.SIGKILL] * 2 and watch.cause is None


@pytest.fixture
def loader(class_folders):
    loader = VideoLoader(scan_videos(find_videos(class_folders)), workers=2, **OPTIONS)
    yield loader
    loader.close()


def test_a_loader_in_another_thread(loader, monkeypatch):
    """Its worker dies holding the lock of the results."""
    monkeypatch.setattr(workers, "map_isolated", lambda *args, **options: [])
    monkeypatch.setattr(signal, "signal", None)  # Ctrl-C stays the user's, in the main thread too
    list(loader)
    pool = loader._pipeline._py_pool.pool
    names = [
        semaphore._semlock.name
        for queue in (pool._result_queue, pool._general_task_queue)
        for semaphore in semaphores_of(queue.cv_not_empty)
    ]
    assert len(names) == 8 and not any(file_of(name).exists() for name in names)  # a killed job leaves none
    pool._result_queue.lock.acquire()
    processes = loader._reader._watch.processes
    processes[0].kill()
    (error,) = outcome_of(lambda: [list(loader) for _ in range(10**6)])
    assert isinstance(error, InputError) and str(error).startswith(
        "Cannot decode: a decoding process died (SIGKILL); the memory may be full"
    )
    assert all(process.exitcode == -signal.SIGKILL for process in processes)


def file_of(name: str) -> Path:
    return Path("/dev/shm/sem." + name.removeprefix("/"))


NAMES = """
import multiprocessing
from pathlib import Path
from dali_pipes.system.multiprocessing_internals import semaphores_of, unlink_names

context = multiprocessing.get_context("spawn")
condition, other = context.Condition(context.Lock()), context.Lock()
ours = [Path("/dev/shm/sem." + semaphore._semlock.name[1:]) for semaphore in semaphores_of(condition)]
theirs = Path("/dev/shm/sem." + other._semlock.name[1:])
print(all(path.exists() for path in ours))
unlink_names(semaphores_of(condition))
print(any(path.exists() for path in ours), theirs.exists())
with condition:  # still works
    condition.notify()
"""


def test_semaphores_lose_their_names_and_nobody_complains():
    result = subprocess.run([sys.executable, "-c", NAMES], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
    assert (result.stdout.split(), result.stderr) == (["True", "False", "True"], "")


KILLED_WHILE_STARTING = """
import multiprocessing, os, signal
from dali_pipes.loader.workers import starting_workers

with starting_workers():
    lock = multiprocessing.get_context("spawn").Lock()
    print(lock._semlock.name, flush=True)
    os.killpg(0, signal.SIGKILL)
"""


def test_a_job_that_is_killed_while_workers_start_leaves_no_semaphores():
    """What would remove them is not of its process group."""
    result = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_STARTING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        start_new_session=True,
    )
    assert result.returncode == -signal.SIGKILL
    left = file_of(result.stdout.strip())
    end = time.monotonic() + HANG_S
    while left.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert left.name.startswith("sem.mp-") and not left.exists()


def test_a_python_that_lacks_private_names(monkeypatch):
    condition = multiprocessing.get_context("spawn").Condition()
    assert isinstance(condition, Condition)
    monkeypatch.setattr("dali_pipes.system.multiprocessing_internals.FINALIZERS", "_registry_of_finalizers")
    names = [file_of(semaphore._semlock.name) for semaphore in semaphores_of(condition)]
    unlink_names(semaphores_of(condition))
    assert all(name.exists() for name in names)
    del condition._woken_count
    with pytest.raises(PythonChanged, match="Condition has no _woken_count"):
        semaphores_of(condition)


CHECK = "from dali_pipes.loader.main_module import check_main_module\ncheck_main_module()\nprint('starts')\n"
WAYS_OUT = 'put its code under `if __name__ == "__main__":`, or use workers=0'


@pytest.mark.parametrize(
    "way, refusal",
    [
        ("file", WAYS_OUT),
        ("guarded", None),
        ("stdin", "cannot import a script that is read from standard input; save it to a file"),
        ("-c", None),
        ("-m", None),
    ],
)
def test_scripts_that_workers_cannot_import_are_refused_at_once(tmp_path, way, refusal):
    script = tmp_path / "script.py"
    script.write_text("if __name__ == '__main__':\n    " + CHECK.replace("\n", "\n    ") if way == "guarded" else CHECK)
    arguments = {"stdin": ["-"], "-c": ["-c", CHECK], "-m": ["-m", "script"]}.get(way, [str(script)])
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        input=CHECK if way == "stdin" else "",
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    if refusal is None:
        assert result.stdout == "starts\n", result.stderr
    else:
        assert refusal in result.stderr.splitlines()[-1] and result.stdout == "" and result.returncode == 1


def test_a_guard_that_does_not_hold_is_one_sentence(tmp_path, class_folders):
    """The README's loader; only the workers can tell."""
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        if "VideoLoader(manifest" in block and "def main" in block
    ]
    assert code.count('if __name__ == "__main__":') == 1
    (tmp_path / "script.py").write_text(
        code.replace('if __name__ == "__main__":', "if __name__:")
        .replace("batch_size=8", "workers=1")
        .replace(", augment=policy", "")
    )
    (tmp_path / "videos").symlink_to(class_folders)
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=5 * HANG_S,
    )
    *_, last = result.stderr.splitlines()
    assert (
        last.startswith("dali_pipes.errors.InputError: ")
        and "script.py: the loader's worker" in last
        and WAYS_OUT in last
    )
    assert result.stderr.count("Traceback") == 1 and "freeze_support" not in result.stderr
