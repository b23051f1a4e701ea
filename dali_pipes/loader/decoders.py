"""Which decoder can read which videos: the CPU's, the GPU's, or DALI's video reader; and why not."""

import ctypes

from nvidia import dali

from ..dataset.manifest import Manifest
from ..decode.video_info import DecodedBy, VideoInfo
from ..errors import InputError, check_known
from .stream import obstacle_of, takes_frame_ranges

DECODERS = ("auto", "cpu", "gpu")
DALI_VERSION = tuple(map(int, dali.__version__.split(".")[:2]))
DALI_CODECS = "vp8 vp9 libvpx libvpx-vp9 mjpeg av1 libdav1d libaom-av1 mpeg4 h264 hevc".split()  # as PyAV names them
NO_LIBRARY = (
    "the driver's video decoding library libnvcuvid.so.1 cannot be loaded "
    "(in Docker, NVIDIA_DRIVER_CAPABILITIES must name video)"
)


def choose_decoder(decoder: str, device_type: str, manifest: Manifest, reader: str = "clips") -> str:
    """``cpu`` or ``gpu``; ``auto`` is the GPU where hardware decoding is at hand. The reader ``stream`` decodes where the clips are needed.

    Raises:
        InputError: the GPU was asked for and cannot decode, or ``stream`` cannot read the videos; says why.
    """
    check_known("decoder", decoder, DECODERS)
    if reader == "stream":
        chosen = "gpu" if device_type == "cuda" else "cpu"
        obstacle = _stream_obstacle(decoder, chosen, manifest)
        if obstacle:
            raise InputError(f"reader 'stream' cannot be used: {obstacle}; choose the reader clips")
        return chosen
    obstacle = obstacle_to_gpu_decoding(device_type, manifest)
    if decoder == "gpu" and obstacle:
        raise InputError(f"decoder 'gpu' cannot be used: {obstacle}; choose cpu or auto")
    return "cpu" if decoder == "cpu" or obstacle else "gpu"


def obstacle_to_gpu_decoding(device_type: str, manifest: Manifest) -> str | None:
    """Why the GPU cannot decode these videos, if it cannot."""
    if device_type != "cuda":
        return f"device is {device_type}"
    if DALI_VERSION < (1, 48):
        return f"it needs DALI 1.48 or newer, this is {dali.__version__}"
    if not _loads("libnvcuvid.so.1"):
        return NO_LIBRARY
    return next(filter(None, map(_obstacle, manifest.videos)), None)


def _stream_obstacle(decoder: str, chosen: str, manifest: Manifest) -> str | None:
    if decoder not in ("auto", chosen):
        return f"it decodes where the clips are needed, on the {chosen}, not as decoder {decoder!r} says"
    if chosen == "cpu" and not takes_frame_ranges():
        return f"DALI {dali.__version__} reads videos on a GPU alone"
    if chosen == "gpu" and not _loads("libnvcuvid.so.1"):
        return NO_LIBRARY
    return next(
        filter(None, (_obstacle(video) or obstacle_of(video, chosen == "gpu") for video in manifest.videos)), None
    )


def _obstacle(video: VideoInfo) -> str | None:
    if video.codec not in DALI_CODECS:
        return f"{video.path} is {video.codec}, which DALI does not decode"
    odd = video.odd_for(DecodedBy.PYAV)
    return (
        None if odd is None else f"{video.path} is odd ({odd}), python -m dali_pipes.transcode makes a copy that is not"
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
