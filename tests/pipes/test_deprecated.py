"""Old public names work for one release, and warn with the new name."""

import inspect
import pickle
from dataclasses import replace

import pytest

import dali_pipes
from dali_pipes import ClipSampler, Manifest, OddityKind, VideoInfo, VideoLoader
from dali_pipes.decode.video_info import DecoderSupport, Oddity
from train.models import build_model

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
    with pytest.warns(FutureWarning, match="OddityKind.decoded_by is now called decoder_support"):
        assert OddityKind.ROTATED.decoded_by is DecoderSupport.PYAV_ONLY
    with pytest.warns(FutureWarning, match=r"VideoInfo\(odd=...\) is now called oddities") as caught:
        assert VideoInfo("a.mp4", 0, 9, 25, 64, 48, "h264", 1, 1, odd=ROTATED) == INFO
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_new_names_do_not_warn():
    assert pickle.loads(pickle.dumps(replace(INFO, label=1))).oddities == ROTATED


@pytest.mark.parametrize(("old", "new", "value"), [("side_px", "crop_px", 32), ("short", "short_videos", "pad")])
def test_a_loader_takes_the_old_names_of_its_arguments(old, new, value):
    manifest = Manifest([INFO], ["a"])
    with pytest.warns(FutureWarning, match=rf"VideoLoader\({old}=...\) is now called {new}"):
        loader = VideoLoader(manifest, device="cpu", workers=0, **{old: value})
    owner = loader if old == "side_px" else loader.clip_sampler
    assert getattr(owner, new) == value
    with pytest.warns(FutureWarning, match=f"{type(owner).__name__}.{old} is now called {new}"):
        assert getattr(owner, old) == value


def test_a_sampler_takes_the_old_name_of_its_argument():
    with pytest.warns(FutureWarning, match=r"ClipSampler\(short=...\) is now called short_videos"):
        assert ClipSampler(videos=[INFO], short="pad").short_videos == "pad"
    assert "short_videos" in inspect.signature(ClipSampler).parameters


def test_a_network_takes_the_old_names_of_its_arguments():
    with pytest.warns(FutureWarning, match=r"build_model\((frames|side)=...\) is now called"):
        build_model("r3d_18", 2, frames=16, side=40)
