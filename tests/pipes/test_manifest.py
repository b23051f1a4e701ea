"""Scanning: exact counts, bad files named, caching, saving; and finding videos on disk."""

import os

import numpy as np
import pytest

from dali_pipes import InputError, Manifest, find_videos, scan_videos
from dali_pipes import manifest as manifest_module
from dali_pipes.datasets import find_splits
from dali_pipes.manifest import default_cache
from tests.videos import write_lossless


def test_scan_of_class_folders(class_folders):
    items = find_videos(class_folders)
    manifest = scan_videos(items)
    assert manifest.classes == ["left", "right"] and not manifest.refused
    assert [video.num_frames for video in manifest.videos] == [20, 33, 40, 9, 70]
    assert [video.label for video in manifest.videos] == [0, 0, 0, 1, 1]
    first = manifest.videos[0]
    assert (first.width, first.height, first.fps, first.codec) == (48, 64, 25.0, "ffv1")


def test_bad_files_are_named_and_left_out(tmp_path, class_folders):
    good = find_videos(class_folders)
    (tmp_path / "empty.avi").touch()
    (tmp_path / "text.avi").write_text("no video here " * 100)
    whole = write_lossless(tmp_path / "cut.avi", 50, (48, 64), codec="mpeg4")
    whole.write_bytes(whole.read_bytes()[:200])
    bad = [(str(tmp_path / name), "left") for name in ("empty.avi", "text.avi", "cut.avi", "missing.avi")]
    manifest = scan_videos(good + bad)
    assert len(manifest) == len(good)
    reasons = {os.path.basename(path): reason for path, reason in manifest.refused.items()}
    assert reasons["empty.avi"] == "is empty (0 bytes)" and reasons["missing.avi"] == "No such file or directory"
    assert "cannot be read as video" in reasons["text.avi"] and set(reasons) == {os.path.basename(p) for p, _ in bad}
    with pytest.raises(InputError, match="no video can be read of 1; the first: .*empty.avi: is empty"):
        scan_videos(bad[:1])


def test_save_and_load(tmp_path, class_folders):
    items = [*find_videos(class_folders), (str(tmp_path / "gone, really.avi"), "right")]
    manifest = scan_videos(items, classes=["absent", "left", "right"])
    manifest.save(tmp_path / "manifest.csv")
    assert Manifest.load(tmp_path / "manifest.csv") == manifest
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="other.csv: is not a manifest"):
        Manifest.load(tmp_path / "other.csv")


def test_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
    path = write_lossless(tmp_path / "a" / "video.avi", 5)
    items, probed = find_videos(tmp_path), []
    original = manifest_module.map_isolated

    def recording(function, arguments, **options):
        probed.extend(arguments)
        return original(function, arguments, **options)

    monkeypatch.setattr(manifest_module, "map_isolated", recording)
    cache = default_cache(items)
    first = scan_videos(items, cache=cache)
    assert scan_videos(items, cache=cache) == first and len(probed) == 1
    write_lossless(path, 8)
    assert scan_videos(items, cache=cache).videos[0].num_frames == 8 and len(probed) == 2
    cache.write_text("damaged")
    assert scan_videos(items, cache=cache).videos[0].num_frames == 8 and len(probed) == 3


def test_labels(class_folders):
    paths = [path for path, _ in find_videos(class_folders)][:2]
    assert scan_videos([(paths[0], 0), (paths[1], 3)]).classes == ["0", "1", "2", "3"]
    with pytest.raises(InputError, match="unknown class 'c', the classes are a, b"):
        scan_videos([(paths[0], "c")], classes=["a", "b"])


def test_contradictory_labels(class_folders):
    path = find_videos(class_folders)[0][0]
    assert len(scan_videos([(path, "a"), (path, "a"), (path, "a")])) == 1
    with pytest.raises(InputError, match="left0.avi: has two labels, a and b"):
        scan_videos([(path, "a"), (path, "b")])
    with pytest.raises(InputError, match="class names or indices, not both: 1 stands among names"):
        scan_videos([(path, "a"), ("other.avi", np.int64(1))])
    with pytest.raises(InputError, match="the label is None"):
        scan_videos([(path, None)])


def test_a_cache_that_cannot_be_written_is_a_warning(class_folders):
    with pytest.warns(UserWarning, match="/proc/nowhere/x.csv: what was read cannot be kept"):
        assert len(scan_videos(find_videos(class_folders), cache="/proc/nowhere/x.csv")) == 5


@pytest.mark.parametrize("name", ["with space.avi", "ünïcödé.avi", "12:30.avi", "new\nline.avi", "a,b.avi"])
def test_awkward_names(tmp_path, name, monkeypatch):
    write_lossless(tmp_path / "a" / name, 4)
    monkeypatch.chdir(tmp_path)
    manifest = scan_videos(find_videos("."))
    assert manifest.videos[0].num_frames == 4
    manifest.save("manifest.csv")
    assert Manifest.load("manifest.csv") == manifest


def test_csv(tmp_path, class_folders):
    paths = [path for path, _ in find_videos(class_folders)]
    csv = tmp_path / "list.csv"
    csv.write_text(f"path,label\n{paths[0]},jump\n{os.path.relpath(paths[1], tmp_path)},run\n")
    found = find_videos(csv)
    assert sorted(label for _, label in found) == ["jump", "run"]
    assert len(scan_videos(found)) == 2
    csv.write_text("file,class\nx,y\n")
    with pytest.raises(InputError, match="needs the columns path,label in its first line, it has file,class"):
        find_videos(csv)
    csv.write_text("path,label\na,b.avi,x\n")
    with pytest.raises(InputError, match="line 2: has more than 2 fields"):
        find_videos(csv)
    csv.write_text("path,label\nx.avi,\n")
    with pytest.raises(InputError, match="line 2: needs a path and a label"):
        find_videos(csv)


def test_wrong_sources(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder or file"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no videos"):
        find_videos(tmp_path)
    (tmp_path / "loose.avi").touch()
    with pytest.raises(InputError, match="loose.avi: lies outside any class folder"):
        find_videos(tmp_path)


def test_splits(tmp_path):
    assert find_splits(tmp_path) == {}
    for name in ("train", "validation"):
        (tmp_path / name).mkdir()
    assert find_splits(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "validation"}


def test_real_headers_lie(shared_clips):
    """HMDB-51 headers count one frame more than decodes, and one title tag is not UTF-8."""
    manifest = scan_videos(find_videos(shared_clips / "actions"))
    assert not manifest.refused and len(manifest) == 9
    lengths = {os.path.basename(video.path)[:12]: video.num_frames for video in manifest.videos}
    assert lengths["RATRACE_wave"] == 72 and lengths["hmdb51_Turnk"] == 83 and lengths["v_ApplyEyeMa"] == 164
