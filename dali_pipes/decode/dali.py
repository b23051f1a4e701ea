"""DALI's video decoder: as a graph function, and which videos it can be trusted with."""

import ctypes
from inspect import signature

from nvidia import dali
from nvidia.dali import fn

from ..hints import Node
from .nvdec import GPU_LIBRARY
from .video_info import DecoderSupport, VideoInfo

DALI_VERSION = tuple(map(int, dali.__version__.split(".")[:2]))
DALI_CODECS = "vp8 vp9 libvpx libvpx-vp9 mjpeg av1 libdav1d libaom-av1 mpeg4 h264 hevc".split()  # as PyAV names them
NO_GPU_LIBRARY = (
    f"the driver's video decoding library {GPU_LIBRARY} cannot be loaded "
    "(in Docker, NVIDIA_DRIVER_CAPABILITIES must include video)"
)


def dali_decode(encoded: Node, frame_indices: Node, *, device: str) -> Node:
    """DALI graph function: decode chosen frames with DALI, which decodes from the beginning to the last of them.

    Args:
        encoded: the file's bytes, (size,) uint8 on the CPU.
        frame_indices: (K,) int32 on the CPU, as for :func:`decode_frames`.
        device: ``mixed`` decodes on the GPU; ``cpu`` only knows VP8, VP9 and MJPEG (DALI 2).

    Returns:
        (K, H, W, 3) uint8 RGB, on the GPU for ``mixed``.
    """
    # Since DALI 2.0; before, the same operator was experimental.
    decoder = fn.decoders.video if hasattr(fn.decoders, "video") else fn.experimental.decoders.video
    # With an index DALI would seek, and count wrongly where frames are shown before the key frame that they are stored
    # behind; without one it decodes from the beginning, as DALI 2.4 does anyhow.
    from_start = {"build_index": False} if "build_index" in signature(decoder).parameters else {}
    return decoder(encoded, device=device, frames=frame_indices, **from_start)


def why_not_dali(video: VideoInfo) -> str | None:
    """Return why DALI's decoders cannot be trusted with a video, or None."""
    if video.codec not in DALI_CODECS:
        return f"{video.path} has the codec {video.codec}, which DALI does not decode"
    if oddity := video.oddity_for(DecoderSupport.PYAV_ONLY):
        return (
            f"{video.path} has an unusual property ({oddity}), which DALI does not decode correctly "
            "(python -m dali_pipes.transcode makes a copy that DALI can decode)"
        )
    return None


def why_no_gpu_decoder() -> str | None:
    """Return why no video can be decoded on this machine's GPU, or None."""
    try:
        ctypes.CDLL(GPU_LIBRARY)
    except OSError:
        return NO_GPU_LIBRARY
    return None
