"""The list of clips that DALI's video reader reads, and all that the graph needs of them beside their frames.

The plans of an epoch (of several short ones) are written as a list, a line per clip: file, running number, first frame,
end. Without shuffling DALI's video reader gives one sequence per line, in the list's order, and the number with it,
which the loader compares. One reader knows one length and one step for all its sequences, see :func:`sequences_of`;
everything else of a plan reaches the graph as it does for the other reader.
"""

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.frames import decode_frames
from ..decode.video_info import VideoInfo
from ..errors import VideoError
from ..plan.batches import BatchSampler
from ..plan.sampling import ClipPlan
from ..system.isolate import NoResult, map_isolated
from .source import augmentation_arrays, augmentation_names, check_size, plan_arrays, read_sample, table_of

MIN_STEPS = 16
"""Least number of steps in a list: each list needs a new pipeline, and what DALI has read ahead at its end is lost."""
BLAME_LIMIT_S = 20.0
SHOWN_PATHS = 8


@dataclass(frozen=True)
class Sequences:
    """The sequences that one reader reads for S clips: ``length`` frames, ``stride`` apart, of which K are shown."""

    first_S: np.ndarray
    """(S,) int, the first frame that is read of each video."""
    end_S: np.ndarray
    """(S,) int, the frame after the last that is shown."""
    length: int
    """Length of a sequence, in frames that are read."""
    stride: int
    """Distance of two frames of a sequence, in frames of the video."""
    places_SK: np.ndarray
    """(S, K) int32, which frames of its sequence a clip shows;
    those past its end are the reader's repeats and never shown."""


def sequences_of(frame_indices_SK: np.ndarray) -> Sequences:
    """The fewest frames, with one length and stride for all clips, that hold the planned ones; indices never fall.

    Example: windows 4 6 8 and 5 7 9 are 3 frames with stride 2, all shown. With 0 0 1, a short video shown slowly,
    beside 4 6 8 they are 5 frames with stride 1, shown 0 2 4 and 0 0 1.
    """
    first_S, last_S = frame_indices_SK[:, 0], frame_indices_SK[:, -1]
    offsets_SK = frame_indices_SK - first_S[:, None]
    stride = int(np.gcd.reduce(offsets_SK, axis=None)) or 1
    length = int(offsets_SK.max()) // stride + 1
    return Sequences(first_S, last_S + 1, length, stride, (offsets_SK // stride).astype(np.int32))


class ListFolder:
    """A temporary folder for a list. It goes with this object, not with a copy of it in a forked process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="dali_pipes_"))
        weakref.finalize(self, _remove_folder, self.path, os.getpid())


def _remove_folder(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


class ClipList:
    """A schedule's first clips, to the end of an epoch: the list for DALI's reader, and a source of all else.

    In evaluation each clip of a video is a sequence of its own, so a batch holds ``clips_per_video`` times as many.

    Args:
        batches: what to read when.
        crop_px: side of the clips.
        on_bad_video: as for ``ClipSource``, for files that are missing or changed their size when the list is made.
        folder: of the list, and of links to files whose names DALI's list cannot hold.
        device: ``cpu`` or ``gpu``, where clips are augmented.
    """

    def __init__(self, batches: BatchSampler, crop_px: int, on_bad_video: str, folder: Path, device: str = "cpu"):
        sampler = batches.sampler
        self._table, self._crop_px = table_of(sampler, device), crop_px
        steps = batches.steps_per_epoch - batches.start_step
        steps += max(0, -(-(MIN_STEPS - steps) // batches.steps_per_epoch)) * batches.steps_per_epoch
        self.batch_size = batches.batch_size * sampler.clips_per_video
        self.videos: list[VideoInfo] = []
        self._arrays: list[dict] = []
        self._plans: list[ClipPlan] = []
        self._compared = 0
        for position in range(steps * batches.batch_size):
            epoch, sample, real = batches.at(position)
            plan, _, bad = read_sample(
                sampler, epoch, sample, lambda plan: check_size(sampler.videos[plan.video]), on_bad_video
            )
            arrays = plan_arrays(plan, real and (sampler.training or not bad), bad)
            for indices in plan.frame_indices.reshape(sampler.clips_per_video, -1):
                self._arrays.append(arrays | {"frame_indices": indices})
                self._plans.append(plan)
                self.videos.append(sampler.videos[plan.video])
        self.frame_indices_SK = np.stack([arrays["frame_indices"] for arrays in self._arrays])
        self.sequences = sequences_of(self.frame_indices_SK)
        for number, arrays in enumerate(self._arrays):
            arrays |= {"order": self.sequences.places_SK[number], "number": np.array([number], np.int32)}
        self.names = ["order", "box", "flip", "shown", "bad", "number", *augmentation_names(self._table)]
        self.path = folder / "clips.txt"
        self.path.write_bytes(b"".join(self._lines(folder)))

    def __call__(self, sample_info: Any) -> tuple[np.ndarray, ...]:
        """Return the arrays of one sample; past the end, where DALI reads ahead in vain, the list begins again."""
        number = sample_info.idx_in_epoch % len(self._arrays)
        arrays = self._arrays[number] | augmentation_arrays(self._plans[number], self._table, self._crop_px)
        return tuple(arrays[name] for name in self.names)

    @property
    def is_exhausted(self) -> bool:
        """Whether all clips of the list have been delivered."""
        return self._compared == len(self.videos)

    def _lines(self, folder: Path) -> Iterator[bytes]:
        for number, video in enumerate(self.videos):
            place = f" {number} {self.sequences.first_S[number]} {self.sequences.end_S[number]}\n"
            yield os.fsencode(_name_in_list(video.path, folder)) + place.encode()

    def check_order(self, planned_B: np.ndarray, read_B: np.ndarray) -> None:
        """Compare the numbers of a batch with those that the reader gave.

        Raises:
            VideoError: the reader passed over a file, which is named.
        """
        different = np.flatnonzero(planned_B != read_B)
        if len(different):
            path = self.videos[planned_B[different[0]]].path
            raise VideoError(
                f"{path}: DALI's video reader skipped this file, because it cannot open it; leave it out, or "
                "use reader='clips'"
            )
        self._compared += len(planned_B)

    def explain(self, error: Exception, workers: int) -> Exception:
        """Return an error that names the file, for one of DALI's reader, which seldom does.

        To find the file, each clip is read once more by itself.
        """
        if isinstance(error, VideoError) or "readers" not in str(error):
            return error
        told = re.findall(r"encountered:\s+(.+)", str(error)) or str(error).splitlines()
        ahead = range(self._compared, min(self._compared + 4 * self.batch_size, len(self.videos)))
        # where there is no seeking, reading again would take too long
        calls = [(self.videos[n].path, self.frame_indices_SK[n]) for n in ahead if self.videos[n].exact_times]
        for place, reason in map_isolated(_reason, calls, workers=workers, time_limit_s=BLAME_LIMIT_S) if calls else ():
            if isinstance(reason, NoResult) and reason.is_timeout:
                continue  # a slow one need not be to blame
            if isinstance(reason, NoResult):
                reason = f"{calls[place][0]}: {reason.reason}"
            if reason:
                return VideoError(reason)
        paths = list(dict.fromkeys(self.videos[number].path for number in ahead))
        more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
        return VideoError(
            f"Cannot read one of {', '.join(paths[:SHOWN_PATHS])}{more}: DALI's video reader failed ({told[-1]}); "
            "use reader='clips'"
        )


def _name_in_list(path: str, folder: Path) -> str:
    """Return a name without white space, which would end it in DALI's list: if need be that of a link to the file."""
    path = os.path.abspath(path)
    if path.split() == [path]:
        return path
    link = folder / sha256(os.fsencode(path)).hexdigest()
    if not link.is_symlink():
        link.symlink_to(path)
    return str(link)


def _reason(path: str, frame_indices: np.ndarray) -> str:
    """Return why a clip cannot be read; empty if it can."""
    try:
        decode_frames(path, frame_indices, exact_times=True)
    except VideoError as error:
        return str(error)
    return ""
