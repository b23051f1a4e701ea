"""The arrays that enter the DALI graph, one set per sample: a plan, and the pixels or bytes it speaks of.

A :class:`ClipSource` is picklable, because DALI calls it in worker processes; it holds no state beyond its fields.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..decode.frames import decode_frames
from ..decode.video_file import TIME_LIMIT_S
from ..decode.video_info import VideoInfo
from ..errors import TooSlow, VideoError
from ..plan.sampling import ClipPlan, ClipSampler


@dataclass(frozen=True)
class Schedule:
    """Which sample stands where in the endless stream of one process's batches.

    A step is a batch over all processes, which deal its samples out among themselves: how many they are does not change
    what a step holds. An epoch's steps differ by at most one sample, so with
    batches of 3 or more none is left with a lonely clip. DALI wants every
    batch full: slots that are left over repeat a sample and are marked, and the loader drops them.

    Example: 9 samples in batches of 8, or of 4 in each of 2 processes, are 4 and 5: samples 0, 2 and 1, 3; then 4, 6, 8 and 5, 7.
    """

    sampler: ClipSampler
    batch_size: int
    rank: int = 0
    world_size: int = 1
    start_epoch: int = 0
    start_step: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """The same in every process, so that none waits for another's batch."""
        return -(-len(self.sampler) // (self.batch_size * self.world_size))

    def samples_of(self, step: int) -> range:
        """The samples of one step of an epoch, over all processes."""
        return range(*(edge * len(self.sampler) // self.steps_per_epoch for edge in (step, step + 1)))

    def at(self, position: int) -> tuple[int, int, bool]:
        """(epoch, sample, real) at a position since the start; ``real`` is False for a repeated sample."""
        step, slot = divmod(position, self.batch_size)
        epochs, step = divmod(step + self.start_step, self.steps_per_epoch)
        samples = self.samples_of(step)
        own = samples[self.rank :: self.world_size]
        real = slot < len(own)
        return self.start_epoch + epochs, own[slot] if real else samples[0], real


ON_BAD_VIDEO = ("error", "skip")
READERS = ("clips", "stream")


class ClipArrays(Protocol):
    """What a graph's inputs come from: a :class:`ClipSource`, or the list of the reader ``stream``."""

    @property
    def names(self) -> list[str]: ...

    @property
    def decode(self) -> bool: ...

    def __call__(self, sample_info: Any) -> tuple[np.ndarray, ...]: ...


@dataclass(frozen=True)
class ClipSource:
    """Callable for ``fn.external_source`` in per-sample mode: endless, never raises StopIteration.

    Attributes:
        schedule: what to read when.
        side_px: the side that crops are scaled to.
        decode: True hands over frames (F, side_px, side_px, 3) uint8, False the file's bytes, for DALI to decode.
        on_bad_video: ``error`` raises; ``skip`` reads another video, in training one of the same class, and says so in ``bad``. In
            evaluation, where it would count twice, that clip is marked as one that is not to be used.
        time_limit_s: of ``decode_frames``.
    """

    schedule: Schedule
    side_px: int
    decode: bool
    on_bad_video: str = "error"
    time_limit_s: float = TIME_LIMIT_S

    def __call__(self, sample_info: Any) -> tuple[np.ndarray, ...]:
        sampler = self.schedule.sampler
        epoch, sample, real = self.schedule.at(sample_info.idx_in_epoch)
        plan, pixels, bad = carry_out(sampler, epoch, sample, self._pixels, self.on_bad_video)
        arrays: dict[str, Any] = {"pixels": pixels, **plan_arrays(plan, real and (sampler.training or not bad), bad)}
        return tuple(arrays[name] for name in self.names)

    @property
    def names(self) -> list[str]:
        """What the source returns, in order: only what the graph uses."""
        place = [] if self.decode else ["frame_indices", "box", "flip"]
        augment = [] if self.schedule.sampler.augment is None else ["op_ids", "levels", "signs"]
        return ["pixels", *place, "shown", "bad", *augment]

    def _pixels(self, plan: ClipPlan) -> np.ndarray:
        try:
            return self._read(plan)
        except TooSlow:
            raise
        except VideoError:  # a fault of a network disk may have passed, and a pause may have looked like one
            return self._read(plan)

    def _read(self, plan: ClipPlan) -> np.ndarray:
        video = self.schedule.sampler.videos[plan.video]
        if self.decode:
            return decode_frames(video.path, plan.frame_indices, tuple(plan.box_yxyx), self.side_px,
                                 (video.height, video.width), plan.flip, video.exact_times and video.is_current(),
                                 self.time_limit_s)  # fmt: skip
        check_size(video)
        try:
            return np.fromfile(video.path, np.uint8)
        except OSError as error:
            raise VideoError(f"{video.path}: {error.strerror}") from error


Pixels = TypeVar("Pixels")


def carry_out(
    sampler: ClipSampler, epoch: int, sample: int, read: Callable[[ClipPlan], Pixels], on_bad_video: str
) -> tuple[ClipPlan, Pixels, dict[int, str]]:
    """The plan of a sample, what ``read`` makes of it, and {video: why not} for those that could not be read.

    ``skip`` takes another video in place of one for which ``read`` raises :class:`VideoError`, see ``ClipSampler.replacements``.
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
    raise VideoError(f"{first}; and none of the {len(bad) - 1} other videos{whose} can be read in its place")


def plan_arrays(plan: ClipPlan, used: bool, bad: dict[int, str]) -> dict[str, np.ndarray | None]:
    """What the graph and the loader need of a sample beside its pixels; ``used`` is False where it only fills the batch."""
    return {
        "frame_indices": plan.frame_indices,
        "box": plan.box_yxyx.astype(np.float32),
        "flip": np.array(plan.flip, np.int32),
        "shown": np.array(plan.video if used else NOT_USED, np.int64),
        "bad": np.frombuffer(json.dumps(bad).encode(), np.uint8),
        "op_ids": plan.op_ids,
        "levels": plan.levels_NK,
        "signs": plan.signs,
    }


def check_size(video: VideoInfo) -> None:
    """Raise :class:`VideoError` if the file is not there or has another size than when it was scanned."""
    try:
        size_bytes = os.stat(video.path).st_size
    except OSError as error:
        raise VideoError(f"{video.path}: {error.strerror}") from error
    if size_bytes != video.size_bytes:
        raise VideoError(f"{video.path}: has {size_bytes} bytes, it had {video.size_bytes} when it was scanned")


NOT_USED = -1
