"""Delete, mix and blend: pixels and labels against loops over pixels; memory, precision, gradients, wrong uses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dali_pipes import InputError
from tests.mixes import MIXING, NAMES, both_ways, draws
from tests.reference.mix_loops import mix_by_loops
from train.mixing.apply import MixParams, apply_mix, build_mix, mix_targets
from train.mixing.params import MIXES, draw_mix
from train.models.slowfast import frame_weights, slowfast50


def random_clips(*shape, dtype=torch.float64, memory_format=torch.contiguous_format) -> torch.Tensor:
    return (
        torch.from_numpy(np.random.default_rng(1).normal(size=shape)).to(dtype).contiguous(memory_format=memory_format)
    )


SHAPES = [(4, 2, 6, 8, 8), (3, 1, 5, 7, 9), (2, 3, 1, 6, 5), (1, 2, 4, 4, 4), (3, 2, 3, 1, 1)]


@both_ways
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_labels_are_those_of_loops_over_pixels(name, shape, per_sample):
    clips, labels = random_clips(*shape), torch.arange(shape[0])
    for params in draws(name, shape[0], shape[2:], 6, per_sample=per_sample, prob=0.8):
        expected, weights_B = mix_by_loops(name, clips.numpy(), params)
        np.testing.assert_allclose(apply_mix(clips, params).numpy(), expected, atol=1e-12)
        targets_BK = mix_targets(labels, params, shape[0], dtype=torch.float64).numpy()
        hard_BK = np.eye(shape[0])
        partners = np.arange(shape[0]) if params.partners_B is None else params.partners_B
        expected_BK = weights_B[:, None] * hard_BK + (1 - weights_B[:, None]) * hard_BK[partners]
        np.testing.assert_allclose(targets_BK, expected_BK, atol=1e-12)


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_and_way_gives_the_same_and_only_overwrite_changes_the_clips(name, per_sample):
    clips = random_clips(5, 3, 7, 9, 11, dtype=torch.float32)
    for params in draws(name, 5, (7, 9, 11), 8, per_sample=per_sample, prob=0.8):
        expected = apply_mix(clips, params)
        assert clips.equal(random_clips(5, 3, 7, 9, 11, dtype=torch.float32))
        assert expected.data_ptr() != clips.data_ptr()
        for memory_format in (torch.contiguous_format, torch.channels_last_3d):
            for overwrite in (False, True):
                given = clips.clone(memory_format=memory_format)
                mixed = apply_mix(given, params, overwrite=overwrite)
                assert mixed.stride() == given.stride()
                torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6)
                if overwrite and (params.partners_B is None or not per_sample and params.outside_P[0] == 1):
                    assert mixed.data_ptr() == given.data_ptr()
    pure = draw_mix(name, 5, (7, 9, 11), rng=np.random.default_rng(0), prob=0.0, per_sample=per_sample)
    assert apply_mix(clips, pure).equal(clips) and (pure.label_weights_P() == 1).all()


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_labels_tell_the_truth(name, per_sample):
    """Hundreds of draws. Clip b is 1 in channel b and 0 in the others: what is seen of it is the mean of channel b."""
    rng = np.random.default_rng(5)
    for number in range(240 if per_sample else 800):
        size_THW = tuple(rng.integers(1, 8, 3)) if number % 3 else (8, 6, 5)
        count = int(rng.integers(1, 6))
        clips = torch.eye(count)[:, :, None, None, None].expand(-1, -1, *size_THW).contiguous()
        mix = build_mix(name, count, alpha=(0.05, 1.0, 4.0)[number % 3], prob=0.9, per_sample=per_sample)
        mixed, targets_BK = mix(clips, torch.arange(count), generator=rng)
        assert (targets_BK >= 0).all() and torch.allclose(targets_BK.sum(dim=1), torch.ones(count), atol=1e-6)
        if name.endswith("cutout"):
            assert targets_BK.equal(torch.eye(count))
        else:
            torch.testing.assert_close(mixed.double().mean(dim=(2, 3, 4)), targets_BK.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("outside", [0.0, 1.0])
def test_regions_that_are_empty_touch_a_border_or_are_everything(outside, lam):
    clips = torch.eye(2, dtype=torch.float64)[:, :, None, None, None].expand(-1, -1, 4, 5, 6).contiguous()
    for start, stop in [((0, 0, 0), (0, 0, 0)), ((2, 3, 6), (4, 5, 6)), ((3, 0, 2), (4, 5, 6)), ((0, 0, 0), (4, 5, 6))]:
        for count in (1, 2):
            params = MixParams(
                batch_size=2,
                size_THW=(4, 5, 6),
                partners_B=np.array([1, 0]),
                start_P3=np.array([start] * count),
                stop_P3=np.array([stop] * count),
                inside_P2=np.full((count, 2), lam),
                outside_P=np.full(count, outside),
            )
            share = np.prod(np.subtract(stop, start)) / 120
            expected = lam * share + outside * (1 - share)
            assert params.label_weights_P() == pytest.approx([expected] * count, abs=1e-12)
            seen = apply_mix(clips, params).mean(dim=(2, 3, 4))
            assert seen[0].numpy() == pytest.approx([expected, 1 - expected], abs=1e-12)


def test_equation_1_by_hand():
    """The paper's second case prints labels that do not sum to 1; with lambda_2 the region's share these do."""
    for lam1, of_A, of_B in ((0.3, 0.3 * 0.25 + 0.75, 0.7 * 0.25), (0.6, 0.6 * 0.25, 1 - 0.6 * 0.25)):
        params = replace(
            draw_mix("framecutmixup", 2, (8, 4, 4), rng=np.random.default_rng(0), prob=1.0),
            partners_B=np.array([1, 0]),
            start_P3=np.array([[3, 0, 0]]),
            stop_P3=np.array([[5, 4, 4]]),
            inside_P2=np.array([[lam1, lam1]]),
            outside_P=np.array([float(lam1 < 0.5)]),
        )
        targets_BK = mix_targets(torch.tensor([0, 1]), params, 2)
        torch.testing.assert_close(targets_BK, torch.tensor([[of_A, of_B], [of_B, of_A]]))
    outside = [(p.inside_P2[0, 0], p.outside_P[0]) for p in draws("cubecutmixup", 2, (8, 8, 8), 200)]
    assert all(outside_A == (lam1 < 0.5) for lam1, outside_A in outside) and len({o for _, o in outside}) == 2


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_result(name, per_sample):
    clips, labels = random_clips(4, 3, 6, 8, 8, dtype=torch.float32), torch.tensor([0, 1, 2, 1])
    mix = build_mix(name, 3, prob=1.0, per_sample=per_sample)
    state = torch.random.get_rng_state()
    results = [mix(clips, labels, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)]
    results += [mix(clips, labels, generator=np.random.default_rng(seed)) for seed in (7, 7)]
    assert state.equal(torch.random.get_rng_state())
    assert all(
        one.equal(other) for pair in ((0, 1), (3, 4)) for one, other in zip(*(results[i] for i in pair), strict=True)
    )
    assert not results[0][0].equal(results[2][0])
    generator = torch.Generator().manual_seed(7)
    assert not mix(clips, labels, generator=generator)[0].equal(mix(clips, labels, generator=generator)[0])


class WorkerWatch(TorchDispatchMode):
    """Counts operations, and the bytes of all memory that they were newly given."""

    def __init__(self, *known):
        super().__init__()
        self.operations, self.new_bytes = 0, 0
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.kept = []  # so that no address is given twice

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.operations += 1
        result = function(*arguments, **(options or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.seen:
                self.seen.add(tensor.untyped_storage()._cdata)
                self.kept.append(tensor)
                self.new_bytes += tensor.untyped_storage().nbytes()
        return result


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_no_loops_and_no_waiting_for_the_device(name, per_sample):
    """As many tensor operations for any size; on the meta device, which has no values, reading one back is an error."""
    mix, counts = build_mix(name, 4, prob=1.0, per_sample=per_sample), []
    for size in ((4, 3, 8, 16, 16), (16, 3, 8, 16, 16), (4, 3, 32, 16, 16), (4, 3, 8, 40, 56)):
        clips, labels = torch.empty(size, device="meta"), torch.empty(size[0], dtype=torch.int64, device="meta")
        counts.append([])
        for seed in range(16):
            with WorkerWatch() as watch:
                mixed, targets = mix(clips, labels, generator=torch.Generator().manual_seed(seed))
            counts[-1].append(watch.operations)
            assert mixed.shape == clips.shape and mixed.is_meta and targets.shape == (size[0], 4) and targets.is_meta
    most = [max(count) for count in counts]
    assert max(most) - min(most) < 8 and max(most) < 64, (
        most
    )  # whether A is outside all boxes makes 2; torch 2.3 needs 61


@both_ways
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=["contiguous", "channels_last"]
)
@pytest.mark.parametrize("name", NAMES)
def test_one_more_batch_of_memory_is_enough(name, memory_format, overwrite, per_sample):
    """All that was ever allocated, which is more than the peak; 5 % for what is a frame or a row."""
    clips = random_clips(8, 3, 64, 24, 24, dtype=torch.float32, memory_format=memory_format)
    most = 1.05
    if per_sample and name == "cubecutmixup" or per_sample and name == "cubecutout" and overwrite:
        most = 1.05 + 1 / 3 if name == "cubecutmixup" else 1 / 3 + 0.05  # a mask
    elif overwrite and MIXES[name].deletes:
        most = 0.05
    for prob in (1.0, 0.6):
        for params in draws(name, 8, (64, 24, 24), 4, per_sample=per_sample, prob=prob):
            given = clips.clone(memory_format=memory_format)
            with WorkerWatch(given) as watch:
                apply_mix(given, params, overwrite=overwrite)
            assert watch.new_bytes <= most * clips.nbytes


def test_several_names_are_drawn_alike_one_for_each_batch():
    clips, labels = torch.eye(2)[:, :, None, None, None].expand(-1, -1, 4, 4, 4).contiguous(), torch.tensor([0, 1])
    mix, rng = build_mix("cutmix, framecutmix,mixup", 2, prob=1.0), np.random.default_rng(0)
    kinds = []
    while len(kinds) < 600:
        mixed = mix(clips, labels, generator=rng)[0][0, 0]
        if 0 < mixed.mean() < 1:
            frames = mixed.mean(dim=(1, 2))
            whole_frames = set(frames.tolist()) == {0, 1}
            kinds.append("mixup" if 0 < mixed[0, 0, 0] < 1 else "framecutmix" if whole_frames else "cutmix")
    counts = [kinds.count(kind) for kind in ("mixup", "framecutmix", "cutmix")]
    assert min(counts) > 120  # MixUp always shows; a pair may be a clip and itself, a region may be empty


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow(name, per_sample):
    clips = random_clips(3, 1, 3, 4, 3).requires_grad_()
    for params in draws(name, 3, (3, 4, 3), 3, per_sample=per_sample):
        assert torch.autograd.gradcheck(lambda x, params=params: apply_mix(x, params), clips)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name, dtype, per_sample):
    clips, labels = random_clips(4, 3, 6, 8, 8, dtype=dtype), torch.tensor([0, 1, 2, 1])
    mix = build_mix(name, 3, prob=1.0, per_sample=per_sample)
    for seed in range(5):
        mixed, targets = mix(clips, labels, generator=torch.Generator().manual_seed(seed))
        exact, exact_targets = mix(clips.double(), labels, generator=torch.Generator().manual_seed(seed))
        assert mixed.dtype == dtype and targets.dtype == torch.float32
        torch.testing.assert_close(targets.double(), exact_targets, rtol=0, atol=1e-6)
        assert (mixed.double() - exact).abs().max() < 8 * torch.finfo(dtype).eps * clips.abs().max()


@both_ways
@pytest.mark.parametrize("name", MIXING)
def test_labels_of_the_frames_that_the_network_sees(name, per_sample):
    clips, labels = torch.eye(4)[:, :, None, None, None].expand(-1, -1, 32, 4, 4).contiguous(), torch.arange(4)
    weights_T = frame_weights(32, fast_stride=1)
    options = {"prob": 1.0, "per_sample": per_sample}
    seen, everything = (build_mix(name, 4, **options, frame_weights_T=frames) for frames in (weights_T, None))
    differences = []
    for seed in range(100):
        mixed, targets = seen(clips, labels, generator=torch.Generator().manual_seed(seed))
        shown = (mixed.double().mean(dim=(3, 4)) * weights_T).sum(dim=2)
        torch.testing.assert_close(shown, targets.double(), rtol=0, atol=1e-6)
        other = everything(clips, labels, generator=torch.Generator().manual_seed(seed))
        assert other[0].equal(mixed)
        differences.append(float((other[1] - targets).abs().max()))
    assert (max(differences) > 0.01) == (name not in ("cutmix", "mixup", "cutmixup"))  # where time matters


def test_frame_weights_are_those_of_the_frames_that_slowfast_sees():
    torch.manual_seed(0)
    clips = torch.rand(1, 3, 64, 40, 40, requires_grad=True)
    model = slowfast50(2).eval()
    for (
        module
    ) in model.modules():  # blocks start as their shortcuts, through which the fast path's kernels see no neighbours
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.ones_(module.weight)
    model(clips).square().sum().backward()
    seen_T = clips.grad.abs().sum(dim=(0, 1, 3, 4)) > 0
    weights_T = frame_weights(64)
    assert torch.equal(seen_T, weights_T > 0) and float(weights_T.sum()) == pytest.approx(1)
    assert weights_T[0] == 1 / 64 + 1 / 8 and weights_T[2] == 1 / 64 and weights_T[1] == 0


def wrong_uses():
    clips, labels = torch.zeros(2, 3, 4, 8, 8), torch.tensor([0, 1])

    def call(*given, **options):
        return lambda: build_mix("mixup", 2, **options)(*(given or (clips, labels)), generator=torch.Generator())

    return {
        "Invalid mix 'mixip': choose one of mixup, cutout": lambda: build_mix("mixip", 2),
        "Invalid mix '': choose": lambda: build_mix("mixup,", 2),
        "Invalid alpha 0: must be above 0 and at most 1e\\+06": lambda: build_mix("mixup", 2, alpha=0),
        "Invalid alpha nan": lambda: build_mix("mixup", 2, alpha=float("nan")),
        "Invalid prob 1.5: must be between 0 and 1": lambda: build_mix("mixup", 2, prob=1.5),
        "Invalid num_classes 0": lambda: build_mix("mixup", 0),
        r"Invalid clips_BCTHW of shape \(2, 3, 4, 8, 8\) and type torch.uint8: must be a floating-point tensor": call(
            clips.byte(), labels
        ),
        r"of shape \(3, 4, 8, 8\) and type torch.float32: must be": call(clips[0], labels),
        r"Invalid labels_B of shape \(1,\) and type torch.int64: must be int64, one for each of 2": call(
            clips, labels[:1]
        ),
        "type torch.float32: must be int64": call(clips, labels.float()),
        "Invalid labels_B from 0 to 2: must be between 0 and 1 for 2 classes": call(clips, labels * 2),
        "Invalid frame_weights_T of 3 numbers: must have one number for each of the 4 frames": call(
            frame_weights_T=[1, 1, 1]
        ),
        "Invalid frame_weights_T 'abc': must contain one number for each frame": lambda: build_mix(
            "mixup", 2, frame_weights_T="abc"
        ),
        r"Invalid frame_weights_T \[0.0, 0.0, 0.0, 0.0\]: must be finite numbers of at least 0": call(
            frame_weights_T=[0, 0, 0, 0]
        ),
        "Invalid generator of type int: must be a numpy.random.Generator or a torch.Generator": lambda: build_mix(
            "mixup", 2
        )(clips, labels, generator=7),
    }


@pytest.mark.parametrize("message", wrong_uses())
def test_wrong_uses(message):
    with pytest.raises(InputError, match=message):
        wrong_uses()[message]()
