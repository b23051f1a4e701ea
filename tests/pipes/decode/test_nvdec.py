"""What NVDEC takes, without one: the driver's answers are made up. tests/gpu asks a real one."""

import ctypes
from dataclasses import replace

import pytest

from dali_pipes.decode import nvdec
from dali_pipes.decode.nvdec import NvdecLimits, why_not_nvdec
from dali_pipes.decode.video_info import VideoInfo

VIDEO = VideoInfo("a.mp4", 0, 100, 25.0, 320, 240, "hevc", 1000, 0)


@pytest.fixture
def driver(monkeypatch):
    """An H100's, as it answered."""
    answers = {
        "hevc": NvdecLimits(7, 144, 144, 8192, 8192),
        "vp9": NvdecLimits(7, 128, 128, 8192, 8192),
        "mpeg4": NvdecLimits(0, 48, 16, 2048, 2048),
        "av1": NvdecLimits(0, 0, 0, 0, 0),
    }
    monkeypatch.setattr(nvdec, "nvdec_limits", lambda codec, device_id: answers[codec])
    nvdec._limits_if_known.cache_clear()
    yield
    nvdec._limits_if_known.cache_clear()


def test_the_structure_is_as_long_as_nvidias():
    """CUVIDDECODECAPS: 3 numbers and 3 reserved ones, 4 bytes, 3 numbers, 8 bytes, and 10 reserved numbers."""
    assert nvdec._Caps.max_width.offset == 28 and nvdec._Caps.min_width.offset == 40
    assert ctypes.sizeof(nvdec._Caps) == 88


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, None),
        ({"width": 144, "height": 144}, None),
        ({"height": 128}, "a.mp4 has 320x128 pixels, but this GPU decodes hevc only from 144x144 to 8192x8192"),
        ({"codec": "mpeg4", "width": 2050}, "a.mp4 has 2050x240 pixels, but this GPU decodes mpeg4 only from 48x16 to"),
        ({"codec": "libvpx-vp9"}, None),
        ({"codec": "libdav1d"}, "a.mp4 has the codec libdav1d, which this GPU cannot decode"),
        ({"codec": "mjpeg"}, "a.mp4 has the codec mjpeg, which DALI does not decode on a GPU"),
    ],
)
def test_what_stands_in_the_way(driver, changes, said):
    found = why_not_nvdec(replace(VIDEO, **changes), 0)
    assert found is None if said is None else found.startswith(said)


@pytest.mark.parametrize("error", [OSError("no driver"), AttributeError("cuvidGetDecoderCaps")])
def test_a_driver_that_does_not_answer_is_asked_once_and_no_obstacle(driver, monkeypatch, error):
    asked = []

    def fail(codec, device_id):
        asked.append(codec)
        raise error

    monkeypatch.setattr(nvdec, "nvdec_limits", fail)
    for _ in range(3):
        assert why_not_nvdec(VIDEO, 0) is None
    assert asked == ["hevc"]
