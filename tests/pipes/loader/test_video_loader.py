"""VideoLoader: the right clips, whatever the batch size, workers and shards; errors and interruptions."""

import os
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from dali_pipes import InputError, RandAugmentT, VideoLoader, augment_clip, find_videos, scan_videos
from dali_pipes.augment.ops import OPS
from dali_pipes.decode import dali as dali_module
from dali_pipes.decode import speed
from dali_pipes.loader import clip_reader, devices
from dali_pipes.loader.clip_reader import ClipReader
from dali_pipes.loader.devices import choose_device
from tests import odd_videos as odd
from tests.videos import rgb_of

CUDA = torch.device("cuda", 0)
OPTIONS = {"crop_px": 32, "num_frames": 16, "device": "cpu", "seed": 4}


@pytest.fixture(scope="module")
def manifest(class_folders):
    return scan_videos(find_videos(class_folders))


def one_epoch(manifest, **options) -> dict[int, torch.Tensor]:
    """video index -> its clip."""
    loader = VideoLoader(manifest, **OPTIONS | options)
    clips = {}
    for batch in loader:
        assert batch.clips_BCTHW.dtype == torch.float32 and batch.clips_BCTHW.device.type == "cpu"
        for video, label, clip in zip(batch.videos_B.tolist(), batch.labels_B.tolist(), batch.clips_BCTHW, strict=True):
            assert label == manifest.videos[video].label and video not in clips
            clips[video] = clip
    loader.close()
    return clips


def test_frames_are_the_planned_ones(manifest):
    clips = one_epoch(manifest, workers=0, batch_size=3)
    loader = VideoLoader(manifest, **OPTIONS)
    for sample in range(len(manifest)):
        plan = loader.clip_sampler.plan(0, sample)
        expected = np.array([rgb_of(index) for index in plan.frame_indices])
        ours = clips[plan.video] * 128 + 128
        assert clips[plan.video].shape == (3, 16, 32, 32)
        assert np.abs(ours.mean(dim=(0, 2, 3)).numpy() - expected).max() < 1.1


def test_same_samples_whatever_the_batch_size_workers_and_shards(manifest):
    options = {"augment": RandAugmentT(n=2, translate_max_px=20)}
    whole = one_epoch(manifest, workers=0, batch_size=5, **options)
    assert sorted(whole) == list(range(5))
    small = one_epoch(manifest, workers=2, batch_size=2, **options)
    shards = [one_epoch(manifest, workers=0, batch_size=2, rank=rank, world_size=2, **options) for rank in range(2)]
    assert sorted([*shards[0], *shards[1]]) == list(range(5))
    for video, clip in whole.items():
        assert torch.equal(clip, small[video]) and torch.equal(clip, (shards[0] | shards[1])[video])


def test_epochs_differ_and_repeat_with_the_seed(manifest):
    loader = VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)
    orders = [[video for batch in loader for video in batch.videos_B.tolist()] for _ in range(4)]
    assert all(Counter(order) == Counter(range(5)) for order in orders) and len({tuple(order) for order in orders}) > 1
    resumed = VideoLoader(manifest, workers=0, batch_size=2, start_epoch=2, start_step=1, **OPTIONS)
    rest = orders[2][2:]  # 5 videos in batches of 2 are 2 + 2 + 1
    assert [video for batch in resumed for video in batch.videos_B.tolist()] == rest
    assert [video for batch in resumed for video in batch.videos_B.tolist()] == orders[3]


def test_the_state_in_a_checkpoint_is_the_next_batch(manifest):
    loader = VideoLoader(manifest, workers=0, batch_size=2, start_epoch=3, **OPTIONS)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    assert state == {"epoch": 3, "step": 1, "even_steps": 0}
    rest = [video for batch in batches for video in batch.videos_B.tolist()]
    assert loader.state_dict() == {"epoch": 4, "step": 0, "even_steps": 0}
    resumed = VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)
    resumed.load_state_dict(state)
    assert [video for batch in resumed for video in batch.videos_B.tolist()] == rest
    with pytest.raises(InputError, match="an epoch has 3 batches"):
        resumed.load_state_dict({"epoch": 0, "step": 4, "even_steps": 0})


def test_a_batch_moves_to_another_device(manifest):
    batch = next(iter(VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)))
    moved = batch.to("meta")
    assert moved.clips_BCTHW.device.type == moved.labels_B.device.type == "meta"
    assert moved.videos_B is batch.videos_B and moved.clips_BCTHW.shape == batch.clips_BCTHW.shape


def test_leaving_an_epoch_early_starts_the_next_one(manifest):
    loader = VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)
    next(iter(loader))
    order = [video for batch in loader for video in batch.videos_B.tolist()]
    assert order == [loader.clip_sampler.plan(1, sample).video for sample in range(5)]
    assert loader.epoch == 2


def test_evaluation_clips_stand_next_to_each_other(manifest):
    loader = VideoLoader(manifest, workers=2, batch_size=2, training=False, clips_per_video=3, keep_every=2, **OPTIONS)
    assert len(loader) == 3
    videos = []
    for batch in loader:
        assert len(batch) == len(batch.clips_BCTHW) == len(batch.videos_B) and batch.clips_BCTHW.shape[2] == 8
        for clip, video, view in zip(batch.clips_BCTHW, batch.videos_B.tolist(), [0, 1, 2] * 2, strict=False):
            indices = loader.clip_sampler.plan(0, video).frame_indices.reshape(3, 8)[view]
            expected = np.array([rgb_of(index) for index in indices])
            assert np.abs((clip * 128 + 128).mean(dim=(0, 2, 3)).numpy() - expected).max() < 1.1
        videos += batch.videos_B.tolist()
    assert videos == [video for video in range(5) for _ in range(3)]


def test_augmentation_equals_augment_clip(manifest):
    policy = RandAugmentT(n=2, translate_max_px=20)
    plain = one_epoch(manifest, workers=0, batch_size=5, flip=False)
    augmented = one_epoch(manifest, workers=0, batch_size=5, flip=False, augment=policy)
    sampler = VideoLoader(manifest, augment=policy, flip=False, **OPTIONS).clip_sampler
    for sample in range(5):
        plan = sampler.plan(0, sample)
        frames = (plain[plan.video] * 128 + 128).round().byte().permute(1, 2, 3, 0).numpy()
        names = [list(OPS)[op_id] for op_id in plan.op_ids]
        expected = augment_clip(frames, names, plan.levels_NK, plan.signs, translate_max_px=20)
        ours = (augmented[plan.video] * 128 + 128).round().byte().permute(1, 2, 3, 0).numpy()
        np.testing.assert_array_equal(ours, expected, err_msg=str(names))


def test_batches_may_be_kept_and_changed(manifest):
    """Their memory is theirs, also when the pipeline goes on and ends; it is laid out as GPUs like it."""
    loader = VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)
    kept, copies = [], []
    for _ in range(3):
        for batch in loader:
            kept.append(batch.clips_BCTHW)
            copies.append(batch.clips_BCTHW.clone())
    assert all(clips.is_contiguous(memory_format=torch.channels_last_3d) for clips in kept)
    changed = kept.pop(0)
    changed.fill_(7)
    loader.close()
    del loader
    assert all(torch.equal(a, b) for a, b in zip(kept, copies[1:], strict=True))
    assert (changed == 7).all()


def test_a_users_own_schedule_reaches_the_workers(manifest):
    def falling(u, m, time, xp):
        return m * (1 - time)

    policy = RandAugmentT(n=1, m=30, ops=["brightness"], schedule=falling)
    plain = one_epoch(manifest, workers=0, batch_size=5)
    factors = torch.linspace(1.9, 0.1, 16)[:, None, None]
    for workers in (0, 2):
        clips = one_epoch(manifest, workers=workers, batch_size=5, augment=policy)
        for video, clip in clips.items():
            expected = ((plain[video] * 128 + 128) * factors).clamp(max=255)
            assert (clip * 128 + 128 - expected).abs().max() < 1


def test_leaving_out_frames_changes_nothing_else(manifest):
    options = {"augment": RandAugmentT(translate_max_px=20), "workers": 0, "batch_size": 5}
    whole, kept = one_epoch(manifest, **options), one_epoch(manifest, keep_every=2, **options)
    for video in whole:
        assert torch.equal(whole[video][:, ::2], kept[video])


def test_crop_and_flip_are_the_planned_ones(tmp_path):
    """A video whose pixels tell their place: red rises to the right, in every frame."""
    from tests.videos import write_video

    height, width = 48, 64
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = 30 + 3 * np.arange(width)
    paths = [write_video(tmp_path / "a" / f"{i}.avi", [planes] * 16, (height, width)) for i in range(20)]
    manifest = scan_videos([(str(path), "a") for path in paths])
    clips = one_epoch(manifest, workers=0, batch_size=20)
    sampler = VideoLoader(manifest, **OPTIONS).clip_sampler
    flips = set()
    for sample in range(20):
        plan = sampler.plan(0, sample)
        y0, x0, y1, x1 = plan.box_yxyx
        centres = x0 + (np.arange(32) + 0.5) * (x1 - x0) / 32 - 0.5
        expected = (30 + 3 * centres - 16) * 255 / 219
        row = (clips[plan.video][0, 5, 16] * 128 + 128).numpy()
        np.testing.assert_allclose(row[::-1] if plan.flip else row, expected.clip(0, 255), atol=3)
        flips.add(plan.flip)
    assert flips == {True, False}


def test_more_processes_than_videos(manifest):
    seen = []
    for rank in range(7):
        for batch in VideoLoader(manifest, workers=0, batch_size=1, rank=rank, world_size=7, **OPTIONS):
            assert len(batch) == len(batch.clips_BCTHW) and batch.labels_B.dtype == batch.videos_B.dtype == torch.int64
            seen += batch.videos_B.tolist()
    assert sorted(seen) == list(range(5))


def test_shared_memory_that_is_too_small(manifest, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 1)))
    with pytest.raises(InputError, match="/dev/shm: has 0 MiB free, but the loader's workers need about .* --shm-size"):
        next(iter(VideoLoader(manifest, workers=2, **OPTIONS)))


def test_shared_memory_is_given_back(manifest):
    """Its files have no name while they are in use, so that not even a killed process leaves any, and go at the end."""

    def in_use():
        with open("/proc/self/maps") as file:
            return [line for line in file if "/dev/shm/nvidia_dali" in line]

    loader = VideoLoader(manifest, workers=2, batch_size=2, **OPTIONS)
    for _ in loader:
        assert in_use() and all("(deleted)" in line for line in in_use())
    loader.close()
    end = time.monotonic() + 10  # the thread that watched the workers lets go of theirs when it ends
    while in_use() and time.monotonic() < end:
        time.sleep(0.05)
    assert not in_use()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "Invalid batch_size 0"),
        ({"device": "tpu"}, "Invalid device 'tpu': choose one of auto, cpu, cuda"),
        ({"decoder": "nvdec"}, "Invalid decoder 'nvdec': choose one of auto, cpu, gpu"),
        ({"decoder": "gpu"}, "Invalid decoder 'gpu': cannot be used, because the device is cpu"),
        ({"rank": 2, "world_size": 2}, "Invalid rank 2: must be at least 0 and below world_size, 2"),
        ({"start_step": 2}, "Invalid epoch 0, step 2: .* the step between 0 and 1, because an epoch has 1 batches"),
        (
            {"training": False, "augment": RandAugmentT()},
            "Invalid augment RandAugmentT.*: must be None or Perturbations in evaluation",
        ),
    ],
)
def test_wrong_options(manifest, options, message):
    with pytest.raises(InputError, match=message):
        VideoLoader(manifest, **OPTIONS | options)


def test_odd_videos_are_left_to_the_cpu(tmp_path, monkeypatch):
    """The choice alone: nothing here needs a GPU."""
    monkeypatch.setattr(clip_reader, "why_no_gpu_decoder", lambda: None)
    monkeypatch.setattr(clip_reader, "DALI_VERSION", (2, 4))
    plain, turned = odd.h264(tmp_path / "plain.mp4"), odd.turn(odd.h264(tmp_path / "turned.mp4"), (0, 1, -1, 0))
    late = odd.h264(tmp_path / "late.ts")
    for paths, expected in (([plain], "gpu"), ([plain, late], "gpu"), ([plain, turned], "cpu")):
        videos = [replace(video, height=1080) for video in scan_videos([(str(path), "a") for path in paths]).videos]
        assert (
            ClipReader.choose_decoder("auto", CUDA, videos, 2) == expected
            and ClipReader.choose_decoder("cpu", CUDA, videos, 2) == "cpu"
        )
    with pytest.raises(
        InputError,
        match="Invalid decoder 'gpu': cannot be used, because .*turned.mp4 has an unusual property .rotated 90 "
        "degrees clockwise., .*; "
        "choose cpu",
    ):
        ClipReader.choose_decoder("gpu", CUDA, videos, 2)


@pytest.mark.parametrize(
    "codec, size, workers, expected",
    [
        ("mpeg4", (320, 240), 8, "cpu"),
        ("mpeg4", (320, 240), 1, "gpu"),
        ("h264", (320, 240), 8, "cpu"),
        ("h264", (320, 240), 2, "gpu"),
        ("h264", (1280, 720), 16, "gpu"),
        ("hevc", (1280, 720), 64, "cpu"),
        ("h264", (1920, 1080), 16, "gpu"),
        ("h264", (160, 120), 2, "cpu"),
        ("mpeg4", (320, 240), 0, "gpu"),
    ],
)
def test_auto_takes_the_faster_decoder(manifest, monkeypatch, codec, size, workers, expected):
    """The choice alone: nothing here needs a GPU."""
    monkeypatch.setattr(clip_reader, "why_no_gpu_decoder", lambda: None)
    monkeypatch.setattr(clip_reader, "why_not_dali", lambda video: None)
    monkeypatch.setattr(clip_reader, "DALI_VERSION", (2, 4))
    monkeypatch.setattr(speed, "usable_cores", lambda: 64)
    videos = [replace(video, codec=codec, width=size[0], height=size[1]) for video in manifest.videos]
    assert ClipReader.choose_decoder("auto", CUDA, videos, workers) == expected
    assert ClipReader.choose_decoder("gpu", CUDA, videos, workers) == "gpu"
    why = ClipReader.why_auto_is_cpu(CUDA, videos, workers)
    said = f"{workers} processes decode {codec} of {size[0]}x{size[1]} pixels faster"
    assert why is None if expected == "gpu" else why.startswith(said)


def test_workers_beyond_the_cores_decode_no_faster(manifest, monkeypatch):
    videos = [replace(video, codec="h264", width=320, height=240) for video in manifest.videos]
    for cores, found in ((4, None), (8, "8 processes decode h264 of 320x240 pixels faster")):
        monkeypatch.setattr(speed, "usable_cores", lambda cores=cores: cores)
        why = speed.why_cpu_is_faster(videos, 16)
        assert why is None if found is None else why.startswith(found)
    small = [replace(video, codec="mpeg4", width=160, height=120) for video in manifest.videos]
    assert speed.why_cpu_is_faster(small, 0).startswith("1 process decodes mpeg4 of 160x120 pixels faster")


def test_a_state_from_before_even_steps_could_be_chosen(manifest):
    even = VideoLoader(manifest, workers=0, batch_size=2, even_steps=True, **OPTIONS)
    even.load_state_dict({"epoch": 1, "step": 1})
    assert even.state_dict() == {"epoch": 1, "step": 1, "even_steps": 1}
    full = VideoLoader(manifest, workers=0, batch_size=2, **OPTIONS)
    full.load_state_dict({"epoch": 1, "step": 0})  # between epochs both are alike
    with pytest.raises(
        InputError,
        match="Invalid state: was saved within an epoch with even_steps=True, but this .* give even_steps=True",
    ):
        full.load_state_dict({"epoch": 1, "step": 1})
    with pytest.raises(InputError, match="give even_steps=False"):
        even.load_state_dict({"epoch": 1, "step": 1, "even_steps": 0})


@pytest.mark.parametrize(
    "decoder, workers, cores, gpus, threads",
    [
        ("cpu", 4, 16, 1, 4),
        ("cpu", 0, 16, 1, 1),
        ("gpu", 2, 16, 1, 16),
        ("gpu", 2, 64, 8, 8),
        ("gpu", 2, 128, 1, 16),
        ("gpu", 6, 4, 1, 6),
        ("gpu", 0, 1, 8, 1),
    ],
)
def test_decoding_threads_follow_the_cores(monkeypatch, decoder, workers, cores, gpus, threads):
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices.dali_threads(decoder, workers) == threads


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(
        InputError, match="Invalid device 'cuda:7': the number of GPUs is 2, and they are numbered from 0"
    ):
        choose_device("cuda:7")


def test_a_driver_that_cannot_decode(manifest, monkeypatch):
    monkeypatch.setattr(dali_module, "GPU_LIBRARY", "libnvcuvid.so.of_no_driver")
    monkeypatch.setattr(clip_reader, "DALI_VERSION", (2, 4))
    with pytest.raises(
        InputError, match="libnvcuvid.so.1 cannot be loaded .in Docker, NVIDIA_DRIVER_CAPABILITIES must"
    ):
        ClipReader.choose_decoder("gpu", CUDA, manifest.videos, 2)


def test_torch_is_imported_by_the_loader_alone():
    import subprocess
    import sys

    code = (
        "import sys, dali_pipes; dali_pipes.augment_clip, dali_pipes.scan_videos, dali_pipes.ClipSampler; "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
