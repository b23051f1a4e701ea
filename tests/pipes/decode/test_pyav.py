"""What differs between PyAV 17, 18 and 19 is alike here."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from dali_pipes.dataset.probe import read_video_info
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.pyav import fraction_of, open_input
from tests import odd_videos as odd
from tests.videos import write_lossless

NOT_UTF8 = b"Michel cartwh\xd3 \xaa"


@pytest.fixture
def titled(tmp_path) -> Path:
    """An AVI whose title is not UTF-8, as some of HMDB-51's."""
    path = write_lossless(tmp_path / "titled.avi", 4)
    with av.open(str(path)) as source, av.open(str(tmp_path / "12:30.avi"), "w") as copy:
        copy.metadata["title"] = "x" * len(NOT_UTF8)
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    return odd.edit(tmp_path / "12:30.avi", b"x" * len(NOT_UTF8), -len(NOT_UTF8), NOT_UTF8)


def test_titles_that_are_not_utf8(titled):
    with open_input(str(titled)) as container:
        assert container.metadata["title"].encode("utf-8", "surrogateescape") == NOT_UTF8
    assert read_video_info(str(titled)).num_frames == len(decode_frames(str(titled), range(4))) == 4


def test_numbers_are_fractions(tmp_path):
    """PyAV 19 has a number of its own, and for an unknown one gives 0/1, not None."""
    with open_input(str(write_lossless(tmp_path / "video.avi", 4))) as container:
        stream = container.streams.video[0]
        assert type(fraction_of(stream.time_base)) is Fraction
        assert fraction_of(stream.average_rate) == 25 and fraction_of(stream.sample_aspect_ratio) is None
