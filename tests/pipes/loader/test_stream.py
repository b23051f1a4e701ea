"""The reader ``stream``: the clips of the default reader, without a file in memory;
what it refuses and how it fails."""

import gc
import os
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dali_pipes import ClipSampler, InputError, Oddity, OddityKind, RandAugmentT, VideoError, VideoLoader, scan_videos
from dali_pipes.decode.pyav import open_input
from dali_pipes.loader import stream_reader
from dali_pipes.loader.clip_list import ClipList, sequences_of
from dali_pipes.loader.graph import clip_graph
from dali_pipes.loader.stream_reader import MAX_FRAMES, stream_pipeline, takes_frame_ranges, why_not_stream
from dali_pipes.plan.batches import BatchSampler
from tests.dali_decoding import first_four_clips
from tests.videos import natural_clip, rgb_of, write_lossless, write_video

on_cpu = pytest.mark.skipif(not takes_frame_ranges(), reason="this DALI reads videos only on a GPU")
LENGTHS = {"a": (60, 9, 41), "b": (70, 23)}
OPTIONS = {"batch_size": 2, "num_frames": 16, "crop_px": 32, "device": "cpu", "seed": 4, "workers": 0}
PLANS = {
    "training": {},
    "every second frame": {"keep_every": 2},
    "stride, padded": {"stride_frames": 3, "short_videos": "pad"},
    "evaluation": {"training": False, "clips_per_video": 3, "crops_per_video": 3, "keep_every": 2},
    "short side": {"crop_mode": "short_side", "side_range_px": (120, 240)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey videos with known frames, which DALI reads without a GPU too; short ones, two sizes, a name with a space."""
    root = tmp_path_factory.mktemp("vp9")
    for label, lengths in LENGTHS.items():
        for number, length in enumerate(lengths):
            size = (48, 64) if number else (64, 48)
            write_lossless(root / label / f"number {number}.webm", length, size, codec="libvpx-vp9", gop=20)
    return root


@pytest.fixture(scope="module")
def manifest(folder):
    return scan_videos([(str(path), path.parent.name) for path in sorted(folder.rglob("*.webm"))])


BLOCK_HEADER_BYTES = 6
"""What stands before the packet in a short block of WebM."""


def copy_of(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return scan_videos([(str(path), path.parent.name) for path in sorted((tmp_path / "copy").rglob("*.webm"))])


@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("lengths", [(60, 41, 70), (60, 9, 41, 70, 23), (3,)], ids=str)
def test_sequences_hold_the_planned_frames(lengths, options):
    """Shown places of what the reader reads are the plan, no frame past the last planned one is shown,
    none is read in vain."""
    videos = [ClipSampler.__new__(ClipSampler) for _ in lengths]
    for video, length in zip(videos, lengths, strict=True):
        video.__dict__.update(used_frames=range(length), width=64, height=48, label=0)
    sampler = ClipSampler(videos=videos, num_frames=16, **options)
    plans = [sampler.plan(epoch, sample) for epoch in range(3) for sample in range(len(sampler))]
    planned = np.concatenate([plan.frame_indices.reshape(sampler.clips_per_video, -1) for plan in plans])
    found = sequences_of(planned)
    np.testing.assert_array_equal(found.first_S[:, None] + found.stride * found.places_SK, planned)
    assert found.places_SK.max() == found.length - 1 and (found.end_S == planned.max(axis=1) + 1).all()
    if min(lengths) > 46:  # none has to be filled
        assert (found.stride, found.length) == (sampler.stride_frames * sampler.keep_every, sampler.kept_frames)


def test_one_short_video_makes_all_sequences_longer():
    assert sequences_of(np.array([[4, 6, 8], [5, 7, 9]])).length == 3
    found = sequences_of(np.array([[4, 6, 8], [0, 0, 1]]))
    assert (found.length, found.stride, found.places_SK.tolist()) == (5, 1, [[0, 2, 4], [0, 0, 1]])
    still = sequences_of(np.zeros((2, 3), int))
    assert (still.length, still.stride, still.end_S.tolist()) == (1, 1, [1, 1])


def test_the_list_names_file_number_and_frames(manifest, tmp_path):
    sampler = ClipSampler(videos=manifest.videos, num_frames=16, seed=4, training=False, clips_per_video=2)
    clips = ClipList(BatchSampler(sampler, 3, start_epoch=2, start_step=1), 32, "error", tmp_path)
    lines = [line.split() for line in clips.path.read_text().splitlines()]
    # 5 videos are 3 + 2, and one that fills the batch: the rest of epoch 2 and whole epochs, 16 steps at least
    assert clips.batch_size == 6 and len(lines) == 6 * (1 + 8 * 2)
    for number, (name, label, first, end) in enumerate(lines):
        video, indices = clips.videos[number], clips.frame_indices_SK[number]
        if number < 6:  # videos 3 4 3
            plan = sampler.plan(2, (3, 4, 3)[number // 2])
            assert video.path == manifest.videos[plan.video].path
            np.testing.assert_array_equal(indices, plan.frame_indices.reshape(2, 16)[number % 2])
        assert os.path.samefile(name, video.path) and int(label) == number
        assert (int(first), int(end)) == (indices[0], indices[-1] + 1)
    names = {name for name, *_ in lines}
    again = ClipList(BatchSampler(sampler, 3), 32, "error", tmp_path)
    assert {
        line.split()[0] for line in again.path.read_text().splitlines()
    } == names  # DALI knows a file again by its name


@on_cpu
@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS)
def test_clips_are_those_of_the_default_reader(manifest, options):
    loaders = [VideoLoader(manifest, reader=reader, **OPTIONS, **options) for reader in ("clips", "stream")]
    for epoch in range(2):
        batches = 0
        for ours, theirs in zip(*loaders, strict=True):
            assert ours.videos_B.equal(theirs.videos_B) and ours.labels_B.equal(theirs.labels_B)
            assert ours.clips_BCTHW.shape == theirs.clips_BCTHW.shape
            assert ours.clips_BCTHW.stride() == theirs.clips_BCTHW.stride()
            difference = (ours.clips_BCTHW - theirs.clips_BCTHW).abs().mean(dim=(1, 3, 4)).max() * 128
            assert difference < 1.1, (epoch, difference)  # neighbouring frames differ by 3.5 grey levels
            batches += 1
        assert batches == len(loaders[1]) and loaders[1].epoch == epoch + 1


@on_cpu
@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS)
def test_frames_are_the_planned_ones(manifest, options):
    loader, sample = VideoLoader(manifest, reader="stream", **OPTIONS, **options), 0
    for batch in loader:
        for clips in batch.clips_BCTHW.unflatten(0, (-1, loader.clip_sampler.clips_per_video)):
            expected = np.array([rgb_of(index) for index in loader.clip_sampler.plan(0, sample).frame_indices])
            ours = (clips * 128 + 128).mean(dim=(1, 3, 4)).flatten().numpy()
            assert np.abs(ours - expected).max() < 1.1
            sample += 1
    assert sample == len(loader.clip_sampler)


@on_cpu
@pytest.mark.parametrize("crop_px", [40, 112])
def test_graph_gives_what_it_gives_with_dalis_decoder(tmp_path, crop_px):
    """Crop, resize, flip and augmentation on real shapes: bit for bit those of the graph that decodes in memory."""
    items, fast = [], {"codec": "libvpx-vp9", "gop": 15, "cpu-used": 8, "deadline": "realtime"}
    for number in range(4):
        clip = natural_clip(12 + 9 * number, 96, 128, number)
        planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in clip]
        items.append((str(write_video(tmp_path / f"{number}.webm", planes, (96, 128), **fast)), "a"))
    manifest = scan_videos(items)
    options = {"num_frames": 16, "keep_every": 2, "augment": RandAugmentT(translate_max_px=20), "seed": 6}
    sampler = ClipSampler(videos=manifest.videos, **options)
    expected, _ = first_four_clips(sampler, crop_px, "gpu")
    (batch,) = VideoLoader(manifest, reader="stream", **OPTIONS | {"batch_size": 4, "crop_px": crop_px} | options)
    ours = batch.clips_BCTHW.permute(0, 2, 3, 4, 1).numpy()
    assert {sampler.plan(0, sample).flip for sample in range(4)} == {True, False}
    np.testing.assert_array_equal(ours, expected)


@on_cpu
def test_resumes_and_shares_as_the_default_reader_does(manifest):
    def epochs(count=1, **options):
        loader = VideoLoader(manifest, reader="stream", **OPTIONS, **options)
        return [[video for batch in loader for video in batch.videos_B.tolist()] for _ in range(count)]

    orders = epochs(3)
    expected = [
        [ClipSampler(videos=manifest.videos, seed=4).video_of(epoch, i) for i in range(5)] for epoch in range(3)
    ]
    assert orders == expected
    assert epochs(2, start_epoch=1, start_step=1) == [
        orders[1][2:],
        orders[2],
    ]  # 5 videos in batches of 2 are 2 + 2 + 1
    shares = [epochs(rank=rank, world_size=2)[0] for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(5))
    left_early = VideoLoader(manifest, reader="stream", **OPTIONS)
    next(iter(left_early))
    assert [video for batch in left_early for video in batch.videos_B.tolist()] == orders[1]


@on_cpu
def test_lists_leave_neither_threads_nor_files_behind(manifest):
    def held():
        gc.collect()
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    loader = VideoLoader(manifest, reader="stream", **OPTIONS | {"workers": 2})
    counts = []
    for epoch in range(4 * 6):
        for _ in loader:
            pass
        if loader._pipeline is None:  # 6 epochs of 3 batches are a list
            counts.append(held())
            assert epoch % 6 == 5
    assert len(counts) == 4 and len(set(counts[1:])) == 1
    folder = loader._reader._folder.path
    assert len(os.listdir(folder)) == 6  # the last list, and links to files with a space
    del loader
    gc.collect()
    assert not os.path.exists(folder)


@on_cpu
def test_a_fork_leaves_no_folder_behind(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loader = VideoLoader(manifest, reader="stream", **OPTIONS)
    next(iter(loader))
    before = os.listdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where there are threads
        child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0 and os.listdir(tmp_path) == before != []
    loader.close()


@on_cpu
def test_a_missing_file_stops_or_is_replaced(folder, tmp_path):
    manifest = copy_of(folder, tmp_path)
    gone = next(index for index, video in enumerate(manifest.videos) if video.num_frames == 41)
    os.unlink(manifest.videos[gone].path)
    with pytest.raises(VideoError, match="number 2.webm: No such file"):
        list(VideoLoader(manifest, reader="stream", **OPTIONS))
    skipping = {"on_bad_video": "skip", "max_bad_percent": 50}
    shown = {}
    for reader in ("clips", "stream"):
        loader = VideoLoader(manifest, reader=reader, **OPTIONS, **skipping)
        shown[reader] = [video for batch in loader for video in batch.videos_B.tolist()]
        assert len(shown[reader]) == 5 and gone not in shown[reader] and list(loader.bad_videos) == [gone]
    assert shown["clips"] == shown["stream"]
    loader = VideoLoader(manifest, reader="stream", training=False, clips_per_video=2, **OPTIONS, **skipping)
    evaluated = [video for batch in loader for video in batch.videos_B.tolist()]
    assert evaluated == [video for video in range(5) for _ in range(2) if video != gone]
    label = manifest.videos[gone].label
    others = [video for video in range(5) if manifest.videos[video].label != label]
    for video in manifest.videos:
        if video.label == label:
            Path(video.path).unlink(missing_ok=True)
    loader = VideoLoader(manifest, reader="stream", training=False, **OPTIONS, **skipping | {"max_bad_percent": 99})
    assert [video for batch in loader for video in batch.videos_B.tolist()] == others
    assert len(loader.bad_videos) == 5 - len(others)


@on_cpu
def test_a_file_that_dali_passes_over_is_named(folder, tmp_path):
    """DALI's reader goes on without it, so that every later clip would be another than planned."""
    manifest = copy_of(folder, tmp_path)
    path = next(video.path for video in manifest.videos if video.num_frames == 23)
    Path(path).write_bytes(bytes(os.path.getsize(path)))
    with pytest.raises(VideoError, match=f"{path}: DALI's video reader skipped this file"):
        list(VideoLoader(manifest, reader="stream", **OPTIONS))


@on_cpu
def test_a_file_that_breaks_while_it_is_read_is_named(folder, tmp_path):
    manifest = copy_of(folder, tmp_path)
    path = next(video.path for video in manifest.videos if video.num_frames == 70)
    whole = bytearray(Path(path).read_bytes())
    with open_input(path) as container:  # the container stays whole: DALI would pass over what is not
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in packets[20:50]:
        start = place + BLOCK_HEADER_BYTES
        whole[start : start + size] = bytes(size)
    Path(path).write_bytes(whole)
    with pytest.raises(VideoError, match=path) as raised:
        list(VideoLoader(manifest, reader="stream", **OPTIONS))
    assert "\n" not in str(raised.value)


def test_what_stream_cannot_read_is_refused(tmp_path, manifest):
    with pytest.raises(InputError, match="Invalid reader 'steam': choose one of stream, clips"):
        VideoLoader(manifest, reader="steam", **OPTIONS)
    with pytest.raises(
        InputError,
        match="Invalid reader 'stream': cannot be used, because it decodes on the device of the clips, which is cpu",
    ):
        VideoLoader(manifest, reader="stream", decoder="gpu", **OPTIONS)
    video = manifest.videos[0]
    assert "frames, but DALI's file lists allow at most" in why_not_stream(
        replace(video, num_frames=MAX_FRAMES + 1), decoder="gpu"
    )
    assert "decodes only VP8, VP9 and MJPEG" in why_not_stream(replace(video, codec="h264"), decoder="cpu")
    if not takes_frame_ranges():
        assert "a newer one does" in why_not_stream(
            replace(video, oddities=(Oddity(OddityKind.STARTS_LATE, ": at 0.04 s"),)), decoder="gpu"
        )
        return
    assert (
        why_not_stream(video, decoder="cpu") is None
        and why_not_stream(replace(video, codec="h264"), decoder="gpu") is None
    )
    assert why_not_stream(replace(video, oddities=(Oddity(OddityKind.VARIABLE_RATE),)), decoder="gpu") is None
    path = write_lossless(tmp_path / "a.mp4", 20, codec="libx264")
    with pytest.raises(
        InputError, match="cannot be used, because .*a.mp4 has the codec h264, but on the CPU .*; choose clips"
    ):
        VideoLoader(scan_videos([(str(path), "a")]), reader="stream", **OPTIONS)


def test_the_older_reader_refuses_what_it_finds_by_time(monkeypatch, manifest):
    monkeypatch.setattr("dali_pipes.loader.stream_reader.takes_frame_ranges", lambda: False)
    for odd in (
        "variable rate: 20 to 60 ms between frames",
        "odd size: 3x3; starts late: at 0.04 s",
        "header says 9 s",
    ):
        assert "a newer one does" in why_not_stream(
            replace(manifest.videos[0], oddities=tuple(map(Oddity.parse, odd.split("; ")))), decoder="gpu"
        )
    assert why_not_stream(replace(manifest.videos[0], oddities=(Oddity(OddityKind.ODD_SIZE),)), decoder="gpu") is None
    with pytest.raises(InputError, match="reads videos only on a GPU"):
        VideoLoader(manifest, reader="stream", **OPTIONS)


@pytest.mark.parametrize("newer", [True, False])
def test_the_gpu_graph_can_be_defined(monkeypatch, manifest, tmp_path, newer):
    """All that can be seen without a GPU: both of DALI's readers know the arguments that they are given."""
    if newer and not takes_frame_ranges():
        pytest.skip("this DALI has the older reader alone")
    monkeypatch.setattr("dali_pipes.loader.stream_reader.takes_frame_ranges", lambda: newer)
    clips = ClipList(BatchSampler(ClipSampler(videos=manifest.videos, num_frames=16), 2), 32, "error", tmp_path)
    places = []

    def recorded(frames, inputs, **options):
        places.extend(node.device for node in (frames, clip_graph(frames, inputs, **options)))
        return frames

    monkeypatch.setattr(stream_reader, "clip_graph", recorded)
    stream_pipeline(clips, device="gpu", crop_px=32, augment=None, batch_size=2, num_threads=1, device_id=0)
    assert places == ["gpu", "gpu"]


@on_cpu
def test_batches_may_be_kept(manifest):
    loader = VideoLoader(manifest, reader="stream", **OPTIONS)
    kept = [(batch.clips_BCTHW, batch.clips_BCTHW.clone()) for _ in range(2) for batch in loader]
    loader.close()
    assert all(torch.equal(clips, copy) for clips, copy in kept)
