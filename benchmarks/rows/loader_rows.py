"""The contestants of bench_loader.py: endless generators of the number of clips in each batch.

Packages are imported where they are used, so that the processes of one contestant do not load those of another.
"""

import argparse
import queue
import threading
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from rows.dataset_rows import TorchcodecClip, data_loader, straightforward_clip, torchvision_clip, why_not_torchcodec
from rows.noise_rows import (
    M,
    N,
    augment_alone,
    dali_auto_aug_alone,
    dali_rand_augment,
    graph_draws_alone,
    noise_alone,
)

LONG_S, LONG_FPS, LONG_FILES, LONG_HW = 180, 25, 2, (240, 320)


def manifest_of(options):
    from dali_pipes import find_videos, scan_videos
    from dali_pipes.dataset.manifest import default_cache

    items = find_videos(options.data)
    manifest = scan_videos(items, cache=default_cache(items))
    # of few videos again and again, so that batches are full
    return replace(manifest, videos=manifest.videos * -(-8 * options.batch_size // len(manifest)))


def loader_of(options, **loader_options):
    from dali_pipes import VideoLoader

    return VideoLoader(
        manifest_of(options),
        batch_size=options.batch_size,
        num_frames=options.num_frames,
        crop_px=options.crop_px,
        workers=options.workers,
        device=options.device,
        **loader_options,
    )


def _ours(options, **loader_options):
    loader = loader_of(options, **loader_options)
    while True:
        for batch in loader:
            yield len(batch)


def ours(options):
    """This loader with RandAugment-T."""
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), decoder=options.decoder)


def ours_no_aug(options):
    """This loader without augmentation."""
    return _ours(options, decoder=options.decoder)


def ours_needed_frames(options):
    """This loader with RandAugment-T, every second frame, which is all that SlowFast looks at."""
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), keep_every=2, decoder=options.decoder)


def ours_stream(options):
    """This loader's other reader: DALI opens the files and seeks."""
    from dali_pipes import RandAugmentT

    return _ours(options, augment=RandAugmentT(n=N, m=M), reader="stream")


def ours_two_pipelines(options):
    """This loader with RandAugment-T, as two pipelines that share the workers."""
    return _several(ours, options, 2)


def ours_four_pipelines(options):
    """This loader with RandAugment-T, as four pipelines that share the workers."""
    return _several(ours, options, 4)


def _several(row, options, count):
    """Pipelines in threads of their own: one alone keeps few of a GPU's decoders busy."""
    options = argparse.Namespace(**vars(options) | {"workers": max(1, options.workers // count)})
    loaders = [row(options) for _ in range(count)]
    for loader in loaders:
        yield next(loader)  # the pipelines are built one after the other
    ready = queue.Queue(maxsize=count)

    def feed(loader):
        for clips in loader:
            ready.put(clips)

    for loader in loaders:
        threading.Thread(target=feed, args=(loader,), daemon=True).start()
    while True:
        yield ready.get(timeout=60)


def make_long_videos(manifest, folder: Path) -> None:
    """Files of ``LONG_S`` seconds in H.264 with a key frame every two,
    of the frames of ``manifest``'s videos again and again."""
    import av

    from dali_pipes.decode.pyav import open_input

    for number in range(LONG_FILES):
        path = folder / "long" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted = LONG_S * LONG_FPS
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=LONG_FPS, options={"preset": "ultrafast"})
            (stream.height, stream.width), stream.pix_fmt = LONG_HW, "yuv420p"
            stream.codec_context.gop_size = 2 * LONG_FPS
            for video in cycle(manifest.videos[number:] + manifest.videos[:number]):
                with open_input(video.path) as container:
                    for frame in container.decode(video=0):
                        if not wanted:
                            break
                        planes = frame.reformat(LONG_HW[1], LONG_HW[0], "yuv420p").to_ndarray()
                        out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
                        wanted -= 1
                if not wanted:
                    break
            out.mux(stream.encode(None))


def _outputs(options, finish, crop=True):
    """What a pipeline of our source gives, batch by batch; its graph after decoding, cropping and resizing is
    ``finish(video)``."""
    from nvidia.dali import fn, pipeline_def

    from dali_pipes import ClipSampler
    from dali_pipes.decode.dali import dali_decode
    from dali_pipes.loader.graph import clip_inputs, crop_resize
    from dali_pipes.loader.source import ClipSource
    from dali_pipes.plan.batches import BatchSampler

    on_gpu, by_dali = options.device != "cpu", options.decoder == "gpu"
    sampler = ClipSampler(videos=manifest_of(options).videos, num_frames=options.num_frames)
    source = ClipSource(BatchSampler(sampler, options.batch_size), options.crop_px, "gpu" if by_dali else "cpu")

    @pipeline_def(
        enable_conditionals=True,
        batch_size=options.batch_size,
        num_threads=options.workers,
        device_id=0 if on_gpu else None,
        py_num_workers=options.workers,
        py_start_method="spawn",
    )
    def pipeline():
        inputs = clip_inputs(source, parallel=True, prefetch_batches=2)
        if by_dali:
            video = dali_decode(inputs["encoded"], inputs["frame_indices"], device="mixed")
            if crop:
                video = crop_resize(video, inputs["box"], inputs["flip"], options.crop_px)
                video = fn.sequence_rearrange(video, new_order=inputs["order"])
        else:
            video = inputs["frames"]
        return finish(video.gpu() if on_gpu else video)

    built = pipeline()
    built.build()
    while True:
        yield built.run()


def _pipeline(options, finish, crop=True):
    for _ in _outputs(options, finish, crop):
        yield options.batch_size


def decode_only(options):
    """Decoding, cropping and scaling alone."""
    return _pipeline(options, lambda video: video, crop=False)


def dali_auto_aug(options):
    """DALI's own RandAugment, constant over time, in the pipeline of this loader."""
    from dali_pipes.loader.graph import normalise

    return _pipeline(options, lambda video: normalise(dali_rand_augment(video, options.crop_px)))


def torchvision_gpu(options):
    """Our workers' crops, copied to the GPU as uint8, then torchvision v2's RandAugment there, clip by clip."""
    import torch
    from nvidia.dali.plugin.pytorch import feed_ndarray
    from torchvision.transforms import v2

    stream = {"cuda_stream": torch.cuda.current_stream()} if options.device == "cuda" else {}
    augment = v2.RandAugment(num_ops=N, magnitude=int(M))
    for (frames,) in _outputs(options, lambda video: video):
        dense = frames.as_tensor()
        frames_BFHWC = torch.empty(dense.shape(), dtype=torch.uint8, device=options.device)
        feed_ndarray(dense, frames_BFHWC, **stream)
        frames_BFCHW = frames_BFHWC.permute(0, 1, 4, 2, 3).contiguous()
        augmented_BFCHW = torch.stack([augment(clip) for clip in frames_BFCHW])
        clips_BCFHW = (augmented_BFCHW.transpose(1, 2).float() - 128) / 128
        yield len(clips_BCFHW)


def straightforward(options):
    """OpenCV, PIL frame by frame, a PyTorch DataLoader."""
    return data_loader(manifest_of(options).videos, options, straightforward_clip)


def torchvision(options):
    """OpenCV, torchvision v2's RandAugment, constant over time, a PyTorch DataLoader."""
    return data_loader(manifest_of(options).videos, options, torchvision_clip)


def torchcodec(options):
    """torchcodec, torchvision v2's RandAugment, constant over time, a PyTorch DataLoader."""
    return data_loader(manifest_of(options).videos, options, TorchcodecClip())


ROWS = {
    row.__name__: row
    for row in (
        ours,
        straightforward,
        torchvision,
        torchcodec,
        dali_auto_aug,
        ours_no_aug,
        decode_only,
        ours_needed_frames,
        ours_two_pipelines,
        ours_stream,
        torchvision_gpu,
        noise_alone,
        augment_alone,
        graph_draws_alone,
        dali_auto_aug_alone,
    )
}
WHY_NOT = {"torchcodec": why_not_torchcodec}
"""Row -> a function that returns why it cannot run here, or None."""
ASKED_FOR = (
    "ours_two_pipelines",
    "ours_stream",
    "torchvision_gpu",
    "noise_alone",
    "augment_alone",
    "graph_draws_alone",
    "dali_auto_aug_alone",
)
"""On the CPU only when named: ``ours_stream`` needs videos of VP8, VP9 or MJPEG there,
the others show on a GPU what they are for."""
GPU_ROWS = {  # name -> row and decoder
    "ours_gpu_decoding": (ours, "gpu"),
    "ours_cpu_decoding": (ours, "cpu"),
    "torchvision_gpu": (torchvision_gpu, "cpu"),
    "dali_auto_aug_gpu_decoding": (dali_auto_aug, "gpu"),
    "dali_auto_aug_cpu_decoding": (dali_auto_aug, "cpu"),
    "noise_alone": (noise_alone, "cpu"),
    "augment_alone": (augment_alone, "cpu"),
    "graph_draws_alone": (graph_draws_alone, "cpu"),
    "dali_auto_aug_alone": (dali_auto_aug_alone, "cpu"),
    "ours_no_aug_gpu_decoding": (ours_no_aug, "gpu"),
    "ours_no_aug_cpu_decoding": (ours_no_aug, "cpu"),
    "decode_only_gpu": (decode_only, "gpu"),
    "decode_only_cpu": (decode_only, "cpu"),
    "ours_stream": (ours_stream, "gpu"),
    "long_gpu_decoding": (ours, "gpu"),
    "long_cpu_decoding": (ours, "cpu"),
    "long_stream": (ours_stream, "gpu"),
    "ours_two_pipelines_gpu_decoding": (ours_two_pipelines, "gpu"),
    "ours_four_pipelines_gpu_decoding": (ours_four_pipelines, "gpu"),
}
