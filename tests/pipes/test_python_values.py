"""Numbers of numpy are taken wherever Python's are, and stored as those."""

import json
import pickle
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from dali_pipes import (
    ClipSampler,
    InputError,
    RandAugmentT,
    VideoLoader,
    augment_clip,
    find_videos,
    scan_videos,
    schedule_levels,
)
from dali_pipes.augment.graph_ops import Style
from dali_pipes.python_values import to_python
from tests.videos import natural_clip
from train.mixing.apply import build_mix


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.int64(2), 2), (np.array(2), 2), (np.float32(0.5), 0.5), (Fraction(1, 2), 0.5), ((np.uint8(3), "a"), (3, "a"))],
)
def test_any_number_becomes_one_of_python(value, expected):
    assert repr(to_python(value)) == repr(expected)


@pytest.mark.parametrize("value", [True, "5", None, "temporal+", 2.5, 3])
def test_all_else_stays_as_it_is(value):
    assert to_python(value) is value


def test_a_policy_with_numbers_of_numpy():
    given = RandAugmentT(n=np.int64(2), m=np.float32(5), fill=np.uint8(9), translate_max_px=np.float64(20))
    ours = RandAugmentT(n=2, m=5, fill=9, translate_max_px=20)
    assert given == ours and json.loads(json.dumps(asdict(given))) == json.loads(json.dumps(asdict(ours)))
    assert b"numpy" not in pickle.dumps(given)
    drawn = [
        schedule_levels("temporal+", m, f, np.random.default_rng(3)) for m, f in ((np.float32(5), np.int8(4)), (5, 4))
    ]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("value", [True, np.True_, float("nan"), np.float32("nan"), "5", None, -1, 2.5])
def test_what_is_no_such_number_is_a_sentence(value):
    with pytest.raises(InputError, match=r"^Invalid n .*: must be a whole number of at least 1"):
        RandAugmentT(n=value)
    if value != 2.5:
        with pytest.raises(InputError, match=r"^Invalid m .*: must be a level between 0 and 30$"):
            RandAugmentT(m=value)
        with pytest.raises(InputError, match=r"^Invalid fill .*: must be a grey level between 0 and 255$"):
            Style(fill=value)
        with pytest.raises(InputError, match=r"^Invalid translate_max_px .*: must be a finite number of at least 0$"):
            RandAugmentT(translate_max_px=value)


def test_a_clip_with_numbers_of_numpy():
    clip, levels = natural_clip(4, 40, 48), [np.full(4, 10.0)]
    theirs = augment_clip(clip, ["translate_x"], levels, fill=np.int64(9), translate_max_px=np.float32(30))
    np.testing.assert_array_equal(theirs, augment_clip(clip, ["translate_x"], levels, fill=9, translate_max_px=30))


def test_a_loader_with_numbers_of_numpy(class_folders):
    manifest, whole, real = scan_videos(find_videos(class_folders), workers=np.int64(2)), np.int64, np.float32
    ours, theirs = (
        VideoLoader(
            manifest,
            device="cpu",
            batch_size=i(2),
            crop_px=i(32),
            workers=i(1),
            num_frames=i(16),
            seed=i(3),
            keep_every=i(2),
            side_range_px=(f(160), f(200)),
            start_step=i(1),
        )
        for i, f in ((int, float), (whole, real))
    )
    assert repr(theirs.clip_sampler) == repr(ours.clip_sampler)
    assert json.dumps(theirs.state_dict()) == json.dumps(ours.state_dict())
    for batch, expected in zip(theirs, ours, strict=True):
        assert torch.equal(batch.clips_BCTHW, expected.clips_BCTHW) and torch.equal(batch.videos_B, expected.videos_B)
    for loader in (ours, theirs):
        loader.close()
    for value in (2.5, True, "5"):
        with pytest.raises(InputError, match=r"^Invalid num_frames .*: must be a whole number of at least 1$"):
            ClipSampler(videos=manifest.videos, num_frames=value)
        with pytest.raises(InputError, match=r"^Invalid batch_size .*: must be a whole number of at least 1$"):
            VideoLoader(manifest, batch_size=value)


def test_a_mix_with_numbers_of_numpy():
    clips, labels = torch.rand(4, 3, 8, 8, 8), torch.tensor([0, 1, 2, 0])
    mixed = [
        build_mix("cubecutmixup", i(3), alpha=f(1), prob=f(0.5), per_sample=True)(
            clips, labels, generator=np.random.default_rng(5)
        )
        for i, f in ((int, float), (np.int64, np.float32))
    ]
    for ours, theirs in zip(*mixed, strict=True):
        assert torch.equal(ours, theirs)
