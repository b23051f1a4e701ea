"""What is known of one video file, such as how many frames it decodes to and what is odd about it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One readable video. Sizes are as shown: the file's own rotation is applied."""

    path: str
    """As it was given."""
    label: int
    """Index into the manifest's classes, or -1 where the class is not known."""
    num_frames: int
    """As decoded, not as the header says."""
    fps: float
    """Frames per second on average; 0 where the file does not say."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    codec: str
    """As FFmpeg names it, such as ``h264``."""
    size_bytes: int
    """Of the file; with the next, how a change is noticed."""
    mtime_ns: int
    """When the file last changed, in nanoseconds since 1970."""
    pix_fmt: str = ""
    """How pixels are stored, as FFmpeg names it, such as ``yuv420p``."""
    odd: str = ""
    """What is unusual, of the kinds in ``ODD_KINDS``, joined by ``; ``. None of it is a fault."""
    verified: bool = False
    """Every frame was decoded, not only the packets counted."""
    exact_times: bool = False
    """Every packet is one frame, shown at the packet's time: decoding may begin at a key frame."""
    start_frame: int = 0
    """Where the part of the file begins that this entry stands for."""
    end_frame: int = 0
    """The frame after that part's last; 0 is the end of the file."""

    @property
    def used_frames(self) -> range:
        """The frames that clips are taken from: all, or the segment that a list names."""
        return range(self.start_frame, self.end_frame or self.num_frames)

    def is_current(self, path: str | None = None) -> bool:
        """Whether the file (at ``path``, by default its own) is there with the size and time of change that it had."""
        try:
            stat = os.stat(path or self.path)
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


ODD_KINDS = {
    "variable rate": "the time between frames changes",
    "starts late": "the first time stamp is not zero",
    "rotated": "stored on its side or head; applied when decoding",
    "mirrored": "stored mirrored; applied when decoding",
    "frame times": "missing, below zero or not in the order of showing, as in AVI files with B-frames; DALI orders frames by them",
    "packed B-frames": "two frames in one packet, as old DivX files have",
    "more than 8 bits": "bits are dropped when decoding",
    "not 4:2:0": "another chroma sampling, grey or RGB",
    "not BT.601": "another colour matrix, as most HD video has; heeded when decoding",
    "odd size": "an odd width or height",
    "pixels not square": "width to height of a pixel as shown; frames are read as they are stored",
    "interlaced": "two fields in each frame; shown as they are",
    "header": "it speaks of another number of frames, or of a longer time, than there is",
    "frames unlike packets": "their numbers differ",
    "hidden packets": "an edit list leaves some out",
    "several video streams": "such as a cover picture or a second programme; the one that FFmpeg calls best is read",
    "damaged": "the decoder found errors and showed what it could",
}
"""Kind -> meaning."""
