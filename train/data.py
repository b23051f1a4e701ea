"""From the --data option to checked videos and loaders of training and validation clips."""

from pathlib import Path

from tqdm import tqdm

from dali_pipes import Manifest, RandAugmentT, VideoLoader, find_videos, scan_videos
from dali_pipes.datasets import DATASETS, find_splits
from dali_pipes.errors import InputError
from dali_pipes.manifest import default_cache
from dali_pipes.workers import check_shared_memory

from .config import Config
from .demo_data import demo_folder

FAST_STRIDE = 2  # SlowFast's fast path sees every 2nd frame of the window: the others are not even decoded

VALIDATION_IS_TRAINED_ON = "The validation videos are trained on too (--split train+val): their accuracy says little."
NO_VALIDATION = "No validation videos (--val-data, or train/ and val/ in --data): evaluating on the training videos."


SHOWN_REFUSALS = 20


def load_manifests(config: Config) -> tuple[Manifest, Manifest, list[str]]:
    """Training and validation videos with the same classes, and what the user should know about them."""
    train_items, val_items, classes, notes = _find(config)
    if len(classes) < 2:
        raise InputError(f"{config.data}: holds the one class {classes[0]!r}, training needs at least two")
    train = _scan(train_items, classes)
    _check_every_class(train, train_items)
    val = train if val_items is train_items else _scan(val_items, classes)
    refused = train.refused | val.refused
    if refused:
        files = {path for path, _ in train_items + val_items}
        notes.append(f"Left out {len(refused)} of {len(files)} files that cannot be read:")
        notes += [f"  {path}: {reason}" for path, reason in list(refused.items())[:SHOWN_REFUSALS]]
        if len(refused) > SHOWN_REFUSALS:
            notes.append(f"  and {len(refused) - SHOWN_REFUSALS} more, named in train.csv and val.csv in {config.out}")
    damaged = {video.path: video.odd for video in train.videos + val.videos if "damaged" in video.odd}
    if damaged:
        path, odd = next(iter(damaged.items()))
        notes.append(f"{len(damaged)} videos are damaged and used as far as they can be decoded, such as {path}: {odd}")
    return train, val, notes


def _check_every_class(train: Manifest, items) -> None:
    seen = {train.classes[video.label] for video in train.videos}
    for name in train.classes:
        if name not in seen:
            path = next((path for path, label in items if label == name), None)
            reason = f"; the first listed is {path}: {train.refused[path]}" if path else ", none is listed"
            raise InputError(f"the class {name!r} has no training video that can be read{reason}")


def _find(config: Config):
    """(path, class) of the training and of the validation videos, the classes in order, and notes."""
    if config.dataset in DATASETS:
        return _find_official(config)
    source = demo_folder(max(1, config.workers)) if config.data == "demo" else Path(config.data)
    for name, dataset in DATASETS.items():
        if config.dataset == "auto" and (source / dataset.mark).is_dir():
            choice = f"choose --dataset {name}, or --dataset folder to leave its lists aside"
            raise InputError(f"{source}: holds {dataset.mark}, as {name} does; {choice}")
    for kind, is_kind, other in (("csv", source.is_file(), "folder"), ("folder", source.is_dir(), "csv")):
        if config.dataset == kind and source.exists() and not is_kind:
            raise InputError(f"{source}: --dataset {kind} needs a {kind}, this is a {other}")
    folders = find_splits(source)
    notes = []
    if folders or config.val_data:
        train, val = find_videos(folders.get("train", source)), find_videos(config.val_data or folders["val"])
    else:
        train = val = find_videos(source)
        notes = [NO_VALIDATION]
    return train, val, sorted({label for _, label in train}), notes


def _find_official(config: Config):
    dataset = DATASETS[config.dataset]
    split = config.split or dataset.splits[0]
    listed = dataset.read(config.data, split)
    train, val = listed.parts["train"], listed.parts["val"]
    if split == "train+val":
        return train + val, val, listed.classes, [VALIDATION_IS_TRAINED_ON]
    return train, val, listed.classes, []


def _scan(items, classes) -> Manifest:
    def progress(results, total):
        return tqdm(results, total=total, desc="checking videos", unit="file", mininterval=1)

    return scan_videos(items, classes=classes, cache=default_cache(items), progress=progress)


def make_loaders(config: Config, train: Manifest, val: Manifest) -> tuple[VideoLoader, VideoLoader]:
    """Loaders of training clips and of ``eval_clips`` clips per validation video."""
    shared = {
        "side_px": config.crop,
        "device": config.device,
        "decoder": config.decoder,
        "workers": config.workers,
        "num_frames": config.frames,
        "stride_frames": config.stride,
        "keep_every": FAST_STRIDE,
        "crop_mode": config.crop_mode,
        "short": config.short,
        "seed": config.seed,
        "on_bad_video": config.on_bad_video,
        "max_bad_percent": config.max_bad_percent,
    }
    train_loader = VideoLoader(train, batch_size=config.batch_size, augment=_augmentation(config), **shared)
    videos_per_batch = max(1, config.batch_size // config.eval_clips)
    val_loader = VideoLoader(
        val, batch_size=videos_per_batch, training=False, clips_per_video=config.eval_clips, **shared
    )
    # both live at once: said now, not after an epoch
    check_shared_memory(train_loader.shared_memory_bytes() + val_loader.shared_memory_bytes())
    return train_loader, val_loader


def _augmentation(config: Config) -> RandAugmentT | None:
    if config.aug == "none":
        return None
    return RandAugmentT(
        n=config.randaug_n,
        m=config.randaug_m,
        schedule="spatial" if config.aug == "randaug" else config.schedule,
        translate_max_px=config.translate_max_px,
    )
