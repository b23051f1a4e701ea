"""The interface of all readers.

A loader counts epochs and makes tensors; a reader gets clips out of files.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..decode.video_info import VideoInfo
from ..plan.batches import BatchSampler

PREFETCH_BATCHES = 2
"""Number of batches that are made ahead."""
DECODERS = ("auto", "cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """Settings that a loader gives to its reader."""

    crop_px: int
    """Side of the clips."""
    device_id: int | None
    """The GPU on which clips are augmented and handed over; None is the CPU."""
    decoder: str
    """Device that decodes, ``cpu`` or ``gpu``, as the reader chose."""
    workers: int
    """Decoding processes; 0 decodes in this process."""
    threads: int
    """Number of threads of the DALI pipeline."""
    on_bad_video: str
    """``error`` or ``skip``."""
    time_limit_s: float
    """Limit of processor time for reading one video, in seconds."""

    @property
    def device(self) -> str:
        """The device, as DALI names it."""
        return "cpu" if self.device_id is None else "gpu"

    def graph_options(self, batches: BatchSampler) -> dict[str, Any]:
        """Return keyword arguments of every reader's graph; ``augment`` is the policy whose draws are in the plans."""
        return {"device": self.device, "crop_px": self.crop_px, "augment": batches.sampler.augment}

    @property
    def pipeline_options(self) -> dict[str, Any]:
        """The keyword arguments of every reader's DALI pipeline, but for its batch size."""
        return {
            "num_threads": self.threads,
            "device_id": self.device_id,
            "prefetch_queue_depth": PREFETCH_BATCHES,
            "seed": 0,
        }


class Reader(Protocol):
    """A way to get clips out of files; one of ``video_loader.READERS``.

    It lives as long as its loader; a pipeline lives from build to close.
    """

    clips_per_sample: int
    """Clips of one video, one after the other in time, that a sample of DALI's batches holds."""

    def __init__(self, settings: ReaderSettings, clips_per_video: int): ...

    @staticmethod
    def choose_decoder(decoder: str, device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str:
        """Return who decodes, ``cpu`` or ``gpu``, for a loader on a device with so many decoding processes.

        Raises:
            InputError: ``decoder`` cannot be used, or the reader cannot read the videos; says why.
        """

    @staticmethod
    def why_auto_is_cpu(device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str | None:
        """Return why ``auto`` leaves these videos to the CPU, or None."""

    def build(self, batches: BatchSampler) -> Any:
        """Return a running DALI pipeline that starts where ``batches`` do.

        Its outputs are (clips, the video that each shows or -1, what could not be read, ...).

        Raises:
            InputError: it cannot be started.
        """

    def shared_memory_bytes(self, batches: BatchSampler) -> int:
        """Return at most how much shared memory worker processes take for the batches that are made and waiting."""

    def running(self) -> AbstractContextManager:
        """Mark the time in which something may wait for the pipeline."""

    def check_batch(self, others: list[Any]) -> None:
        """Compare what was read with what was planned; ``others`` are the pipeline's outputs beyond the first three.

        Raises:
            VideoError: another clip was read.
        """

    def explain(self, error: Exception, batches: BatchSampler) -> Exception:
        """Return what to raise for an error of the pipeline, before :meth:`close`: names the video where it can."""

    @property
    def is_exhausted(self) -> bool:
        """Whether the pipeline ends with this epoch, so that the next epoch needs a new one."""

    def close(self) -> None:
        """End what the pipeline needs beside itself, such as worker processes."""

    def forget_in_child(self) -> None:
        """Forget in a forked process what is the parent's, without ending it."""
