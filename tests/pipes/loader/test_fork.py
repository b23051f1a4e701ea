"""Threads and forked processes: a DALI pipeline serves one caller at a time,
and its threads do not live on in a fork."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dali_pipes import InputError, VideoLoader, augment_clip, find_videos, scan_videos
from dali_pipes.augment import OPS, clips, perturb_clip

LIMIT_S = 30.0
ROOT = Path(__file__).resolve().parents[3]


def grey_after(grey, name="identity", **options):
    """The greys in what one constant clip becomes."""
    clip = np.full((4, 16, 16, 3), grey, np.uint8)
    # not np.unique, which imports a module at its first call: a fork at that moment would leave its lock taken
    return sorted(set(augment_clip(clip, [name], [np.full(4, 10.0)], **options).ravel().tolist()))


def in_fork(do, *arguments):
    """What a forked process returns that ends as those of a torch DataLoader do."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(do(*arguments)))
    child.start()
    try:
        assert ours.poll(LIMIT_S), "the forked process hangs"
        found = ours.recv()
        child.join(LIMIT_S)
        assert child.exitcode == 0
        return found
    finally:
        child.kill()


def test_each_thread_gets_its_own_clip_back():
    greys = (10, 90, 200)
    begin, found = threading.Barrier(len(greys)), {}

    def work(grey):
        begin.wait()
        found[grey] = {value for _ in range(20) for value in grey_after(grey)}

    threads = [threading.Thread(target=work, args=(grey,)) for grey in greys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {grey: {grey} for grey in greys}


def test_a_fork_after_a_call_in_its_parent():
    assert grey_after(10) == [10]
    assert in_fork(grey_after, 77) == [77]
    assert in_fork(lambda: in_fork(grey_after, 78) + grey_after(79)) == [78, 79]
    assert grey_after(20) == [20]


def test_a_fork_after_a_perturbation_in_its_parent():
    clip = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    expected = perturb_clip(clip, "pan", 5).tobytes()
    assert in_fork(lambda: perturb_clip(clip, "pan", 5).tobytes()) == expected != clip.tobytes()


@pytest.mark.parametrize("place", [0, 1, 3], ids=["after its clip", "between its inputs", "before it runs"])
def test_a_call_that_is_interrupted_leaves_nothing_to_the_next(monkeypatch, place):
    monkeypatch.setattr(clips, "_clip_pipelines", clips._ClipPipelines())
    grey_after(1)
    (pipeline,) = clips._clip_pipelines.built.values()
    real, calls = pipeline.feed_input, []

    def feed_input(*arguments):
        real(*arguments)
        calls.append(arguments)
        if len(calls) == place + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "feed_input", feed_input)
    with pytest.raises(KeyboardInterrupt):
        grey_after(50)
    assert [grey_after(grey) for grey in (60, 70)] == [[60], [70]]


def test_a_fork_while_another_thread_is_in_a_call():
    """The child has neither that thread nor what it holds."""
    inside, go_on = threading.Event(), threading.Event()

    def graph(video, value, style):
        inside.set()
        assert go_on.wait(LIMIT_S)
        return video

    OPS["slow"] = OPS["identity"].__class__(name="slow", graph=graph, ranges={})
    try:
        thread = threading.Thread(target=grey_after, args=(5, "slow"))
        thread.start()
        assert inside.wait(LIMIT_S)
        threading.Timer(0.2, go_on.set).start()  # a fork waits for the call to end
        assert in_fork(grey_after, 33) == [33]
        thread.join()
        assert grey_after(34) == [34]
    finally:
        del OPS["slow"]


def test_a_gpu_used_before_the_fork_is_a_sentence():
    key = ("gpu", "for this test")
    clips._clip_pipelines.built[key] = FakePipeline()
    try:

        def use():
            with pytest.raises(
                InputError,
                match=r"^Invalid device 'gpu': cannot be used in a process that was forked from one that used the GPU",
            ):
                grey_after(7, device="gpu")
            return grey_after(8)

        assert in_fork(use) == [8]
    finally:
        del clips._clip_pipelines.built[key]


class FakePipeline:
    pass


ENDS = """
import os, sys
import numpy as np
from dali_pipes import augment_clip

def grey_after(grey):
    return augment_clip(np.full((4, 16, 16, 3), grey, np.uint8), ["identity"], [np.full(4, 10.0)]).max()

def leave(how):
    if how == "_exit":
        os._exit(3)
    if how == "raise":
        raise ValueError("as wanted")
    sys.exit(3)

assert grey_after(10) == 10
for how, used, expected in (("_exit", True, 3), ("sys.exit", True, 3), ("sys.exit", False, 3), ("raise", True, 1)):
    child = os.fork()
    if child == 0:
        import faulthandler; faulthandler.dump_traceback_later(60, exit=True)
        assert not used or grey_after(77) == 77
        leave(how)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected, how
assert grey_after(20) == 20
"""


def test_forked_processes_end_however_they_like():
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Traceback") == 1 and "ValueError: as wanted" in done.stderr


def test_a_loader_at_work_in_the_parent(class_folders):
    manifest = scan_videos(find_videos(class_folders))
    loader = VideoLoader(manifest, workers=0, batch_size=2, crop_px=32, num_frames=16, device="cpu")
    batches = iter(loader)
    first = next(batches)

    def rest_in_child():
        return [batch.videos_B.tolist() for batch in batches]

    theirs = in_fork(rest_in_child)
    ours = [batch.videos_B.tolist() for batch in batches]
    assert theirs == ours and sum(map(len, ours)) == len(manifest) - len(first)
    loader.close()


FORKS = """
import os, sys
from dali_pipes import VideoLoader, find_videos, scan_videos
from dali_pipes.loader.clip_list import ListFolder

if __name__ == "__main__":
    options = {"workers": 1, "batch_size": 2, "crop_px": 32, "num_frames": 16, "device": "cpu"}
    loader = VideoLoader(scan_videos(find_videos(sys.argv[1])), **options)
    batches, folder = iter(loader), ListFolder()
    shown = len(next(batches))
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        assert folder.path.is_dir()
        print(shown + sum(map(len, batches)), loader._reader._watch.cause)
        loader.close()
"""


def test_a_fork_that_ends_as_any_program_leaves_its_parents_loader_alone(class_folders, tmp_path):
    """Its workers live, its list's folder stays, and nothing is complained of."""
    (tmp_path / "forks.py").write_text(FORKS)
    quiet = "-Wignore::DeprecationWarning"  # Python 3.12 warns of any fork with threads
    command = [sys.executable, quiet, str(tmp_path / "forks.py"), str(class_folders)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (result.stdout, result.stderr) == ("5 None\n", "")
