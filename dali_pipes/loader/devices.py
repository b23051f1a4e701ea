"""The device that clips are handed over on, and how many threads DALI works with for it."""

import re

import torch

from ..errors import InputError
from ..system.cores import usable_cores

MAX_DECODING_THREADS = 16
"""An H100 has 7 decoding engines; each thread keeps one busy at most, and holds a decoder's memory."""


def dali_threads(decoder: str, workers: int) -> int:
    """Return how many threads a DALI pipeline should have.

    On the CPU as many as there are worker processes. For a GPU's decoder each thread decodes a video at a time, so they
    follow the cores, of which each GPU gets its share, whatever the number of workers.
    """
    if decoder == "cpu":
        return max(1, workers)
    share = usable_cores() // max(1, torch.cuda.device_count())
    return max(1, workers, min(share, MAX_DECODING_THREADS))


def choose_device(device: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means.

    Raises:
        InputError: it is unknown or not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"Invalid device {device!r}: choose one of auto, cpu, cuda, cuda:N")
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                f"Invalid device {device!r}: needs an NVIDIA GPU that PyTorch can use ({why_no_gpu()}); choose cpu"
            )
        chosen = torch.device("cuda", torch.cuda.current_device() if chosen.index is None else chosen.index)
        if chosen.index >= torch.cuda.device_count():
            raise InputError(
                f"Invalid device {device!r}: the number of GPUs is {torch.cuda.device_count()}, and they are "
                "numbered from 0; choose one of them"
            )
    return chosen


def why_no_gpu() -> str:
    """Return why PyTorch can use no GPU: no driver (Docker's default), one that is too old, or PyTorch without CUDA."""
    try:
        torch.cuda.init()
        return "it sees none"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(". ")[0].strip()
    return f"{reason} (start Docker with --gpus all)" if "no NVIDIA driver" in reason else reason
