"""Ways to apply an operation of RandAugment-T to the same clips on the CPU, for bench_ops.py.

Each takes a :class:`Work` and returns a function that applies it to one batch, and each time to the next one's draws.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from math import atan, degrees
from unittest.mock import patch

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali.auto_aug import rand_augment
from nvidia.dali.auto_aug.core import signed_bin
from PIL import Image
from rows.loader_rows import manifest_of
from rows.noise_rows import M, dali_rand_augment

from dali_pipes import RandAugmentT
from dali_pipes.augment import parameters
from dali_pipes.augment.parameters import inputs_of_clip
from dali_pipes.augment.randaugment import DrawnOps, apply_inputs
from dali_pipes.decode import decode_frames
from tests.reference import pil_ops
from tests.videos import natural_clip


@dataclass(frozen=True)
class Work:
    """Clips, and which operations to apply to them."""

    clips: list[np.ndarray]
    """B clips of (F, H, W, 3) uint8."""
    policy: RandAugmentT
    draws: list[list[DrawnOps]]
    """What was drawn for B clips, for each of several batches."""
    threads: int
    """Of DALI."""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.clips[0].shape[1:3]


def clips_of(options) -> list[np.ndarray]:
    """``options.batch_size`` clips of real frames, or of made ones that look like them."""
    if not options.data:
        shape = options.num_frames, options.crop_px, options.crop_px
        return [natural_clip(*shape, seed=seed) for seed in range(options.batch_size)]
    videos = manifest_of(options).videos[: options.batch_size]
    return [_middle(video, options) for video in videos]


def _middle(video, options) -> np.ndarray:
    side = min(video.height, video.width) // 2 * 2
    top, left = (video.height - side) // 4 * 2, (video.width - side) // 4 * 2
    shown = np.arange(options.num_frames).clip(max=video.num_frames - 1)
    return decode_frames(video.path, shown, (top, left, top + side, left + side), options.crop_px)


def work_of(clips, threads, batches, **policy) -> Work:
    """``batches`` draws of the policy for the clips."""
    made, rng = RandAugmentT(m=M, **policy), np.random.default_rng(7)
    draws = [[made.sample(rng, len(clip)) for clip in clips] for _ in range(batches)]
    return Work(clips, made, draws, threads)


def _in_a_pipeline(work: Work, augment: Callable) -> Callable[[], object]:
    """``augment(video)`` in a pipeline that runs one batch when it is told to, so that its time can be taken."""
    at_once = {"exec_async": False, "exec_pipelined": False, "prefetch_queue_depth": 1}

    @pipeline_def(
        enable_conditionals=True,
        batch_size=len(work.clips),
        num_threads=work.threads,
        device_id=None,
        seed=7,
        **at_once,
    )
    def pipeline():
        return augment(fn.external_source(lambda: work.clips, layout="FHWC", no_copy=True))

    built = pipeline()
    built.build()
    return built.run


def nothing(work: Work) -> Callable[[], object]:
    """What DALI needs to take the clips in; it hands out their shapes, since handing out the clips would copy them."""
    return _in_a_pipeline(work, lambda video: video.shape())


def kernels(work: Work) -> Callable[[], object]:
    """As the loader augments; what it needs was computed elsewhere."""
    table = work.policy.table("cpu")
    inputs = [
        [[clip[name] for clip in batch] for name in table.names]
        for batch in ([inputs_of_clip(table, *drawn, work.size_hw) for drawn in draws] for draws in work.draws)
    ]
    turns = cycle(inputs)

    def augment(video):
        names = table.names
        nodes = dict(zip(names, fn.external_source(lambda: next(turns), num_outputs=len(names))))  # noqa: B905 - traced
        return apply_inputs(video, nodes, policy=work.policy, size_hw=work.size_hw)

    return _in_a_pipeline(work, augment)


def graph_functions(work: Work) -> Callable[[], object]:
    """As the loader augments where no kernel can run."""
    with without_kernels():
        return kernels(work)


@contextmanager
def without_kernels():
    """Let graphs that are built in here have no kernel."""
    with patch.object(parameters, "why_not_kernels", lambda: "not wanted"):
        yield


def dali_auto_aug(work: Work) -> Callable[[], object]:
    """DALI's own operations, whose magnitude is constant over time; of several it draws by itself."""
    names = work.policy.op_names
    if len(names) > 1:
        return _in_a_pipeline(work, lambda video: dali_rand_augment(video, work.size_hw[0]))
    suite = {op.name.removesuffix("_no_shape"): op for op in rand_augment.get_rand_augment_suite()}
    apply = suite[names[0]]
    return _in_a_pipeline(work, lambda video: apply(video, magnitude_bin=signed_bin(int(M)), num_magnitude_bins=31))


def pil(work: Work) -> Callable[[], object]:
    """PIL frame by frame, on images that are PIL's already."""
    clips = [[Image.fromarray(frame) for frame in clip] for clip in work.clips]
    return _one_by_one(work, clips, _pil_clip)


def _pil_clip(images, name, levels_F, sign):
    values = [pil_ops.value_of(name, float(level), sign, "paper") for level in levels_F]
    return [pil_ops.apply(name, image, value) for image, value in zip(images, values, strict=True)]


def torchvision(work: Work) -> Callable[[], object]:
    """torchvision's functions on (F, 3, H, W) uint8 tensors, channels last in memory as decoders give them."""
    import torch

    clips = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in work.clips]
    return _one_by_one(work, clips, lambda clip, name, levels_F, sign: torchvision_op(clip, name, sign))


def _one_by_one(work: Work, clips: list, apply: Callable) -> Callable[[], object]:
    turns, names = cycle(work.draws), work.policy.op_names

    def one(clip, drawn):
        for op_id, levels_F, sign in zip(*drawn, strict=True):
            clip = apply(clip, names[op_id], levels_F, sign)
        return clip

    return lambda: [one(clip, drawn) for clip, drawn in zip(clips, next(turns), strict=True)]


def torchvision_op(clip, name, sign):
    """One operation as torchvision's RandAugment applies it, at level ``M``."""
    from torchvision.transforms.v2 import functional

    value = pil_ops.value_of(name, M, float(sign), "paper")
    affine = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    shear = degrees(atan(value)) if name.startswith("shear") else 0.0
    functions = {
        "identity": lambda: clip,
        "auto_contrast": lambda: functional.autocontrast(clip),
        "equalize": lambda: functional.equalize(clip),
        "rotate": lambda: functional.rotate(clip, value),
        "solarize": lambda: functional.solarize(clip, value),
        "color": lambda: functional.adjust_saturation(clip, value),
        "posterize": lambda: functional.posterize(clip, max(1, int(value))),
        "contrast": lambda: functional.adjust_contrast(clip, value),
        "brightness": lambda: functional.adjust_brightness(clip, value),
        "sharpness": lambda: functional.adjust_sharpness(clip, value),
        "shear_x": lambda: functional.affine(clip, **affine | {"shear": [shear, 0.0]}, center=[0, 0]),
        "shear_y": lambda: functional.affine(clip, **affine | {"shear": [0.0, shear]}, center=[0, 0]),
        "translate_x": lambda: functional.affine(clip, **affine | {"translate": [-int(value), 0]}),
        "translate_y": lambda: functional.affine(clip, **affine | {"translate": [0, -int(value)]}),
    }
    return functions[name]()


WAYS = {
    "kernels": kernels,
    "graph functions": graph_functions,
    "PIL": pil,
    "torchvision v2": torchvision,
    "DALI auto_aug": dali_auto_aug,
}
"""Column of the table -> way."""
IN_DALI = {kernels, graph_functions, dali_auto_aug}
"""The ways from whose time that of ``nothing`` is subtracted."""
