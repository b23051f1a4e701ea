"""The demo data: files like UCF-101's, mirrored motions keep their class, a single frame tells nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from dali_pipes.dataset.probe import read_video_info
from train.data import demo_data
from train.data.demo_data import MOTIONS, Scene, make_frames, make_missing, write_video


def test_files_look_like_ucf101(tmp_path):
    write_video(tmp_path / "up.avi", make_frames("up", np.random.default_rng(0)))
    info = read_video_info(str(tmp_path / "up.avi"))
    assert (info.width, info.height, info.fps, info.codec) == (320, 240, 25.0, "mpeg4") and 80 <= info.num_frames <= 200
    assert [path.name for path in tmp_path.iterdir()] == ["up.avi"]


def test_the_folder_is_made_once(monkeypatch):
    monkeypatch.setattr(demo_data, "VIDEOS_PER_CLASS", {"train": 1, "val": 1})
    monkeypatch.setattr(demo_data, "FRAMES", (8, 9))
    root = demo_data.demo_folder()
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.avi")}
    assert len(files) == 2 * len(MOTIONS) == 16 and {path.parts[-3] for path in files} == {"train", "val"}
    gone = next(iter(files))
    gone.unlink()
    demo_data.demo_folder()
    again = {path: path.stat().st_mtime_ns for path in root.rglob("*.avi")}
    assert set(again) == set(files) and all(again[path] == files[path] for path in files if path != gone)


def test_processes_that_want_the_same_videos_do_not_make_them_twice(tmp_path, monkeypatch):
    written, both = [], threading.Barrier(2)

    def write(path, frames):
        written.append(path)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # the other would be here by now
        path.touch()

    monkeypatch.setattr(demo_data, "write_video", write)
    root = tmp_path / "made"
    scenes = [Scene(root / "up" / f"{number}.avi", "up", (number,)) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:  # locks hold between threads as between processes
        list(pool.map(lambda _: make_missing(root, scenes, 1, "making"), range(2)))
    assert written == [scene.path for scene in scenes]


def test_the_same_seed_gives_the_same_video():
    a, b = (next(make_frames("spin", np.random.default_rng(3))) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("motion", MOTIONS)
def test_everything_moves(motion):
    frames = list(make_frames(motion, np.random.default_rng(1)))
    changed = [(frames[t] != frames[t + 6]).any(axis=-1).mean() for t in range(0, len(frames) - 6, 7)]
    assert np.mean(changed) > 0.02


def test_a_single_frame_tells_nothing():
    """Over many videos, the mean picture at any one time is alike in all classes."""
    means = {}
    for motion in MOTIONS:
        pictures = []
        for seed in range(60):
            frames = make_frames(motion, np.random.default_rng((seed, len(motion))))
            frame = next(frames)
            pictures.append([frame.mean(), (frame.max(axis=-1) >= 128).mean()])
        means[motion] = np.mean(pictures, axis=0), np.std(pictures, axis=0) / np.sqrt(60)
    overall = np.mean([mean for mean, _ in means.values()], axis=0)
    for motion, (mean, error) in means.items():
        assert (np.abs(mean - overall) < 5 * error).all(), motion
