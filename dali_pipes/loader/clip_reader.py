"""The reader ``clips``: each clip is read by itself, decoded by PyAV in worker processes or by DALI in the graph."""

import logging
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from nvidia import dali
from nvidia.dali import fn, pipeline_def

from ..augment.parameters import is_one_operator
from ..decode.dali import DALI_VERSION, dali_decode, why_no_gpu_decoder, why_not_dali
from ..decode.nvdec import why_not_nvdec
from ..decode.speed import why_cpu_is_faster
from ..decode.video_info import VideoInfo
from ..errors import InputError, VideoError, check_known
from ..hints import Node
from ..plan.batches import BatchSampler
from ..plan.sampling import Policy
from ..system.dali_internals import DaliChanged, WorkerPool
from ..system.multiprocessing_internals import forget_children
from .graph import clip_graph, clip_inputs, crop_resize
from .main_module import check_main_module
from .reader import DECODERS, PREFETCH_BATCHES, ReaderSettings
from .source import ClipSource
from .workers import WorkerWatch, build_error, check_shared_memory, starting_workers, worker_death_error

OLDEST_DECODER = (1, 48)
"""The first version of DALI whose video decoder takes frame numbers."""
_log = logging.getLogger("dali_pipes")


def clip_pipeline(source: ClipSource, *, device: str, augment: Policy | None, **options: Any) -> Any:
    """Return a pipeline of (clip, the video that it shows or -1, what could not be read).

    Args:
        source: whose workers decode, crop, resize and mirror if its decoder is ``cpu``; otherwise DALI does.
        device: as :func:`clip_graph`.
        augment: as :func:`clip_graph`.
        options: ``crop_px`` as :func:`clip_graph`, ``parallel`` and ``prefetch_batches`` as :func:`clip_inputs`,
            ``dali_device`` of DALI's decoder (``mixed`` is the GPU, ``cpu`` knows few codecs and serves tests), and
            those of a DALI pipeline.
    """
    augments_by_graph = augment is not None and not is_one_operator(augment.op_names, device)
    has_conditionals = source.decoder == "gpu" or augments_by_graph
    # where there are none, DALI would take most of a second to look for them
    define = pipeline_def(_clip_outputs, enable_conditionals=has_conditionals)
    return define(source, device=device, augment=augment, **options)


def _clip_outputs(
    source: ClipSource,
    *,
    device: str,
    crop_px: int,
    augment: Policy | None,
    parallel: bool,
    prefetch_batches: int,
    dali_device: str = "mixed",
) -> tuple[Node, Node, Node]:
    inputs = clip_inputs(source, parallel=parallel, prefetch_batches=prefetch_batches)
    if source.decoder == "cpu":
        frames = inputs["frames"]
    else:
        whole_frames = dali_decode(inputs["encoded"], inputs["frame_indices"], device=dali_device)
        each_once = crop_resize(whole_frames, inputs["box"], inputs["flip"], crop_px)
        frames = fn.sequence_rearrange(each_once, new_order=inputs["order"])
    clips = clip_graph(frames, inputs, device=device, crop_px=crop_px, augment=augment)
    return clips, inputs["shown"], inputs["bad"]


class ClipReader:
    """The reader ``clips``, see :class:`Reader` for its methods."""

    def __init__(self, settings: ReaderSettings, clips_per_video: int):
        self.settings, self.clips_per_sample = settings, clips_per_video
        self._watch: WorkerWatch | None = None

    @staticmethod
    def choose_decoder(decoder: str, device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str:
        """Return ``cpu`` (PyAV in worker processes) or ``gpu`` (DALI in the graph).

        ``auto`` is the GPU where it can decode all videos and is faster.

        Raises:
            InputError: the GPU was asked for and cannot decode; says why.
        """
        check_known("decoder", decoder, DECODERS)
        if decoder == "auto":
            return "cpu" if ClipReader.why_auto_is_cpu(device, videos, workers) else "gpu"
        if decoder == "gpu" and (obstacle := _why_not_gpu(device, videos)):
            raise InputError(f"Invalid decoder 'gpu': cannot be used, because {obstacle}; choose cpu or auto")
        return decoder

    @staticmethod
    def why_auto_is_cpu(device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str | None:
        """Return why ``auto`` leaves these videos to the CPU, or None."""
        obstacle = _why_not_gpu(device, videos)
        return f"the GPU cannot decode them: {obstacle}" if obstacle else why_cpu_is_faster(videos, workers)

    def build(self, batches: BatchSampler) -> Any:
        """Return a running DALI pipeline, see :meth:`.reader.Reader.build`."""
        settings = self.settings
        if settings.workers:
            check_main_module()
            check_shared_memory(self.shared_memory_bytes(batches))
        source = ClipSource(
            batches, settings.crop_px, settings.decoder, settings.on_bad_video, settings.time_limit_s, settings.device
        )
        pipeline = clip_pipeline(
            source,
            parallel=settings.workers > 0,
            prefetch_batches=PREFETCH_BATCHES,
            batch_size=batches.batch_size,
            py_num_workers=max(1, settings.workers),
            py_start_method="spawn",
            **settings.graph_options(batches),
            **settings.pipeline_options,
        )
        try:
            with starting_workers():
                pipeline.build()
        except (RuntimeError, OSError) as error:
            raise build_error(error) from None
        if settings.workers:
            try:
                self._watch = WorkerWatch(WorkerPool(pipeline), pipeline)
            except DaliChanged as changed:
                _log.warning("%s; if a decoding process dies, DALI may not notice this and may wait forever", changed)
        return pipeline

    def shared_memory_bytes(self, batches: BatchSampler) -> int:
        """Return the shared memory that the workers' batches need, in bytes; 0 without workers."""
        sampler = batches.sampler
        if self.settings.decoder == "cpu":
            per_video = sampler.kept_frames * sampler.clips_per_video * self.settings.crop_px**2 * 3
        else:
            per_video = max(video.size_bytes for video in sampler.videos)
        return 2 * PREFETCH_BATCHES * batches.batch_size * per_video if self.settings.workers else 0

    def running(self) -> AbstractContextManager:
        """Return a context to wait for a batch in: if a worker dies, the wait ends."""
        return nullcontext() if self._watch is None else self._watch.running()

    def check_batch(self, others: list[Any]) -> None:
        """Do nothing: plans and pixels come from one source, so there is nothing to compare."""

    def explain(self, error: Exception, batches: BatchSampler) -> Exception:
        """Return the error to raise for one of the pipeline: it names the video, or says how a worker died."""
        death = None if self._watch is None else self._watch.cause
        if death is None:
            return _as_video_error(error)
        self.close()  # before the videos are read again
        return worker_death_error(death, _videos_in_flight(batches), self.settings.workers, self.settings.time_limit_s)

    @property
    def is_exhausted(self) -> bool:
        """Whether the next epoch needs a new pipeline: never, one serves all epochs."""
        return False

    def close(self) -> None:
        """End the worker processes."""
        if self._watch is not None:
            self._watch.close()
        self._watch = None

    def forget_in_child(self) -> None:
        """Forget the worker processes in a forked process, without ending them."""
        if self._watch is not None:
            forget_children(self._watch.processes)
        self._watch = None


def _why_not_gpu(device: torch.device, videos: Sequence[VideoInfo]) -> str | None:
    """Return why the GPU cannot decode these videos, or None."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if DALI_VERSION < OLDEST_DECODER:
        return (
            f"decoding on the GPU needs DALI {'.'.join(map(str, OLDEST_DECODER))} or newer, but the version is "
            f"{dali.__version__}"
        )
    obstacles = (why_not_dali(video) or why_not_nvdec(video, device.index or 0) for video in videos)
    return why_no_gpu_decoder() or next(filter(None, obstacles), None)


def _videos_in_flight(batches: BatchSampler) -> list[VideoInfo]:
    """Return the videos of the next batches: those that workers may have been reading."""
    sampler = batches.sampler
    positions = range((PREFETCH_BATCHES + 1) * batches.batch_size)
    return [sampler.videos[sampler.video_of(*batches.at(position)[:2])] for position in positions]


def _as_video_error(error: Exception) -> Exception:
    """Return the VideoError that a worker raised, else the error itself.

    DALI brings a worker's error as the text of a traceback.
    """
    found = re.findall(r"VideoError: (.+)", str(error))
    return VideoError(found[-1]) if found and not isinstance(error, InputError) else error
