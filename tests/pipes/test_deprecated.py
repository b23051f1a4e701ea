"""Old public names work for one release, and warn with the new name."""

import pickle
from dataclasses import replace

import pytest

import dali_pipes
from dali_pipes import OddityKind, VideoInfo
from dali_pipes.decode.video_info import DecoderSupport, Oddity

ROTATED = (Oddity(OddityKind.ROTATED),)
INFO = VideoInfo("a.mp4", 0, 9, 25, 64, 48, "h264", 1, 1, oddities=ROTATED)


@pytest.mark.parametrize(("old", "new"), [("Listed", "OfficialLists"), ("OddKind", "OddityKind")])
def test_a_renamed_class_is_found_under_its_old_name(old, new):
    with pytest.warns(FutureWarning, match=f"dali_pipes.{old} is now called {new}; the old name will be removed"):
        assert getattr(dali_pipes, old) is getattr(dali_pipes, new)
    assert old not in dali_pipes.__all__


def test_oddities_are_read_under_their_old_name():
    with pytest.warns(FutureWarning, match="VideoInfo.odd is now called oddities") as caught:
        assert INFO.odd == ROTATED
    assert caught[0].filename == __file__
    with pytest.warns(FutureWarning, match="VideoInfo.odd_for is now called oddity_for"):
        assert INFO.odd_for(DecoderSupport.PYAV_ONLY) is ROTATED[0]
    with pytest.warns(FutureWarning, match=r"VideoInfo\(odd=...\) is now called oddities") as caught:
        assert VideoInfo("a.mp4", 0, 9, 25, 64, 48, "h264", 1, 1, odd=ROTATED) == INFO
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_new_names_do_not_warn():
    assert pickle.loads(pickle.dumps(replace(INFO, label=1))).oddities == ROTATED
