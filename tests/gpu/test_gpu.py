"""What only a GPU can show: its nodes give what the CPU's give, NVDEC picks the same frames, steps do not wait."""

import shutil
from contextlib import nullcontext
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline, pipeline_def

from dali_pipes import (
    OPS,
    PAPER_OPS,
    InputError,
    RandAugmentT,
    VideoError,
    VideoLoader,
    augment_clip,
    find_videos,
    rand_augment_t,
    scan_videos,
)
from dali_pipes.augment.parameters import inputs_of_clip
from dali_pipes.augment.randaugment import apply_inputs
from dali_pipes.decode.dali import DALI_VERSION, why_not_dali
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.nvdec import NVDEC_CODECS, nvdec_limits, why_not_nvdec
from dali_pipes.loader.stream_reader import why_not_stream
from tests.dali_decoding import decode_with_dali
from tests.training.linear_run import make_training
from tests.training.planted import guessing_checkpoint, shaken
from tests.videos import dark_and_bright, natural_clip, noise_clip, rgb_of, write_lossless, write_video
from train.analysis import cam, localisation
from train.analysis.activation import class_maps
from train.config.options import Config
from train.engine.loop import fit, train_step
from train.engine.to_host import HostCopy
from train.mixing.apply import MIXES, build_mix
from train.models.zoo import MODELS
from train.runtime.stop import StopRequest

pytestmark = pytest.mark.gpu
# what rounding in another order may change; rotate: a pixel on an edge may fall to the other side
LARGEST_DIFFERENCE = {"contrast": 1, "color": 2, "sharpness": 1, "auto_contrast": 1, "brightness": 1, "equalize": 2}


@pytest.mark.parametrize("clip", ["noise", "natural"])
@pytest.mark.parametrize("name", OPS)
def test_operations_are_equal_on_cpu_and_gpu(name, clip):
    frames = noise_clip(8, 160, 160) if clip == "noise" else natural_clip(8, 160, 160)
    for ends in ((0, 15), (10, 10), (30, 5)):
        for sign in (1, -1):
            levels = [np.linspace(*ends, 8)]
            cpu, gpu = (augment_clip(frames, [name], levels, [sign], device=device) for device in ("cpu", "gpu"))
            difference = np.abs(cpu.astype(int) - gpu.astype(int))
            if name == "rotate":
                assert (difference.max(axis=-1) > 0).mean() <= 0.001
            else:
                assert difference.max() <= LARGEST_DIFFERENCE.get(name, 0)


def test_rand_augment_t_gives_the_same_clips_on_cpu_and_gpu():
    frames = natural_clip(16, 112, 112)

    def run(device):
        @pipeline_def(batch_size=24, num_threads=2, device_id=0, enable_conditionals=True)
        def pipeline():
            video = fn.external_source(lambda: [frames] * 24, layout="FHWC")
            video = video.gpu() if device == "gpu" else video
            ops = [
                name for name in PAPER_OPS if name not in ("equalize", "posterize", "solarize")
            ]  # these magnify rounding
            options = {"n": 2, "schedule": "fourier", "ops": ops, "translate_max_px": 70, "size_hw": (112, 112)}
            return rand_augment_t(video, num_frames=16, seed=5, **options)

        built = pipeline()
        built.build()
        (output,) = built.run()
        return (output.as_cpu() if device == "gpu" else output).as_array().astype(int)

    cpu, gpu = run("cpu"), run("gpu")
    difference = np.abs(cpu - gpu)
    assert len({clip.tobytes() for clip in cpu}) > 16
    assert (difference.max(axis=-1) > 4).mean() <= 0.002 and difference.mean() < 0.5


@pytest.mark.skipif(not hasattr(pipeline, "OperatorConcurrency"), reason="this DALI runs one operator at a time")
def test_operators_that_run_at_once_change_no_pixel():
    """DALI's full concurrency makes the augmentation more than twice as fast.
    The loader leaves it off until this test has passed on a GPU."""
    policy, frames = RandAugmentT(n=3), natural_clip(16, 112, 112)
    rng = np.random.default_rng(3)
    drawn = [[policy.sample(rng, 16) for _ in range(16)] for _ in range(8)]
    table = policy.table("gpu")
    ready = [[inputs_of_clip(table, *draw, (112, 112)) for draw in batch] for batch in drawn]

    def run(**options):
        batches = iter([*ready, *ready])

        def source():
            batch = next(batches)
            return [[clip[name] for clip in batch] for name in table.names]

        @pipeline_def(batch_size=16, num_threads=8, device_id=0, enable_conditionals=True, **options)
        def made():
            video = fn.external_source(lambda: [frames] * 16, layout="FHWC").gpu()
            nodes = fn.external_source(source, num_outputs=3)
            inputs = {name: nodes[i] for i, name in enumerate(table.names)}
            return apply_inputs(video, inputs, policy=policy, size_hw=(112, 112))

        built = made()
        built.build()
        return [built.run()[0].as_cpu().as_array().copy() for _ in range(12)]

    one, all_at_once = run(), run(concurrency=pipeline.OperatorConcurrency.FULL)
    for ours, theirs in zip(one, all_at_once, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len({clip.tobytes() for batch in one for clip in batch}) > 100


PLANS = [list(range(0, 40)), [5, 6, 7], [30, 2, 2, 17, 39, 0], [i // 4 for i in range(64)]]


FILES = {  # what the loader leaves to DALI's decoder; first time stamps that are not zero and open groups among them
    "h264": ("libx264", "mp4", {"bf": 3, "qp": 4}),
    "h264 that starts late": ("libx264", "ts", {"bf": 3, "qp": 4}),
    "hevc": ("libx265", "mp4", {"x265-params": "open-gop=1:bframes=4:qp=4:log-level=none"}),
    "mpeg4": ("mpeg4", "avi", {"qmin": 1, "qmax": 1}),
    "mpeg4 with B-frames": ("mpeg4", "mp4", {"bf": 2, "qmin": 1, "qmax": 1}),
    "vp9": ("libvpx-vp9", "webm", {"crf": 4, "b": 0}),
    "vp8": ("libvpx", "webm", {"crf": 4, "b": "4M"}),
}


@pytest.mark.parametrize("codec, container, options", FILES.values(), ids=FILES)
@pytest.mark.parametrize("plan", PLANS, ids=[str(plan[:6]) for plan in PLANS])
def test_nvdec_picks_the_planned_frames(tmp_path, codec, container, options, plan):
    path = write_lossless(tmp_path / f"video.{container}", 40, (192, 256), codec=codec, gop=100, **options)
    expected = np.array([rgb_of(index) for index in plan])
    frames = decode_with_dali(str(path), plan, "mixed")
    assert frames.shape == (len(plan), 192, 256, 3)
    assert np.abs(frames.mean(axis=(1, 2, 3)) - expected).max() < 1.7  # neighbours differ by 3.5


@pytest.mark.parametrize("codec, container, options", FILES.values(), ids=FILES)
def test_nvdec_takes_sizes_that_are_no_multiple_of_16(tmp_path, codec, container, options):
    path = write_lossless(tmp_path / f"video.{container}", 12, (198, 254), codec=codec, gop=100, **options)
    frames = decode_with_dali(str(path), range(12), "mixed")
    expected = np.array([rgb_of(index) for index in range(12)])[:, None, None]
    assert frames.shape == (12, 198, 254, 3)
    for edge in (frames[:, -1], frames[:, :, -1], frames[:, 0]):
        assert np.abs(edge - expected).max() <= 4


@pytest.mark.parametrize(
    "codec, container, options",
    [
        ("libx264", "mp4", {"qp": 4}),
        ("libx264", "mp4", {"qp": 4, "x264-params": "fullrange=on"}),
        ("mjpeg", "avi", {"qmin": 1, "qmax": 1, "strict": "unofficial"}),
        ("libx265", "mp4", {"x265-params": "qp=4:log-level=none:range=full"}),
    ],
    ids=["h264", "h264 of full range", "mjpeg", "hevc of full range"],
)
def test_nvdec_gives_the_colours_of_pyav(tmp_path, codec, container, options):
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(8, 192, 256)]
    path = str(write_video(tmp_path / f"video.{container}", planes, (192, 256), codec=codec, **options))
    (video,) = scan_videos([(path, "a")]).videos
    if obstacle := why_not_dali(video) or why_not_nvdec(video, 0):
        pytest.skip(f"is left to the CPU: {obstacle}")
    gpu, cpu = decode_with_dali(path, range(8), "mixed"), decode_frames(path, range(8))
    assert np.abs(gpu.astype(int) - cpu.astype(int)).mean() < 3


@pytest.mark.parametrize("codec", NVDEC_CODECS)
def test_the_driver_says_what_nvdec_takes(codec):
    limits = nvdec_limits(codec, torch.cuda.current_device())
    assert limits.max_width == 0 or 0 < limits.min_width < 1920 <= limits.max_width and limits.max_height >= 1080
    if codec == "h264":
        assert limits.engines >= 1 and limits.max_width
    torch.zeros(1, device="cuda").add_(1).item()  # PyTorch's context is as it was


def test_nvdec_is_close_to_pyav_on_real_clips(shared_clips):
    videos = clips_for_the_gpu(shared_clips)
    for video in videos:
        plan = [0, 1, video.num_frames // 3, video.num_frames - 2, video.num_frames - 1]
        gpu, cpu = decode_with_dali(video.path, plan, "mixed"), decode_frames(video.path, plan)
        difference = np.abs(gpu.astype(int) - cpu.astype(int)).mean(axis=(1, 2, 3))
        assert difference.max() < 3, (video.path, difference)


def clips_for_the_gpu(folder):
    """Those that the loader does not leave to the CPU, such as old DivX files with packed B-frames."""
    videos = scan_videos([(str(path), path.parent.name) for path in sorted((folder / "actions").rglob("*.avi"))]).videos
    found = [video for video in videos if why_not_dali(video) is None]
    assert found
    return found


@pytest.mark.parametrize("decoder", ["cpu", "gpu"])
def test_loader_gives_the_clips_of_the_cpu_loader(tmp_path, decoder):
    for number in range(5):
        planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(40 + number, 192, 256, number)]
        write_video(tmp_path / "a" / f"{number}.mp4", planes, (192, 256), codec="libx264", qp=4)
    manifest = scan_videos(find_videos(tmp_path))
    options = {"batch_size": 4, "num_frames": 32, "augment": RandAugmentT(), "seed": 2}
    loaders = (
        VideoLoader(manifest, device="cpu", **options),
        VideoLoader(manifest, device="cuda", decoder=decoder, **options),
    )
    for _ in range(2):
        for cpu, gpu in zip(*loaders, strict=True):
            assert gpu.clips_BCTHW.is_cuda and gpu.labels_B.is_cuda and cpu.videos_B.equal(gpu.videos_B)
            difference = (cpu.clips_BCTHW - gpu.clips_BCTHW.cpu()).abs() * 128
            assert difference.mean() < (1 if decoder == "cpu" else 5)


@pytest.mark.parametrize("decoder", ["cpu", "gpu"])
def test_batches_stay_as_they_were_handed_over(tmp_path, decoder):
    """DALI hands its own memory over: it must not write to it while a tensor is in use, on whatever stream."""
    for number in range(8):
        write_lossless(tmp_path / "a" / f"{number}.mp4", 40 + number, (192, 256), codec="libx264", qp=4)
    options = {"batch_size": 2, "num_frames": 32, "crop_px": 112, "decoder": decoder, "seed": 3}
    loader = VideoLoader(scan_videos(find_videos(tmp_path)), device="cuda", **options)
    kept, copies, queued = [], [], []
    for epoch in range(3):
        with torch.cuda.stream(torch.cuda.Stream()) if epoch == 1 else nullcontext():
            for batch in loader:
                torch.cuda._sleep(20_000_000)  # work still waits for the clips when the next batch is asked for
                queued.append(batch.clips_BCTHW.double().sum(dim=(1, 2, 3, 4)))
                copies.append(batch.clips_BCTHW.clone())
                kept.append(batch.clips_BCTHW)
                if len(kept) > 3:
                    del kept[0]
    torch.cuda.synchronize()
    assert len(queued) == 12
    for clips, copy in zip(kept, copies[-len(kept) :], strict=True):
        assert torch.equal(clips, copy)
    for total, copy in zip(queued, copies, strict=True):
        torch.testing.assert_close(total, copy.double().sum(dim=(1, 2, 3, 4)))
    assert len({copy.sum().item() for copy in copies}) > 6


@pytest.mark.parametrize("codec, container, options", FILES.values(), ids=FILES)
def test_both_readers_show_the_planned_frames(tmp_path, codec, container, options):
    for number, length in enumerate((40, 9, 64, 33)):
        path = tmp_path / "a" / f"number {number}.{container}"
        write_lossless(path, length, (192, 256), codec=codec, gop=30, **options)
    manifest = scan_videos(find_videos(tmp_path))
    refused = next(filter(None, (why_not_stream(video, "gpu") for video in manifest.videos)), None)
    if refused:
        with pytest.raises(InputError, match="Invalid reader 'stream': cannot be used, because .*when it seeks"):
            VideoLoader(manifest, reader="stream", num_frames=16, batch_size=3, device="cuda")
    evaluation = {"training": False, "clips_per_video": 3}
    for sampling in ({"keep_every": 2}, {"stride_frames": 3, "short": "pad"}, evaluation):
        common = {"batch_size": 3, "num_frames": 16, "crop_px": 112, "device": "cuda", "seed": 3, **sampling}
        decoder = "gpu" if DALI_VERSION >= (1, 48) else "cpu"
        clips = VideoLoader(manifest, decoder=decoder, **common)
        stream = None if refused else VideoLoader(manifest, reader="stream", **common)
        views, seen = clips.clip_sampler.clips_per_video, {}
        for epoch in range(2):
            pairs = zip(clips, stream, strict=True) if stream else ((batch, batch) for batch in clips)
            for ours, theirs in pairs:
                assert theirs.clips_BCTHW.is_cuda and ours.videos_B.equal(theirs.videos_B)
                assert ours.clips_BCTHW.stride() == theirs.clips_BCTHW.stride()
                assert (ours.clips_BCTHW - theirs.clips_BCTHW).abs().mean() * 128 < (1 if decoder == "gpu" else 2)
                for place, video in enumerate(theirs.videos_B.tolist()):
                    seen.setdefault((epoch, video), []).append(theirs.clips_BCTHW[place].mean(dim=(0, 2, 3)).cpu())
        plans = [clips.clip_sampler.plan(epoch, sample) for epoch in range(2) for sample in range(4)]
        assert len(seen) == len(plans)
        for plan in plans:
            shown = torch.stack(seen[plan.epoch, plan.video]) * 128 + 128
            expected = torch.tensor([rgb_of(index) for index in plan.frame_indices]).view(views, -1)
            assert (shown - expected).abs().max() < 1.7  # neighbours differ by 3.5


@pytest.mark.parametrize("augment", [None, RandAugmentT(translate_max_px=50)])
def test_stream_gives_the_clips_of_the_cpu_loader(tmp_path, augment):
    for number in range(5):
        planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(40 + number, 192, 256, number)]
        write_video(tmp_path / "a" / f"{number}.mp4", planes, (192, 256), codec="libx264", qp=4)
    manifest = scan_videos(find_videos(tmp_path))
    options = {"batch_size": 4, "num_frames": 32, "augment": augment, "seed": 2}
    loaders = (
        VideoLoader(manifest, device="cpu", **options),
        VideoLoader(manifest, device="cuda", reader="stream", **options),
    )
    for cpu, gpu in zip(*loaders, strict=True):
        assert cpu.videos_B.equal(gpu.videos_B)
        difference = (cpu.clips_BCTHW - gpu.clips_BCTHW.cpu()).abs() * 128
        assert difference.mean() < (5 if augment else 3)


def test_stream_names_a_file_that_breaks(tmp_path):
    for number in range(4):
        write_lossless(tmp_path / "a" / f"{number}.mp4", 60, (192, 256), codec="libx264", gop=15)
    manifest = scan_videos(find_videos(tmp_path))
    broken = tmp_path / "a" / "2.mp4"
    broken.write_bytes(bytes(broken.stat().st_size))
    with pytest.raises(VideoError, match="2.mp4"):
        list(VideoLoader(manifest, batch_size=2, num_frames=16, crop_px=64, device="cuda", reader="stream"))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", list(MIXES))
def test_mixing_gives_what_the_cpu_gives_without_waiting(name, per_sample):
    clips, labels = torch.randn(6, 3, 16, 48, 40), torch.tensor([0, 1, 2, 3, 1, 0])
    mix = build_mix(name, 4, prob=1.0, per_sample=per_sample)
    clips_gpu, labels_gpu = clips.cuda(), labels.cuda()
    for seed in range(4):
        on_cpu = mix(clips, labels, generator=torch.Generator().manual_seed(seed))
        torch.cuda.set_sync_debug_mode("error")
        try:
            on_gpu = mix(clips_gpu, labels_gpu, generator=torch.Generator().manual_seed(seed))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
            assert gpu.is_cuda
            torch.testing.assert_close(gpu.cpu(), cpu, rtol=0, atol=2e-6)
        half, _ = mix(clips_gpu.bfloat16(), labels_gpu, generator=torch.Generator().manual_seed(seed))
        assert (half.float() - on_gpu[0]).abs().max() < 0.1
    with pytest.raises(InputError, match="generator is on cuda"):
        mix(clips_gpu, labels_gpu, generator=torch.Generator("cuda"))


@pytest.mark.parametrize("name", ["slowfast50", "mc3_18", "mvit_v2_s"])
def test_activation_maps_are_those_of_the_cpu(name):
    clips = torch.randn(2, 3, 32 // MODELS[name].keep_every, 64, 64)
    network, classes = deepcopy(shaken(name)), torch.tensor([[0, 3], [4, 1]])
    on_cpu = class_maps(network, clips, classes)
    on_gpu = class_maps(network.cuda(), clips.cuda(), classes)
    scale = on_cpu.maps_BPTHW.abs().max().item()
    torch.testing.assert_close(on_gpu.maps_BPTHW.cpu(), on_cpu.maps_BPTHW, rtol=0, atol=0.02 * scale)  # TF32 is allowed


def test_temporal_localisation(tmp_path):
    root = dark_and_bright(tmp_path, val=(2, 2))
    config = Config(num_frames=32, crop_px=40, data=str(root / "val"))
    guessing_checkpoint(tmp_path / "a.pt", ["bright", "dark"], config)
    assert (
        cam.main([str(tmp_path / "a.pt"), *map(str, (root / "val").rglob("*.avi")), "-o", str(tmp_path / "cam")]) == 0
    )
    assert localisation.main([str(tmp_path / "a.pt"), "--pairs", "4", "-o", str(tmp_path / "scores.csv")]) == 0
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5


def gpu_training(folder, name, **changes):
    return make_training(
        str(folder / "videos"), str(folder / name), device="cuda", epochs=2, ema=0.5, tf32=False, **changes
    )


@pytest.fixture
def six_videos(tmp_path):
    dark_and_bright(tmp_path / "videos", train=(3, 3), val=(1, 1))
    return tmp_path


def test_a_step_does_not_wait_for_the_gpu(six_videos):
    training = gpu_training(six_videos, "out", mix="cutmix")
    batch = next(iter(training.train_loader))
    train_step(training, batch, 0)  # writes pictures of the clips, and the average begins as a copy
    torch.cuda.set_sync_debug_mode("error")
    try:
        numbers = [train_step(training, batch, step) for step in (1, 2)]
        copies = [HostCopy(each) for each in numbers]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for each, copy in zip(numbers, copies, strict=True):
        assert not copy.wait().is_cuda and torch.equal(copy.wait(), each.cpu())
    training.close()


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="torch.compile needs a C compiler")
def test_cuda_graphs_change_no_result(six_videos):
    """Two epochs of a full and a smaller step, each with an evaluation of the running average."""
    weights = []
    for compile in (False, "reduce-overhead"):
        training = gpu_training(six_videos, str(compile), compile=compile)
        with StopRequest() as stop:
            fit(training, stop)
        weights.append((training.model.layer.weight.detach().cpu(), training.evaluated.layer.weight.detach().cpu()))
        training.close()
    for plain, graphs in zip(*weights, strict=True):
        torch.testing.assert_close(graphs, plain, rtol=1e-3, atol=1e-4)
