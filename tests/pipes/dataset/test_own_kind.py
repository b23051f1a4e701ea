"""A kind of source of one's own, and what the app says of those of the library."""

from pathlib import Path

import pytest

from dali_pipes import InputError, VideoSets, resolve_videos
from dali_pipes.dataset import KINDS, NOTES, Kind
from dali_pipes.dataset.summary import main
from train.config.command_line import _parser, parse
from train.config.options import Config
from train.data.videos import (
    MAKE_FOLDER,
    NOTES_ON_EVALUATION,
    NOTES_ON_TRAINING,
    all_classes,
    list_videos,
    load_for_evaluation,
    load_manifests,
    validation_of,
)


def test_the_apps_tables_are_those_of_the_library():
    assert set(NOTES_ON_TRAINING) == set(NOTES) > set(NOTES_ON_EVALUATION)
    from train.config.data import GENERATED_DATA

    assert tuple(MAKE_FOLDER) == GENERATED_DATA


def test_a_kind_of_ones_own_is_a_function_and_a_row(tmp_path, class_folders, monkeypatch, capsys):
    """Training, evaluation, ensembles, the manifest's command and the command line know it."""
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path / "cache"))
    every = resolve_videos(class_folders).train
    asked = []

    def every_other(source, val_data, split, wanted):
        asked.append((source, val_data, split, sorted(wanted)))
        first = int(split == "odd")
        return VideoSets(train=every[first::2], val=every[1 - first :: 2], classes=["right", "left"])

    monkeypatch.setitem(KINDS, "halves", Kind(every_other, splits=("even", "odd")))
    config = Config(**parse(["--dataset", "halves", "--split", "odd", "--data", "here", "--workers", "0"])[0])
    train, val, notes = load_manifests(config)
    assert [video.path for video in train.videos] == [item[0] for item in every[1::2]] and not notes
    assert train.classes == ["right", "left"] and len(train) + len(val) == len(every)
    assert load_for_evaluation(config, train.classes, predict=False)[0].videos == val.videos
    assert asked == [(Path("here"), None, "odd", ["train", "val"]), (Path("here"), None, "odd", ["val"])]
    assert list_videos(config)[0].train == every[1::2] and all_classes(config) == ["right", "left"]
    assert validation_of(config) == f"--data {Path('here').resolve()} --dataset halves --split odd"
    with pytest.raises(InputError, match="Invalid --split '1' of halves: choose one of even, odd"):
        Config(data="here", dataset="halves", split="1")
    with pytest.raises(
        InputError, match="Invalid --split 1: needs a --dataset with official splits; choose one of .*, halves$"
    ):
        Config(data="here", split="1")
    assert "halves" in _parser().format_help()
    assert main(["here", "--dataset", "halves"]) == 0
    assert f"videos    {len(every)} of {len(every)} files\nclasses   2" in capsys.readouterr().out
