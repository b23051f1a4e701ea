"""The loader: batches of clips on the training device, as PyTorch tensors, out of the DALI pipeline."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from nvidia.dali.plugin.pytorch import feed_ndarray
from torch.utils.dlpack import from_dlpack

from ..dataset.manifest import Manifest
from ..decode.dali import DALI_VERSION
from ..decode.video_file import TIME_LIMIT_S
from ..deprecated import renamed_arguments, renamed_attribute
from ..errors import InputError, VideoError, check_known
from ..plan.batches import BatchSampler
from ..plan.sampling import ClipSampler
from ..python_values import to_python, whole_number
from ..system.dali_internals import never_destroy
from ..system.program import MAX_TIME_LIMIT_S
from .clip_reader import ClipReader
from .devices import choose_device, dali_threads
from .reader import Reader, ReaderSettings
from .source import NOT_USED, ON_BAD_VIDEO
from .stream_reader import StreamReader

GIVES_MEMORY_AWAY = DALI_VERSION >= (2, 0)
"""Whether DALI's default executor leaves the memory of a batch to whoever holds its tensors."""
READERS: dict[str, type[Reader]] = {"clips": ClipReader, "stream": StreamReader}
"""Name -> how clips come out of files."""
_log = logging.getLogger("dali_pipes")


@dataclass(frozen=True)
class ClipBatch:
    """One batch. B counts clips: videos times clips per video, the clips of a video next to each other."""

    clips_BCTHW: torch.Tensor
    """(B, 3, T, side, side) float32, -1..1, on the loader's device, in memory as ``torch.channels_last_3d``."""
    labels_B: torch.Tensor
    """(B,) int64, on the loader's device."""
    videos_B: torch.Tensor
    """(B,) int64 on the CPU, indices into the manifest's videos."""

    def __len__(self) -> int:
        return len(self.labels_B)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClipBatch":
        """The batch with its clips and labels on another device; ``videos_B`` stays on the CPU."""
        clips_BCTHW, labels_B = (
            tensor.to(device, non_blocking=non_blocking) for tensor in (self.clips_BCTHW, self.labels_B)
        )
        return ClipBatch(clips_BCTHW, labels_B, self.videos_B)


_loaders: "WeakSet[VideoLoader]" = WeakSet()


@renamed_arguments(side_px="crop_px", short="short_videos")
class VideoLoader:
    """An iterable of :class:`ClipBatch`; each iteration is one epoch.

    An epoch has exactly one sample of every video, over all processes.

    Decoding runs in worker processes (CPU) or on the GPU, everything after it in a DALI graph. The next epoch is
    prepared while the last batches of this one are used. Samples depend on the seed, the epoch and their number alone.

    Args:
        manifest: the videos, see ``scan_videos``.
        batch_size: videos per batch of this process, at most.
        crop_px: side of the square clips, in pixels.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``: where clips are handed over and, for CUDA, augmented.
        decoder: ``cpu`` (PyAV), ``gpu`` (NVDEC through DALI) or ``auto`` (the GPU where it can decode
            all videos and is faster).
        reader: ``clips`` decodes each clip by itself; ``stream``, for long files, leaves opening and seeking to DALI's
            video reader, on ``device``: on the CPU it knows VP8, VP9 and MJPEG alone. It lists the clips of an epoch,
            or of several short ones, when that begins.
        workers: decoding processes; 0 decodes in this process, which is slow but simple to debug. On the CPU DALI
            augments with as many threads; a GPU's decoder gets a thread for each core, 16 at
            most, but at least ``workers``.
        rank: the number of this process, from 0.
        world_size: the number of processes. Step i of W processes with batches of B holds the samples of step i of one
            process with batches of W x B, dealt out; a step with fewer samples than processes leaves some empty.
        start_epoch: the epoch to begin with, to resume; see :meth:`state_dict`.
        start_step: the step of that epoch to begin with.
        on_bad_video: what to do about a video that can no longer be read: ``error``, or ``skip``: it is replaced by
            another of its class, or left out in evaluation, named in the log and kept in ``bad_videos``. Where DALI
            decodes, only a file that is missing or changed its size is noticed; by ``stream`` when it makes a list.
        max_bad_percent: of the videos, so many may be bad.
        time_limit_s: that of ``scan_videos``, in seconds of processor time:
            a clip that PyAV decodes may take 4 times as much.
        **sampling: fields of ``ClipSampler``: num_frames, stride_frames, keep_every, training, clips_per_video,
            crops_per_video, augment, flip, crop_mode, side_range_px, short_videos, seed, even_steps.
            ``augment`` is a policy, :class:`RandAugmentT` or :class:`AugMix`, or None.

    Attributes:
        manifest: the videos.
        clip_sampler: the :class:`ClipSampler` of ``**sampling``.
        device: where clips are handed over, as it was chosen.
        decoder: ``cpu`` or ``gpu``, as it was chosen.
        epoch: the epoch of the next batch.
        step: the step of the next batch.
        bad_videos: index into the manifest's videos -> why it could not be read, so far.

    Raises:
        InputError: an argument is wrong, or shared memory is too small for the batches.
        VideoError: while iterating, when a video cannot be read as planned.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        batch_size: int = 16,
        crop_px: int = 160,
        device: str = "auto",
        decoder: str = "auto",
        reader: str = "clips",
        workers: int = 2,
        rank: int = 0,
        world_size: int = 1,
        start_epoch: int = 0,
        start_step: int = 0,
        on_bad_video: str = "error",
        max_bad_percent: float = 1.0,
        time_limit_s: float = TIME_LIMIT_S,
        **sampling: Any,
    ):
        batch_size, crop_px = whole_number("batch_size", batch_size, 1), whole_number("crop_px", crop_px, 8)
        workers, rank, world_size = whole_number("workers", workers, 0), to_python(rank), to_python(world_size)
        if not 0 < time_limit_s <= MAX_TIME_LIMIT_S:
            raise InputError(f"Invalid time_limit_s {time_limit_s:g}: must be above 0 and at most {MAX_TIME_LIMIT_S:g}")
        check_known("on_bad_video", on_bad_video, ON_BAD_VIDEO)
        self.on_bad_video, self.max_bad_percent, self.time_limit_s = on_bad_video, max_bad_percent, time_limit_s
        self.bad_videos: dict[int, str] = {}
        self.manifest = manifest
        # not called sampler, which Lightning takes for that of a torch DataLoader
        self.clip_sampler = ClipSampler(videos=manifest.videos, **sampling)
        perturbed_px = getattr(self.clip_sampler.augment, "crop_px", crop_px)
        if perturbed_px != crop_px:
            raise InputError(f"Invalid crop_px {crop_px}: must be that of augment, {perturbed_px}")
        if not 0 <= rank < world_size:
            raise InputError(f"Invalid rank {rank}: must be at least 0 and below world_size, {world_size}")
        self.device = choose_device(device)
        check_known("reader", reader, READERS)
        self.reader = reader
        self.decoder = READERS[reader].choose_decoder(decoder, self.device, manifest.videos, workers)
        self.batch_size, self.crop_px, self.workers = batch_size, crop_px, workers
        self.rank, self.world_size = rank, world_size
        self._pipeline: Any = None  # DALI's, while it runs
        settings = ReaderSettings(
            crop_px=crop_px,
            device_id=self.device.index,
            decoder=self.decoder,
            workers=workers,
            threads=dali_threads(self.decoder, workers),
            on_bad_video=on_bad_video,
            time_limit_s=time_limit_s,
        )
        # named after the pipeline, so that what it needs is still there when both end together with the loader
        self._reader: Reader = READERS[reader](settings, self.clip_sampler.clips_per_video)
        _loaders.add(self)
        self.epoch = self.step = 0
        self.seek(start_epoch, start_step)

    side_px = renamed_attribute("side_px", "crop_px")

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return self._batches().steps_per_epoch

    def __iter__(self) -> Iterator[ClipBatch]:
        if self._pipeline is not None and self.step:  # the last epoch was left before its end
            self.close()
            self.epoch, self.step = self.epoch + 1, 0
        steps = len(self)
        while self.step < steps:
            self._pipeline = self._pipeline or self._reader.build(self._batches())
            batch = self._next_batch()
            self.step += 1
            if self.step == steps:
                self.epoch, self.step = self.epoch + 1, 0
                if self._reader.is_exhausted:
                    self.close()
                yield batch
                return
            yield batch

    def videos_in_step(self, step: int) -> int:
        """Return the number of samples in step ``step`` of an epoch, over all processes."""
        return len(self._batches().samples_of(step))

    def seek(self, epoch: int, step: int) -> None:
        """Continue with batch ``step`` of an epoch; the one after its last is the first of the next epoch.

        Raises:
            InputError: the epoch has no such batch.
        """
        epoch, step = to_python(epoch), to_python(step)
        if not 0 <= step <= len(self) or epoch < 0:
            raise InputError(
                f"Invalid epoch {epoch}, step {step}: the epoch must be at least 0, and the step between 0 and "
                f"{len(self)}, "
                f"because an epoch has {len(self)} batches"
            )
        self.close()
        self.epoch, self.step = epoch + step // len(self), step % len(self)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and step of the next batch, and ``even_steps``, for a checkpoint.

        Batches that are prepared already do not count.
        """
        return {"epoch": self.epoch, "step": self.step, "even_steps": int(self.clip_sampler.even_steps)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where :meth:`state_dict` was taken, by a loader with the same videos and settings; see :meth:`seek`.

        Raises:
            InputError: the epoch has no such batch, or the loader deals an epoch's samples out in another way.
        """
        even_steps = bool(state.get("even_steps", True))  # as they all were before there was a choice
        if state["step"] and even_steps != self.clip_sampler.even_steps:
            raise InputError(
                f"Invalid state: was saved within an epoch with even_steps={even_steps}, but this loader has "
                f"even_steps={self.clip_sampler.even_steps}, which puts other samples into the steps; "
                f"give even_steps={even_steps}"
            )
        self.seek(state["epoch"], state["step"])

    def close(self) -> None:
        """End the workers and free the memory; iterating again starts them anew and continues where it was."""
        self._reader.close()
        self._pipeline = None

    def _forget_in_child(self) -> None:
        """Forget the pipeline in a forked process, which lacks its threads and workers.

        Iterating starts a new pipeline where the old one was.
        """
        if self._pipeline is not None:
            never_destroy(self._pipeline)
        self._reader.forget_in_child()
        self._pipeline = None

    def _batches(self) -> BatchSampler:
        return BatchSampler(self.clip_sampler, self.batch_size, self.rank, self.world_size, self.epoch, self.step)

    def shared_memory_bytes(self) -> int:
        """Return an upper bound of the shared memory for the workers' batches, in bytes."""
        return self._reader.shared_memory_bytes(self._batches())

    def _next_batch(self) -> ClipBatch:
        clips, shown, bad = self._run()
        for encoded in bad:
            self._report_bad({int(video): reason for video, reason in json.loads(bytes(np.array(encoded))).items()})
        videos_B = torch.as_tensor(shown.as_array().copy())
        used = videos_B != NOT_USED
        count = int(used.sum())
        clips_BFHWC = self._to_torch(clips)
        # samples that only fill the batch stand last; one that is left out for a bad video may stand anywhere
        clips_BFHWC = clips_BFHWC[:count] if used[:count].all() else clips_BFHWC[used.to(clips_BFHWC.device)]
        videos_B = videos_B[used]
        labels_B = torch.tensor([self.manifest.videos[video].label for video in videos_B.tolist()], dtype=torch.int64)
        views = self._reader.clips_per_sample
        if views > 1:
            clips_BFHWC = clips_BFHWC.unflatten(1, (views, -1)).flatten(0, 1)
            labels_B, videos_B = labels_B.repeat_interleave(views), videos_B.repeat_interleave(views)
        return ClipBatch(clips_BFHWC.permute(0, 4, 1, 2, 3), labels_B.to(self.device, non_blocking=True), videos_B)

    def _run(self) -> tuple:
        """Run the pipeline once; when it fails it cannot go on, and what is raised names the video where it can."""
        try:
            with self._reader.running():
                clips, shown, bad, *others = self._pipeline.run(*self._stream())
            self._reader.check_batch(others)
            return clips, shown, bad
        except Exception as error:  # DALI raises plain ones
            explained = self._reader.explain(error, self._batches())
            self.close()
            raise explained from None
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def _report_bad(self, bad: dict[int, str]) -> None:
        fresh = {video: reason for video, reason in bad.items() if video not in self.bad_videos}
        self.bad_videos |= fresh
        count, total = len(self.bad_videos), len(self.manifest)
        for reason in fresh.values():
            _log.warning(
                "%s; %s",
                reason,
                "another video of its class is used instead" if self.clip_sampler.training else "it is left out",
            )
        if fresh and 100 * count > self.max_bad_percent * total:
            self.close()
            raise VideoError(
                f"Cannot continue: {count} of {total} videos can no longer be read, which is more than "
                f"max_bad_percent={self.max_bad_percent:g} allows; the last one is {list(self.bad_videos.values())[-1]}"
            )

    def _stream(self) -> tuple:
        """Return PyTorch's current stream, on which DALI 2 hands clips over without a wait; empty otherwise."""
        on_stream = self.device.type == "cuda" and GIVES_MEMORY_AWAY
        return (torch.cuda.current_stream(self.device),) if on_stream else ()

    def _to_torch(self, clips: Any) -> torch.Tensor:
        """Return the clips as a tensor: DALI's own memory where it is handed over for good, else a copy."""
        dense = clips.as_tensor()
        if GIVES_MEMORY_AWAY:
            return from_dlpack(dense)
        if self.device.type == "cuda":
            out = torch.empty(dense.shape(), dtype=torch.float32, device=self.device)
            feed_ndarray(dense, out, cuda_stream=torch.cuda.current_stream(self.device))
            return out
        # numpy's memory comes in huge pages, torch's does not: its page faults would cost more than the copy
        out = torch.from_numpy(np.empty(dense.shape(), np.float32))
        feed_ndarray(dense, out)
        return out


def _after_fork_in_child() -> None:
    for loader in _loaders:
        loader._forget_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
