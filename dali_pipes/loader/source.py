"""The arrays that enter the DALI graph, one set per sample: a plan, and the pixels or bytes it speaks of.

A :class:`ClipSource` is picklable, because DALI calls it in worker processes; it holds no state beyond its fields.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from ..augment.parameters import OpTable, inputs_of_clip
from ..decode.frames import decode_frames
from ..decode.video_file import TIME_LIMIT_S
from ..decode.video_info import VideoInfo
from ..errors import TooSlow, VideoError
from ..plan.batches import BatchSampler
from ..plan.sampling import ClipPlan, ClipSampler

ON_BAD_VIDEO = ("error", "skip")


class ClipArrays(Protocol):
    """A source of a graph's inputs: a :class:`ClipSource`, or the list of the reader ``stream``."""

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in order."""

    def __call__(self, sample_info: Any) -> tuple[np.ndarray, ...]:
        """Return the arrays of one sample; ``sample_info`` is DALI's ``SampleInfo``."""


@dataclass(frozen=True)
class ClipSource:
    """Callable for ``fn.external_source`` in per-sample mode: endless, never raises StopIteration.

    Attributes:
        batches: what to read when.
        crop_px: the side that crops are scaled to.
        decoder: ``cpu`` hands over ``frames`` (F, crop_px, crop_px, 3) uint8,
            ``gpu`` the ``encoded`` bytes of the file.
        on_bad_video: ``error`` raises; ``skip`` reads another video, in training one of the same class, and says so in
            ``bad``. In evaluation, where it would count twice, that clip is marked as one that is not to be used.
        time_limit_s: of ``decode_frames``.
        device: ``cpu`` or ``gpu``, where clips are augmented.
        table: the operations of the sampler's policy.
    """

    batches: BatchSampler
    crop_px: int
    decoder: str
    on_bad_video: str = "error"
    time_limit_s: float = TIME_LIMIT_S
    device: str = "cpu"
    table: OpTable | None = field(init=False)

    def __post_init__(self) -> None:  # here, not in the worker processes, which do not know the user's own operations
        object.__setattr__(self, "table", table_of(self.batches.sampler, self.device))

    def __call__(self, sample_info: Any) -> tuple[np.ndarray, ...]:
        """Read one sample and return its arrays; ``sample_info`` is DALI's ``SampleInfo``."""
        sampler = self.batches.sampler
        epoch, sample, real = self.batches.at(sample_info.idx_in_epoch)
        plan, pixels, bad = read_sample(sampler, epoch, sample, self._read_twice, self.on_bad_video)
        names = self.names  # what was read is the first
        used = real and (sampler.training or not bad)
        arrays: dict[str, Any] = {names[0]: pixels, **plan_arrays(plan, used, bad)}
        arrays |= augmentation_arrays(plan, self.table, self.crop_px)
        arrays |= frame_arrays(plan) if self.decoder == "gpu" else {}  # PyAV has dealt with them already
        return tuple(arrays[name] for name in names)

    @property
    def names(self) -> list[str]:
        """The names of the arrays that the graph uses, in order."""
        pixels = ["frames"] if self.decoder == "cpu" else ["encoded", "frame_indices", "order", "box", "flip"]
        return [*pixels, "shown", "bad", *augmentation_names(self.table)]

    def _read_twice(self, plan: ClipPlan) -> np.ndarray:
        try:
            return self._read(plan)
        except TooSlow:
            raise
        except VideoError:  # a fault of a network disk may have passed, and a pause may have looked like one
            return self._read(plan)

    def _read(self, plan: ClipPlan) -> np.ndarray:
        video = self.batches.sampler.videos[plan.video]
        if self.decoder == "cpu":
            return decode_frames(
                video.path,
                plan.frame_indices,
                tuple(plan.box_yxyx),
                self.crop_px,
                (video.height, video.width),
                plan.flip,
                video.exact_times and video.is_current(),
                self.time_limit_s,
            )
        check_size(video)
        try:
            return np.fromfile(video.path, np.uint8)
        except OSError as error:
            raise VideoError(f"{video.path}: {error.strerror}") from error


def table_of(sampler: ClipSampler, device: str) -> OpTable | None:
    """Return the operations of a sampler's policy as numbers, for clips on a device; None without augmentation."""
    return None if sampler.augment is None else sampler.augment.table(device)


def augmentation_names(table: OpTable | None) -> list[str]:
    """Return the names of what the graph needs for the augmentation, such as ``values``; none without one."""
    return [] if table is None else list(table.names)


def augmentation_arrays(plan: ClipPlan, table: OpTable | None, crop_px: int) -> dict[str, np.ndarray]:
    """Return what the graph needs for a plan's operations by :func:`augmentation_names`."""
    if table is None:
        return {}
    assert plan.op_ids is not None and plan.levels_NK is not None and plan.signs is not None, "the policy drew them"
    return inputs_of_clip(table, plan.op_ids, plan.levels_NK, plan.signs, (crop_px, crop_px))


Pixels = TypeVar("Pixels")


def read_sample(
    sampler: ClipSampler, epoch: int, sample: int, read: Callable[[ClipPlan], Pixels], on_bad_video: str
) -> tuple[ClipPlan, Pixels, dict[int, str]]:
    """The plan of a sample, what ``read`` makes of it, and {video: why not} for those that could not be read.

    ``skip`` takes another video in place of one for which ``read`` raises :class:`VideoError`,
    see ``ClipSampler.replacements``.
    """
    plan = sampler.plan(epoch, sample)
    bad: dict[int, str] = {}
    try:
        return plan, read(plan), bad
    except VideoError as error:
        if on_bad_video == "error":
            raise VideoError(str(error).replace("\n", "\\n")) from error  # one line, to be found in DALI's traceback
        bad[plan.video] = str(error)
    for video in sampler.replacements(epoch, sample):
        plan = sampler.plan(epoch, sample, video)
        try:
            return plan, read(plan), bad
        except VideoError as error:
            bad[video] = str(error)
    first = next(iter(bad.values()))
    whose = " of its class" if sampler.training else ""
    raise VideoError(
        f"{first}; it cannot be replaced, because none of the other {len(bad) - 1} videos{whose} can be read"
    )


NOT_USED = -1


def frame_arrays(plan: ClipPlan) -> dict[str, np.ndarray]:
    """Return the frames that DALI's decoder is asked for, each once, and the order in which the clip shows them.

    Each repeat would make the decoder seek back to a key frame.
    """
    frame_indices, order = np.unique(plan.frame_indices, return_inverse=True)
    return {"frame_indices": frame_indices, "order": order.astype(np.int32)}


def plan_arrays(plan: ClipPlan, used: bool, bad: dict[int, str]) -> dict[str, np.ndarray]:
    """Return the arrays of a sample beside its pixels, for the graph and the loader.

    ``used`` is False for a sample that only fills the batch.
    """
    return {
        "box": plan.box_yxyx.astype(np.float32),
        "flip": np.array(plan.flip, np.int32),
        "shown": np.array(plan.video if used else NOT_USED, np.int64),
        "bad": np.frombuffer(json.dumps(bad).encode(), np.uint8),
    }


def check_size(video: VideoInfo) -> None:
    """Raise :class:`VideoError` if the file is not there or has another size than when it was scanned."""
    try:
        size_bytes = os.stat(video.path).st_size
    except OSError as error:
        raise VideoError(f"{video.path}: {error.strerror}") from error
    if size_bytes != video.size_bytes:
        raise VideoError(
            f"{video.path}: has {size_bytes} bytes, but had {video.size_bytes} when it was scanned; "
            "scan the videos again"
        )
