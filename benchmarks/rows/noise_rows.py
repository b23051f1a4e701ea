"""Contestants of bench_loader.py that augment noise made in the graph: no file, decoder or copy takes part."""

from itertools import cycle

N, M = 2, 10.0


def dali_rand_augment(video, crop_px):
    from nvidia.dali.auto_aug import rand_augment

    return rand_augment.rand_augment(video, n=N, m=int(M), shape=[crop_px, crop_px], monotonic_mag=False, seed=7)


def of_noise(options, augment, **pipeline_options):
    """``augment(video)`` on noise that the graph makes where it augments: no file, decoder or copy takes part."""
    from nvidia.dali import fn, pipeline_def, types

    on_gpu = options.device != "cpu"

    @pipeline_def(
        enable_conditionals=True,
        batch_size=options.batch_size,
        num_threads=options.workers,
        device_id=0 if on_gpu else None,
        seed=7,
        **pipeline_options,
    )
    def pipeline():
        shape = [options.num_frames, options.crop_px, options.crop_px, 3]
        where = {"device": "gpu" if on_gpu else "cpu"}
        noise = fn.cast(fn.random.uniform(**where, shape=shape, range=[0.0, 255.0]), dtype=types.UINT8)
        return augment(fn.reshape(noise, layout="FHWC"))

    built = pipeline()
    built.build()
    while True:
        built.run()
        yield options.batch_size


def noise_alone(options):
    """Noise alone: what to subtract from the next rows, in milliseconds a batch."""
    return of_noise(options, lambda video: video)


def augment_alone(options):
    """Noise and RandAugment-T, drawn elsewhere."""
    return augment_noise(options)


def augment_noise(options, pipeline_options=None, **policy):
    """As the loader's graph augments: what it needs was computed elsewhere; ``policy`` are its fields."""
    import numpy as np
    from nvidia.dali import fn

    from dali_pipes import RandAugmentT
    from dali_pipes.augment.parameters import inputs_of_clip
    from dali_pipes.augment.randaugment import apply_inputs

    made, size_hw = RandAugmentT(**{"n": N, "m": M} | policy), (options.crop_px, options.crop_px)
    table, rng = made.table("cpu" if options.device == "cpu" else "gpu"), np.random.default_rng(7)
    clips = [inputs_of_clip(table, *made.sample(rng, options.num_frames), size_hw) for _ in range(512)]
    places = cycle(range(0, len(clips) - options.batch_size + 1, options.batch_size))

    def source():
        first = next(places)
        batch = clips[first : first + options.batch_size]
        return [[clip[name] for clip in batch] for name in table.names]

    def augment(video):
        nodes = dict(zip(table.names, fn.external_source(source, num_outputs=len(table.names))))  # noqa: B905 - traced
        return apply_inputs(video, nodes, policy=made, size_hw=size_hw)

    return of_noise(options, augment, **(pipeline_options or {}))


def graph_draws_alone(options):
    """Noise and RandAugment-T in a graph that draws for itself."""
    from dali_pipes import rand_augment_t

    size = {"num_frames": options.num_frames, "size_hw": (options.crop_px, options.crop_px)}
    return of_noise(options, lambda video: rand_augment_t(video, n=N, m=M, seed=7, **size))


def dali_auto_aug_alone(options):
    """Noise and DALI's own RandAugment, constant over time."""
    return of_noise(options, lambda video: dali_rand_augment(video, options.crop_px))
