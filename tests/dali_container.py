"""The packets of a file as DALI's own FFmpeg reads them, without a GPU:
its video readers and decoders begin with these."""

import ctypes
import os
from functools import cache
from pathlib import Path

import numpy as np
from nvidia import dali

UNKNOWN = -(2**63)
VIDEO = 0


class Packet(ctypes.Structure):
    """The beginning of FFmpeg's AVPacket, the same in all its versions since 2012."""

    _fields_ = [
        ("buffer", ctypes.c_void_p),
        ("pts", ctypes.c_int64),
        ("dts", ctypes.c_int64),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_int),
        ("stream_index", ctypes.c_int),
    ]


@cache
def _library(name: str) -> ctypes.CDLL:
    (path,) = (Path(dali.__file__).parent / ".libs").glob(f"lib{name}-*")
    return ctypes.CDLL(str(path))


def packet_times(path: str) -> tuple[int, np.ndarray]:
    """The stream that DALI chooses, and its packets' times: those of showing, or of decoding where they have none."""
    _library("avutil").av_log_set_level(-8)
    av_format, av_codec = _library("avformat"), _library("avcodec")
    av_codec.av_packet_alloc.restype = ctypes.POINTER(Packet)
    context, times = ctypes.c_void_p(), []
    assert av_format.avformat_open_input(ctypes.byref(context), os.fsencode(f"file:{path}"), None, None) == 0
    stream = av_format.av_find_best_stream(context, VIDEO, -1, -1, None, 0)
    if stream < 0:
        av_format.avformat_find_stream_info(context, None)
        stream = av_format.av_find_best_stream(context, VIDEO, -1, -1, None, 0)
    pointer = av_codec.av_packet_alloc()
    while av_format.av_read_frame(context, pointer) == 0:
        packet = pointer.contents
        if packet.stream_index == stream:
            times.append(packet.dts if packet.pts == UNKNOWN else packet.pts)
        av_codec.av_packet_unref(pointer)
    av_codec.av_packet_free(ctypes.byref(pointer))
    av_format.avformat_close_input(ctypes.byref(context))
    return stream, np.array(times)


def order_by_dali(path: str) -> list[int]:
    """Which packet DALI's index has at each place: in the order of their times, those below zero left out."""
    _, times = packet_times(path)
    order = np.argsort(times, kind="stable")
    return order[times[order] >= 0].tolist()
