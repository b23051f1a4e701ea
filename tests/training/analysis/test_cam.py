"""``python -m train.analysis.cam``: what it writes says what the network saw, of pure and of mixed clips."""

import csv
import re
from contextlib import nullcontext

import av
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from tests.training.planted import evaluated_clip, guessing_checkpoint, plain_clips, planted
from tests.videos import dark_and_bright
from train.analysis import cam
from train.config.options import Config
from train.engine.evaluation import middle_clip_config
from train.models.zoo import build_model

CLASSES = ["bright", "dark", "striped"]
CONFIG = Config(num_frames=32, crop_px=40, device="cpu", mix="fademixup", compile=True, on_bad_video="skip")


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
    network = build_model("slowfast50", len(CLASSES), num_frames=32, crop_px=40).eval()
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
        (str(path), name, frame) for path in (dark, bright) for name in ("dark", "striped") for frame in ("0", "8")
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
    dark, bright = folder / "val" / "dark" / "0.avi", folder / "val" / "bright" / "0.avi"
    mixed = dark, "--mix", "fademixup", bright
    lines = run(folder, *mixed, "--seed", 2, "--columns", 16, "--fps", 5)
    assert [line["class"] for line in lines] == ["dark", "dark", "bright", "bright"]
    assert {line["clip"] for line in lines} == {f"fademixup {dark} {bright}"}
    of_dark, of_bright = (np.array([float(line["share"]) for line in part]) for part in (lines[:2], lines[2:]))
    assert np.allclose(of_dark + of_bright, 1) and of_dark[0] != of_dark[1] and 0 < of_dark.min() < 1
    with av.open(str(folder / "out" / "maps.mp4")) as container:
        assert container.streams.video[0].average_rate == 5
    assert run(folder, *mixed, "--seed", 2) == lines != run(folder, *mixed, "--seed", 3)
    sure = run(folder, *mixed, "--seed", 2, "--alpha", 1000)  # lambda is 0.5
    assert float(sure[0]["share"]) + float(sure[1]["share"]) == pytest.approx(1.0, abs=0.15)
    assert [line["share"] for line in sure] != [line["share"] for line in lines]
    fast = run(folder, *mixed, "--layer", "fast")
    assert len(fast) == 32 and {line["frame"] for line in fast} == {str(frame) for frame in range(16)}
    cut = run(folder, dark, "--mix", "framecutmix", bright)
    assert {line["share"] for line in cut} <= {"0", "1"}


def test_shares_of_a_class_that_is_not_known_stay_empty(folder):
    elsewhere, bright = folder / "elsewhere" / "x.avi", folder / "val" / "bright" / "0.avi"
    for pair in ((elsewhere, bright), (bright, elsewhere)):
        lines = run(folder, pair[0], "--mix", "mixup", pair[1])
        assert {line["share"] for line in lines} == {""} and "bright" in {line["class"] for line in lines}


def test_a_link_is_of_the_class_of_its_own_folder(folder):
    link = folder / "val" / "dark" / "link.avi"
    link.symlink_to(folder / "val" / "bright" / "0.avi")
    assert {line["share"] for line in run(folder, link, "--class", "dark")} == {"1"}


@pytest.mark.parametrize("mix", ["mixup", "fademixup", "framecutmix", "cutmix", "framecutmixup"])
def test_activation_of_a_planted_network_is_the_mixing_ratio(mix):
    """It gives 2 where a clip has the colour of the class: in a mix, twice the class's share of the frame."""
    clips = [cam.Clip(f"{label}.avi", label, clip) for label, clip in enumerate(plain_clips(0, 1))]
    (seen,) = cam.activation_of_mixes(planted(), clips[:1], clips[1], CLASSES, [], "slow", mix, seed=5)
    assert seen.classes == CLASSES[:2] and np.allclose(seen.shares_PF.sum(axis=0), 1)
    assert seen.shares_PF.min() < 0.5 < seen.shares_PF.max()
    per_cell_PT = seen.shares_PF.reshape(2, 8, 2).mean(axis=2)  # of two frames each
    assert np.allclose(seen.over_time_PT, 2 * per_cell_PT, atol=1e-5) and np.allclose(seen.of_A_F, seen.shares_PF[0])
    red_F, green_F = ((seen.clip_CTHW[colour] + 1).mean(dim=(1, 2)).numpy() / 2 for colour in (0, 1))
    assert np.allclose(red_F, seen.of_A_F, atol=1e-5) and np.allclose(green_F, 1 - seen.of_A_F, atol=1e-5)


@pytest.fixture
def seen():
    """Class 0 was seen in the first frames above on the left, class 1 in the last below on the right, half as much."""
    maps_PTHW = torch.zeros(2, 2, 2, 2)
    maps_PTHW[0, 0, 0, 0], maps_PTHW[1, 1, 1, 1] = 4.0, 2.0
    shares_PF = np.array([[1.0, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 1.0]])
    clip_CTHW, titles = torch.zeros(3, 4, 32, 32), ["mixup", "A a.avi"]
    return cam.ClipActivation("x", titles, clip_CTHW, CLASSES[:2], [0.9, 0.1], maps_PTHW, shares_PF, shares_PF[0])


def test_each_row_shows_its_classs_map_over_the_frames(seen):
    frames, first, second = cam.rows_of(seen)
    assert (frames.frames_FHWC == 128).all() and frames.captions[1] == "frame 1: A 0.75"
    above, below = (10, 10), (-10, -10)

    def red(row, frame, place) -> int:
        """Above 0 towards the high end of the colours, below 0 towards the low one."""
        colour = row.frames_FHWC[frame][place].astype(int)
        return colour[0] - colour[2]

    assert red(first, 0, above) > 40 and all(red(first, 0, place) < 0 for place in (below, (10, -10), (-10, 10)))
    assert all(red(first, 3, place) < 0 for place in (above, below))
    assert all(red(second, 0, place) < 0 for place in (above, below)) and red(second, 3, above) < 0
    assert 0 < red(second, 3, below) != red(first, 0, above)  # half as high: both rows have one scale
    assert first.captions == [f"activation {value:.2f}" for value in (1.0, 0.5, 0.0, 0.0)]
    assert [title for title, _ in first.curves] == ["bright", "probability 0.90", "activation, 0.00 to 1.00"]
    assert np.allclose(first.curves[2][1], [1, 0.5, 0, 0]) and np.allclose(second.curves[2][1], [0, 0.25, 0.5, 0.5])


def test_the_curves_are_the_activation_and_the_shares(seen, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: drawn.append(figure))
    monkeypatch.setattr(cam, "replacing", lambda path: nullcontext(path))
    cam.draw_activation(tmp_path / "x.png", [seen])
    left, right = drawn[0].axes
    assert [line.get_label() for line in left.lines] == [line.get_label() for line in right.lines] == CLASSES[:2]
    assert [line.get_xydata().tolist() for line in left.lines] == [[[0, 1], [2, 0]], [[0, 0], [2, 0.5]]]
    assert [line.get_ydata().tolist() for line in right.lines] == seen.shares_PF.tolist()


def test_settings_to_look_into_a_network(folder):
    """Compiled networks pass over what is attached to them, and another video is not the one that was asked for."""
    config = middle_clip_config({"batch_size": 1}, torch.load(folder / "best.pt", weights_only=True), "best.pt")
    assert (CONFIG.compile, CONFIG.on_bad_video, CONFIG.eval_clips, CONFIG.tf32) == (True, "skip", 10, True)
    assert (config.compile, config.on_bad_video, config.eval_clips, config.tf32) == (False, "error", 1, False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--class", "drak"], "--class.*'drak': choose one of dark, bright, striped"),
        (["--mix", "cutout", "{}/val/bright/0.avi"], "--mix.*'cutout'.*cutmix.*fademixup"),
        (["--alpha", "2"], "Invalid --alpha 2: needs --mix"),
        (["--mix", "mixup", "{}/val/bright/0.avi", "--alpha", "-1"], "Invalid --alpha -1.0: must be above 0"),
        (["--mix", "mixup", "{}/val/bright/none.avi"], "val/bright/none.avi: No such file"),
        (["{}/best.pt"], "best.pt: "),
        (["--layer", "middle"], "--layer.*'middle'.*slow, fast"),
        (["--columns", "0"], "Invalid --columns 0: must be between 1 and 1000"),
        (["--fps", "1000000"], "Invalid --fps 1000000: must be between 1 and 240"),
    ],
)
def test_what_is_wrong_is_said(folder, capsys, arguments, message):
    arguments = [word.format(folder) for word in arguments]
    video, out = folder / "val" / "dark" / "0.avi", folder / "nothing"
    assert cam.main([str(folder / "best.pt"), str(video), *arguments, "-o", str(out)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cam: ")]
    assert re.search(message, line) and not out.exists()


def test_where_it_cannot_be_written(folder, capsys):
    video = str(folder / "val" / "dark" / "0.avi")
    assert cam.main([str(folder / "best.pt"), video, "-o", video]) == 2
    assert "0.avi: is a file; --out must name a folder" in capsys.readouterr().err


def test_a_network_whose_scores_are_no_numbers(folder, capsys):
    state = torch.load(folder / "best.pt", weights_only=True)
    state["model"]["backbone.classifier.bias"].fill_(float("nan"))
    torch.save(state, folder / "nan.pt")
    assert cam.main([str(folder / "nan.pt"), str(folder / "val" / "dark" / "0.avi"), "-o", str(folder / "no")]) == 2
    assert (
        "the scores of this slowfast50 are not finite numbers" in capsys.readouterr().err
        and not (folder / "no").exists()
    )


def test_a_checkpoint_that_is_not_there(folder, capsys):
    assert cam.main([str(folder / "none.pt"), "x.avi"]) == 2
    assert "none.pt: No such file" in capsys.readouterr().err


def test_names_that_are_hard_to_draw(folder):
    hard = folder / "val" / "dark" / "a $x$ \u00fc\n.avi"
    hard.write_bytes((folder / "val" / "dark" / "0.avi").read_bytes())
    lines = run(folder, hard)
    assert lines[0]["clip"] == str(hard)


@pytest.mark.parametrize("name, times", [("mc3_18", 8), ("mvit_v2_s", 4)])
def test_other_networks(tmp_path, name, times):
    root = dark_and_bright(tmp_path, val=(1, 1))
    config = Config(model=name, num_frames=32, crop_px=64, device="cpu")
    guessing_checkpoint(root / "best.pt", ["bright", "dark"], config)
    lines = run(root, root / "val" / "dark" / "0.avi", "--class", "dark")
    values = [float(line["activation"]) for line in lines]
    assert [float(line["frame"]) for line in lines] == [8 / times * time for time in range(times)]
    assert len(set(values)) == times and imread(root / "out" / "maps.png").shape[0] == 2 * (cam.SHOWN_PX + 18 + 4)
