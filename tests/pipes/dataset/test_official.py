"""The official lists of UCF-101, HMDB-51 and VIPriors, in the layouts that their archives unpack to."""

import shutil
from pathlib import Path

import pytest

from dali_pipes import DATASETS, InputError, resolve_videos
from dali_pipes.dataset.official import read_hmdb51, read_ucf101, read_vipriors


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def ucf101(root: Path) -> Path:
    lists = root / "ucfTrainTestlist"
    write(lists / "classInd.txt", "\ufeff1 Archery\r\n2 HandstandPushups\r\n3 Biking\r\n")
    for split in "123":
        write(
            lists / f"trainlist0{split}.txt",
            f"Archery/v_Archery_g0{split}_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi 2\r\n",
        )
        write(lists / f"testlist0{split}.txt", f"Biking/v_Biking_g0{split}_c02.avi\r\n\r\n")
    write(root / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi")
    return root


def hmdb51(root: Path, videos: str = "") -> Path:
    lists = root / "testTrainMulti_7030_splits"
    for split in "123":
        write(lists / f"wave_test_split{split}.txt", f"a(1)_wave!{split}.avi 1 \nb c.avi 2 \nunused.avi 0 \n")
        write(lists / f"wave_ball_test_split{split}.txt", "c.avi 1 \nd.avi 2 \n")
        write(lists / f"._wave_test_split{split}.txt", "left by another system")
    write(root / videos / "wave" / "b c.avi")
    return root


def vipriors(root: Path) -> Path:
    lists = root / "mod-ucf101" / "annotations"
    write(lists / "mod-ucf101-classInd.txt", "2 Archery\n1 Biking\n")
    write(lists / "mod-ucf101-train.txt", "video_train_0000001.avi 2\nvideo_train_0000002.avi 1\n")
    write(lists / "mod-ucf101-validation.txt", "video_validation_0000001.avi 1\n")
    write(lists / "mod-ucf101-test.txt", "video_test_0000001.avi\n")
    return root


def test_ucf101(tmp_path):
    ucf101(tmp_path)
    for split in "123":
        listed = read_ucf101(tmp_path, split)
        assert listed.classes == ["Archery", "HandstandPushups", "Biking"]
        videos = tmp_path / "UCF-101"
        assert listed.parts == {
            "train": [
                (str(videos / f"Archery/v_Archery_g0{split}_c01.avi"), "Archery"),
                (str(videos / "HandstandPushups/v_HandStandPushups_g01_c01.avi"), "HandstandPushups"),
            ],
            "val": [(str(videos / f"Biking/v_Biking_g0{split}_c02.avi"), "Biking")],
        }


@pytest.mark.parametrize(
    "lists", ["testTrainMulti_7030_splits", "test_train_splits", "test_train_splits/testTrainMulti_7030_splits", "."]
)
@pytest.mark.parametrize("videos", ["", "hmdb51_org"])
def test_hmdb51(tmp_path, videos, lists):
    root = hmdb51(tmp_path / "root", videos)
    (root / "testTrainMulti_7030_splits").rename(tmp_path / "lists")
    (root / lists).mkdir(parents=True, exist_ok=True)
    for path in (tmp_path / "lists").iterdir():
        path.rename(root / lists / path.name)
    listed = read_hmdb51(root, "2")
    assert listed.classes == ["wave", "wave_ball"]  # though wave_ball_test_split2.txt comes before wave_test_split2.txt
    folder = root / videos
    assert listed.parts == {
        "train": [(str(folder / "wave/a(1)_wave!2.avi"), "wave"), (str(folder / "wave_ball/c.avi"), "wave_ball")],
        "val": [(str(folder / "wave/b c.avi"), "wave"), (str(folder / "wave_ball/d.avi"), "wave_ball")],
    }


def test_ucf101_whose_lists_lie_among_the_class_folders(tmp_path):
    ucf101(tmp_path)
    flat = tmp_path / "UCF-101"
    for path in (tmp_path / "ucfTrainTestlist").iterdir():
        path.rename(flat / path.name)
    assert read_ucf101(flat, "3").parts["val"] == [(str(flat / "Biking/v_Biking_g03_c02.avi"), "Biking")]


MAKE = {"ucf101": ucf101, "hmdb51": hmdb51, "vipriors": vipriors}


@pytest.mark.parametrize("name", DATASETS)
def test_the_split_that_was_asked_for(tmp_path, name):
    root = MAKE[name](tmp_path)
    read = {"ucf101": read_ucf101, "hmdb51": read_hmdb51}
    for split in ("", *DATASETS[name].splits):
        sets = resolve_videos(root, dataset=name, split=split)
        listed = read_vipriors(root) if name == "vipriors" else read[name](root, split or "1")
        both = split == "train+val"
        alone = split == "test"
        assert sets.train == ([] if alone else listed.parts["train"] + (listed.parts["val"] if both else []))
        assert sets.val == ([] if alone else listed.parts["val"]) and sets.test == listed.parts.get("test", [])
        assert sets.classes == listed.classes and bool(sets.notes) == both
    with pytest.raises(
        InputError,
        match=f"contains {DATASETS[name].mark}, so it looks like the dataset {name}; choose dataset='{name}', or",
    ):
        resolve_videos(root)


@pytest.mark.parametrize("inside", [False, True])
def test_vipriors(tmp_path, inside):
    vipriors(tmp_path)
    listed = read_vipriors(tmp_path / "mod-ucf101" if inside else tmp_path)
    assert listed.classes == ["Biking", "Archery"]
    videos = tmp_path / "mod-ucf101" / "videos"
    assert listed.parts == {
        "train": [
            (str(videos / "video_train_0000001.avi"), "Archery"),
            (str(videos / "video_train_0000002.avi"), "Biking"),
        ],
        "val": [(str(videos / "video_validation_0000001.avi"), "Biking")],
        "test": [(str(videos / "video_test_0000001.avi"), None)],
    }


def test_the_challenges_own_lists(shared_clips, tmp_path):
    (tmp_path / "mod-ucf101").mkdir()
    shutil.copytree(shared_clips / "annotations", tmp_path / "mod-ucf101" / "annotations")
    listed = read_vipriors(tmp_path)
    assert [len(listed.parts[part]) for part in ("train", "val", "test")] == [4795, 4742, 3783]
    assert (
        len(listed.classes) == 101 and listed.classes[0] == "ApplyLipstick" and listed.classes[99] == "ApplyEyeMakeup"
    )
    path, label = listed.parts["train"][0]
    assert path.endswith("mod-ucf101/videos/video_train_0000001.avi") and label == "ApplyEyeMakeup"


UCF, HMDB, VIP = "ucfTrainTestlist/", "testTrainMulti_7030_splits/", "mod-ucf101/annotations/mod-ucf101-"
BROKEN = {  # the data set and a file of it -> its new text (None: no file), how the message begins
    ("ucf101", UCF + "trainlist01.txt"): [
        (
            "Rowing/a.avi 1",
            "{file}, line 1: the class 'Rowing' of Rowing/a.avi is not in {root}/ucfTrainTestlist/classInd.txt",
        ),
        (
            "\nArchery/a.avi 3",
            "{file}, line 2: Archery/a.avi has the class number 3, but Archery has the number 1 in "
            "{root}/ucfTrainTestlist/classInd.txt",
        ),
        ("Archery/a b.avi 1", "{file}, line 1: 'Archery/a b.avi 1' must be a video and a class number"),
        ("Archery/a.avi", "{file}, line 1: 'Archery/a.avi' must be a video and a class number"),
        ("Archery 1", "{file}, line 1: 'Archery' must have the form <class>/<video>"),
        ("Archery/../Biking/a.avi 1", "{file}, line 1: 'Archery/../Biking/a.avi' must have the form <class>/<video>"),
        ("Archery/a.avi " + "1" * 5000, "{file}, line 1: 'Archery/a.avi 1"),
        ("Archery/a.avi 1\nArchery/a.avi 1", "{file}, line 2: a.avi is already listed in {file}, line 1"),
        (None, "{file}: No such file"),
    ],
    ("ucf101", UCF + "testlist01.txt"): [
        (
            "HandstandPushups/v_HandStandPushups_g01_c01.avi",
            "{file}, line 1: v_HandStandPushups_g01_c01.avi is already listed in "
            "{root}/ucfTrainTestlist/trainlist01.txt, line 2",
        ),
        ("Archery/a.avi 1", "{file}, line 1: 'Archery/a.avi 1' must be a video without a class"),
        ("Archery/\0.avi", "{file}, line 1: contains a NUL byte; unpack the list again"),
        ("", "{root}/ucfTrainTestlist: its lists contain no videos for val; unpack the lists again"),
    ],
    ("ucf101", UCF + "classInd.txt"): [
        ("1 Archery\n3 Biking", "{file}: its class numbers must be 1, 2, 3, ... without gaps, but are [1, 3]"),
        ("1 Archery\n1 Biking", "{file}, line 2: '1 Biking' must be a class number and a class name"),
        ("", "{file}: its class numbers must be 1, 2, 3, ... without gaps, but are []"),
        (None, "{root}: does not contain ucfTrainTestlist/classInd.txt; expected the folder that contains UCF-101/"),
    ],
    ("ucf101", "UCF-101/Archery/v_Archery_g01_c01.avi"): [
        (
            None,
            "{root}: does not contain UCF-101/*/*.avi; expected the folder that contains UCF-101/ (from UCF101.rar)",
        ),
    ],
    ("hmdb51", HMDB + "wave_test_split1.txt"): [
        ("a.avi 3", "{file}, line 1: 'a.avi 3' must end with 0"),
        ("a.avi", "{file}, line 1: 'a.avi' must end with 0"),
        (None, "{file}: No such file"),
    ],
    ("hmdb51", "run/a.avi"): [
        (
            "",
            "{root}/testTrainMulti_7030_splits: has no list for the class folder run of {root}; "
            "unpack the lists of all classes",
        ),
    ],
    ("hmdb51", "wave/b c.avi"): [
        (None, "{root}: does not contain hmdb51_org/*/*.avi; expected the folder that contains"),
    ],
    ("vipriors", VIP + "train.txt"): [
        (
            "a.avi 0",
            "{file}, line 1: a.avi has the class number 0, but the numbers in "
            "{root}/mod-ucf101/annotations/mod-ucf101-classInd.txt are 1 to 2",
        ),
        ("a.avi", "{file}, line 1: 'a.avi' must be a video and a class number"),
    ],
    ("vipriors", VIP + "test.txt"): [
        ("a.avi 1", "{file}, line 1: 'a.avi 1' must be a video without a class"),
    ],
    ("vipriors", VIP + "classInd.txt"): [
        (None, "{root}: does not contain mod-ucf101/annotations/mod-ucf101-classInd.txt; expected the folder"),
    ],
}


@pytest.mark.parametrize(
    "name, file, text, message", [(*where, *row) for where, rows in BROKEN.items() for row in rows]
)
def test_broken_lists_are_named(tmp_path, name, file, text, message):
    root = MAKE[name](tmp_path)
    DATASETS[name].read(root, DATASETS[name].splits[0])
    (root / file).unlink() if text is None else write(root / file, text)
    with pytest.raises(InputError) as caught:
        DATASETS[name].read(root, DATASETS[name].splits[0])
    assert str(caught.value).startswith(message.format(root=root, file=root / file))


def test_wrong_folders_and_text(tmp_path):
    ucf101(tmp_path / "u")
    with pytest.raises(InputError, match="nowhere: no such folder; expected the folder that contains UCF-101/"):
        read_ucf101(tmp_path / "nowhere")
    with pytest.raises(InputError, match="classInd.txt: is a file; expected the folder that contains"):
        read_vipriors(tmp_path / "u" / "ucfTrainTestlist" / "classInd.txt")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        (ucf101(tmp_path / "x") / "ucfTrainTestlist" / "testlist01.txt").write_bytes(b"Archery/\xff.avi")
        read_ucf101(tmp_path / "x")
    assert {name: dataset.splits[0] for name, dataset in DATASETS.items()} == {
        "ucf101": "1",
        "hmdb51": "1",
        "vipriors": "train",
    }


@pytest.mark.parametrize("name", MAKE)
def test_copies_stand_for_the_listed_files(tmp_path, name):
    """What ``dali_pipes.dataset.transcode`` makes of a.avi is a.mp4."""
    root = MAKE[name](tmp_path)
    read = DATASETS[name].read
    before = read(root, DATASETS[name].splits[0])
    videos = sorted(Path(path) for listed in before.parts.values() for path, _ in listed)
    for path in videos:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    for path in videos[1:]:
        path.with_suffix(".mp4").touch()
    videos[0].touch()
    after = read(root, DATASETS[name].splits[0])
    assert after.classes == before.classes
    for part, listed in before.parts.items():
        for (old, label), (new, new_label) in zip(listed, after.parts[part], strict=True):
            expected = old if Path(old) == videos[0] else old.replace(".avi", ".mp4")
            assert (new, new_label) == (expected, label)
