"""Loaders of training and evaluation clips, and what ``auto`` made of the devices."""

from typing import Any

from dali_pipes import Manifest, RandAugmentT, VideoLoader
from dali_pipes.augment import AUTHORS_OPS, NO_POLICY, PAPER_OPS, AugMix, Perturbations, make_policy, policy_row
from dali_pipes.errors import InputError
from dali_pipes.loader import READERS, check_shared_memory, choose_device, why_no_gpu
from dali_pipes.plan import MAX_LEVEL

from ..config.options import Config
from ..models.zoo import MODELS
from ..runtime.processes import Processes

VIDEOS_IN_HAND = 4
"""Videos per batch of an evaluation on a GPU, if they fit into ``BYTES_IN_HAND``."""
BYTES_IN_HAND = 2**30
"""Most bytes of such a batch's frames, whole and as clips; as many batches again are made ahead."""


def make_loaders(
    config: Config, train: Manifest, val: Manifest, processes: Processes
) -> tuple[VideoLoader, VideoLoader]:
    """Make the loaders of this process's training clips, and of its share of the clips to evaluate."""
    share = processes.share(config.batch_size)
    clips = min(len(train), config.batch_size)  # of a step, but perhaps the last: a lonely one stays as it is
    if config.even_steps:
        clips = len(train) // max(1, -(-len(train) // config.batch_size))
    if config.needs_partners and clips // processes.world_size < 2:
        who = f"one of {processes.world_size} processes" if processes.world_size > 1 else "a step"
        raise InputError(
            f"Invalid --batch-size {config.batch_size}: leaves only one of the {len(train)} training videos for {who}, "
            f"but --mix {config.mix} needs two; use larger batches, fewer processes or more videos"
        )
    of_training: dict[str, Any] = {"augment": _augmentation(config), "even_steps": config.even_steps}
    train_loader = VideoLoader(train, batch_size=share, **of_training, **_shared(config, processes))
    val_loader = make_eval_loader(config, val, processes)
    # both live at once, in all processes of this machine: said now, not after an epoch
    needed = train_loader.shared_memory_bytes() + val_loader.shared_memory_bytes()
    check_shared_memory(needed * processes.local_world_size)
    return train_loader, val_loader


def make_eval_loader(
    config: Config, manifest: Manifest, processes: Processes, augment: Perturbations | None = None
) -> VideoLoader:
    """Make a loader of ``eval_clips`` clips of ``eval_crops`` crops of each video, of all videos or a share.

    On a GPU the loader has several videos in hand, so that several are decoded at once; :func:`evaluate` passes
    :func:`videos_at_once` of them to the network. ``augment`` perturbs the clips.
    """
    views: dict[str, Any] = {
        "clips_per_video": config.eval_clips,
        "crops_per_video": config.eval_crops,
        "training": False,
        "augment": augment,
    }
    videos_per_batch = videos_at_once(config, processes)
    if choose_device(processes.device(config.device)).type == "cuda":
        videos_per_batch = max(videos_per_batch, _videos_in_hand(config, manifest))
    return VideoLoader(manifest, batch_size=videos_per_batch, **views, **_shared(config, processes))


def videos_at_once(config: Config, processes: Processes) -> int:
    """Return how many videos the network evaluates at once: as many as ``batch_size`` clips hold, at least one."""
    return max(1, config.batch_size // processes.world_size // config.eval_clips)


def _videos_in_hand(config: Config, manifest: Manifest) -> int:
    frames = config.eval_clips * config.num_frames // MODELS[config.model].keep_every
    largest = max((video.width * video.height for video in manifest.videos), default=1)
    bytes_each = frames * 3 * (largest + 4 * config.crop_px**2)  # uint8 where the GPU decodes, and float32
    return max(1, min(VIDEOS_IN_HAND, config.batch_size, BYTES_IN_HAND // bytes_each))


def notes_on_devices(config: Config, loaders: dict[str, VideoLoader]) -> list[str]:
    """Return remarks on what ``auto`` left to the CPU, and why; the keys of ``loaders`` say what they load."""
    notes = []
    for what, loader in loaders.items():
        if config.device == "auto" and loader.device.type == "cpu":
            return [f"Running on the CPU, because PyTorch cannot use a GPU: {why_no_gpu()}."]
        if config.decoder == "auto" and loader.device.type == "cuda" and loader.decoder == "cpu":
            reason = READERS[loader.reader].why_auto_is_cpu(loader.device, loader.manifest.videos, loader.workers)
            notes.append(f"Decoding {what} on the CPU, because {reason}.")
    return notes


def _shared(config: Config, processes: Processes) -> dict:
    return {
        "crop_px": config.crop_px,
        "device": processes.device(config.device),
        "decoder": config.decoder,
        "reader": config.reader,
        "workers": config.workers,
        "num_frames": config.num_frames,
        "stride_frames": config.stride_frames,
        "keep_every": MODELS[config.model].keep_every,  # what the network does not look at is not even decoded
        "crop_mode": config.crop_mode,
        "short_videos": config.short_videos,
        "seed": config.seed,
        "on_bad_video": config.on_bad_video,
        "max_bad_percent": config.max_bad_percent,
        "time_limit_s": config.time_limit_s,
        "rank": processes.rank,
        "world_size": processes.world_size,
    }


def _augmentation(config: Config) -> RandAugmentT | AugMix | None:
    if config.aug == NO_POLICY:
        return None
    chosen = {
        "n": config.randaug_n,
        "m": config.randaug_m * MAX_LEVEL / config.randaug_scale,
        "schedule": config.schedule,
        "ops": AUTHORS_OPS if config.randaug_invert else PAPER_OPS,
        "ranges": config.randaug_ranges,
        "interpolation": config.randaug_interpolation,
    }
    return make_policy(config.aug, config.crop_px, **{name: chosen[name] for name in policy_row(config.aug).free})
