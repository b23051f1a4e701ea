"""Scanning: exact counts, bad files named, caching, saving; and finding videos on disk."""

import io
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from dali_pipes import InputError, Manifest, OddityKind, find_videos, scan_videos
from dali_pipes.dataset import manifest as manifest_module
from dali_pipes.dataset import summary
from dali_pipes.dataset.manifest import PROBE_VERSION, UNLABELLED, default_cache
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.dataset.summary import main
from tests import odd_videos as odd
from tests.terminal import rows, run_in_terminal
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
    with pytest.raises(InputError, match="Cannot read any of the 1 videos; the first one is .*empty.avi: is empty"):
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
    with pytest.raises(InputError, match="invalid class 'c': choose one of a, b"):
        scan_videos([(paths[0], "c")], classes=["a", "b"])


def test_contradictory_labels(class_folders):
    path = find_videos(class_folders)[0][0]
    with pytest.raises(InputError, match="left0.avi: is listed with two labels, a and b"):
        scan_videos([(path, "a"), (path, "b")])
    with pytest.raises(InputError, match="Invalid label 1: must be a class name, because other labels are names"):
        scan_videos([(path, "a"), ("other.avi", np.int64(1))])
    for label in (1.5, -1):
        with pytest.raises(InputError, match=f"invalid label {label}: must be"):
            scan_videos([(path, label)])
    with pytest.raises(InputError, match="left0.avi: is listed with two labels, a and none"):
        scan_videos([(path, "a"), (path, None)])


def test_videos_without_labels(class_folders, tmp_path):
    items = [(path, None if number % 2 else label) for number, (path, label) in enumerate(find_videos(class_folders))]
    manifest = scan_videos(items)
    assert [video.label for video in manifest.videos] == [0, UNLABELLED, 0, UNLABELLED, 1]
    manifest.save(tmp_path / "m.csv")
    assert Manifest.load(tmp_path / "m.csv") == manifest
    unknown = scan_videos([(path, None) for path, _ in items], classes=["a", "b"])
    assert {video.label for video in unknown.videos} == {UNLABELLED} and unknown.classes == ["a", "b"]


def test_a_cache_that_cannot_be_written_is_a_warning(class_folders):
    with pytest.warns(UserWarning, match="/proc/nowhere/x.csv: cannot be written .*this scan is not cached"):
        assert len(scan_videos(find_videos(class_folders), cache="/proc/nowhere/x.csv")) == 5


@pytest.mark.parametrize("name", ["with space.avi", "ünïcödé.avi", "12:30.avi", "new\nline.avi", "a,b.avi"])
def test_awkward_names(tmp_path, name, monkeypatch):
    write_lossless(tmp_path / "a" / name, 4)
    monkeypatch.chdir(tmp_path)
    manifest = scan_videos(find_videos("."))
    assert manifest.videos[0].num_frames == 4
    manifest.save("manifest.csv")
    assert Manifest.load("manifest.csv") == manifest


def test_where_output_is_no_terminals_text_names_are_printed_all_the_same(class_folders, monkeypatch):
    """A notebook's output cannot be told what to do with names that are no valid text."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    assert main([str(class_folders)]) == 0 and "left" in printed.getvalue()


def test_real_headers_lie(shared_clips):
    """HMDB-51 headers count one frame more than decodes, and one title tag is not UTF-8."""
    manifest = scan_videos(find_videos(shared_clips / "actions"))
    assert not manifest.refused and len(manifest) == 9
    lengths = {os.path.basename(video.path)[:12]: video.num_frames for video in manifest.videos}
    assert lengths["RATRACE_wave"] == 72 and lengths["hmdb51_Turnk"] == 83 and lengths["v_ApplyEyeMa"] == 164


def edited(path, old: str, new: str):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_saved_manifest_may_be_edited(tmp_path, class_folders):
    items = [*find_videos(class_folders), (str(tmp_path / "gone.avi"), "right")]
    manifest = scan_videos(items, classes=["absent", "left", "right"])
    path = tmp_path / "manifest.csv"
    manifest.save(path)
    assert sorted(find_videos(path)) == sorted(find_videos(class_folders))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "left2.avi" not in line))
    assert len(Manifest.load(path)) == len(manifest) - 1
    columns = lines[0].split(",")
    path.write_text("\n".join(",".join(reversed(line.split(","))) for line in lines))
    assert columns != path.read_text().splitlines()[0].split(",") and Manifest.load(path) == manifest
    for old, new, message in (
        (
            "left1.avi,left,1",
            "left1.avi,right,1",
            "line 3: invalid class_index 1 of the class right: is already that of left",
        ),
        ("right1.avi,right,2", "right1.avi,left,2", "invalid class_index 2 of the class left: "),
        ("left1.avi,left,1", "left1.avi,left,7", "invalid class_index 7 of the class left: was 1 in an earlier line"),
        ("left1.avi,left,1,33", "left1.avi,left,1,many", "line 3: is not a valid line of a manifest .invalid literal"),
        (",yes,yes,", ",oui,yes,", "is not a valid line of a manifest .'oui' must be yes or no"),
        (",absent,0", ",absent,5", "class_index must contain 0, 1, 2, ... without gaps, but contains .1, 2, 5."),
        ("num_frames", "frames", "is not a manifest .its first line does not name num_frames"),
    ):
        manifest.save(path)
        with pytest.raises(InputError, match=message):
            Manifest.load(edited(path, old, new))


def test_an_interrupted_scan_goes_on(tmp_path, class_folders):
    items, cache = find_videos(class_folders), tmp_path / "cache.csv"

    def interrupted(results, total):
        for number, result in enumerate(results):
            if number == 2:
                raise KeyboardInterrupt
            yield result

    with pytest.raises(KeyboardInterrupt):
        scan_videos(items, cache=cache, progress=interrupted)
    totals = []
    scan_videos(items, cache=cache, progress=lambda results, total: totals.append(total) or results)
    assert totals == [3]


def test_a_scan_keeps_what_it_has_read_whatever_ends_it(tmp_path, class_folders, monkeypatch):
    """The cache is written while the scan is at work, so SIGKILL can take the last seconds only."""
    items, cache, kept = find_videos(class_folders), tmp_path / "cache.csv", []
    monkeypatch.setattr(manifest_module, "CACHE_EVERY_S", 0.0)
    monkeypatch.setattr(manifest_module, "CACHE_PAUSE_RATIO", 0)

    def looking(results, total):
        for result in results:
            kept.append(len(cache.read_text().splitlines()) - 1 if cache.exists() else 0)
            yield result

    scan_videos(items, cache=cache, progress=looking)
    assert kept == [0, 1, 2, 3, 4]


def test_scans_that_share_a_cache_keep_both_what_they_read(tmp_path, class_folders):
    items, cache, totals = find_videos(class_folders), tmp_path / "cache.csv", []

    def meanwhile(results, total):
        for number, result in enumerate(results):
            if not number:
                scan_videos(items[3:], cache=cache)
            yield result

    scan_videos(items[:3], cache=cache, progress=meanwhile)
    scan_videos(items, cache=cache, progress=lambda results, total: totals.append(total) or results)
    assert totals == []  # nothing was read again


def test_sigterm_while_scanning_says_how_to_go_on(class_folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path))

    def ended(results, title, unit, total):
        for number, result in enumerate(results):
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield result

    monkeypatch.setattr(summary, "progress_bar", ended)
    assert summary.main([str(class_folders)]) == 143
    assert capsys.readouterr().err == (
        "stopped by SIGTERM; 2 of 5 files were read; run the same command again to continue\n"
    )
    monkeypatch.setattr(summary, "progress_bar", lambda results, title, unit, total: print(total, "files") or results)
    assert summary.main([str(class_folders)]) == 0 and "3 files" in capsys.readouterr().out


def test_a_quick_scan_is_kept_apart_from_a_thorough_one(tmp_path, class_folders):
    items, cache, totals = find_videos(class_folders), tmp_path / "cache.csv", []
    for verify in (False, False, True, True, False):
        manifest = scan_videos(
            items, cache=cache, verify=verify, progress=lambda results, total: totals.append(total) or results
        )
        assert [video.num_frames for video in manifest.videos] == [20, 33, 40, 9, 70]
    assert totals == [5, 5] and all(video.verified for video in manifest.videos)


def test_damage_further_on_is_seen_by_verify_alone(tmp_path, capsys):
    path = write_lossless(tmp_path / "a" / "whole.avi", 30, codec="mpeg4")
    damaged = write_lossless(tmp_path / "b" / "damaged.avi", 30, (48, 64), codec="ffv1")
    content = bytearray(damaged.read_bytes())
    content[-3000:-2000] = bytes(1000)
    damaged.write_bytes(content)
    assert main([str(tmp_path)]) == 0
    assert "damaged" not in capsys.readouterr().out.replace("damaged.avi", "")
    main([str(tmp_path), "--verify"])
    shown = capsys.readouterr().out
    assert "damaged (the decoder reported errors" in shown or "cannot be decoded after frame" in shown
    assert read_video_info(str(path)).num_frames == 30


def test_command_line(tmp_path, class_folders, capsys):
    odd.turn(odd.h264(tmp_path / "data" / "x" / "turned.mp4"), (0, 1, -1, 0))
    odd.encrypted(tmp_path / "data" / "x" / "encrypted.mp4")
    assert main([str(tmp_path / "data"), "-o", str(tmp_path / "out.csv"), "--verify"]) == 1
    shown = capsys.readouterr().out
    for part in (
        "videos    1 of 2 files",
        "frames    12; 12 to 12 each, median 12; counted by decoding",
        "sizes     48x64 (1)",
        "codecs    h264 (1)",
        "1  rotated (the frames are stored rotated",
        "turned.mp4: 90 degrees clockwise",
        "encrypted.mp4: cannot be read as video (it is encrypted)",
        "shortest  12 frames",
    ):
        assert part in shown
    saved = Manifest.load(tmp_path / "out.csv")
    assert len(saved) == 1 and os.path.isabs(saved.videos[0].path) and len(saved.refused) == 1
    assert main([str(class_folders)]) == 0
    shown = capsys.readouterr().out
    assert "classes   2, with 2 to 3 videos each" in shown and "oddities  none\nleft out  none" in shown
    assert main([str(class_folders / "left")]) == 0
    assert "classes   1, with 3 to 3" in capsys.readouterr().out
    for arguments, message in (
        ([str(tmp_path / "nowhere")], "nowhere: no such folder or file"),
        ([str(class_folders), "-o", "x.txt"], "Invalid --out x.txt: must end in .csv"),
        ([str(class_folders), "--workers", "0"], "Invalid --workers 0: must be at least 1"),
        (
            [str(class_folders), "--time-limit-s", "0"],
            "Invalid --time-limit-s 0: must be above 0 and at most 1e+06",
        ),
        ([str(class_folders), "--dataset", "ucf101"], "does not contain ucfTrainTestlist/classInd.txt"),
    ):
        assert main(arguments) == 2 and message in capsys.readouterr().err


def test_command_line_of_split_and_official_data(tmp_path, class_folders, capsys):
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(class_folders)
    assert main([str(tmp_path)]) == 0
    assert "videos    10 of 10 files\nclasses   2, with 4 to 6" in capsys.readouterr().out
    paths = [path for path, _ in find_videos(class_folders)]
    rows = "".join(
        f"{path},{label},{split}\n"
        for path, label, split in zip(paths, "21011", "train test train test train".split(), strict=True)
    )
    (tmp_path / "list.csv").write_text("path,label,split\n" + rows)
    assert main([str(tmp_path / "list.csv"), "-o", str(tmp_path / "out.csv")]) == 0
    assert "videos    5 of 5 files\nclasses   3, with 1 to 3" in capsys.readouterr().out
    assert Manifest.load(tmp_path / "out.csv").classes == ["0", "1", "2"]
    assert [len(find_videos(tmp_path / "out.csv", split)) for split in ("train", "val")] == [3, 2]
    for part in ("one", "two"):
        shutil.copytree(class_folders, tmp_path / "parts" / part)
    assert main([str(tmp_path / "parts")]) == 2
    assert (
        "each of its folders one, two contains the folders left, right, which may be the classes"
        in capsys.readouterr().err
    )
    assert main([str(tmp_path / "parts"), "--dataset", "folder"]) == 0
    assert "videos    10 of 10 files\nclasses   2, with 5 to 5" in capsys.readouterr().out
    lists = tmp_path / "ucf" / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (tmp_path / "ucf" / "UCF-101").symlink_to(class_folders)
    (lists / "classInd.txt").write_text("1 left\n2 right\n")
    for split in "123":
        (lists / f"trainlist0{split}.txt").write_text("left/left0.avi 1\nright/right0.avi 2\n")
        (lists / f"testlist0{split}.txt").write_text(f"left/left{split if split < '3' else 1}.avi\n")
    assert main([str(tmp_path / "ucf"), "--dataset", "ucf101"]) == 0
    assert "videos    4 of 4 files" in capsys.readouterr().out


def test_the_command_runs_as_a_module(tmp_path, class_folders):
    command = [sys.executable, "-m", "dali_pipes.manifest", str(class_folders)]
    environment = os.environ | {"DALI_PIPES_CACHE": str(tmp_path)}
    with open(tmp_path / "log", "wb") as log:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    assert result.returncode == 0 and "videos    5 of 5 files" in result.stdout
    assert (tmp_path / "log").read_bytes() == b""  # no warning, and no progress of what is soon done


def test_the_command_shows_progress_in_a_terminal(tmp_path, class_folders, monkeypatch):
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path))
    arguments = [str(class_folders), "--workers", "1"]
    code = f"from dali_pipes.dataset.summary import main; raise SystemExit(main({arguments!r}))"
    shown = rows(run_in_terminal(code))
    assert shown[0].startswith("reading videos: 100%|") and shown[1] == "videos    5 of 5 files"


def test_what_cannot_be_written_is_a_sentence(tmp_path, class_folders, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "x.csv", "/proc/nowhere/x.csv"):
        assert main([str(class_folders), "-o", str(out)]) == 2
        assert f"{out}: cannot be written (" in capsys.readouterr().err


def test_long_and_undecodable_names(tmp_path, capsys):
    long = write_lossless(tmp_path / ("n" * 200) / ("v" * 240 + ".avi"), 4)
    folder = os.fsdecode(b"s\xffd")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "0.avi").symlink_to(long)
    assert main([str(tmp_path), "-o", str(tmp_path / "out.csv")]) == 0
    assert "videos    2 of 2 files" in capsys.readouterr().out
    assert len(Manifest.load(tmp_path / "out.csv")) == 2
    assert main([str(tmp_path / ("n" * 200))]) == 0 and main([str(tmp_path / folder)]) == 0


def test_a_file_in_the_working_folder_hides_no_module(tmp_path, class_folders):
    for name in ("signal.py", "queue.py", "pickle.py"):
        (tmp_path / name).write_text("raise RuntimeError('the wrong module')")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import sys; from dali_pipes import find_videos, scan_videos; print(len(scan_videos(find_videos(sys.argv[1]))))"
    )
    result = subprocess.run([sys.executable, script, class_folders], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "5\n", result.stderr


def test_leaving_a_scan_waits_for_no_file():
    """The processes are ended, and so are the threads that wait for them: the interpreter can exit."""
    code = (
        "import time; from dali_pipes.system.isolate import map_isolated\n"
        "for _ in range(8):\n"
        "    calls = map_isolated(time.sleep, [(0.05,), (600,), (600,), (600,)], workers=3, time_limit_s=600)\n"
        "    next(calls)\n"
        "    calls.close()\n"
        "print('left')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "left\n" and not result.stderr


def test_a_new_oddity_is_looked_for_in_files_that_were_read_before():
    """What a cache holds was read by a version that did not know it, and DALI would be trusted with the video."""
    words = sorted(kind.words for kind in OddityKind)
    known_by_version = {
        b"3": "damaged, frame times, frames unlike packets, header, hidden packets, interlaced, mirrored, "
        "more than 8 bits, not 4:2:0, not BT.601, odd size, packed B-frames, pixels not square, rotated, "
        "several video streams, starts late, variable rate",
        b"4": "container, damaged, frame times, frames unlike packets, header, hidden packets, interlaced, mirrored, "
        "more than 8 bits, no index, not 4:2:0, not BT.601, odd size, open groups, packed B-frames, pixels not square, "
        "rotated, several video streams, starts late, variable rate",
    }
    assert known_by_version.get(PROBE_VERSION) == ", ".join(words), "raise PROBE_VERSION, and say here what it knows"
