"""Lists of videos as people write them: each row is a sample, and no column is passed over unseen."""

import os

import numpy as np
import pytest

from dali_pipes import ClipSampler, InputError, Manifest, find_videos, scan_videos
from dali_pipes.dataset.lists import Segment
from dali_pipes.dataset.sources import Part, find_splits, find_unlabelled
from tests import odd_videos as odd
from tests.videos import write_lossless


def written(path, text: str):
    path.write_text(text, newline="")
    return path


def test_csv(tmp_path, class_folders):
    paths = [path for path, _ in find_videos(class_folders)]
    csv = tmp_path / "list.csv"
    csv.write_text(f"path,label\n{paths[0]},jump\n{os.path.relpath(paths[1], tmp_path)},run\n")
    found = find_videos(csv)
    assert sorted(label for _, label in found) == ["jump", "run"]
    assert len(scan_videos(found)) == 2
    csv.write_text("file,class\nx,y\n")
    with pytest.raises(
        InputError,
        match="list.csv: its first line is 'file,class'; expected column names, such as path,label, or a path",
    ):
        find_videos(csv)
    csv.write_text("path,label\na,b.avi,x\n")
    with pytest.raises(InputError, match="line 2: has more than 2 fields, the number in the first line"):
        find_videos(csv)
    csv.write_bytes(b"path,label\nx.avi,caf\xe9\n")
    with pytest.raises(InputError, match="line 2: its label is not UTF-8 text"):
        find_videos(csv)
    csv.write_bytes(b"path,label\ncaf\xe9.avi,a\n")
    assert find_videos(csv) == [(str(tmp_path / os.fsdecode(b"caf\xe9.avi")), "a")]
    csv.write_text("path,label\nx.avi,\n")
    with pytest.raises(InputError, match="line 2: has an empty field; give a path and a label"):
        find_videos(csv)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv"])
@pytest.mark.parametrize("between", [" ", "\t", ",", ";", ", "])
def test_lists_without_a_header(tmp_path, name, between):
    """As PySlowFast, mmaction2 and VideoMAE read them."""
    videos = ["run/a b.mp4", "C/0.avi", "run/a b.mp4"]
    path = written(
        tmp_path / name,
        "".join(f"{video}{between}{number}\r\n" for video, number in zip(videos, (10, 2, 10), strict=True)) + "\n",
    )
    expected = [(str(tmp_path / video), label) for video, label in zip(videos, ("10", "2", "10"), strict=True)]
    assert find_videos(path) == expected
    assert find_unlabelled(path) == [(video, None) for video, _ in expected]


def test_other_lists_without_a_header(tmp_path):
    assert find_videos(written(tmp_path / "a.csv", "0.mp4,high jump\n")) == [(str(tmp_path / "0.mp4"), "high jump")]
    paths = written(tmp_path / "b.txt", "0.mp4\nx y.avi\n")
    for text in ("0.mp4\nx y.avi\n", "path\n0.mp4\nx y.avi\n"):
        paths = written(tmp_path / "b.txt", text)
        assert find_unlabelled(paths) == [(str(tmp_path / "0.mp4"), None), (str(tmp_path / "x y.avi"), None)]
    written(paths, "0.mp4\n")
    with pytest.raises(
        InputError,
        match="b.txt: its first line, '0.mp4', is a path without a class; "
        "expected the columns path,label or lines such as",
    ):
        find_videos(paths)
    for text in ("0.mp4 1\n1.mp4\n", "0.mp4 1\n1.mp4 \n", "0.mp4,1\n1.mp4,2,3\n"):
        with pytest.raises(InputError, match="c.txt, line 2: must be a path and a class, like the first line"):
            find_videos(written(tmp_path / "c.txt", text))
    with pytest.raises(
        InputError, match="d.txt: its first line, '0.mp4 120 3', has more than a path and a class; add a first line"
    ):
        find_videos(written(tmp_path / "d.txt", "0.mp4 120 3\n"))
    assert find_videos(written(tmp_path / "e.txt", "path label\n0.mp4 run\n")) == [(str(tmp_path / "0.mp4"), "run")]
    with pytest.raises(InputError, match="f.doc: is neither a folder nor a list"):
        find_videos(written(tmp_path / "f.doc", "0.mp4 1\n"))


def test_blanks_around_names(tmp_path):
    path = written(tmp_path / "a.csv", '\ufeffpath, Label \n"0.mp4", run\n1.mp4 ,run \n')
    assert find_videos(path) == [(str(tmp_path / "0.mp4"), "run"), (str(tmp_path / "1.mp4"), "run")]
    (tmp_path / "2.mp4 ").touch()
    path = written(tmp_path / "c.csv", "path,label\n2.mp4 ,run\n")
    assert find_videos(path) == [(str(tmp_path / "2.mp4 "), "run")]  # it may be called so
    with pytest.raises(InputError, match="b.csv: its first line names the column label twice"):
        find_videos(written(tmp_path / "b.csv", "path,label,Label\n"))


def test_each_row_is_a_sample(tmp_path, class_folders):
    """That is how people balance classes."""
    path, other = (path for path, _ in find_videos(class_folders)[:2])
    rows = written(tmp_path / "l.csv", "path,label\n" + f"{other},walk\n{path},run\n" + f"{path},run\n" * 4)
    manifest = scan_videos(find_videos(rows))
    assert [video.path for video in manifest.videos] == [other] + [path] * 5  # in the list's order
    sampler = ClipSampler(videos=manifest.videos, num_frames=4)
    assert len(sampler) == 6 and len({tuple(sampler.plan(0, sample).frame_indices) for sample in range(6)}) > 3
    manifest.save(tmp_path / "m.csv")
    assert Manifest.load(tmp_path / "m.csv") == manifest and len(find_videos(tmp_path / "m.csv")) == 6
    unlabelled = written(tmp_path / "u.csv", f"path\n{path}\n{other}\n{path}\n")
    assert [video.path for video in scan_videos(find_unlabelled(unlabelled)).videos] == [path, other, path]


def test_a_segment_is_what_clips_are_taken_from(tmp_path):
    video = write_lossless(tmp_path / "v.avi", 100)  # 25 per second
    path = written(
        tmp_path / "l.csv",
        "path,label,start,end\nv.avi,a,1,2\nv.avi,b,2,\nv.avi,c,,0.5\nv.avi,d,,\nv.avi,e,3.9,9\n",
    )
    manifest = scan_videos(find_videos(path))
    assert [video.used_frames for video in manifest.videos] == [
        range(25, 50),
        range(50, 100),
        range(0, 12),
        range(0, 100),
        range(98, 100),
    ]
    assert {video.num_frames for video in manifest.videos} == {100}
    assert [manifest.classes[video.label] for video in manifest.videos] == list("abcde")
    for training in (True, False):
        sampler = ClipSampler(
            videos=manifest.videos, num_frames=8, training=training, clips_per_video=1 if training else 3
        )
        seen = [set() for _ in manifest.videos]
        for epoch in range(20):
            for sample in range(len(sampler)):
                plan = sampler.plan(epoch, sample)
                seen[plan.video] |= set(plan.frame_indices.tolist())
        for found, info in zip(seen, manifest.videos, strict=True):
            assert found <= set(info.used_frames)
            assert training or {info.used_frames.start, info.used_frames.stop - 1} <= found
    manifest.save(tmp_path / "m.csv")
    assert Manifest.load(tmp_path / "m.csv") == manifest
    assert [video.used_frames for video in scan_videos(find_videos(tmp_path / "m.csv")).videos] == [
        video.used_frames for video in manifest.videos
    ]
    frames = written(tmp_path / "f.csv", "path,label,start_frame,end_frame\nv.avi,a,10,20\nv.avi,a,20.0,\n")
    assert find_videos(frames) == [
        (str(video), "a", Segment(10, 20, "frames")),
        (str(video), "a", Segment(20, None, "frames")),
    ]
    assert [info.used_frames for info in scan_videos(find_videos(frames)).videos] == [range(10, 20), range(20, 100)]


def test_segments_that_are_none(tmp_path, class_folders):
    first = find_videos(class_folders)[0][0]  # 20 frames, 0.8 s
    for header, cells, message in (
        ("start,end", "2,1", "line 2: its segment, 2 to 1 s, must end after its start"),
        ("start,end", "0:10,", "line 2: invalid start '0:10': must be a number of seconds, at least 0"),
        ("start,end", "nan,", "line 2: invalid start 'nan': must be a number of seconds"),
        ("start_frame,end_frame", "1.5,", "line 2: invalid start_frame '1.5': must be a whole number of frames"),
        (
            "start,end_frame",
            "1,30",
            "line 2: has both 1 s to the end and frames 0 to 30; give one segment, in seconds or",
        ),
        ("start,end", "0,0", "line 2: its segment, 0 to 0 s, must end after its start"),
        ("start_frame,end_frame", "7,0", "line 2: its segment, frames 7 to 0, must end after its start"),
    ):
        with pytest.raises(InputError, match=message):
            find_videos(written(tmp_path / "l.csv", f"path,label,{header}\n{first},a,{cells}\n"))
    rows = written(tmp_path / "l.csv", f"path,label,start,end\n{first},a,0,\n{first},a,0.8,0.9\n{first},a,7,8\n")
    manifest = scan_videos(find_videos(rows))
    assert len(manifest) == 1 and manifest.refused == {
        f"{first} (0.8 to 0.9 s)": "its segment starts after the end of the video, which has a length of 0.800 s",
        f"{first} (7 to 8 s)": "its segment starts after the end of the video, which has a length of 0.800 s",
    }
    with pytest.raises(InputError, match="left0.avi .frames 3 to 9.: is listed with two labels, a and b"):
        scan_videos([(first, "a", Segment(3, 9, "frames")), (first, "b", Segment(3, 9, "frames"))])


def test_seconds_of_a_variable_rate_are_no_frames(tmp_path):
    video = str(odd.uneven(tmp_path / "v.mkv"))
    manifest = scan_videos([(video, "a"), (video, "a", Segment(0.1, 1, "s")), (video, "a", Segment(1, 5, "frames"))])
    assert [info.used_frames.start for info in manifest.videos] == [0, 1]
    (reason,) = manifest.refused.values()
    assert reason.startswith(
        "its frame rate varies, so 0.1 to 1 s cannot be converted to frames; give start_frame and end_frame"
    )


def test_a_column_split_splits(tmp_path):
    path = written(
        tmp_path / "l.csv",
        "path,label,split\n0.avi,a,train\n1.avi,b,Training\n2.avi,a,val\n3.avi,b,test\n4.avi,b,train\n",
    )
    assert find_splits(path) == {name: Part(path, name) for name in ("train", "val", "test")}
    assert [os.path.basename(video) for video, _ in find_videos(path, "train")] == ["0.avi", "1.avi", "4.avi"]
    assert find_videos(path, "val") == [(str(tmp_path / "2.avi"), "a")]
    with pytest.raises(InputError, match="l.csv: is split into train .*, split train. and val"):
        find_videos(path)
    written(path, "path,label,split\n0.avi,a,train\n3.avi,b,test\n")
    assert find_splits(path) == {"train": Part(path, "train"), "val": Part(path, "test")}
    for cell, message in (
        (
            "holdout",
            "line 2: invalid split 'holdout': choose one of train, training, .*, or rename the column",
        ),
        ("", "line 2: has no split"),
    ):
        with pytest.raises(InputError, match=message):
            find_splits(written(path, f"path,label,split\n0.avi,a,{cell}\n"))


def test_columns_that_are_not_used_are_named_once(tmp_path):
    path = written(tmp_path / "l.csv", "path,label,fps,youtube_id,\n0.avi,a,25,x,\n")
    with pytest.warns(UserWarning) as caught:
        assert find_videos(path) == [(str(tmp_path / "0.avi"), "a")]
    messages = {str(warning.message) for warning in caught}
    assert messages == {
        f"{path}: these columns are ignored: fps, youtube_id, without a name; "
        "the known columns are path, label, split, start, end, "
        "start_frame, end_frame"
    }


def test_a_segment_of_all_frames_changes_no_plan(class_folders):
    items = find_videos(class_folders)
    cut = [(path, label, Segment(0, 10**6, "frames")) for path, label in items]
    whole, same = (ClipSampler(videos=scan_videos(given).videos, num_frames=16) for given in (items, cut))
    for sample in range(len(whole)):
        assert np.array_equal(whole.plan(1, sample).frame_indices, same.plan(1, sample).frame_indices)


@pytest.mark.parametrize(
    "text, message",
    [
        ('path,label\n0.mp4,"run\n1.mp4,walk\n', "line 2: "),
        ('path,label\n"0.mp4,run\n1.mp4,walk\n2.mp4,"run"\n', "line 2: "),
        ('path,label\n0.mp4,"run\n1.mp4",walk\n', "line 2: has a quotation mark that is not closed on this line"),
    ],
)
def test_a_quotation_mark_swallows_no_rows(tmp_path, text, message):
    with pytest.raises(InputError, match=f"l.csv, {message}"):
        find_videos(written(tmp_path / "l.csv", text))


def test_as_other_programs_write_them(tmp_path):
    """Excel's first line and its UTF-16, numbers with a point, trailing delimiters, backslashes, quoted paths,
    other columns."""
    (tmp_path / "run").mkdir()
    for name in ("a.mp4", "caf\u00e9.mp4"):
        (tmp_path / "run" / name).touch()
    found = [(str(tmp_path / "run/a.mp4"), "3.0")]
    assert find_videos(written(tmp_path / "a.csv", "sep=;\npath;label\nrun\\a.mp4;3.0;\n")) == found
    assert find_videos(written(tmp_path / "b.txt", '"run/a.mp4" 3\n')) == [(found[0][0], "3")]
    assert find_videos(written(tmp_path / "c.csv", "path,label\nrun/cafe\u0301.mp4,x\n")) == [
        (str(tmp_path / "run/caf\u00e9.mp4"), "x")
    ]
    (tmp_path / "d.csv").write_bytes("path,label\n0.mp4,a\n".encode("utf-16"))
    with pytest.raises(InputError, match="d.csv: is not UTF-8 text; save it as UTF-8 .in Excel: CSV UTF-8."):
        find_videos(tmp_path / "d.csv")
    with pytest.warns(UserWarning, match="these columns are ignored: class_index"):
        assert find_videos(written(tmp_path / "e.csv", "path,label,class_index\nrun/a.mp4,3.0,7\n")) == found
    for text, message in (
        ("", "is empty; expected a first line with column names"),
        ("0.mp4 run\n", "its first line, '0.mp4 run', separates a path and a class name with a space"),
        ("frames/0 3\n", "names no video file: 'frames/0' does not end in the extension of a video"),
        ("path,label\n", "has no rows below its first line"),
    ):
        with pytest.raises(InputError, match=f"f.csv: {message}" if "names no" not in message else message):
            find_videos(written(tmp_path / "f.csv", text))


def test_one_file_in_two_spellings_has_one_label(class_folders):
    path = find_videos(class_folders)[0][0]
    other = os.path.join(os.path.dirname(path), "..", *path.split(os.sep)[-2:])
    assert len(scan_videos([(path, "a"), (other, "a")])) == 2
    with pytest.raises(InputError, match="is listed with two labels, a and b; keep one of them"):
        scan_videos([(path, "a"), (other, "b")])


def test_where_all_files_are_missing_is_said(tmp_path):
    path = written(tmp_path / "l.txt", "k400/0.mp4 1\nk400/1.mp4 0\n")
    with pytest.raises(
        InputError,
        match="Cannot read any of the 2 videos; .*0.mp4: No such file.*; relative paths in a list are relative to",
    ):
        scan_videos(find_videos(path))


def test_manifests_from_before_there_were_segments(tmp_path, class_folders):
    manifest = scan_videos(find_videos(class_folders))
    manifest.save(tmp_path / "m.csv", splits=["train", "train", "val", "train", "val"])
    assert Manifest.load(tmp_path / "m.csv") == manifest
    assert [label for _, label in find_videos(tmp_path / "m.csv", "val")] == ["left", "right"]
    rows = [line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()]
    kept = [place for place, name in enumerate(rows[0]) if name not in ("start_frame", "end_frame", "split")]
    (tmp_path / "old.csv").write_text("".join(",".join(row[place] for place in kept) + "\n" for row in rows))
    assert Manifest.load(tmp_path / "old.csv") == manifest
