"""The reader ``stream``, for long files: DALI opens the files and seeks in them, so none is held whole in memory.

It decodes where the clips are needed. The plans reach DALI's video reader as a list, see clip_list.py.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from inspect import signature
from typing import Any

import numpy as np
import torch
from nvidia import dali
from nvidia.dali import fn, pipeline_def

from ..decode.dali import why_no_gpu_decoder, why_not_dali
from ..decode.nvdec import why_not_nvdec
from ..decode.video_info import DecoderSupport, VideoInfo
from ..errors import InputError, check_known
from ..hints import Node
from ..plan.batches import BatchSampler
from ..plan.sampling import Policy
from .clip_list import ClipList, ListFolder
from .graph import clip_graph, clip_inputs, crop_resize
from .reader import DECODERS, ReaderSettings
from .workers import starting_workers

CPU_CODECS = "vp8 vp9 libvpx libvpx-vp9 mjpeg".split()
"""The codecs that DALI decodes without a GPU."""
MAX_FRAMES = 2**24
"""Largest frame number that is exact in float32, as which DALI reads the list's frame numbers."""


def _obstacle(decoder: str, chosen: str, videos: Sequence[VideoInfo], device_id: int) -> str | None:
    if decoder not in ("auto", chosen):
        return f"it decodes on the device of the clips, which is {chosen}, but decoder={decoder!r} is given"
    if chosen == "cpu" and not takes_frame_ranges():
        return f"DALI {dali.__version__} reads videos only on a GPU"
    missing = why_no_gpu_decoder() if chosen == "gpu" else None
    obstacles = (
        why_not_stream(video, chosen) or (why_not_nvdec(video, device_id) if chosen == "gpu" else None)
        for video in videos
    )
    return missing or next(filter(None, obstacles), None)


def why_not_stream(video: VideoInfo, decoder: str) -> str | None:
    """Return why DALI's video reader would not show this video as planned, or None.

    ``decoder`` is ``cpu`` or ``gpu``.
    """
    if obstacle := why_not_dali(video):
        return obstacle
    if decoder == "cpu" and video.codec not in CPU_CODECS:
        return (
            f"{video.path} has the codec {video.codec}, but on the CPU DALI's video reader decodes only VP8, VP9 "
            "and MJPEG"
        )
    if video.num_frames > MAX_FRAMES:
        return f"{video.path} has {video.num_frames} frames, but DALI's file lists allow at most {MAX_FRAMES}"
    if oddity := video.oddity_for(DecoderSupport.NOT_SEEKING):
        return (
            f"{video.path} has an unusual property ({oddity}), so DALI's video reader returns wrong frames when it "
            "seeks"
        )
    if not takes_frame_ranges() and (oddity := video.oddity_for(DecoderSupport.NOT_BY_TIMESTAMP)):
        return (
            f"{video.path} has an unusual property ({oddity}), which the video reader of DALI "
            f"{dali.__version__} does not "
            "support, but a newer one does"
        )
    return None


def takes_frame_ranges() -> bool:
    """Return whether this DALI has a video reader that takes frame numbers and finds them exactly, by counting.

    Older versions have ``fn.readers.video`` alone, for the GPU, which finds frames by their times.
    """
    return _counting_reader() is not None


@cache
def _counting_reader() -> Any:
    """Return that reader, also where it is no longer experimental; None if there is none. Asked for each video."""
    places: tuple[Any, ...] = (getattr(getattr(fn, "experimental", None), "readers", None), fn.readers)
    readers = [place.video for place in places if hasattr(place, "video")]
    return next((reader for reader in readers if "file_list_format" in signature(reader).parameters), None)


def dali_read(clips: ClipList, *, device: str) -> tuple[Node, Node]:
    """DALI graph function: each clip's (``sequences.length``, H, W, 3) uint8 frames, and its number in the list."""
    common = {
        "device": device,
        "file_list": str(clips.path),
        "sequence_length": clips.sequences.length,
        "stride": clips.sequences.stride,
    }
    if takes_frame_ranges():
        return _counting_reader()(file_list_format="frames", file_list_include_end=False, pad_mode="edge", **common)
    return fn.readers.video(
        file_list_frame_num=True,
        file_list_include_preceding_frame=False,
        pad_sequences=True,
        skip_vfr_check=True,
        **common,
    )


@pipeline_def(enable_conditionals=True)
def stream_pipeline(
    clips: ClipList, *, device: str, crop_px: int, augment: Policy | None
) -> tuple[Node, Node, Node, Node, Node]:
    """Return a pipeline as ``clip_pipeline`` does, with the clips' numbers as planned and as read."""
    inputs = clip_inputs(clips, parallel=False, prefetch_batches=1)
    sequence, number = dali_read(clips, device=device)
    sequence = crop_resize(sequence, inputs["box"], inputs["flip"], crop_px)
    frames = fn.sequence_rearrange(sequence, new_order=inputs["order"])
    graph = clip_graph(frames, inputs, device=device, crop_px=crop_px, augment=augment)
    return graph, inputs["shown"], inputs["bad"], inputs["number"], number


class StreamReader:
    """The reader ``stream``, see :class:`Reader` for its methods."""

    clips_per_sample = 1
    """Clips per sample: in evaluation each clip of a video is a sequence of its own."""

    def __init__(self, settings: ReaderSettings, clips_per_video: int):
        self.settings = settings
        self._folder: ListFolder | None = None
        self._clips: ClipList | None = None

    @staticmethod
    def choose_decoder(decoder: str, device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str:
        """Return ``cpu`` or ``gpu``, where the clips are needed: DALI's video reader decodes there.

        Raises:
            InputError: ``decoder`` says otherwise, or the reader cannot read the videos; says why.
        """
        check_known("decoder", decoder, DECODERS)
        chosen = "gpu" if device.type == "cuda" else "cpu"
        obstacle = _obstacle(decoder, chosen, videos, device.index or 0)
        if obstacle:
            raise InputError(f"Invalid reader 'stream': cannot be used, because {obstacle}; choose clips")
        return chosen

    @staticmethod
    def why_auto_is_cpu(device: torch.device, videos: Sequence[VideoInfo], workers: int) -> str | None:
        """Return None: where the GPU cannot decode, this reader cannot be chosen."""
        return None

    def build(self, batches: BatchSampler) -> Any:
        """Return a running DALI pipeline, see :meth:`.reader.Reader.build`."""
        if batches.sampler.augment is not None and not batches.sampler.training:
            raise InputError("Invalid reader 'stream': cannot show perturbed clips; choose clips")
        self._folder = self._folder or ListFolder()
        settings = self.settings
        self._clips = clips = ClipList(
            batches, settings.crop_px, settings.on_bad_video, self._folder.path, settings.device
        )
        pipeline = stream_pipeline(
            clips, batch_size=clips.batch_size, **settings.graph_options(batches), **settings.pipeline_options
        )
        try:
            with starting_workers():  # for its signals: DALI's threads leave them to the main one
                pipeline.build()
        except (RuntimeError, OSError) as error:
            raise clips.explain(error, self.settings.workers) from None
        return pipeline

    def shared_memory_bytes(self, batches: BatchSampler) -> int:
        """Return 0: this reader has no worker processes."""
        return 0

    def running(self) -> AbstractContextManager:
        """Return an empty context: there are no workers to watch."""
        return nullcontext()

    def check_batch(self, others: list[Any]) -> None:
        """Check that the clips of a batch came in the order of the list."""
        assert self._clips is not None, "a pipeline is built"
        self._clips.check_order(*map(_on_cpu, others))

    def explain(self, error: Exception, batches: BatchSampler) -> Exception:
        """Return the error to raise for one of the pipeline, with the name of the file where it can be found."""
        return self._clips.explain(error, self.settings.workers) if self._clips else error

    @property
    def is_exhausted(self) -> bool:
        """Whether the list is at its end, so that the next epoch needs a new pipeline."""
        return self._clips is not None and self._clips.is_exhausted

    def close(self) -> None:
        """Drop the list of clips."""
        self._clips = None

    def forget_in_child(self) -> None:
        """Forget the list and its folder in a forked process: they are the parent's."""
        self._folder = self._clips = None


def _on_cpu(numbers: Any) -> np.ndarray:
    return np.array((numbers.as_cpu() if hasattr(numbers, "as_cpu") else numbers).as_array()).reshape(-1)
