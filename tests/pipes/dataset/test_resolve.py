"""Which videos a source means: every kind of source, and what is wrong with one."""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

from dali_pipes import InputError, Segment, VideoSets, resolve_videos
from dali_pipes.dataset import check_source
from dali_pipes.dataset.summary import find_groups, main
from tests.pipes.dataset.test_official import hmdb51, ucf101, vipriors


def place(root: Path, *names: str) -> None:
    """``place(root, "run/0.mp4", "list.csv=path,label")``: empty files, or with the text behind ``=``."""
    for name in names:
        file, _, text = name.partition("=")
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)


SPLIT = ("train/run/0.mp4", "train/walk/1.mp4", "val/run/2.mp4")
WITH_COLUMN = "list.csv=path,label,split\na.mp4,10,train\nb.mp4,9,train\nc.mp4,9,val\nd.mp4,9,test\n"


class Case(NamedTuple):
    files: tuple[str, ...] = ()
    arguments: dict = {}  # noqa: RUF012
    train: str = ""
    val: str = ""
    test: str = ""
    classes: str = ""
    notes: tuple[str, ...] = ()
    data: str = "."
    is_apart: bool = True
    make: object = None


NO_VAL = "{root} has no validation videos: the training videos are used for validation."
OFFICIAL = (
    "UCF-101/Archery/v_Archery_g0{n}_c01.avi:Archery "
    "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi:HandstandPushups"
)
VIPRIORS = [
    f"mod-ucf101/videos/video_{name}.avi"
    for name in ("train_0000001", "train_0000002", "validation_0000001", "test_0000001")
]
VIP_TRAIN, VIP_VAL = f"{VIPRIORS[0]}:Archery {VIPRIORS[1]}:Biking", f"{VIPRIORS[2]}:Biking"
CASES = {
    "a folder": Case(
        ("walk/0.mp4", "run/1.mp4"),
        train="run/1.mp4:run walk/0.mp4:walk",
        val="run/1.mp4:run walk/0.mp4:walk",
        classes="run walk",
        notes=(NO_VAL,),
        is_apart=False,
    ),
    "a split folder": Case(
        SPLIT, train="train/run/0.mp4:run train/walk/1.mp4:walk", val="val/run/2.mp4:run", classes="run walk"
    ),
    "train and test": Case(
        ("train/run/0.mp4", "test/run/1.mp4"),
        train="train/run/0.mp4:run",
        val="test/run/1.mp4:run",
        classes="run",
        notes=("{root}/test is used for validation.",),
    ),
    "train, val and test": Case(
        (*SPLIT, "test/run/3.mp4"),
        train="train/run/0.mp4:run train/walk/1.mp4:walk",
        val="val/run/2.mp4:run",
        test="test/run/3.mp4:run",
        classes="run walk",
    ),
    "test not wanted": Case(
        (*SPLIT, "test/run/3.mp4"),
        {"parts": ["train", "val"]},
        train="train/run/0.mp4:run train/walk/1.mp4:walk",
        val="val/run/2.mp4:run",
        classes="run walk",
        notes=("The test videos in {root}/test are not used.",),
    ),
    "only val wanted": Case((*SPLIT, "train/loose.mp4"), {"parts": ["val"]}, val="val/run/2.mp4:run", classes="run"),
    "only val wanted, none apart": Case(
        ("run/0.mp4",), {"parts": ["val"]}, val="run/0.mp4:run", classes="run", notes=(NO_VAL,), is_apart=False
    ),
    "what lies beside": Case(
        (*SPLIT, "train/empty/x.md", "other/x.md", "loose.mp4", "more.csv=path,label"),
        train="train/run/0.mp4:run train/walk/1.mp4:walk",
        val="val/run/2.mp4:run",
        classes="run walk",
        notes=(
            "These folders in {root}/train contain no videos and are not used as classes: empty.",
            "These lists in {root} are not used: more.csv. To use one, give it as data or val_data.",
            "In {root}, these are not used, because they are not parts of the split: other, loose.mp4.",
        ),
    ),
    "folders that might be a split": Case(
        ("a/x/0.mp4", "a/y/1.mp4", "b/x/2.mp4", "b/y/3.mp4"),
        {"dataset": "folder"},
        train="a/x/0.mp4:a a/y/1.mp4:a b/x/2.mp4:b b/y/3.mp4:b",
        val="a/x/0.mp4:a a/y/1.mp4:a b/x/2.mp4:b b/y/3.mp4:b",
        classes="a b",
        notes=(NO_VAL,),
        is_apart=False,
    ),
    "a list": Case(
        ("l.csv=path,label,start,end\na.mp4,2,1,3\na.mp4,10,,\n",),
        {"dataset": "csv"},
        train="a.mp4:2:1-3 a.mp4:10",
        val="a.mp4:2:1-3 a.mp4:10",
        classes="2 10",
        notes=(NO_VAL.replace("root}", "root}/l.csv"),),
        data="l.csv",
        is_apart=False,
    ),
    "a list with a column split": Case(
        (WITH_COLUMN,),
        train="a.mp4:10 b.mp4:9",
        val="c.mp4:9",
        test="d.mp4:9",
        classes="9 10",
        data="list.csv",
        notes=(
            "The videos come from {root}/list.csv, split train "
            "and {root}/list.csv, split val and {root}/list.csv, split test.",
        ),
    ),
    "a list of val alone": Case(
        ("l.csv=path,label,split\na.mp4,10,val\nb.mp4,9,test\n",),
        val="a.mp4:10",
        test="b.mp4:9",
        classes="9 10",
        data="l.csv",
        notes=("The videos come from {root}/l.csv, split val and {root}/l.csv, split test.",),
    ),
    "two lists": Case(
        ("t.csv=path,label\na.mp4,x\n", "v.csv=path,label\nb.mp4,x\n"),
        {"val_data": "v.csv"},
        train="a.mp4:x",
        val="b.mp4:x",
        classes="x",
        data="t.csv",
    ),
    "two lists in a folder": Case(
        ("train.csv=a.mp4,x", "val.csv=b.mp4,y"),
        train="a.mp4:x",
        val="b.mp4:y",
        classes="x",
        notes=("The videos come from {root}/train.csv and {root}/val.csv.",),
    ),
    "val_data apart": Case(
        (WITH_COLUMN, *(f"o/{name}" for name in SPLIT)),
        {"val_data": "o", "parts": ["train", "val"]},
        train="a.mp4:10 b.mp4:9",
        val="o/val/run/2.mp4:run",
        classes="9 10",
        data="list.csv",
        notes=(
            "The videos come from {root}/list.csv, split train.",
            "The videos of val_data are used for validation; {root}/list.csv, split val is not used.",
            "The test videos in {root}/list.csv, split test are not used.",
        ),
    ),
    "val_data of data that is gone": Case(
        ("v/run/0.mp4",),
        {"val_data": "v", "parts": ["val"], "dataset": "csv"},
        val="v/run/0.mp4:run",
        classes="run",
        data="gone",
    ),
    "ucf101": Case(
        (),
        {"dataset": "ucf101"},
        train=OFFICIAL.format(n=1),
        val="UCF-101/Biking/v_Biking_g01_c02.avi:Biking",
        classes="Archery HandstandPushups Biking",
        make=ucf101,
    ),
    "ucf101, split 2": Case(
        (),
        {"dataset": "ucf101", "split": "2", "parts": ["train"]},
        train=OFFICIAL.format(n=2),
        classes="Archery HandstandPushups Biking",
        make=ucf101,
    ),
    "hmdb51": Case(
        (),
        {"dataset": "hmdb51"},
        train="wave/a(1)_wave!1.avi:wave wave_ball/c.avi:wave_ball",
        classes="wave wave_ball",
        val="wave/b|c.avi:wave wave_ball/d.avi:wave_ball",
        make=hmdb51,
    ),
    "vipriors": Case(
        (),
        {"dataset": "vipriors"},
        train=VIP_TRAIN,
        val=VIP_VAL,
        test=VIPRIORS[3],
        classes="Biking Archery",
        make=vipriors,
    ),
    "train+val": Case(
        (),
        {"dataset": "vipriors", "split": "train+val"},
        train=f"{VIP_TRAIN} {VIP_VAL}",
        val=VIP_VAL,
        test=VIPRIORS[3],
        classes="Biking Archery",
        notes=(
            "The validation videos are also used for training (split train+val), so the validation accuracy "
            "is not that of unseen "
            "videos.",
        ),
        is_apart=False,
        make=vipriors,
    ),
    "test": Case(
        (), {"dataset": "vipriors", "split": "test"}, test=VIPRIORS[3], classes="Biking Archery", make=vipriors
    ),
    "an unlabelled folder": Case(("a.mp4", "deep/er/b.mp4"), {"dataset": "unlabelled"}, test="a.mp4 deep/er/b.mp4"),
    "an unlabelled list": Case(
        ("l.csv=path,start_frame,end_frame\na.mp4,0,4\n",), {"dataset": "unlabelled"}, test="a.mp4::0-4f", data="l.csv"
    ),
    "an unlabelled video": Case(("a.mp4",), {"dataset": "unlabelled"}, test="a.mp4", data="a.mp4"),
}


def items_of(text: str, root: Path) -> list:
    """``a.mp4:run:1-3`` is (root/a.mp4, "run", Segment(1, 3, "s")); ``|`` is a blank, and a missing class None."""
    found = []
    for word in text.split():
        name, label, segment = (*word.split(":"), "", "")[:3]
        item = (str(root / name.replace("|", " ")), label or None)
        start, _, end = segment.rstrip("f").partition("-")
        unit = "frames" if segment.endswith("f") else "s"
        found.append((*item, Segment(float(start), float(end), unit)) if segment else item)
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_source(tmp_path, name):
    case = CASES[name]
    if case.make:
        case.make(tmp_path)
    place(tmp_path, *case.files)
    arguments = dict(case.arguments)
    if "val_data" in arguments:
        arguments["val_data"] = tmp_path / arguments["val_data"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*these files are skipped")  # of other kinds
        sets = resolve_videos(tmp_path / case.data, **arguments)
    for part in ("train", "val", "test"):
        assert getattr(sets, part) == items_of(getattr(case, part), tmp_path), part
    assert sets.classes == case.classes.split() and sets.val_is_apart == case.is_apart
    assert [str(note) for note in sets.notes] == [note.format(root=tmp_path) for note in case.notes]
    assert not sets.val or sets.val_is_apart or not sets.train or all(item in sets.train for item in sets.val)


class Wrong(NamedTuple):
    arguments: dict
    message: str
    files: tuple[str, ...] = ()
    data: str = "."


WRONG = {  # what is wrong -> what is there and asked for, and the message
    "nothing there": Wrong({}, "gone: no such folder or file; expected a folder of class folders", data="gone"),
    "no videos": Wrong({}, "contains no videos; expected <class>/<video>"),
    "no csv": Wrong({"dataset": "csv"}, ": is a folder, but dataset='csv' needs a list", files=("a/0.mp4",)),
    "no folder": Wrong(
        {"dataset": "folder"},
        "l.csv: is a file, but dataset='folder' needs a folder",
        files=("l.csv=0.mp4,a",),
        data="l.csv",
    ),
    "an official one": Wrong(
        {},
        "contains ucfTrainTestlist, so it looks like the dataset ucf101; "
        "choose dataset='ucf101', or dataset='folder' to ignore its lists",
        files=("ucfTrainTestlist/classInd.txt",),
    ),
    "no lists": Wrong({"dataset": "hmdb51"}, "does not contain testTrainMulti_7030_splits/", files=("a/0.mp4",)),
    "an unknown kind": Wrong(
        {"dataset": "ucf"}, "Invalid dataset 'ucf': choose one of ucf101, auto, folder, csv, hmdb51"
    ),
    "an unknown split": Wrong(
        {"dataset": "ucf101", "split": "4"}, "Invalid split '4' of ucf101: choose one of 1, 2, 3"
    ),
    "no official one": Wrong(
        {"split": "1"}, "Invalid split 1: needs a dataset with official splits; choose one of ucf101, hmdb51, vipriors"
    ),
    "val_data twice": Wrong(
        {"dataset": "ucf101", "val_data": "x"},
        "Invalid val_data x: cannot be combined with dataset ucf101, whose lists name the validation videos; "
        "leave out val_data",
    ),
    "val_data unlabelled": Wrong(
        {"dataset": "unlabelled", "val_data": "x"}, "Invalid val_data x: cannot be combined with dataset unlabelled"
    ),
    "an unknown part": Wrong({"parts": ["eval"]}, "Invalid part 'eval': choose one of val, train, test"),
    "no val_data": Wrong({"val_data": "gone"}, "gone: no such folder or file", files=("a/0.mp4",)),
    "a part without classes": Wrong({}, "train/loose.mp4: is not in a class folder", files=(*SPLIT, "train/loose.mp4")),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(tmp_path, monkeypatch, what):
    wrong = WRONG[what]
    monkeypatch.chdir(tmp_path)
    place(tmp_path, *wrong.files)
    with pytest.raises(InputError, match=re.escape(wrong.message)):
        resolve_videos(tmp_path / wrong.data, **wrong.arguments)


def test_arguments_are_called_as_the_program_calls_them():
    with pytest.raises(
        InputError,
        match="^Invalid --val-data x: cannot be combined with --dataset unlabelled, .*; leave out --val-data$",
    ):
        check_source(val_data="x", dataset="unlabelled", name=lambda name: f"--{name.replace('_', '-')}")


def test_lists_of_a_source_and_their_classes():
    sets = VideoSets([("a", "x"), ("b", "y")], [("b", "y")], [("c", "w"), ("d", None)], ["y", "x"], val_is_apart=False)
    assert sets.all_videos == [("a", "x"), ("b", "y"), ("c", "w"), ("d", None)]
    assert sets.all_classes == ["w", "x", "y"]
    assert VideoSets([("a", "x")], classes=["y", "x"]).all_classes == ["y", "x"]  # an official list's order
    assert VideoSets(val=[("b", "y")], val_is_apart=False).all_videos == [("b", "y")]


def test_the_manifests_command_reads_as_training_does(tmp_path, capsys):
    place(tmp_path / "own", "run/0.mp4", "walk/1.mp4")
    items = [(str(tmp_path / "own" / name), name[:-6]) for name in ("run/0.mp4", "walk/1.mp4")]
    assert find_groups(str(tmp_path / "own"), "auto") == ({"": items}, ["run", "walk"])  # not twice, for validation too
    place(tmp_path / "list", "l.csv=path,label,split\na.mp4,1,val\na.mp4,2,test\n")
    root = str(tmp_path / "list" / "a.mp4")
    assert find_groups(str(tmp_path / "list/l.csv"), "csv") == (
        {"val": [(root, "1")], "test": [(root, "2")]},
        ["1", "2"],
    )
    place(tmp_path / "loose", "0.mp4", "a/1.mp4")
    loose = {"": [(str(tmp_path / "loose" / name), "(no class)") for name in ("0.mp4", "a/1.mp4")]}
    for dataset in ("auto", "unlabelled"):
        assert find_groups(str(tmp_path / "loose"), dataset) == (loose, ["(no class)"])
    groups, classes = find_groups(str(vipriors(tmp_path / "vip")), "vipriors")
    assert [label for _, label in groups[""]] == ["Archery", "Biking", "Biking", "(no class)"]
    assert classes == ["Biking", "Archery", "(no class)"]
    ucf101(tmp_path / "ucf")
    groups, _ = find_groups(str(tmp_path / "ucf"), "ucf101")
    names = [Path(path).name[-11:-4] for path, _ in groups[""]]
    assert names == "g01_c01 g01_c01 g01_c02 g02_c01 g02_c02 g03_c01 g03_c02".split()
    assert main([str(tmp_path / "ucf")]) == 2 and "choose --dataset ucf101" in capsys.readouterr().err


def test_the_example_of_the_docs(tmp_path, class_folders, monkeypatch, capsys):
    page = Path(__file__).resolve().parents[3] / "docs" / "datasets.md"
    (example,) = re.findall(r"```python\n(.+?)```", page.read_text(), flags=re.DOTALL)
    (tmp_path / "videos").symlink_to(class_folders)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    assert len(names["train"]) == len(names["val"]) == 5 and "has no validation videos" in capsys.readouterr().out
