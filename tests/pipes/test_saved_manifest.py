"""Manifests that an earlier version wrote, see tests/saved/README.md: they load, and serve as lists and as caches."""

import os

import pytest

from dali_pipes import Manifest, Segment, find_splits, find_videos, scan_videos
from tests.saved.files import SAVED, pretend, read_rows, run_module, write_rows, write_videos

ODD = SAVED / "odd.csv"


@pytest.mark.parametrize("name", ["odd.csv", "run/train.csv", "run/val.csv"])
def test_a_saved_manifest_is_saved_again_with_todays_columns(name, tmp_path):
    manifest = Manifest.load(SAVED / name)
    splits = [row["split"] for row in read_rows(SAVED / name) if row.get("split")]
    manifest.save(tmp_path / "again.csv", splits)
    saved = (SAVED / name).read_bytes()
    assert (tmp_path / "again.csv").read_bytes() == saved.replace(b",odd,", b",oddities,", 1)


def test_what_a_saved_manifest_says():
    manifest = Manifest.load(ODD)
    assert (len(manifest), len(manifest.refused)) == (27, 6)
    assert manifest.classes == ["none of it", "1", "10", "Ärger"]
    assert [sum(video.label == label for video in manifest.videos) for label in range(-1, 4)] == [2, 0, 8, 10, 7]
    assert manifest.refused["odd/uneven.mkv (0.1 to 0.2 s)"].startswith(
        "the time between its frames changes, so 0.1 to"
    )
    *_, first, second, trimmed, cover, interlaced = manifest.videos
    assert (first.used_frames, second.used_frames) == (range(2, 7), range(5, 12))
    assert (trimmed.used_frames, trimmed.num_frames, trimmed.exact_times) == (range(4), 9, False)
    assert (cover.verified, interlaced.verified, interlaced.used_frames) == (False, True, range(12))
    turned = manifest.videos[3]
    assert (turned.path, turned.codec, turned.fps) == ("odd/turned.mp4", "h264", 25)
    assert (turned.width, turned.height) == (48, 64)


def test_a_saved_manifest_is_a_list_of_videos(tmp_path, monkeypatch):
    """Without its two rows of videos that have no class."""
    rows = read_rows(ODD)
    write_rows(tmp_path / "labelled.csv", [row for row in rows if row["label"] or row["refused"]])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / 'new\nline, comma and "quotes".mp4').touch()  # else it is taken for a torn line
    splits = find_splits("labelled.csv")
    assert list(splits) == ["train", "val", "test"]
    train, val, test = (find_videos("labelled.csv", split) for split in splits)
    assert (len(train), len(val), len(test)) == (9, 8, 8)
    assert train[0] == ("odd/plain.mp4", "1") and test[1] == ("odd/wide pixels on their side.mp4", "Ärger")
    assert val[-1] == ("odd/plain.mp4", "10", Segment(2, 7, "frames"))
    assert test[-1] == ("odd/plain.mp4", "10", Segment(5, 12, "frames"))
    assert train[-1] == ("odd/trimmed.mp4", "10", Segment(0, 4, "frames"))


def with_todays_columns(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"oddities" if name == "odd" else name: text for name, text in row.items()} for row in rows]


def test_a_saved_cache_is_used(tmp_path):
    """No file is read: they have but the sizes and times of change that were noted."""
    whole = {"start_frame": "", "end_frame": ""}
    rows = {row["path"]: row | whole for row in read_rows(ODD) if row["label"] and row["verified"] == "yes"}
    cached = [pretend(row, tmp_path) for row in rows.values()]
    write_rows(tmp_path / "cache.csv", cached)
    items = [(row["path"], row["label"]) for row in cached]
    manifest = scan_videos(items, classes=Manifest.load(ODD).classes, cache=tmp_path / "cache.csv")
    assert len(manifest) == 22 and not manifest.refused
    manifest.save(tmp_path / "now.csv", [row["split"] for row in cached])
    *now, without_videos = read_rows(tmp_path / "now.csv")
    assert now == with_todays_columns(cached) and without_videos["label"] == "none of it"


def test_a_video_that_is_read_now_is_described_as_it_was(tmp_path, monkeypatch):
    """By the manifest's program, of the list that the earlier version saved; a file's size and time are its own."""
    monkeypatch.chdir(write_videos(tmp_path))
    rows = with_todays_columns(read_rows(SAVED / "run" / "val.csv"))
    (tmp_path / "val.csv").write_bytes((SAVED / "run" / "val.csv").read_bytes())
    said = run_module("dali_pipes.manifest", "val.csv", "--verify", "--workers", 1, "-o", "now.csv")
    assert "videos    7 of 7 files" in said and "classes   2, with 3 to 4 videos each" in said
    own = {"path": "", "size_bytes": "", "mtime_ns": ""}
    now = read_rows(tmp_path / "now.csv")
    assert [row | own for row in now] == [row | own for row in rows]
    assert [os.path.relpath(row["path"]) for row in now] == [row["path"] for row in rows]
