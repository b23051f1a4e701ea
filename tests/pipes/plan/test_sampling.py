"""The plan: every video once per epoch, the same sample whatever surrounds it, windows inside the video."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dali_pipes import ClipSampler, InputError, RandAugmentT
from dali_pipes.plan.batches import BatchSampler
from dali_pipes.plan.sampling import count_starts, fixed_box, random_box, window_indices


@dataclass
class Video:
    num_frames: int
    width: int = 320
    height: int = 240

    @property
    def used_frames(self) -> range:
        return range(self.num_frames)


VIDEOS = [Video(n) for n in (164, 107, 240, 64, 63, 33, 31, 5, 1, 300, 90)]


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_an_epoch_is_every_video_once_over_any_number_of_shards(world_size, batch_size):
    sampler = ClipSampler(videos=VIDEOS, seed=3)
    for epoch in range(3):
        seen = Counter()
        for rank in range(world_size):
            schedule = BatchSampler(sampler, batch_size, rank, world_size)
            per_epoch = schedule.steps_per_epoch * batch_size
            for position in range(epoch * per_epoch, (epoch + 1) * per_epoch):
                at_epoch, sample, real = schedule.at(position)
                assert at_epoch == epoch and 0 <= sample < len(sampler)
                if real:
                    seen[sampler.plan(epoch, sample).video] += 1
        assert seen == Counter(range(len(VIDEOS)))


@pytest.mark.parametrize("even_steps", [False, True])
@pytest.mark.parametrize("count", [1, 5, 8, 9, 16, 17, 33])
def test_sizes_of_an_epochs_steps(count, even_steps):
    """Full but for the last one, or evenly dealt out."""
    schedule = BatchSampler(ClipSampler(videos=VIDEOS[:1] * count, even_steps=even_steps), 8)
    real = [schedule.at(position)[2] for position in range(schedule.steps_per_epoch * 8)]
    assert all(row == sorted(row, reverse=True) for row in np.reshape(real, (-1, 8)).tolist())  # repeated ones last
    sizes = np.reshape(real, (-1, 8)).sum(axis=1).tolist()
    assert sizes == [len(schedule.samples_of(step)) for step in range(schedule.steps_per_epoch)]
    assert sum(sizes) == count and len(sizes) == -(-count // 8)
    assert max(sizes) - min(sizes) <= 1 if even_steps else set(sizes[:-1]) <= {8}


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_even_steps_leave_no_process_empty(processes):
    for count in range(processes, 6 * processes):
        sampler = ClipSampler(videos=VIDEOS[:1] * count, even_steps=True)
        for batch_size in (2, 3, 5):
            schedule = BatchSampler(sampler, batch_size, 0, processes)
            assert all(len(schedule.samples_of(step)) >= processes for step in range(schedule.steps_per_epoch))


@pytest.mark.parametrize("count", [1, 3, 9, 16, 17])
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("even_steps", [False, True])
def test_a_step_holds_the_same_samples_whatever_the_processes(count, processes, even_steps):
    sampler = ClipSampler(videos=VIDEOS[:1] * count, even_steps=even_steps)

    def steps(world_size):
        schedules = [BatchSampler(sampler, 12 // world_size, rank, world_size) for rank in range(world_size)]
        found = [[] for _ in range(3 * schedules[0].steps_per_epoch)]
        for schedule in schedules:
            for position in range(len(found) * schedule.batch_size):
                epoch, sample, real = schedule.at(position)
                if real:
                    found[position // schedule.batch_size].append((epoch, sample))
        return [sorted(step) for step in found]

    assert steps(processes) == steps(1)
    assert sorted(sum(steps(processes), [])) == [(epoch, sample) for epoch in range(3) for sample in range(count)]


def test_resuming_continues_the_same_stream():
    sampler = ClipSampler(videos=VIDEOS)
    whole = BatchSampler(sampler, 4)
    resumed = BatchSampler(sampler, 4, start_epoch=1, start_step=2)
    offset = (whole.steps_per_epoch + 2) * 4
    assert [whole.at(offset + i) for i in range(30)] == [resumed.at(i) for i in range(30)]


def test_plans_depend_on_seed_epoch_and_sample_alone():
    options = {"videos": VIDEOS, "augment": RandAugmentT(), "seed": 5}
    first, second = ClipSampler(**options), ClipSampler(**options)
    forward = [first.plan(epoch, sample) for epoch in range(2) for sample in range(len(first))]
    backward = [second.plan(epoch, sample) for epoch in (1, 0) for sample in reversed(range(len(second)))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    other = ClipSampler(**options | {"seed": 6})
    assert not all(same(first.plan(0, i), other.plan(0, i)) for i in range(len(first)))
    assert [first.plan(0, i).video for i in range(len(first))] != [first.plan(1, i).video for i in range(len(first))]


def test_augmentation_leaves_frames_and_crops_as_they_were():
    plain, augmented = ClipSampler(videos=VIDEOS), ClipSampler(videos=VIDEOS, augment=RandAugmentT(n=3))
    for sample in range(len(plain)):
        a, b = plain.plan(0, sample), augmented.plan(0, sample)
        assert np.array_equal(a.frame_indices, b.frame_indices) and np.array_equal(a.box_yxyx, b.box_yxyx)
        assert a.flip == b.flip and a.op_ids is None and b.levels_NK.shape == (3, 64)


def test_kept_frames_are_those_of_the_whole_window():
    options = {"videos": VIDEOS, "augment": RandAugmentT(), "seed": 1}
    whole, kept = ClipSampler(**options), ClipSampler(**options, keep_every=2)
    for sample in range(len(whole)):
        a, b = whole.plan(2, sample), kept.plan(2, sample)
        assert np.array_equal(a.frame_indices[::2], b.frame_indices)
        assert np.array_equal(a.levels_NK[:, ::2], b.levels_NK)
        assert np.array_equal(a.op_ids, b.op_ids) and np.array_equal(a.box_yxyx, b.box_yxyx)


@pytest.mark.parametrize("length", [1, 2, 5, 16, 31, 32, 33, 63, 64, 65, 200])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("short", ["slow_down", "pad"])
def test_windows_stay_inside_the_video(length, stride, short):
    starts = count_starts(length, 64, stride, short)
    for first in (0, starts // 2, starts - 1):
        indices = window_indices(length, 64, stride, first, short)
        assert indices.shape == (64,) and indices.min() >= 0 and indices.max() <= length - 1
        assert (np.diff(indices) >= 0).all()
    if length >= 63 * stride + 1:
        assert starts == length - 63 * stride
        assert (np.diff(indices) == stride).all() and indices[-1] == length - 1


def test_short_videos():
    assert window_indices(40, 64).tolist() == [i // 2 for i in range(64)]  # half speed
    assert window_indices(20, 64, first=16).tolist() == [(i + 16) // 4 for i in range(64)]  # quarter speed
    assert window_indices(3, 4, first=1).tolist() == [0, 1, 1, 2]
    assert window_indices(3, 4, short_videos="pad").tolist() == [0, 1, 2, 2]


def test_training_starts_are_uniform():
    sampler = ClipSampler(videos=[Video(73)])
    starts = np.array([sampler.plan(epoch, 0).frame_indices[0] for epoch in range(4000)])
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10 and ((counts - 400) ** 2 / 400).sum() < 44  # chi-square, one in a million


def test_evaluation_clips_spread_over_the_whole_video():
    sampler = ClipSampler(videos=VIDEOS, training=False, clips_per_video=10)
    plan = sampler.plan(0, 2)  # 240 frames
    starts = plan.frame_indices.reshape(10, 64)[:, 0]
    assert starts[0] == 0 and starts[-1] == 240 - 64 and np.ptp(np.diff(starts)) <= 1
    assert plan.box_yxyx.tolist() == [40, 80, 200, 240] and not plan.flip and plan.video == 2
    assert same(plan, ClipSampler(videos=VIDEOS, training=False, clips_per_video=10, seed=9).plan(0, 2))
    middle = ClipSampler(videos=VIDEOS, training=False).plan(0, 2)
    assert middle.frame_indices[0] == 88


@pytest.mark.parametrize(
    "height, width", [(240, 320), (240, 560), (120, 160), (1080, 1920), (40, 30), (243, 321), (1, 1)]
)
@pytest.mark.parametrize("mode", ["crop", "short_side"])
def test_crop_boxes(height, width, mode):
    rng = np.random.default_rng(0)
    boxes = np.stack([random_box(rng, height, width, mode, (160, 200)) for _ in range(5000)])
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (heights == widths).all() and heights.min() >= 1
    assert boxes.min() >= 0 and boxes[:, 2].max() <= height and boxes[:, 3].max() <= width
    if height == 240:
        low, high = (160, 200) if mode == "crop" else (192, 240)
        assert low <= heights.min() < low + 2 and high - 2 < heights.max() <= high
        assert boxes[:, 0].min() == 0 and boxes[:, 3].max() == width
    centre = fixed_box(height, width, mode, (160, 200))
    assert abs((centre[0] + centre[2]) - height) <= 3 and abs((centre[1] + centre[3]) - width) <= 3
    if height > 1:
        assert not (boxes % 2).any() and not (centre % 2).any()


@pytest.mark.parametrize(
    "mode, height, width, smallest, largest",
    [
        ("crop", 240, 320, 160, 200),
        ("crop", 144, 176, 96, 120),
        ("crop", 1920, 1080, 720, 900),
        ("crop", 100, 70, 46, 58),  # 46.7 to 58.3
        ("crop", 243, 243, 162, 202),  # 162 to 202.5
        ("crop", 10, 12, 6, 8),  # 6.7 to 8.3
        ("crop", 3, 9, 2, 2),
        ("crop", 1, 1, 1, 1),
        ("short_side", 240, 320, 192, 240),
        ("short_side", 243, 321, 194, 242),  # 194.4 to 243
        ("short_side", 1, 9, 1, 1),
    ],
)
def test_sides_are_even_and_the_ends_as_likely_as_others(mode, height, width, smallest, largest):
    sides = np.arange(smallest, largest + 1, 2)
    rng = np.random.default_rng(0)
    boxes = np.stack([random_box(rng, height, width, mode, (160, 200)) for _ in range(250 * len(sides))])
    drawn, counts = np.unique(boxes[:, 2] - boxes[:, 0], return_counts=True)
    assert drawn.tolist() == sides.tolist()
    # short_side: lengths are uniform, and those between c / (side + 1) and c / (side - 1) are rounded to this side
    shares = np.ones(len(sides)) if mode == "crop" or largest == 1 else 1 / (sides - 1) - 1 / (sides + 1)
    expected = len(boxes) * shares / shares.sum()
    most = len(sides) + 6 * np.sqrt(2 * len(sides))  # the mean of chi-square and six standard deviations
    assert ((counts - expected) ** 2 / expected).sum() < most


def test_three_crops_are_spread_over_the_long_side():
    video = VIDEOS[0]
    for height, width in ((240, 320), (320, 240), (100, 100)):
        shaped = replace(video, height=height, width=width)
        for mode in ("crop", "short_side"):
            one = ClipSampler(videos=[shaped, shaped], training=False, crop_mode=mode, clips_per_video=2)
            three = replace(one, crops_per_video=3)
            assert len(three) == 6 and [three.video_of(0, i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
            boxes = [three.plan(0, sample).box_yxyx for sample in range(3)]
            assert same(
                three.plan(0, 4), replace(one.plan(0, 1), sample=4)
            )  # the centre crop is the one of a single crop
            axis = 1 if width > height else 0
            side = boxes[0][2] - boxes[0][0]
            assert [box[axis] for box in boxes][::2] == [0, (height, width)[axis] - side] and boxes[0][axis] <= boxes[
                1
            ][axis]
            assert len({int(box[1 - axis]) for box in boxes}) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_frames": 0}, "Invalid num_frames 0"),
        ({"keep_every": 3}, "Invalid num_frames 64: must be a multiple of keep_every, 3"),
        ({"clips_per_video": 10}, "Invalid clips_per_video 10: must be 1 in training"),
        ({"crops_per_video": 3}, "Invalid crops_per_video 3: must be 1 in training"),
        ({"crops_per_video": 2, "training": False}, "Invalid crops_per_video 2"),
        ({"crop_mode": "middle"}, "Invalid crop_mode 'middle': choose one of crop, short_side"),
        ({"short_videos": "loop"}, "choose one of slow_down, pad"),
        (
            {"side_range_px": (200, 160)},
            r"Invalid side_range_px \(200, 160\): must be the smallest and the largest side",
        ),
        ({"videos": []}, r"Invalid videos \[\]: must hold at least one video"),
        ({"seed": -1}, "Invalid seed -1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        ClipSampler(**{"videos": VIDEOS} | options)
    with pytest.raises(
        InputError, match="Invalid sample 11: must be between 0 and 10, because an epoch has 11 samples"
    ):
        ClipSampler(videos=VIDEOS).plan(0, 11)
