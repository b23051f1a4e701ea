"""The limits of NVDEC, the GPU's hardware decoder, as the driver reports them."""

import ctypes
from functools import cache
from typing import NamedTuple

from .video_info import VideoInfo

GPU_LIBRARY = "libnvcuvid.so.1"
NVDEC_CODECS = {"mpeg4": 2, "h264": 4, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
"""The codecs that DALI decodes on a GPU, with the driver's number of each."""
_SAME_CODEC = {"libvpx": "vp8", "libvpx-vp9": "vp9", "libdav1d": "av1", "libaom-av1": "av1"}  # by PyAV's decoder
_YUV420 = 1


class NvdecLimits(NamedTuple):
    """The limits of one GPU for one codec, 8 bits and 4:2:0; sizes in pixels, all 0 if it cannot decode the codec."""

    engines: int  # 0 where an older driver does not say
    min_width: int
    min_height: int
    max_width: int
    max_height: int


class _Caps(ctypes.Structure):
    """CUVIDDECODECAPS of NVIDIA's Video Codec SDK."""

    _fields_ = [
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bit_depth_minus_8", ctypes.c_uint),
        ("reserved_1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte),
        ("counter_bits", ctypes.c_ubyte),
        ("histogram_bins", ctypes.c_ushort),
        ("reserved_2", ctypes.c_uint * 10),
    ]


def nvdec_limits(codec: str, device_id: int) -> NvdecLimits:
    """Return what a GPU decodes of a codec, one of ``NVDEC_CODECS``.

    Raises:
        OSError: the driver's libraries cannot be loaded, or do not answer.
        AttributeError: they are too old to be asked.
    """
    cuda, decoder = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(GPU_LIBRARY)
    device, context = ctypes.c_int(), ctypes.c_void_p()
    caps = _Caps(codec=NVDEC_CODECS[codec], chroma=_YUV420)
    _check(cuda.cuInit(0))
    _check(cuda.cuDeviceGet(ctypes.byref(device), device_id))
    _check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))  # PyTorch's and DALI's too
    try:
        _check(cuda.cuCtxPushCurrent_v2(context))
        code = decoder.cuvidGetDecoderCaps(ctypes.byref(caps))
        _check(cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())))
        _check(code)
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
    if not caps.supported:
        return NvdecLimits(0, 0, 0, 0, 0)
    return NvdecLimits(caps.engines, caps.min_width, caps.min_height, caps.max_width, caps.max_height)


def _check(code: int) -> None:
    if code:
        raise OSError(f"the NVIDIA driver returns the error {code}")


@cache
def _limits_if_known(codec: str, device_id: int) -> NvdecLimits | None:
    try:
        return nvdec_limits(codec, device_id)
    except (OSError, AttributeError):
        return None


def why_not_nvdec(video: VideoInfo, device_id: int) -> str | None:
    """Return why a GPU does not decode a video, or None; what the driver does not answer is none."""
    codec = _SAME_CODEC.get(video.codec, video.codec)
    if codec not in NVDEC_CODECS:
        return f"{video.path} has the codec {video.codec}, which DALI does not decode on a GPU"
    limits = _limits_if_known(codec, device_id)
    if limits is None:
        return None
    if not limits.max_width:
        return f"{video.path} has the codec {video.codec}, which this GPU cannot decode"
    smallest, largest = (limits.min_width, limits.min_height), (limits.max_width, limits.max_height)
    if not all(
        low <= size <= high for low, size, high in zip(smallest, (video.width, video.height), largest, strict=True)
    ):
        return (
            f"{video.path} has {video.width}x{video.height} pixels, but this GPU decodes {video.codec} only "
            f"from {smallest[0]}x{smallest[1]} to {largest[0]}x{largest[1]} pixels"
        )
    return None
