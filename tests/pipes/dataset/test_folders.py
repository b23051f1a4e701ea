"""Folders as people lay them out: classes, parts of a split, links, and what is no video."""

import os
import warnings
from pathlib import Path

import pytest

from dali_pipes import InputError, find_videos
from dali_pipes.dataset.folders import split_of, walk_videos
from dali_pipes.dataset.sources import Part, find_splits
from tests.videos import write_lossless


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_wrong_sources(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder or file"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match="contains no videos"):
        find_videos(tmp_path)
    (tmp_path / "loose.avi").touch()
    with pytest.raises(InputError, match="loose.avi: is not in a class folder"):
        find_videos(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    real = write_lossless(tmp_path / "elsewhere" / "video.avi", 4)
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file.avi").symlink_to(real)
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / ".hidden.avi").write_text("such as macOS leaves")
    with pytest.warns(UserWarning, match="data/a/up: is the same folder as .*/data, so it is not read again"):
        found = find_videos(root)
    assert [(os.path.relpath(path, root), label) for path, label in found] == [
        ("a/file.avi", "a"),
        ("b/video.avi", "b"),
    ]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "other").symlink_to(tmp_path / "y")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "other").symlink_to(tmp_path / "x")
    write_lossless(tmp_path / "y" / "video.avi", 4)
    with pytest.warns(UserWarning, match="is the same folder as "):
        assert [os.path.relpath(path, tmp_path) for path in walk_videos(tmp_path / "x")] == ["x/other/video.avi"]


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    write_lossless(tmp_path / "a" / "video.avi", 4)
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)  # root may read all
    with pytest.raises(InputError, match="/a: cannot be read .Permission denied."):
        find_videos(tmp_path)


@pytest.mark.parametrize(
    "train, val",
    [
        ("train", "val"),
        ("Train", "Test"),
        ("training", "testing"),
        ("train", "eval"),
        ("videos_train", "videos_val"),
        ("TRAIN", "VALIDATION"),
        ("train_set", "dev_set"),
        ("trainset", "testset"),
        ("train-256", "valid-256"),
        ("1_train", "2_test"),
    ],
)
def test_folders_named_as_a_split_are_one(tmp_path, train, val):
    touch(tmp_path, f"{train}/run/0.avi", f"{train}/walk/1.avi", f"{val}/run/2.avi")
    assert find_splits(tmp_path) == {"train": Part(tmp_path / train), "val": Part(tmp_path / val)}
    assert [label for _, label in find_videos(tmp_path, "train")] == ["run", "walk"]
    assert find_videos(tmp_path, "val") == [(str(tmp_path / val / "run/2.avi"), "run")]
    with pytest.raises(InputError, match=f"is split into train .*{train}. and val .*{val}.; give one of them"):
        find_videos(tmp_path)  # else train and val would be two classes


def test_which_folders_are_the_parts_of_a_split(tmp_path):
    assert find_splits(tmp_path) == {}
    touch(tmp_path, "train/a/0.avi", "test/a/0.avi", "other/a/0.avi")
    assert find_splits(tmp_path) == {"train": Part(tmp_path / "train"), "val": Part(tmp_path / "test")}
    assert find_splits(tmp_path)["val"].is_test
    touch(tmp_path, "validation/a/0.avi")
    assert find_splits(tmp_path) == {
        name: Part(tmp_path / folder) for name, folder in (("train", "train"), ("val", "validation"), ("test", "test"))
    }
    touch(tmp_path, "train_small/a/0.avi")  # another name
    assert find_splits(tmp_path)["train"] == Part(tmp_path / "train")
    touch(tmp_path, "train_2/a/0.avi")
    with pytest.raises(InputError, match="train and train_2 both look like the part train; give the folders to use"):
        find_splits(tmp_path)
    for name in ("train_station", "test_tube", "retrain", "evaluate a joke", "values", "developer"):
        assert split_of(name) is None
    touch(tmp_path / "vehicles", "train/0.avi", "tram/0.avi")  # a class may be called so
    assert find_splits(tmp_path / "vehicles") == {} and len(find_videos(tmp_path / "vehicles")) == 2


def test_folders_that_all_hold_the_same_folders_are_asked_about(tmp_path):
    touch(tmp_path, *(f"{part}/{label}/0.avi" for part in ("fold A", "fold B") for label in ("run", "walk", "jump")))
    touch(tmp_path, "fold A/only here/0.avi")
    message = (
        f"{tmp_path}: each of its folders fold A, fold B contains the folders jump, run, walk, which may be "
        "the classes; "
        "if fold A, fold B are the classes, give dataset='folder' (class_folders=True in find_videos); "
        "otherwise give one folder for training with data=... and one for validation with val_data=..."
    )
    with pytest.raises(InputError) as caught:
        find_videos(tmp_path)
    assert str(caught.value) == message
    assert {label for _, label in find_videos(tmp_path, class_folders=True)} == {"fold A", "fold B"}


def test_classes_above_the_split_are_asked_about(tmp_path):
    touch(tmp_path, *(f"{label}/{part}/0.avi" for part in ("train", "test") for label in ("run", "walk")))
    with pytest.raises(
        InputError,
        match="run, walk contain test, train, which look like the parts of a split; "
        "move the parts to the top level, as .*/test/run",
    ):
        find_videos(tmp_path)


def test_classes_above_one_part_of_a_split_are_asked_about_too(tmp_path):
    touch(tmp_path, "run/train/0.avi", "run/test/1.avi", "walk/train/2.avi")
    with pytest.raises(InputError, match="run, walk contain test, train, which look like the parts of a split"):
        find_videos(tmp_path)


@pytest.mark.parametrize("name", ["train", "Test", "trainval"])
def test_one_part_of_a_split_is_named_itself(tmp_path, name):
    touch(tmp_path, f"{name}/run/0.avi", f"{name}/walk/0.avi")
    with pytest.raises(
        InputError,
        match=f"folder names {name} look like names of parts of a split; give one part, such as .*/{name}; if",
    ):
        find_videos(tmp_path)
    assert {label for _, label in find_videos(tmp_path / name)} == {"run", "walk"}


def test_classes_that_are_called_as_parts_of_a_split(tmp_path):
    touch(tmp_path, "train/0.avi", "test/1.avi", "bus/2.avi")
    assert [label for _, label in find_videos(tmp_path)] == ["bus", "test", "train"]


def test_folders_of_one_name_in_several_classes_are_named(tmp_path):
    touch(
        tmp_path, *(f"{name}/0.avi" for name in ("fold1/run", "fold1/walk", "fold2/run", "person/jump", "person/sit"))
    )
    with pytest.warns(
        UserWarning,
        match="top-level folders are used as the classes .fold1, fold2, person., although several .*: run$",
    ):
        assert len(find_videos(tmp_path)) == 5


def test_a_class_that_is_a_link_to_another(tmp_path):
    touch(tmp_path, "serve/0.avi", "walk/1.avi")
    (tmp_path / "ace").symlink_to(tmp_path / "serve")
    with pytest.warns(UserWarning, match="/ace: is the same folder as .*/serve, so it is not read again"):
        assert [label for _, label in find_videos(tmp_path)] == ["serve", "walk"]


def test_broken_links_are_counted(tmp_path):
    touch(tmp_path, "run/0.avi")
    (tmp_path / "walk").symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning, match="skipped, .*: 1 broken links; for example .*/walk"):
        assert len(find_videos(tmp_path)) == 1


@pytest.mark.filterwarnings("ignore:.*top-level folders are used")
def test_classes_with_folders_of_their_own_are_not_asked_about(tmp_path):
    touch(
        tmp_path, "run/g01/0.avi", "run/g02/0.avi", "walk/g03/0.avi", "walk/g01/0.avi", "walk/g04/0.avi"
    )  # one in common
    touch(tmp_path / "b", "run/videos/0.avi", "walk/videos/0.avi")
    touch(tmp_path / "c", "run/cam1/0.avi", "run/cam2/0.avi", "walk/cam1/0.avi", "walk/cam2/0.avi", "walk/0.avi")
    for root, count in ((tmp_path / "b", 2), (tmp_path / "c", 5)):
        assert len(find_videos(root)) == count


@pytest.mark.parametrize("name", ["a.MTS", "a.m2ts", "a.vob", "a.gif", "a.asf", "a.Mp4"])
def test_extensions_of_cameras_and_discs_are_read(tmp_path, name):
    touch(tmp_path, f"run/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_videos(tmp_path) == [(str(tmp_path / "run" / name), "run")]


def test_files_that_are_left_out_are_counted(tmp_path):
    touch(tmp_path, "run/0.mp4", "run/a.braw", "run/b.BRAW", "walk/notes.txt", "walk/none", "run/.hidden.braw")
    with pytest.warns(UserWarning) as caught:
        assert len(find_videos(tmp_path)) == 1
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path}: these files are skipped, because they do not have a video extension or are broken links: "
        "2 .braw, 1 without "
        "any, 1 .txt; "
        f"for example {tmp_path}/run/a.braw"
    ]


def test_what_storage_devices_leave_is_no_class(tmp_path):
    touch(
        tmp_path,
        "run/0.mp4",
        "#recycle/old/1.mp4",
        "$RECYCLE.BIN/2.mp4",
        "@eaDir/3.mp4",
        "run/@eaDir/4.mp4",
        "__MACOSX/run/5.mp4",
    )
    assert find_videos(tmp_path) == [(str(tmp_path / "run/0.mp4"), "run")]
    assert list(walk_videos(tmp_path)) == [str(tmp_path / "run/0.mp4")]


def test_folders_of_one_name_are_one_class(tmp_path):
    touch(tmp_path, "marche\u0301/0.avi", "march\u00e9/1.avi", "run/0.avi", "run /1.avi")
    found = find_videos(tmp_path)
    assert sorted(label for _, label in found) == ["march\u00e9"] * 2 + ["run"] * 2
    assert all(os.path.exists(path) for path, _ in found)


def test_lists_beside_the_folders(tmp_path):
    """train.csv and val.csv are the split, unless the folders are; one alone, or others, are not read."""
    touch(tmp_path, "run/0.avi", "walk/1.avi", "walk/2.avi")
    (tmp_path / "train.csv").write_text("run/0.avi 0\nwalk/1.avi 1\n")
    assert find_splits(tmp_path) == {} and len(find_videos(tmp_path)) == 3
    (tmp_path / "val_list.txt").write_text("walk/2.avi 1\n")
    assert find_videos(tmp_path, "train") == [(str(tmp_path / "run/0.avi"), "0"), (str(tmp_path / "walk/1.avi"), "1")]
    assert find_videos(tmp_path, "val") == [(str(tmp_path / "walk/2.avi"), "1")]
    assert len(find_videos(tmp_path, class_folders=True)) == 3
    (tmp_path / "train.csv").write_text("label,youtube_id\nrun,x\n")  # of another kind, such as Kinetics'
    assert find_splits(tmp_path) == {}
    touch(tmp_path, "train/run/3.avi", "val/run/4.avi")
    assert find_videos(tmp_path, "train") == [(str(tmp_path / "train/run/3.avi"), "run")]
