"""What the loader does when a video breaks, or a decoding process dies, while it is in use."""

import logging
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import torch

from dali_pipes import InputError, VideoError, VideoLoader, find_videos, scan_videos
from dali_pipes.loader.source import NOT_USED, ClipSource
from dali_pipes.loader.workers import worker_death_error
from dali_pipes.plan.batches import BatchSampler
from dali_pipes.system.isolate import map_isolated
from tests.videos import write_lossless

OPTIONS = {"crop_px": 32, "num_frames": 16, "device": "cpu", "seed": 4}
EVALUATION = {**OPTIONS, "workers": 0, "training": False, "clips_per_video": 2, "on_bad_video": "skip"}


def test_a_video_that_breaks_while_training_is_named(tmp_path):
    path = write_lossless(tmp_path / "a" / "good.avi", 30)
    manifest = scan_videos([(str(path), "a")])
    path.write_text("no longer a video")
    for workers in (0, 1):
        loader = VideoLoader(manifest, workers=workers, batch_size=1, **OPTIONS)
        for _ in range(2):  # trying again does not pass over it unseen
            with pytest.raises(VideoError, match=r"good.avi: cannot be read as video"):
                next(iter(loader))


@pytest.fixture
def breaking(tmp_path):
    """Three videos of class a and two of b, scanned; then the second of a breaks. Its index is 1."""
    for label, count in (("a", 3), ("b", 2)):
        for number in range(count):
            write_lossless(tmp_path / label / f"{number}.avi", 20 + number)
    manifest = scan_videos(find_videos(tmp_path))
    (tmp_path / "a" / "1.avi").write_text("no longer a video")
    return manifest


def clips_of(loader) -> list[tuple[int, torch.Tensor]]:
    return [pair for batch in loader for pair in zip(batch.videos_B.tolist(), batch.clips_BCTHW, strict=True)]


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_shows_another_of_the_class_and_says_so(breaking, workers, caplog):
    loader = VideoLoader(breaking, workers=workers, batch_size=2, on_bad_video="skip", max_bad_percent=20, **OPTIONS)
    with caplog.at_level(logging.WARNING, "dali_pipes"):
        first, second = clips_of(loader), clips_of(loader)
    for clips in (first, second):
        shown = [video for video, _ in clips]
        assert len(shown) == 5 and 1 not in shown and set(shown) == {0, 2, 3, 4}
        assert [breaking.videos[video].label for video in sorted(shown)].count(0) == 3
    assert list(loader.bad_videos) == [1] and "1.avi: cannot be read as video" in loader.bad_videos[1]
    assert [record.getMessage().count("1.avi: cannot be read") for record in caplog.records] == [1]
    again = clips_of(VideoLoader(breaking, workers=0, batch_size=5, on_bad_video="skip", max_bad_percent=20, **OPTIONS))
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in zip(first, again, strict=True))


def test_skip_in_evaluation_leaves_the_video_out(breaking):
    for batch_size in (1, 3, 5):
        loader = VideoLoader(breaking, batch_size=batch_size, max_bad_percent=20, **EVALUATION)
        whole = VideoLoader(breaking, batch_size=5, max_bad_percent=20, **EVALUATION)
        batches = list(loader)
        assert [video for batch in batches for video in batch.videos_B.tolist()] == [0, 0, 2, 2, 3, 3, 4, 4]
        assert all(len(batch) == len(batch.clips_BCTHW) == len(batch.videos_B) for batch in batches)
        clips = torch.cat([batch.clips_BCTHW for batch in batches])
        assert torch.equal(clips, next(iter(whole)).clips_BCTHW)


def test_skip_stops_above_the_limit(breaking):
    for limit in ({}, {"max_bad_percent": 19.9}):
        loader = VideoLoader(breaking, workers=0, batch_size=5, on_bad_video="skip", **limit, **OPTIONS)
        with pytest.raises(
            VideoError, match="1 of 5 videos can no longer be read, which is more than max_bad_percent=.*1.avi"
        ):
            list(loader)


def test_skip_without_another_of_the_class(breaking, tmp_path):
    for number in (0, 2):
        (tmp_path / "a" / f"{number}.avi").unlink()
    loader = VideoLoader(breaking, workers=0, batch_size=5, on_bad_video="skip", max_bad_percent=100, **OPTIONS)
    with pytest.raises(VideoError, match="none of the other 2 videos of its class can be read"):
        list(loader)


@pytest.mark.parametrize("decoder", ["cpu", "gpu"])
def test_skip_in_evaluation_without_another_of_the_class(breaking, tmp_path, decoder):
    """Any video fills the place, the nearest that can be read; none only where there is none."""
    for number in (0, 2):
        (tmp_path / "a" / f"{number}.avi").unlink()
    loader = VideoLoader(breaking, batch_size=2, max_bad_percent=60, **EVALUATION)
    if decoder == "cpu":
        assert [video for batch in loader for video in batch.videos_B.tolist()] == [3, 3, 4, 4]
        assert sorted(loader.bad_videos) == [0, 1, 2]
    source = ClipSource(BatchSampler(loader.clip_sampler, 5), 32, decoder, on_bad_video="skip")
    shown = source.names.index("shown")
    info = [type("SampleInfo", (), {"idx_in_epoch": sample}) for sample in range(5)]
    assert [int(source(sample)[shown]) for sample in info] == [NOT_USED, NOT_USED, NOT_USED, 3, 4]
    for number in (0, 1):
        (tmp_path / "b" / f"{number}.avi").unlink()
    with pytest.raises(
        VideoError, match=r"a/0.avi: .*; it cannot be replaced, because none of the other 4 videos can be read"
    ):
        source(info[0])


def test_files_for_dalis_decoder_are_checked_by_their_size(breaking):
    loader = VideoLoader(breaking, **OPTIONS)
    source = ClipSource(BatchSampler(loader.clip_sampler, 5), 32, "gpu", on_bad_video="error")
    with pytest.raises(VideoError, match="1.avi: has 17 bytes, but had [0-9]+ when it was scanned"):
        for sample in range(5):
            source(type("SampleInfo", (), {"idx_in_epoch": sample}))


@pytest.mark.parametrize("name, hint", [("SIGKILL", "the memory may be full"), ("SIGBUS", "/dev/shm may be full")])
def test_a_worker_that_dies_is_an_error_not_a_hang(class_folders, name, hint):
    manifest = scan_videos(find_videos(class_folders))
    loader = VideoLoader(manifest, workers=2, batch_size=2, **OPTIONS)
    list(loader)
    victim = loader._reader._watch.processes[0].pid
    threading.Timer(0.2, os.kill, (victim, getattr(signal, name))).start()
    with pytest.raises(InputError, match=f"a decoding process died .{name}.; {hint}"):
        for _ in range(10**6):
            list(loader)


def test_workers_outlive_a_sigterm_to_the_whole_job(class_folders):
    """The process that they work for is asked too, and may want to finish its step first."""
    manifest = scan_videos(find_videos(class_folders))
    loader = VideoLoader(manifest, workers=2, batch_size=2, **OPTIONS)
    before = clips_of(loader)
    processes = loader._reader._watch.processes
    for process in processes:  # not from this process, whose SIGTERM is DALI's way to end them
        subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
        subprocess.run(["kill", "-INT", str(process.pid)], check=True)
    loader.epoch = 0
    assert len(clips_of(loader)) == len(before) and all(process.is_alive() for process in processes)
    loader.close()
    for process in processes:
        process.join(10)
        assert process.exitcode is not None


def test_workers_start_with_signals_blocked():
    from dali_pipes.loader.workers import starting_workers

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with starting_workers():
        child = subprocess.Popen(["sleep", "1000"])
    status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    mask = next(line for line in status if line.startswith("SigBlk:"))
    child.kill()
    child.wait()
    assert all(int(mask.split()[1], 16) >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_the_video_that_crashes_its_reader_is_named(monkeypatch, class_folders):
    from dali_pipes.loader import workers

    manifest = scan_videos(find_videos(class_folders))

    def crash_on_the_second(function, calls, **options):
        return [(i, next(map_isolated(os.abort, [()], **options))[1] if i == 1 else None) for i, _ in enumerate(calls)]

    monkeypatch.setattr(workers, "map_isolated", crash_on_the_second)
    second = sorted(video.path for video in manifest.videos)[1]
    assert (
        str(worker_death_error("SIGSEGV", manifest.videos, 2))
        == f"{second}: crashes the process that reads it (SIGABRT)"
    )
