"""Any plan and any damage: every sample once, indices within the video, and never a frame from another place."""

import os
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dali_pipes import ClipSampler, OddityKind, RandAugmentT, VideoError
from dali_pipes.dataset.probe import Refused, probe
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.pyav import open_input
from dali_pipes.decode.video_file import open_video
from dali_pipes.decode.video_info import VideoInfo
from dali_pipes.plan.batches import BatchSampler
from tests.videos import natural_clip, write_video

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 120))
"""Of damage to each kind of file; FUZZ_EXAMPLES asks for more."""
FUZZ = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Video:
    num_frames: int
    width: int
    height: int
    label: int

    @property
    def used_frames(self) -> range:
        return range(self.num_frames)


videos = st.builds(Video, st.integers(1, 400), st.integers(2, 500), st.integers(2, 500), st.integers(0, 2))
samplers = st.builds(
    lambda videos, kept, every, stride, seed, short, mode, low, views, training, even: ClipSampler(
        videos=videos,
        num_frames=kept * every,
        stride_frames=stride,
        keep_every=every,
        seed=seed,
        short_videos=short,
        crop_mode=mode,
        side_range_px=(low, min(240.0, 1.4 * low)),
        clips_per_video=1 if training else views,
        training=training,
        augment=RandAugmentT(n=1) if training else None,
        even_steps=even,
    ),
    st.lists(videos, min_size=1, max_size=12),
    st.integers(1, 24),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(0, 2**40),
    st.sampled_from(["slow_down", "pad"]),
    st.sampled_from(["crop", "short_side"]),
    st.floats(20, 240),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)


@settings(FUZZ, max_examples=200)
@given(samplers, st.integers(0, 10**6), st.data())
def test_plans_stay_within_their_video(sampler, epoch, data):
    sample = data.draw(st.integers(0, len(sampler) - 1))
    plan = sampler.plan(epoch, sample)
    video = sampler.videos[plan.video]
    count = sampler.kept_frames * sampler.clips_per_video
    assert plan.frame_indices.shape == (count,) and plan.frame_indices.dtype == np.int32
    assert 0 <= plan.frame_indices.min() and plan.frame_indices.max() < video.num_frames
    clips = plan.frame_indices.reshape(sampler.clips_per_video, -1)
    assert (np.diff(clips, axis=1) >= 0).all() and (np.diff(clips[:, 0]) >= 0).all()
    y0, x0, y1, x1 = plan.box_yxyx.tolist()
    assert 0 <= y0 < y1 <= video.height and 0 <= x0 < x1 <= video.width and y1 - y0 == x1 - x0
    if sampler.training:
        assert plan.levels_NK.shape == (1, count)
    others = sampler.replacements(epoch, sample)
    # in evaluation it only fills the place of the video, so any will do
    may_replace = [
        index
        for index, other in enumerate(sampler.videos)
        if index != plan.video and (other.label == video.label or not sampler.training)
    ]
    assert sorted(others) == may_replace


@settings(FUZZ, max_examples=200)
@given(samplers, st.integers(1, 9), st.integers(1, 7), st.integers(0, 5), st.data())
def test_every_sample_once_whatever_the_shards_and_batches(sampler, batch_size, world_size, epoch, data):
    steps = BatchSampler(sampler, batch_size, 0, world_size).steps_per_epoch
    step = data.draw(st.integers(0, steps - 1))
    seen, seen_resumed = [], []
    for rank in range(world_size):
        whole = BatchSampler(sampler, batch_size, rank, world_size, start_epoch=epoch)
        resumed = BatchSampler(sampler, batch_size, rank, world_size, start_epoch=epoch, start_step=step)
        assert whole.steps_per_epoch == steps
        stream = [whole.at(position) for position in range(2 * steps * batch_size)]
        skipped = step * batch_size
        assert [resumed.at(position) for position in range(len(stream) - skipped)] == stream[skipped:]
        for start in range(0, len(stream), batch_size):
            real = [real for *_, real in stream[start : start + batch_size]]
            assert real == sorted(real, reverse=True)  # samples that only fill the batch stand last
        seen += [entry[:2] for entry in stream if entry[2]]
        seen_resumed += [entry[:2] for entry in stream[skipped:] if entry[2]]
    every = [(epoch + later, sample) for later in range(2) for sample in range(len(sampler))]
    assert sorted(seen) == every and len(set(seen_resumed)) == len(seen_resumed)


FILES = {  # name -> codec, options
    "mpeg4.avi": ("mpeg4", {"bf": 2}),
    "h264.mp4": ("libx264", {"bf": 2}),
    "h264.mkv": ("libx264", {"bf": 0}),
    "mpeg2.ts": ("mpeg2video", {"bf": 2}),
    "vp9.webm": ("libvpx-vp9", {}),
}


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(26, 32, 48)]
    return {
        name: write_video(folder / name, planes, (32, 48), codec=codec, gop=6, **options).read_bytes()
        for name, (codec, options) in FILES.items()
    }


def damaged(content: bytes, flips: list[tuple[float, int]], keep: float) -> bytes:
    content = bytearray(content[: max(1, int(len(content) * keep))])
    for place, mask in flips:
        content[min(len(content) - 1, int(place * len(content)))] ^= mask
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(tmp_path, whole_files, name):
    path = tmp_path / name
    outcomes = {"read": 0, "refused": 0}

    @settings(FUZZ, max_examples=EXAMPLES)
    @given(
        st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=6),
        st.one_of(st.just(1.0), st.floats(0.3, 1)),
        st.lists(st.integers(0, 40), min_size=1, max_size=6),
    )
    @example([], 1.0, [0])  # whole
    @example([], 0.0, [0])  # nothing of it, which is refused whatever else is drawn
    def check(flips, keep, plan):
        path.write_bytes(damaged(whole_files[name], flips, keep))
        assert "cannot be read (" not in str(probe(str(path), False, 30.0))
        info = probe(str(path), True, 30.0)
        outcomes["read" if isinstance(info, VideoInfo) else "refused"] += 1
        if isinstance(info, Refused):
            assert "\n" not in info.reason and "cannot be read (" not in info.reason
            return
        shown = decode_frames(str(path), range(info.num_frames), size_hw=(info.height, info.width))
        with open_input(str(path)) as container, open_video(str(path)) as reader:
            container.streams.video[0].thread_count = 1
            expected = [bytes(frame.planes[0]) for frame in container.decode(video=0)]
            found = [bytes(frame.planes[0]) for _, frame in reader.frames()]
            assert len(found) == len(expected) and (found == expected or info.oddity(OddityKind.DAMAGED))
        assert len(expected) == info.num_frames
        for exact_times in {False, info.exact_times}:
            try:
                frames = decode_frames(str(path), plan, exact_times=exact_times)
            except VideoError as error:
                assert max(plan) >= info.num_frames and "is requested" in str(error)
            else:
                # what a damaged frame lacks is whatever was in memory, and differs from one decode to the next
                again = decode_frames(str(path), range(info.num_frames)) if info.oddity(OddityKind.DAMAGED) else shown
                for frame, index in zip(frames, plan, strict=True):
                    assert np.array_equal(frame, shown[index]) or not np.array_equal(again[index], shown[index])

    check()
    assert min(outcomes.values()) > 0
