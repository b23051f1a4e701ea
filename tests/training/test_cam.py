"""``python -m train.cam``: what it writes says what the network saw, of pure and of mixed clips."""

import csv
import re

import av
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from tests.training.planted import evaluated_clip, guessing_checkpoint
from tests.videos import dark_and_bright
from train import cam
from train.config import Config
from train.models import build_model

CLASSES = ["bright", "dark", "striped"]
CONFIG = Config(frames=32, crop=40, device="cpu", mix="fademixup", compile=True, on_bad_video="skip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos in folders that are named like classes, one elsewhere, and a checkpoint of a network that guesses."""
    root = dark_and_bright(tmp_path_factory.mktemp("cam"), val=(1, 1))
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "x.avi").write_bytes((root / "val" / "dark" / "0.avi").read_bytes())
    guessing_checkpoint(root / "best.pt", CLASSES, CONFIG)
    return root


@pytest.fixture(scope="module")
def network(folder):
    network = build_model("slowfast50", len(CLASSES), frames=32, side=40).eval()
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True)["model"])
    return network


def run(folder, *arguments) -> list[dict[str, str]]:
    """The lines of activation.csv."""
    out = folder / "out"
    assert cam.main([str(word) for word in (folder / "best.pt", *arguments, "-o", out)]) == 0
    with open(out / "activation.csv", newline="") as file:
        return list(csv.DictReader(file))


def film(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_pure_clips(folder, network):
    bright, dark = folder / "val" / "bright" / "0.avi", folder / "val" / "dark" / "0.avi"
    lines = run(folder, dark, bright, "--class", "dark", "--class", "striped", "--columns", 4)
    assert [(line["clip"], line["class"], line["frame"]) for line in lines] == [
        ("0.avi", name, frame) for _ in range(2) for name in ("dark", "striped") for frame in ("0", "8")
    ]
    # the numbers are the network's: the mean activation and the fast path's part are the logit
    with torch.no_grad():
        for start, path in ((0, dark), (4, bright)):
            logits_K = network(evaluated_clip(path, CONFIG)[None])[0]
            probabilities_K = logits_K.softmax(dim=0)
            for place, k in enumerate((1, 2)):
                own = lines[start + 2 * place : start + 2 * place + 2]
                kept = []
                handle = network.backbone.slow[4].register_forward_hook(lambda m, i, o, kept=kept: kept.append(o))
                network(evaluated_clip(path, CONFIG)[None])
                handle.remove()
                weights_C = network.backbone.classifier.weight[k, : kept[0].shape[1]]
                by_time = (kept[0][0] * weights_C[:, None, None, None]).sum(dim=0).mean(dim=(1, 2))
                assert [float(line["activation"]) for line in own] == pytest.approx(
                    by_time.tolist(), rel=0.02, abs=2e-3
                )
                assert float(own[0]["probability"]) == pytest.approx(probabilities_K[k].item(), abs=0.01)
    assert {line["share"] for line in lines if line["class"] == "striped"} == {"0"}
    assert [line["share"] for line in lines if line["class"] == "dark"] == ["1", "1", "0", "0"]
    sheet = imread(folder / "out" / "maps.png")
    # a title and 4 columns; the clip and two maps, of two videos
    assert sheet.shape[:2] == (6 * (cam.SHOWN_PX + 18 + 4), 150 + 4 * (cam.SHOWN_PX + 4) + 4)
    assert len(film(folder / "out" / "maps.mp4")) == 16
    assert imread(folder / "out" / "activation.png").shape[1] == 900


def test_the_classes_that_are_shown_by_default(folder, network):
    with torch.no_grad():
        taken_for = CLASSES[network(evaluated_clip(folder / "val" / "bright" / "0.avi", CONFIG)[None]).argmax()]
    own = list(dict.fromkeys(["bright", taken_for]))
    lines = run(folder, folder / "val" / "bright" / "0.avi")
    assert list(dict.fromkeys(line["class"] for line in lines)) == own and lines[0]["share"] == "1"
    lines = run(folder, folder / "elsewhere" / "x.avi")  # its folder is no class
    assert len({line["class"] for line in lines}) == 1 and {line["share"] for line in lines} == {""}


def test_a_mixed_clip(folder):
    videos = folder / "val" / "dark" / "0.avi", "--mix", "fademixup", folder / "val" / "bright" / "0.avi"
    lines = run(folder, *videos, "--seed", 2, "--columns", 16)
    assert [line["class"] for line in lines] == ["dark", "dark", "bright", "bright"]
    assert {line["clip"] for line in lines} == {"fademixup A 0.avi B 0.avi"}
    dark, bright = (np.array([float(line["share"]) for line in part]) for part in (lines[:2], lines[2:]))
    assert np.allclose(dark + bright, 1) and dark[0] != dark[1] and 0 < dark.min() < 1
    # the film shows that mix: dark is grey below 80, bright above 110
    first, last = ((film(folder / "out" / "maps.mp4"))[place] for place in (0, 15))
    shown = [frame[22:140, 160:270].mean() for frame in (first, last)]
    assert np.sign(shown[1] - shown[0]) == np.sign(bright[1] - bright[0]) or abs(shown[1] - shown[0]) < 25
    again = run(folder, *videos, "--seed", 2)
    assert again == lines and run(folder, *videos, "--seed", 3) != lines
    cut = run(folder, folder / "val" / "dark" / "0.avi", "--mix", "framecutmix", folder / "val" / "bright" / "0.avi")
    assert {line["share"] for line in cut} <= {"0", "1"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--class", "drak"], "--class.*'drak'.*bright, dark, striped"),
        (["--mix", "cutout", "{}/val/bright/0.avi"], "--mix.*'cutout'.*cutmix.*fademixup"),
        (["--alpha", "2"], "--alpha 2 is of --mix, which is not given"),
        (["--mix", "mixup", "{}/val/bright/0.avi", "--alpha", "-1"], "--alpha is -1.0, it must lie above 0"),
        (["--mix", "mixup", "{}/val/bright/none.avi"], "val/bright/none.avi: No such file"),
        (["{}/best.pt"], "best.pt: "),
        (["--layer", "middle"], "--layer.*'middle'.*slow, fast"),
        (["--columns", "0"], "--columns is 0, it must be at least 1"),
    ],
)
def test_what_is_wrong_is_said(folder, capsys, arguments, message):
    arguments = [word.format(folder) for word in arguments]
    video, out = folder / "val" / "dark" / "0.avi", folder / "nothing"
    assert cam.main([str(folder / "best.pt"), str(video), *arguments, "-o", str(out)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cam: ")]
    assert re.search(message, line) and not out.exists()


def test_a_checkpoint_that_is_not_there(folder, capsys):
    assert cam.main([str(folder / "none.pt"), "x.avi"]) == 2
    assert "none.pt: No such file" in capsys.readouterr().err


def test_names_that_are_hard_to_draw(folder):
    hard = folder / "val" / "dark" / "a $x$ \u00fc\n.avi"
    hard.write_bytes((folder / "val" / "dark" / "0.avi").read_bytes())
    lines = run(folder, hard)
    assert lines[0]["clip"] == hard.name


@pytest.mark.parametrize("name, times", [("mc3_18", 8), ("mvit_v2_s", 4)])
def test_other_networks(tmp_path, name, times):
    root = dark_and_bright(tmp_path, val=(1, 1))
    config = Config(model=name, frames=32, crop=64, device="cpu")
    guessing_checkpoint(root / "best.pt", ["bright", "dark"], config)
    lines = run(root, root / "val" / "dark" / "0.avi", "--class", "dark")
    values = [float(line["activation"]) for line in lines]
    assert [float(line["frame"]) for line in lines] == [8 / times * time for time in range(times)]
    assert len(set(values)) == times and imread(root / "out" / "maps.png").shape[0] == 2 * (cam.SHOWN_PX + 18 + 4)
