"""Checkpoints, written atomically: a crash never leaves half a file under the real name."""

import os
from pathlib import Path

import torch


def save_checkpoint(path: Path, **state) -> None:
    """Write ``state`` to ``path``; the file that was there stays until the new one is complete on disk."""
    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
