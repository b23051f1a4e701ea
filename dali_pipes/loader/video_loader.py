"""From the DALI pipeline to PyTorch: batches of clips on the training device. The only file that imports torch."""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from nvidia.dali.plugin.pytorch import feed_ndarray
from torch.utils.dlpack import from_dlpack

from ..dataset.manifest import Manifest
from ..decode.video_file import MOST_S, TIME_LIMIT_S
from ..decode.video_info import VideoInfo
from ..errors import InputError, VideoError, check_known
from ..plain import plain, whole
from ..plan.sampling import ClipSampler
from ..system.dali_internals import DaliChanged, WorkerPool, never_destroy
from ..system.multiprocessing_internals import forget_children
from .decoders import DALI_VERSION, choose_decoder
from .main_module import check_main_module
from .pipelines import clip_pipeline
from .source import NOT_USED, ON_BAD_VIDEO, READERS, ClipSource, Schedule
from .stream import ClipList, ListFolder, stream_pipeline
from .workers import Watch, build_error, check_shared_memory, death_error, starting_workers

PREFETCH_BATCHES = 2
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


class VideoLoader:
    """An iterable of :class:`ClipBatch`; each iteration is one epoch, exactly one sample of every video over all processes.

    Decoding runs in worker processes (CPU) or on the GPU, everything after it in a DALI graph. The next epoch is
    prepared while the last batches of this one are used. Samples depend on the seed, the epoch and their number alone.

    Args:
        manifest: the videos, see ``scan_videos``.
        batch_size: videos per batch of this process, at most.
        side_px: side of the square clips, in pixels.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``: where clips are handed over and, for CUDA, augmented.
        decoder: ``cpu`` (PyAV), ``gpu`` (NVDEC through DALI) or ``auto`` (the GPU where it can).
        reader: ``clips`` decodes each clip by itself; ``stream``, for long files, leaves opening and seeking to DALI's video
            reader, on ``device``: on the CPU it knows VP8, VP9 and MJPEG alone. It lists the clips of an epoch, or of several short
            ones, when that begins.
        workers: decoding processes and DALI threads; 0 decodes in this process, which is slow but simple to debug.
        rank, world_size: this process and their number. Step i of W processes with batches of B holds the samples of step
            i of one process with batches of W x B, dealt out; a step with fewer samples than processes leaves some empty.
        start_epoch, start_step: where to begin, to resume; see :meth:`state_dict`.
        on_bad_video: what to do about a video that can no longer be read: ``error``, or ``skip``: it is replaced by another
            of its class, or left out in evaluation, named in the log and kept in ``bad_videos``. Where DALI decodes, only a
            file that is missing or changed its size is noticed; by ``stream`` when it makes a list.
        max_bad_percent: of the videos, so many may be bad.
        time_limit_s: that of ``scan_videos``, in seconds of processor time: a clip that PyAV decodes may take 4 times as much.
        **sampling: fields of ``ClipSampler``: num_frames, stride_frames, keep_every, training, clips_per_video,
            crops_per_video, augment, flip, crop_mode, side_range_px, short, seed. ``augment`` is a :class:`RandAugmentT`.

    Attributes:
        manifest, clip_sampler, device, decoder: what it was made with; ``device`` and ``decoder`` as they were chosen.
        epoch, step: of the next batch.
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
        side_px: int = 160,
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
        batch_size, side_px = whole("batch_size", batch_size, 1), whole("side_px", side_px, 8)
        workers, rank, world_size = whole("workers", workers, 0), plain(rank), plain(world_size)
        if not 0 < time_limit_s <= MOST_S:
            raise InputError(f"time_limit_s is {time_limit_s:g}, it must be above 0 and at most {MOST_S:g}")
        check_known("on_bad_video", on_bad_video, ON_BAD_VIDEO)
        self.on_bad_video, self.max_bad_percent, self.time_limit_s = on_bad_video, max_bad_percent, time_limit_s
        self.bad_videos: dict[int, str] = {}
        """Index into the manifest's videos -> why it could not be read; so far."""
        self.manifest = manifest
        # not called sampler, which Lightning takes for that of a torch DataLoader
        self.clip_sampler = ClipSampler(videos=manifest.videos, **sampling)
        if not 0 <= rank < world_size:
            raise InputError(f"rank {rank} does not exist among {world_size} processes")
        self.device = choose_device(device)
        check_known("reader", reader, READERS)
        self.reader = reader
        self.decoder = choose_decoder(decoder, self.device.type, manifest, reader)
        self.batch_size, self.side_px, self.workers = batch_size, side_px, workers
        self.rank, self.world_size = rank, world_size
        self._pipeline: Any = None  # DALI's, while it runs
        self._watch: Watch | None = None
        self._clip_list: ClipList | None = None
        _loaders.add(self)
        # named after the pipeline, so that it is still there when that ends together with the loader
        self._folder = ListFolder() if reader == "stream" else None
        self.epoch = self.step = 0
        self.seek(start_epoch, start_step)

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._schedule().steps_per_epoch

    def __iter__(self) -> Iterator[ClipBatch]:
        if self._pipeline is not None and self.step:  # the last epoch was left before its end
            self.close()
            self.epoch, self.step = self.epoch + 1, 0
        steps = len(self)
        while self.step < steps:
            self._pipeline = self._pipeline or self._build()
            batch = self._next_batch()
            self.step += 1
            if self.step == steps:
                self.epoch, self.step = self.epoch + 1, 0
                if self._clip_list is not None and self._clip_list.is_used_up:
                    self.close()
                yield batch
                return
            yield batch

    def videos_in_step(self, step: int) -> int:
        """How many samples step ``step`` of an epoch holds over all processes."""
        return len(self._schedule().samples_of(step))

    def seek(self, epoch: int, step: int) -> None:
        """Continue with batch ``step`` of an epoch; the one after its last is the first of the next epoch.

        Raises:
            InputError: the epoch has no such batch.
        """
        epoch, step = plain(epoch), plain(step)
        if not 0 <= step <= len(self) or epoch < 0:
            raise InputError(f"start_epoch, start_step are {epoch}, {step}: an epoch has {len(self)} batches")
        self.close()
        self.epoch, self.step = epoch + step // len(self), step % len(self)

    def state_dict(self) -> dict[str, int]:
        """The epoch and step of the next batch, for a checkpoint; batches that are prepared already do not count."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """:meth:`seek` to where :meth:`state_dict` was taken, by a loader with the same videos and settings.

        Raises:
            InputError: the epoch has no such batch.
        """
        self.seek(state["epoch"], state["step"])

    def close(self) -> None:
        """End the workers and free the memory; iterating again starts them anew and continues where it was."""
        if self._watch is not None:
            self._watch.close()
        self._pipeline = self._watch = self._clip_list = None

    def _leave_to_parent(self) -> None:
        """In a forked process, which lacks the pipeline's threads and workers: iterating starts its own where it was."""
        if self._pipeline is not None:
            never_destroy(self._pipeline)
        if self._watch is not None:
            forget_children(self._watch.processes)
        if self._folder is not None:
            self._folder = ListFolder()
        self._pipeline = self._watch = self._clip_list = None

    def _schedule(self) -> Schedule:
        return Schedule(self.clip_sampler, self.batch_size, self.rank, self.world_size, self.epoch, self.step)

    def _build(self) -> Any:
        decode = self.decoder == "cpu"
        parallel = self.workers > 0 and self.reader == "clips"
        if parallel:
            check_main_module()
            check_shared_memory(self.shared_memory_bytes())
        on_gpu = self.device.type == "cuda"
        graph: dict[str, Any] = {
            "device": "gpu" if on_gpu else "cpu",
            "side_px": self.side_px,
            "augment": self.clip_sampler.augment,
        }
        common: dict[str, Any] = {
            "batch_size": self.batch_size,
            "num_threads": max(1, self.workers),
            "device_id": self.device.index if on_gpu else None,
            "prefetch_queue_depth": PREFETCH_BATCHES,
            "seed": 0,
        }
        if self._folder is not None:
            self._clip_list = clips = ClipList(self._schedule(), self.on_bad_video, self._folder.path)
            pipeline = stream_pipeline(clips, **graph, **common | {"batch_size": clips.batch_size})
        else:
            pipeline = clip_pipeline(
                ClipSource(self._schedule(), self.side_px, decode, self.on_bad_video, self.time_limit_s),
                decoder="pyav" if decode else "mixed",
                parallel=parallel,
                prefetch_batches=PREFETCH_BATCHES,
                py_num_workers=max(1, self.workers),
                py_start_method="spawn",
                **graph,
                **common,
            )
        try:
            with starting_workers():
                pipeline.build()
        except (RuntimeError, OSError) as error:
            raise (self._clip_list.explain(error, self.workers) if self._clip_list else build_error(error)) from None
        if parallel:
            try:
                self._watch = Watch(WorkerPool(pipeline), pipeline)
            except DaliChanged as changed:
                _log.warning(
                    "%s: whether one dies is left to DALI, which misses some deaths and then waits for ever", changed
                )
        return pipeline

    def shared_memory_bytes(self) -> int:
        """Upper bound of what the worker processes hand over in, for the batches that are being made and waiting."""
        if self.reader == "stream":
            return 0
        if self.decoder == "cpu":
            frames = self.clip_sampler.kept_frames * self.clip_sampler.clips_per_video
            per_video = frames * self.side_px**2 * 3
        else:
            per_video = max(video.size_bytes for video in self.manifest.videos)
        return 2 * PREFETCH_BATCHES * self.batch_size * per_video if self.workers else 0

    def _next_batch(self) -> ClipBatch:
        clips, shown, bad = self._run()
        for encoded in bad:
            self._note_bad({int(video): reason for video, reason in json.loads(bytes(np.array(encoded))).items()})
        videos_B = torch.as_tensor(shown.as_array().copy())
        used = videos_B != NOT_USED
        count = int(used.sum())
        clips_BFHWC = self._to_torch(clips)
        # samples that only fill the batch stand last; one that is left out for a bad video may stand anywhere
        clips_BFHWC = clips_BFHWC[:count] if used[:count].all() else clips_BFHWC[used.to(clips_BFHWC.device)]
        videos_B = videos_B[used]
        labels_B = torch.tensor([self.manifest.videos[video].label for video in videos_B.tolist()], dtype=torch.int64)
        views = self.clip_sampler.clips_per_video
        if views > 1 and self.reader == "clips":
            clips_BFHWC = clips_BFHWC.unflatten(1, (views, -1)).flatten(0, 1)
            labels_B, videos_B = labels_B.repeat_interleave(views), videos_B.repeat_interleave(views)
        return ClipBatch(clips_BFHWC.permute(0, 4, 1, 2, 3), labels_B.to(self.device, non_blocking=True), videos_B)

    def _run(self) -> tuple:
        """One run of the pipeline; when it fails it cannot go on, and what is raised names the video where it can."""
        watch = self._watch
        try:
            with watch.running() if watch is not None else nullcontext():
                clips, shown, bad, *numbers = self._pipeline.run()
            if self._clip_list is not None:
                self._clip_list.check_order(*map(_on_cpu, numbers))
            return clips, shown, bad
        except Exception as error:  # DALI raises plain ones
            cause = watch.cause if watch is not None else None
            clip_list = self._clip_list
            self.close()
            if clip_list is not None:
                raise clip_list.explain(error, self.workers) from None
            raise (
                death_error(cause, self._being_read(), self.workers, self.time_limit_s)
                if cause
                else _as_video_error(error)
            ) from None
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def _being_read(self) -> list[VideoInfo]:
        """The videos of the next batches: those that workers may have been reading."""
        schedule = self._schedule()
        positions = range((PREFETCH_BATCHES + 1) * self.batch_size)
        return [self.manifest.videos[self.clip_sampler.video_of(*schedule.at(position)[:2])] for position in positions]

    def _note_bad(self, bad: dict[int, str]) -> None:
        fresh = {video: reason for video, reason in bad.items() if video not in self.bad_videos}
        self.bad_videos |= fresh
        count, total = len(self.bad_videos), len(self.manifest)
        for reason in fresh.values():
            _log.warning(
                "%s; %s", reason, "another of its class is shown" if self.clip_sampler.training else "it is left out"
            )
        if fresh and 100 * count > self.max_bad_percent * total:
            self.close()
            raise VideoError(
                f"{count} of {total} videos can no longer be read, more than max_bad_percent = {self.max_bad_percent:g} "
                f"allows; the last: {list(self.bad_videos.values())[-1]}"
            )

    def _to_torch(self, clips: Any) -> torch.Tensor:
        """DALI's own memory where it is handed over for good, on the CPU since DALI 2; else a copy."""
        dense = clips.as_tensor()
        if self.device.type == "cpu" and DALI_VERSION >= (2, 0):
            return from_dlpack(dense)
        if self.device.type == "cuda":
            out = torch.empty(dense.shape(), dtype=torch.float32, device=self.device)
            feed_ndarray(dense, out, cuda_stream=torch.cuda.current_stream(self.device))
            return out
        # numpy's memory comes in huge pages, torch's does not: its page faults would cost more than the copy
        out = torch.from_numpy(np.empty(dense.shape(), np.float32))
        feed_ndarray(dense, out)
        return out


_loaders: WeakSet[VideoLoader] = WeakSet()


def _after_fork_in_child() -> None:
    for loader in _loaders:
        loader._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork_in_child)


def choose_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means.

    Raises:
        InputError: it is unknown or not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"unknown device {device!r}: choose one of auto, cpu, cuda, cuda:N")
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device {device!r} needs an NVIDIA GPU that PyTorch can use: {why_no_gpu()}; choose cpu")
        chosen = torch.device("cuda", torch.cuda.current_device() if chosen.index is None else chosen.index)
        if chosen.index >= torch.cuda.device_count():
            raise InputError(
                f"device {device!r}: there are {torch.cuda.device_count()} GPUs, counted from 0; choose one of them"
            )
    return chosen


def why_no_gpu() -> str:
    """Why PyTorch can use none: no driver, as in Docker by default, one that is too old, PyTorch without CUDA."""
    try:
        torch.cuda.init()
        return "it sees none"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(". ")[0].strip()
    return reason + " (start Docker with --gpus all)" * ("no NVIDIA driver" in reason)


def _on_cpu(numbers: Any) -> np.ndarray:
    return np.array((numbers.as_cpu() if hasattr(numbers, "as_cpu") else numbers).as_array()).reshape(-1)


def _as_video_error(error: Exception) -> Exception:
    """The VideoError that a worker raised, out of the traceback that DALI brings from there; else the error itself."""
    found = re.findall(r"VideoError: (.+)", str(error))
    return VideoError(found[-1]) if found and not isinstance(error, InputError) else error
