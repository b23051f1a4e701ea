"""From --data to videos: what a folder or list means is used, or named."""

import shutil
import warnings
from pathlib import Path

import pytest

from dali_pipes import InputError
from dali_pipes.system import isolate
from train.config.options import Config
from train.data.videos import (
    MAKE_FOLDER,
    NO_VALIDATION,
    all_classes,
    list_videos,
    load_for_evaluation,
    load_manifests,
    load_named,
)


def load(root, **settings):
    return load_manifests(Config(data=str(root), workers=1, **settings))


def copied(split_videos: Path, root: Path, **parts) -> Path:
    """``copied(..., val="Test")``: the folder val as root/Test."""
    for part, name in parts.items():
        shutil.copytree(split_videos / part, root / name)
    return root


@pytest.mark.parametrize("train, val", [("Train", "Test"), ("training", "testing"), ("videos_train", "videos_val")])
def test_no_validation_video_is_trained_on(split_videos, tmp_path, train, val):
    manifests = load(copied(split_videos, tmp_path, train=train, val=val))
    for manifest, folder in zip(manifests, (train, val), strict=False):
        assert {Path(video.path).parts[-3] for video in manifest.videos} == {folder}
        assert manifest.classes == sorted(path.name for path in (split_videos / "train").iterdir())


def test_videos_are_checked_by_so_many_processes_as_workers_says(split_videos, tmp_path, monkeypatch):
    started, start = [], isolate._start
    monkeypatch.setattr(isolate, "_start", lambda: started.append(1) or start())
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dali_pipes.dataset.manifest.usable_cores", lambda: 6)
    for workers, processes in ((0, 1), (1, 1), (2, 2)):
        data = copied(split_videos, tmp_path / str(workers), train="train", val="val")
        config = Config(data=str(data), workers=workers)
        train, _, _ = load_manifests(config)
        assert len(started) == 2 * processes  # for training and for validation
        load_named(
            [str(shutil.copy(data / "val" / "dark" / "0.avi", tmp_path / f"{workers}.avi"))], train.classes, config
        )
        assert len(started) == 2 * processes + 1
        shutil.rmtree(tmp_path / "cache")
        load_for_evaluation(config, train.classes, predict=False)
        assert len(started) == 3 * processes + 1
        started.clear()


def test_a_split_by_other_names_stops_the_program_unless_meant(split_videos, tmp_path):
    copied(split_videos, tmp_path, train="session 1", val="session 2")
    with pytest.raises(
        InputError, match="each of its folders session 1, session 2 contains the folders .*, which may be the classes"
    ):
        load(tmp_path)
    train, _, _ = load(tmp_path, dataset="folder")
    assert train.classes == ["session 1", "session 2"]
    train, val, _ = load(tmp_path / "session 1", val_data=str(tmp_path / "session 2"))
    assert len(train) == len(val) == 6


def test_a_list_with_a_column_split(split_videos, tmp_path):
    paths = sorted((split_videos / "train").rglob("*.avi"))
    rows = [f"{path},{path.parent.name},{'val' if number % 2 else 'train'}" for number, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    train, val, notes = load(tmp_path / "list.csv")
    assert [video.path for video in train.videos] == [str(path) for path in paths[::2]]
    assert [video.path for video in val.videos] == [str(path) for path in paths[1::2]]
    assert notes == [f"The videos come from {tmp_path}/list.csv, split train and {tmp_path}/list.csv, split val."]
    evaluated, _, notes = load_for_evaluation(Config(data=str(tmp_path / "list.csv")), train.classes, predict=False)
    assert evaluated.videos == val.videos and not notes


def test_validation_videos_that_are_trained_on_are_said(split_videos, tmp_path):
    train, val = split_videos / "train", split_videos / "val"
    _, _, notes = load(train, val_data=str(val))
    assert not notes
    mixed = tmp_path / "mixed"
    shutil.copytree(val, mixed)
    label, other = sorted(path.name for path in train.iterdir())[:2]
    (mixed / label / "again.avi").symlink_to(train / label / "0.avi")
    _, _, notes = load(train, val_data=str(mixed))
    assert notes == [
        f"Validation videos that are also used for training: 1, for example {mixed}/{label}/again.avi. "
        "The validation accuracy is not that of unseen videos."
    ]
    rows = [f"{train}/{name}/0.avi,{name},0,4" for name in (label, other)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label,start_frame,end_frame", *rows]))
    for start, count in ((4, 0), (3, 2)):  # segments of one file that share frames
        (tmp_path / "val.csv").write_text(
            "\n".join(["path,label,start_frame,end_frame", *(row.replace(",0,4", f",{start},8") for row in rows)])
        )
        _, _, notes = load(tmp_path / "train.csv", val_data=str(tmp_path / "val.csv"))
        expected = [f"Validation videos that are also used for training: {count}"] if count else []
        assert [note.split(",")[0] for note in notes] == expected


def test_lists_beside_class_folders_are_used_or_named(split_videos, tmp_path):
    root = copied(split_videos, tmp_path / "data", train="train")
    for path in (root / "train").iterdir():
        path.rename(root / path.name)
    (root / "train").rmdir()
    label, other = sorted(path.name for path in root.iterdir())[:2]
    (root / "train.csv").write_text(f"{label}/0.avi {label}\n{other}/0.avi {other}\n".replace(" ", ","))
    _, notes = list_videos(Config(data=str(root)))
    assert notes[1:] == [f"These lists in {root} are not used: train.csv. To use one, give it as --data or --val-data."]
    (root / "val.csv").write_text(f"{label}/1.avi,{label}\n")
    (root / "more.txt").write_text("0.mp4 3\n")
    (root / "README.txt").write_text("no list\n")
    (root / "groups.csv").write_text("file,group\n0.avi,3\n")
    sets, notes = list_videos(Config(data=str(root)))
    assert [path for path, _ in sets.train] == [f"{root}/{name}/0.avi" for name in (label, other)]
    assert sets.val == [(f"{root}/{label}/1.avi", label)] and sets.classes == [label, other]
    assert notes == [
        f"The videos come from {root}/train.csv and {root}/val.csv.",
        f"These lists in {root} are not used: groups.csv, more.txt. To use one, give it as --data or --val-data.",
    ]
    sets, notes = list_videos(Config(data=str(root), dataset="folder"))
    assert len(sets.train) == 6 and "groups.csv, more.txt, train.csv, val.csv" in notes[1]


def test_the_report_of_copies_is_no_list(split_videos, tmp_path):
    copied(split_videos, tmp_path, train="train", val="val")
    (tmp_path / "transcode.csv").write_text("source,target\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not list_videos(Config(data=str(tmp_path)))[1]


def test_test_videos_beside_train_and_val_are_named(split_videos, tmp_path):
    copied(split_videos, tmp_path, train="train", val="val")
    shutil.copytree(split_videos / "val", tmp_path / "test")
    sets, notes = list_videos(Config(data=str(tmp_path)))
    assert {Path(path).parts[-3] for path, _ in sets.val} == {"val"}
    assert notes == [
        f"The test videos in {tmp_path}/test are not used. To evaluate them, use --eval-only CHECKPOINT and a "
        "--data that "
        "contains only them."
    ]


def test_classes_of_numbers_are_in_their_order(split_videos, tmp_path):
    paths = sorted((split_videos / "train").rglob("*.avi"))
    (tmp_path / "list.txt").write_text("".join(f"{paths[number % 6]}{chr(9)}{number}\n" for number in (10, 2, 1)))
    train, _, _ = load(tmp_path / "list.txt")
    assert train.classes == ["1", "2", "10"] and [video.label for video in train.videos] == [2, 1, 0]


def test_validation_videos_of_another_place_are_used_instead(split_videos, tmp_path):
    paths = sorted((split_videos / "train").rglob("*.avi"))
    rows = [f"{path},{path.parent.name},{'val' if number % 2 else 'train'}" for number, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    sets, notes = list_videos(Config(data=str(tmp_path / "list.csv"), val_data=str(split_videos / "val")))
    assert len(sets.val) == 6 and notes == [
        f"The videos come from {tmp_path}/list.csv, split train.",
        f"The videos of --val-data are used for validation; {tmp_path}/list.csv, split val is not used.",
    ]


def test_a_list_for_training_alone(split_videos, tmp_path):
    paths = sorted((split_videos / "train").rglob("*.avi"))
    (tmp_path / "list.csv").write_text(
        "\n".join(["path,label,split", *(f"{path},{path.parent.name},train" for path in paths)])
    )
    sets, notes = list_videos(Config(data=str(tmp_path / "list.csv")))
    assert sets.train == sets.val and notes == [NO_VALIDATION]
    classes = sorted({path.parent.name for path in paths})
    manifest, _, notes = load_for_evaluation(Config(data=str(tmp_path / "list.csv")), classes, predict=False)
    assert len(manifest) == 6 and notes == [
        f"{tmp_path}/list.csv has no validation videos, so all its videos are evaluated."
    ]


def test_the_classes_are_those_of_all_parts(split_videos, tmp_path):
    """To evaluate published weights, of which a list may name validation videos alone."""
    path = sorted((split_videos / "train").rglob("*.avi"))[0]
    (tmp_path / "list.csv").write_text(f"path,label,split\n{path},10,val\n{path},9,test\n")
    assert all_classes(Config(data=str(tmp_path / "list.csv"))) == ["9", "10"]
    assert all_classes(Config(data=str(split_videos))) == sorted(
        path.name for path in (split_videos / "train").iterdir()
    )


def test_the_classes_are_also_those_of_val_data(split_videos, tmp_path):
    path = sorted((split_videos / "train").rglob("*.avi"))[0]
    for name, text in (("t", f"{path},10,train\n{path},9,val"), ("v", f"{path},8,val\n{path},11,train")):
        (tmp_path / f"{name}.csv").write_text(f"path,label,split\n{text}\n")
    config = Config(data=str(tmp_path / "t.csv"), val_data=str(tmp_path / "v.csv"), dataset="csv")
    assert all_classes(config) == ["8", "9", "10", "11"]


def test_data_that_is_not_evaluated_is_not_made(split_videos, monkeypatch):
    made = []
    monkeypatch.setitem(MAKE_FOLDER, "demo", lambda workers: made.append(workers) or split_videos)
    classes = sorted(path.name for path in (split_videos / "train").iterdir())
    config = Config(data="demo", val_data=str(split_videos / "val"), workers=1)
    manifest, _, notes = load_for_evaluation(config, classes, predict=False)
    assert len(manifest) == 6 and not notes and not made
    assert len(list_videos(config)[0].val) == 6 and made == [1]


def test_what_lies_beside_the_parts_is_named(split_videos, tmp_path):
    copied(split_videos, tmp_path, train="train", val="val")
    (tmp_path / "holdout").mkdir()
    (tmp_path / "loose.mp4").touch()
    (tmp_path / "._loose.mp4").touch()
    assert list_videos(Config(data=str(tmp_path)))[1] == [
        f"In {tmp_path}, these are not used, because they are not parts of the split: holdout, loose.mp4."
    ]


def test_hints_for_videos_without_classes(split_videos, tmp_path):
    (tmp_path / "list.txt").write_text("0.mp4\n")
    with pytest.raises(
        InputError, match="is a path without a class; .*; if the videos have no classes, add --dataset unlabelled"
    ):
        load_for_evaluation(Config(data=str(tmp_path / "list.txt")), ["a"], predict=True)
    with pytest.raises(InputError, match="gone: no such folder or file; expected .* such as a .csv file$"):
        load_for_evaluation(Config(data=str(tmp_path / "gone")), ["a"], predict=True)
    with pytest.raises(
        InputError,
        match="list.txt: is a list, not a video; to predict the videos in it, give --data .*list.txt --dataset "
        "unlabelled",
    ):
        load_named([str(tmp_path / "list.txt")], ["a"], Config())


def test_a_list_that_is_none_of_train_and_val(split_videos, tmp_path):
    path = sorted((split_videos / "train").rglob("*.avi"))[0]
    (tmp_path / "list.csv").write_text(f"path,label,split\n{path},a,test\n")
    with pytest.raises(InputError, match="list.csv: has videos only for val; give the training videos with --data"):
        load(tmp_path / "list.csv")
