"""Files of a run: checkpoints are written atomically, and an earlier run's files are never overwritten."""

from pathlib import Path

import torch

from dali_pipes.files import replacing

RUN_FILES = ("config.json", "train.csv", "val.csv", "metrics.csv", "curves.png", "last.pt", "best.pt")


def save_checkpoint(path: Path, **state) -> None:
    """Write ``state`` to ``path``; the file that was there stays until the new one is complete on disk."""
    with replacing(path) as draft, open(draft, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's way to say that writing failed, such as on a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def set_aside(out: Path) -> Path | None:
    """Move what an earlier run left in ``out`` into ``out/earlier-N``; returns that folder, or None if there was nothing."""
    found = [out / name for name in RUN_FILES if (out / name).exists()]
    if not found:
        return None
    number = next(n for n in range(1, 10**6) if not (out / f"earlier-{n}").exists())
    target = out / f"earlier-{number}"
    target.mkdir()
    for path in found:
        path.rename(target / path.name)
    return target
