"""Train SlowFast-50 with RandAugment-T: ``python train/run.py --aug randaug_t``. Options: ``--help``.

Kept light to import: the loader's worker processes import this file again.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Parse, build, fit. Returns the exit code: 0, or 2 when something given was wrong."""
    try:
        from dali_pipes.errors import InputError
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        run(arguments)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def run(arguments: list[str]) -> None:
    import torch

    from train.checkpoint import set_aside
    from train.config import parse
    from train.data import load_manifests, make_loaders
    from train.engine import fit
    from train.slowfast import slowfast50

    start = time.perf_counter()
    config, preset = parse(arguments, has_gpu=torch.cuda.is_available())
    print(preset)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    train_videos, val_videos, notes = load_manifests(config)
    train_loader, val_loader = make_loaders(config, train_videos, val_videos)
    earlier = set_aside(out)
    config = replace(config, device=str(train_loader.device), decoder=train_loader.decoder)
    config.save(out / "config.json")
    train_videos.save(out / "train.csv")
    val_videos.save(out / "val.csv")
    for note in notes + [f"Moved the earlier run in {out} to {earlier}."] * bool(earlier):
        print(note)
    print(
        f"{len(train_videos)} training and {len(val_videos)} validation videos of {len(train_videos.classes)} classes; "
        f"augmentation {config.aug}, mix {config.mix}; training on {train_loader.device}, decoding on {train_loader.decoder}; "
        f"results in {out}"
    )
    torch.manual_seed(config.seed)
    # fast_stride=1: the loaders leave out every 2nd frame already
    model = slowfast50(len(train_videos.classes), fast_stride=1, dropout=config.dropout).to(train_loader.device)
    rows = fit(model, train_loader, val_loader, config)
    best = max(rows, key=lambda row: row.get("val_top1", -1))
    print(
        f"best validation top-1 {best['val_top1']:.1f} %, top-5 {best['val_top5']:.1f} % in epoch {best['epoch']}; "
        f"{time.perf_counter() - start:.0f} s in all"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
