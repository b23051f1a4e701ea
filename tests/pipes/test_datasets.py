"""The official lists of UCF-101, HMDB-51 and VIPriors, in the layouts that their archives unpack to."""

import shutil
from pathlib import Path

import pytest

from dali_pipes import DATASETS, InputError
from dali_pipes.datasets import read_hmdb51, read_ucf101, read_vipriors


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ucf101(root: Path) -> Path:
    lists = root / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Archery\r\n2 HandstandPushups\r\n3 Biking\r\n")
    for split in "123":
        write(lists / f"trainlist0{split}.txt", f"Archery/v_Archery_g0{split}_c01.avi 1\nHandstandPushups/v_HandStandPushups_g01_c01.avi 2\n")  # fmt: skip
        write(lists / f"testlist0{split}.txt", f"Biking/v_Biking_g0{split}_c02.avi\n\n")
    write(root / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi")
    return root


def hmdb51(root: Path, videos: str = "") -> Path:
    lists = root / "testTrainMulti_7030_splits"
    for split in "123":
        write(lists / f"wave_test_split{split}.txt", f"a(1)_wave!{split}.avi 1 \nb c.avi 2 \nunused.avi 0 \n")
        write(lists / f"cartwheel_test_split{split}.txt", "c.avi 1 \nd.avi 2 \n")
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
            "train": [(str(videos / f"Archery/v_Archery_g0{split}_c01.avi"), "Archery"),
                      (str(videos / "HandstandPushups/v_HandStandPushups_g01_c01.avi"), "HandstandPushups")],
            "val": [(str(videos / f"Biking/v_Biking_g0{split}_c02.avi"), "Biking")],
        }  # fmt: skip


@pytest.mark.parametrize("videos", ["", "hmdb51_org"])
def test_hmdb51(tmp_path, videos):
    hmdb51(tmp_path, videos)
    listed = read_hmdb51(tmp_path, "2")
    assert listed.classes == ["cartwheel", "wave"]
    folder = tmp_path / videos
    assert listed.parts == {
        "train": [(str(folder / "cartwheel/c.avi"), "cartwheel"), (str(folder / "wave/a(1)_wave!2.avi"), "wave")],
        "val": [(str(folder / "cartwheel/d.avi"), "cartwheel"), (str(folder / "wave/b c.avi"), "wave")],
    }


@pytest.mark.parametrize("inside", [False, True])
def test_vipriors(tmp_path, inside):
    vipriors(tmp_path)
    listed = read_vipriors(tmp_path / "mod-ucf101" if inside else tmp_path)
    assert listed.classes == ["Biking", "Archery"]
    videos = tmp_path / "mod-ucf101" / "videos"
    assert listed.parts == {
        "train": [(str(videos / "video_train_0000001.avi"), "Archery"), (str(videos / "video_train_0000002.avi"), "Biking")],
        "val": [(str(videos / "video_validation_0000001.avi"), "Biking")],
        "test": [(str(videos / "video_test_0000001.avi"), None)],
    }  # fmt: skip


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


def broken(root: Path):
    """What is changed, and the message."""
    ucf, hmdb, vip = ucf101(root / "u"), hmdb51(root / "h"), vipriors(root / "v")
    lists, annotations = ucf / "ucfTrainTestlist", vip / "mod-ucf101" / "annotations"
    train, classes = lists / "trainlist01.txt", lists / "classInd.txt"
    yield (
        read_ucf101,
        ucf,
        train,
        "Rowing/a.avi 1",
        r"trainlist01.txt, line 1: the class 'Rowing' of Rowing/a.avi is not in .*classInd.txt",
    )
    yield (
        read_ucf101,
        ucf,
        train,
        "\nArchery/a.avi 3",
        "line 2: Archery/a.avi has the class number 3, in .*classInd.txt Archery has 1",
    )
    yield (
        read_ucf101,
        ucf,
        train,
        "Archery/a b c.avi",
        "line 1: 'Archery/a b c.avi' is not a video, or a video and a class number",
    )
    yield read_ucf101, ucf, train, None, "trainlist01.txt: No such file"
    yield (
        read_ucf101,
        ucf,
        classes,
        "1 Archery\n3 Biking",
        r"classInd.txt: the class numbers must be 1 to 2, without gaps",
    )
    yield (
        read_ucf101,
        ucf,
        classes,
        "1 Archery\n1 Biking",
        "line 2: '1 Biking' is not a new class number and a new class name",
    )
    yield (
        read_ucf101,
        ucf,
        classes,
        None,
        r"u: holds no ucfTrainTestlist/ \(UCF101TrainTestSplits-RecognitionTask.zip\)",
    )
    yield (
        read_ucf101,
        ucf,
        ucf / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi",
        None,
        r"holds no UCF-101/<class>/\*.avi \(UCF101.rar\)",
    )
    wave = hmdb / "testTrainMulti_7030_splits" / "wave_test_split1.txt"
    yield read_hmdb51, hmdb, wave, "a.avi 3", "wave_test_split1.txt, line 1: 'a.avi 3' must end with 0"
    yield read_hmdb51, hmdb, wave, "a.avi", "'a.avi' must end with 0"
    yield read_hmdb51, hmdb, hmdb / "wave" / "b c.avi", None, r"holds no <class>/\*.avi \(hmdb51_org.rar, and"
    yield (
        read_vipriors,
        vip,
        annotations / "mod-ucf101-train.txt",
        "a.avi 0",
        "line 1: a.avi has the class number 0, .* has 1 to 2",
    )
    yield read_vipriors, vip, annotations / "mod-ucf101-train.txt", "a.avi", "must be a video and a class number"
    yield read_vipriors, vip, annotations / "mod-ucf101-test.txt", "a.avi 1", "must be a video alone"
    yield (
        read_vipriors,
        vip,
        annotations / "mod-ucf101-classInd.txt",
        None,
        "holds no mod-ucf101/annotations/mod-ucf101-classInd.txt",
    )


@pytest.mark.parametrize("number", range(15))
def test_broken_lists_are_named(tmp_path, number):
    read, root, path, text, message = list(broken(tmp_path))[number]
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read(root)


def test_all_broken_lists_are_tried(tmp_path):
    assert len(list(broken(tmp_path))) == 15
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_ucf101(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        (ucf101(tmp_path / "x") / "ucfTrainTestlist" / "testlist01.txt").write_bytes(b"Archery/\xff.avi")
        read_ucf101(tmp_path / "x")
    assert {name: dataset.splits[0] for name, dataset in DATASETS.items()} == {"ucf101": "1", "hmdb51": "1", "vipriors": "train"}  # fmt: skip
