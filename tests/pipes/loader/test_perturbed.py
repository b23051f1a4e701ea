"""Perturbed clips of a loader: the same whoever makes them and in what company, and plain ones at strength 0."""

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def, types

from dali_pipes import ClipSampler, InputError, RandAugmentT, VideoLoader, scan_videos
from dali_pipes.augment import PERTURBATIONS, Perturbations, perturb_clip
from dali_pipes.loader.graph import clip_graph
from tests.videos import write_video

SIDE, FRAMES = 32, 16
CONDITIONS = [("pan", 0), *((kind, 4) for kind in PERTURBATIONS)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    paths = []
    for number, length in enumerate((40, 23, 9)):
        frames = rng.integers(30, 220, (length, 72, 64), dtype=np.uint8)
        paths.append(write_video(root / f"{number}.avi", frames, (48, 64)))
    return scan_videos([(str(path), 0) for path in paths], workers=1)


def loaded(manifest, augment, epochs=1, **options) -> list[dict[int, torch.Tensor]]:
    """For each epoch, the clips of each video."""
    options = {"batch_size": 2, "workers": 0, "keep_every": 2, "clips_per_video": 2} | options
    loader = VideoLoader(
        manifest, device="cpu", training=False, crop_px=SIDE, num_frames=FRAMES, augment=augment, **options
    )
    found = []
    for _ in range(epochs):
        found.append({})
        for batch in loader:
            for video in batch.videos_B.unique().tolist():
                found[-1][video] = batch.clips_BCTHW[batch.videos_B == video].clone()
    loader.close()
    return found


def all_equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[video], other[video]) for video in one)


@pytest.fixture(scope="module")
def perturbed(manifest):
    return loaded(manifest, Perturbations(conditions=CONDITIONS, crop_px=SIDE), len(CONDITIONS))


def test_strength_0_is_the_plain_evaluation(manifest, perturbed):
    (plain,) = loaded(manifest, None)
    assert all_equal(plain, perturbed[0])
    assert not any(all_equal(plain, other) for other in perturbed[1:])


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_size": 1}, {"workers": 2}])
def test_batches_and_workers_change_nothing(manifest, perturbed, options):
    again = loaded(manifest, Perturbations(conditions=CONDITIONS, crop_px=SIDE), len(CONDITIONS), **options)
    assert all(map(all_equal, perturbed, again))


def test_the_order_and_the_number_of_conditions_and_videos_change_nothing(manifest, perturbed):
    policy = Perturbations(conditions=CONDITIONS[:2:-1], crop_px=SIDE)
    for again, before in zip(loaded(manifest, policy, 3), perturbed[:-4:-1], strict=True):
        assert all_equal(again, before)
    (alone,) = loaded(
        scan_videos([(manifest.videos[1].path, 0)]), Perturbations(conditions=[("shake", 4)], crop_px=SIDE)
    )
    assert torch.equal(alone[0], perturbed[1][1])


@pytest.mark.parametrize("kind", ["shake", "blur", "noise", "recompression", "colour_fade", "dropped_frames"])
def test_clips_are_those_of_perturb_clip(manifest, kind):
    """With one clip of the whole window, frame by frame."""
    options = {"keep_every": 1, "clips_per_video": 1}
    (plain,), (found,) = (
        loaded(manifest, policy, **options) for policy in (None, Perturbations(conditions=[(kind, 4)], crop_px=SIDE))
    )
    for video, clip_1CTHW in plain.items():
        frames = (clip_1CTHW[0].movedim(0, -1) * 128 + 128).round().to(torch.uint8).numpy()
        expected = perturb_clip(frames, kind, 4, video=manifest.videos[video].path)
        np.testing.assert_array_equal((found[video][0].movedim(0, -1) * 128 + 128).round().to(torch.uint8), expected)


def test_only_perturbations_are_for_evaluation(manifest):
    policy = Perturbations(conditions=[("pan", 1)], crop_px=SIDE)
    with pytest.raises(InputError, match="Invalid augment RandAugmentT.*: must be None or Perturbations in evaluation"):
        ClipSampler(videos=manifest.videos, training=False, augment=RandAugmentT())
    with pytest.raises(InputError, match="Invalid augment Perturbations.*: must draw for training"):
        ClipSampler(videos=manifest.videos, augment=policy)


def test_the_graph_of_a_gpu_can_be_defined():
    """All that can be seen without a GPU: its operators take what they are given."""
    policy = Perturbations(conditions=[("shake", 1)], crop_px=SIDE)

    @pipeline_def(batch_size=2, num_threads=1, device_id=0, enable_conditionals=True)
    def pipeline():
        video = fn.external_source(name="frames", layout="FHWC", dtype=types.UINT8, ndim=4)
        inputs = {name: fn.external_source(name=name) for name in names}
        return clip_graph(video, inputs, device="gpu", crop_px=SIDE, augment=policy)

    names = policy.table("gpu").names
    assert set(names) == {"branches", "values", "matrices"}
    pipeline()


def test_the_clips_have_the_size_that_shifts_are_in_proportion_to(manifest):
    with pytest.raises(InputError, match=f"Invalid crop_px {SIDE}: must be that of augment, 64"):
        loaded(manifest, Perturbations(conditions=[("pan", 1)], crop_px=64))
