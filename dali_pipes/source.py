"""The arrays that enter the DALI graph, one set per sample: a plan, and the pixels or bytes it speaks of.

A :class:`ClipSource` is picklable, because DALI calls it in worker processes; it holds no state beyond its fields.
"""

from dataclasses import dataclass

import numpy as np

from .decode import decode_frames
from .errors import VideoError
from .sampling import ClipPlan, ClipSampler


@dataclass(frozen=True)
class Schedule:
    """Which sample stands where in the endless stream of one process's batches.

    An epoch's batches differ by at most one sample, so none is left with a lonely clip. DALI wants every batch full:
    slots that are left over repeat a sample and are marked, and the loader drops them.

    Example: 9 samples in batches of 8 are 4 and 5.
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
        longest_shard = -(-len(self.sampler) // self.world_size)
        return -(-longest_shard // self.batch_size)

    def at(self, position: int) -> tuple[int, int, bool]:
        """(epoch, sample, real) at a position since the start; ``real`` is False for a repeated sample."""
        step, slot = divmod(position, self.batch_size)
        epochs, step = divmod(step + self.start_step, self.steps_per_epoch)
        own = len(range(self.rank, len(self.sampler), self.world_size))
        first, end = (edge * own // self.steps_per_epoch for edge in (step, step + 1))
        real = first + slot < end
        sample = (first + slot if real else first) * self.world_size + self.rank
        return self.start_epoch + epochs, sample % len(self.sampler), real


@dataclass(frozen=True)
class ClipSource:
    """Callable for ``fn.external_source`` in per-sample mode: endless, never raises StopIteration.

    Attributes:
        schedule: what to read when.
        side_px: the side that crops are scaled to.
        decode: True hands over frames (F, side_px, side_px, 3) uint8, False the file's bytes, for DALI to decode.
    """

    schedule: Schedule
    side_px: int
    decode: bool

    def __call__(self, sample_info) -> tuple[np.ndarray, ...]:
        epoch, sample, real = self.schedule.at(sample_info.idx_in_epoch)
        plan = self.schedule.sampler.plan(epoch, sample)
        arrays = {
            "pixels": self._read(plan),
            "frame_indices": plan.frame_indices,
            "box": plan.box_yxyx.astype(np.float32),
            "flip": np.array(plan.flip, np.int32),
            "sample_id": np.array([epoch, sample if real else -1], np.int64),
            "op_ids": plan.op_ids,
            "levels": plan.levels_NK,
            "signs": plan.signs,
        }
        return tuple(arrays[name] for name in self.names)

    @property
    def names(self) -> list[str]:
        """What the source returns, in order: only what the graph uses."""
        place = [] if self.decode else ["frame_indices", "box", "flip"]
        augment = [] if self.schedule.sampler.augment is None else ["op_ids", "levels", "signs"]
        return ["pixels", *place, "sample_id", *augment]

    def _read(self, plan: ClipPlan) -> np.ndarray:
        video = self.schedule.sampler.videos[plan.video]
        if self.decode:
            size_hw = (video.height, video.width)
            box, seek = tuple(plan.box_yxyx), getattr(video, "exact_times", False)
            return decode_frames(video.path, plan.frame_indices, box, self.side_px, size_hw, plan.flip, seek)
        try:
            return np.fromfile(video.path, np.uint8)
        except OSError as error:
            raise VideoError(f"{video.path}: {error.strerror}") from error
