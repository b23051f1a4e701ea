"""The files in examples/ run as their first lines say."""

import re
import runpy
import subprocess
import sys
from ast import literal_eval
from pathlib import Path
from unittest import mock

import cv2
import pytest
from nvidia import dali

from dali_pipes import OPS
from tests.videos import natural_clip, write_video

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(example, folder, *arguments):
    command = [sys.executable, str(EXAMPLES / example), str(folder), *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.skipif(int(dali.__version__.split(".")[0]) < 2, reason="DALI's CPU decoder reads VP9 since 2.0")
def test_own_pipeline(tmp_path):
    for label in ("a", "b"):
        for number, length in enumerate((40, 20)):  # the second is shorter than a clip
            planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(length, 96, 128)]
            write_video(tmp_path / label / f"{number}.webm", planes, (96, 128), codec="libvpx-vp9", b=0, crf=20)
    lines = run("own_pipeline.py", tmp_path)
    assert [line[:20] for line in lines] == ["[4, 3, 32, 112, 112]"] * 2
    assert [sorted(line[21:]) for line in lines] == [sorted("[0, 0, 1, 1]")] * 2


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_without_a_folder_they_say_how_to_call_them(example, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(example)])
    with mock.patch.dict(OPS), pytest.raises(SystemExit) as ended:  # what it registers is not there afterwards
        runpy.run_path(str(example), run_name="__main__")
    assert f"    python examples/{example.name} FOLDER" in ended.value.code


def test_own_operation(class_folders):
    pytest.importorskip("torch")
    lines = run("own_operation.py", class_folders)
    assert [line.rsplit(") ", 1)[0] for line in lines] == ["(4, 3, 32, 112, 112", "(1, 3, 32, 112, 112"]
    assert "left" in lines[0] + lines[1] and "right" in lines[0] + lines[1]


@pytest.fixture
def train_and_val(tmp_path, class_folders):
    """5 videos to train on, and the same to validate on."""
    for part in ("train", "val"):
        (tmp_path / part).symlink_to(class_folders)
    return tmp_path


def test_own_training(train_and_val, monkeypatch, capsys):
    pytest.importorskip("torch")
    (first,) = run("own_training.py", train_and_val, "1")
    monkeypatch.chdir(train_and_val)
    runpy.run_path(str(EXAMPLES / "own_training.py"))["main"](train_and_val, "2")  # goes on where the first stopped
    (second,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 1: loss \d\.\d{3}, accuracy \d+ %", first), first
    assert re.fullmatch(r"epoch 2: loss \d\.\d{3}, accuracy \d+ %", second), second


def test_own_lightning_deals_each_video_once_to_two_processes(train_and_val):
    pytest.importorskip("lightning")
    metrics = literal_eval(run("own_lightning.py", train_and_val, "2")[-1])
    assert metrics["train_videos"] == 5 and 0 < metrics["train_loss"] < 10
    assert metrics["val_accuracy"] in (0, 0.2, 0.4, 0.6, 0.8, 1)  # of 5 videos, 3 on one process and 2 on the other


def test_own_lightning_resumes_in_the_middle_of_an_epoch(train_and_val):
    """3 steps make an epoch; a checkpoint after the 4th step goes on with the 5th,
    which has the same videos and loss."""
    lightning = pytest.importorskip("lightning")
    example = runpy.run_path(str(EXAMPLES / "own_lightning.py"))

    class Note(lightning.Callback):
        def __init__(self):
            self.steps = []

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.steps.append((trainer.current_epoch, batch_idx, batch.videos_B.tolist(), outputs["loss"].item()))
            if trainer.global_step == 4:
                trainer.save_checkpoint(train_and_val / "fourth.ckpt")

    def fit(checkpoint=None):
        note = Note()
        lightning.seed_everything(1)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[note],
        )
        videos = example["Videos"](train_and_val, batch_size=2, workers=0)
        trainer.fit(example["Classifier"](2), videos, ckpt_path=checkpoint)
        return note.steps

    whole = fit()
    assert [step[:2] for step in whole] == [(epoch, step) for epoch in range(2) for step in range(3)]
    resumed = fit(train_and_val / "fourth.ckpt")

    def without_batch_idx(steps):  # in which older versions of Lightning begin at 0 again
        return [(epoch, videos, loss) for epoch, _, videos, loss in steps]

    assert without_batch_idx(resumed) == without_batch_idx(whole[4:])
