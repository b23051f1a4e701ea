"""Description of one video file, such as how many frames it decodes to and what is unusual about it."""

import os
from dataclasses import dataclass
from enum import Enum

from ..deprecated import renamed_arguments, renamed_attribute, warn_renamed


class DecoderSupport(Enum):
    """The decoders that show and count the frames of an unusual video correctly."""

    ALL = "PyAV and all decoders of DALI"
    NOT_BY_TIMESTAMP = (
        "all except DALI's older video reader, which finds frames by their time stamps instead of counting them"
    )
    NOT_SEEKING = "all except DALI's video reader, because it seeks; DALI's decoder of whole files does not seek"
    PYAV_ONLY = "only PyAV"


class OddityKind(Enum):
    """The kinds of unusual videos; none of them is a fault.

    Attributes:
        words: its name in texts and saved manifests, such as ``variable rate``.
        meaning: what it is, for a person.
        decoder_support: which decoders can be trusted with such a video.
    """

    def __init__(self, words: str, meaning: str, decoder_support: DecoderSupport):
        self.words, self.meaning, self.decoder_support = words, meaning, decoder_support

    decoded_by = renamed_attribute("decoded_by", "decoder_support")

    VARIABLE_RATE = ("variable rate", "the time between frames varies", DecoderSupport.NOT_BY_TIMESTAMP)
    STARTS_LATE = ("starts late", "the first time stamp is not zero", DecoderSupport.NOT_BY_TIMESTAMP)
    ROTATED = ("rotated", "the frames are stored rotated; decoding rotates them back", DecoderSupport.PYAV_ONLY)
    MIRRORED = ("mirrored", "the frames are stored mirrored; decoding mirrors them back", DecoderSupport.PYAV_ONLY)
    FRAME_TIMES = (
        "frame times",
        "the time stamps are missing, below zero or not in display order, as in AVI files with B-frames; DALI orders "
        "frames by them",
        DecoderSupport.PYAV_ONLY,
    )
    OPEN_GROUPS = (
        "open groups",
        "open GOPs: frames that are shown before a key frame are stored after it; if DALI's video reader seeks to this "
        "key frame, it loses them and returns wrong frames",
        DecoderSupport.NOT_SEEKING,
    )
    NO_KEY_FRAME_INDEX = (
        "no index",
        "the container, such as MPEG-TS, has no index of key frames, so DALI's video reader seeks to a position after "
        "the requested key frame",
        DecoderSupport.NOT_SEEKING,
    )
    CONTAINER = (
        "container",
        "the container is not MP4, Matroska, AVI or MPEG-TS; DALI cannot open some of the other containers",
        DecoderSupport.PYAV_ONLY,
    )
    PACKED_B_FRAMES = (
        "packed B-frames",
        "one packet contains two frames, as in old DivX files",
        DecoderSupport.PYAV_ONLY,
    )
    DEEP_COLOUR = (
        "more than 8 bits",
        "the pixel values have more than 8 bits; decoding reduces them to 8",
        DecoderSupport.PYAV_ONLY,
    )
    NOT_420 = (
        "not 4:2:0",
        "the chroma subsampling is not 4:2:0, or the video is grey or RGB",
        DecoderSupport.PYAV_ONLY,
    )
    NOT_BT601 = (
        "not BT.601",
        "the colour matrix is another one, such as BT.709 in most HD videos; decoding uses the matrix of the file",
        DecoderSupport.PYAV_ONLY,
    )
    ODD_SIZE = ("odd size", "the width or height is not even", DecoderSupport.ALL)
    PIXELS_NOT_SQUARE = (
        "pixels not square",
        "the pixel aspect ratio (width:height) is not 1:1; frames are returned as they are stored",
        DecoderSupport.ALL,
    )
    INTERLACED = ("interlaced", "each frame consists of two fields; decoding does not deinterlace", DecoderSupport.ALL)
    WRONG_HEADER = (
        "header",
        "the header states another number of frames, or a longer duration, than the file has",
        DecoderSupport.NOT_BY_TIMESTAMP,
    )
    FRAMES_UNLIKE_PACKETS = (
        "frames unlike packets",
        "the numbers of frames and packets differ",
        DecoderSupport.PYAV_ONLY,
    )
    HIDDEN_PACKETS = ("hidden packets", "an edit list hides some packets", DecoderSupport.PYAV_ONLY)
    SEVERAL_VIDEO_STREAMS = (
        "several video streams",
        "such as a cover picture or a second programme; the stream that FFmpeg considers best is read",
        DecoderSupport.PYAV_ONLY,
    )
    DAMAGED = ("damaged", "the decoder reported errors and returned what it could decode", DecoderSupport.ALL)


@dataclass(frozen=True, slots=True)
class Oddity:
    """One thing that is unusual about a video.

    As text it is its kind's words and the detail: ``starts late: at 0.080 s``.
    """

    kind: OddityKind
    """The kind, which also tells which decoders may read the video."""
    detail: str = ""
    """The text after the kind's words, such as ``: at 0.080 s``."""

    def __str__(self) -> str:
        return self.kind.words + self.detail

    @classmethod
    def parse(cls, text: str) -> "Oddity":
        """Return what a text stands for, the inverse of ``str``.

        Raises:
            ValueError: it begins with no kind's words.
        """
        for kind in OddityKind:
            if text.startswith(kind.words):
                return cls(kind, text.removeprefix(kind.words))
        raise ValueError(
            f"unknown oddity {text!r}: must start with one of {', '.join(kind.words for kind in OddityKind)}"
        )


@renamed_arguments(odd="oddities")
@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One readable video. Sizes are as shown: the file's own rotation is applied."""

    path: str
    """Path as it was given."""
    label: int
    """Index into the manifest's classes, or -1 where the class is not known."""
    num_frames: int
    """Number of frames that decoding gives, which may differ from the header's."""
    fps: float
    """Frames per second on average; 0 where the file does not say."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    codec: str
    """Codec as FFmpeg names it, such as ``h264``."""
    size_bytes: int
    """File size in bytes; with ``mtime_ns`` it shows whether the file has changed."""
    mtime_ns: int
    """Time of the file's last change, in nanoseconds since 1970."""
    pix_fmt: str = ""
    """Pixel format as FFmpeg names it, such as ``yuv420p``."""
    oddities: tuple[Oddity, ...] = ()
    """Unusual properties, such as a rotation or a changing frame rate; empty for most videos.
    They decide which decoders may read the video."""
    verified: bool = False
    """Whether every frame was decoded, instead of only counting packets."""
    exact_times: bool = False
    """Whether every packet is one frame, shown at the packet's time: decoding may begin at a key frame."""
    start_frame: int = 0
    """First frame of the part of the file that this entry stands for."""
    end_frame: int = 0
    """The frame after that part's last; 0 is the end of the file."""

    @property
    def used_frames(self) -> range:
        """The frames that clips are taken from: all, or the segment that a list names."""
        return range(self.start_frame, self.end_frame or self.num_frames)

    def oddity(self, kind: OddityKind) -> Oddity | None:
        """Return the video's oddity of this kind, or None if it has none."""
        return next((oddity for oddity in self.oddities if oddity.kind is kind), None)

    def oddity_for(self, decoder_support: DecoderSupport) -> Oddity | None:
        """Return the first oddity that only these decoders support; None if there is none."""
        return next((oddity for oddity in self.oddities if oddity.kind.decoder_support is decoder_support), None)

    odd = renamed_attribute("odd", "oddities")

    def odd_for(self, decoded_by: DecoderSupport) -> Oddity | None:
        """Do what :meth:`oddity_for` does, under its old name."""
        warn_renamed("VideoInfo.odd_for", "oddity_for")
        return self.oddity_for(decoded_by)

    def is_current(self, path: str | None = None) -> bool:
        """Return whether the file still has its size and time of change; ``path`` is by default the video's own."""
        try:
            stat = os.stat(path or self.path)
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size_bytes, self.mtime_ns)
