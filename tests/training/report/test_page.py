"""The report on runs: what its reader relies on, in planted folders."""

import base64
import json
import os
import re
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dali_pipes import scan_videos
from tests.training.report_pages import NAMES, START, assert_stands_alone, many_classes, plant
from tests.videos import grey_of, rgb_of, write_lossless, write_video
from train.config.options import Config, small
from train.report import data as report_data
from train.report import page as report


def test_the_table_of_runs_has_the_numbers_of_each_and_the_best_of_each_column(reported, tmp_path):
    half = [(f"{n}", "b", "ab"[n % 2], 0.5) for n in range(4)]  # a 100 %, b 50 %
    first = plant(
        tmp_path / "first",
        {"train_loss": 3, "val_top1": 62.5, "val_top5": 88.0},
        {"train_loss": 2, "val_top1": 60.0, "clips_per_s": 3.0, "data_wait_fraction": 0.4, "epoch_s": 180.0},
        {"train_loss": 1.23456, "val_top1": 62.5, "val_top5": 99.0},
        epochs=4,
        predictions=[("x", "a", "a", 0.9), *half, ("unlabelled", "", "b", 0.9), ("unreadable", "b")],
    )
    second = plant(tmp_path / "second", {"val_top1": 40.0, "epoch_s": 12000.0, "bad_videos": 2}, epochs=1)
    page = reported(first, second)
    titles, *rows = page.table("run")
    cells = [dict(zip((title for title, _ in titles), row, strict=True)) for row in rows]
    texts = [{title: text for title, (text, _) in row.items()} for row in cells]
    # of equal top-1 the earlier epoch counts; speeds are averages over the time
    assert texts[0] == {
        "run": "● first",
        "best epoch": "1",
        "top-1": "62.5 %",
        "top-5": "88.0 %",
        "mean class accuracy": "75.0 %",
        "training loss": "1.2346",
        "epochs done": "3",
        "planned epochs": "4",
        "training time": "5 min",
        "clips/s": "5.4",
        "waiting for data": "28.0 %",
        "unreadable videos": "0",
    }
    assert texts[1] == {
        "run": "● second",
        "best epoch": "1",
        "top-1": "40.0 %",
        "top-5": "90.0 %",
        "mean class accuracy": "–",
        "training loss": "1.5000",
        "epochs done": "1",
        "planned epochs": "1",
        "training time": "3 h 20 min",
        "clips/s": "9.0",
        "waiting for data": "10.0 %",
        "unreadable videos": "2",
    }
    best = [{title for title, (_, kind) in row.items() if kind == "best"} for row in cells]
    assert best == [{"top-1", "training loss", "unreadable videos"}, {"top-5", "clips/s", "waiting for data"}]
    assert "In progress or stopped: 3 of 4 epochs are done." in page.text and page.text.count("In progress") == 1
    alone = reported(first).table("run")
    assert len(alone) == 2 and not any(kind for _, kind in alone[1])


def test_settings_that_differ_are_marked_and_the_others_folded(reported, tmp_path):
    settings = {"x": {"lr": 0.5}, "y": {"mix": "cutmix"}, "z": {}}
    runs = [plant(tmp_path / name, {}, out=name, **own) for name, own in settings.items()]
    page = reported(*runs)
    differing, equal = (table for table in page.tables if table[0][0][0] == "setting")
    assert [[text for text, _ in row] for row in differing] == [
        ["setting", "x", "y", "z"],
        ["--mix", "none", "cutmix", "none"],
        ["--lr", "0.5", "0.001", "0.001"],
    ]
    assert all(kind == "differs" for row in differing[1:] for _, kind in row)
    assert not any(kind for row in equal for _, kind in row)
    named = [row[0][0] for row in equal[1:]]
    assert "--out" in named and "--seed" in named and len(named) + 2 == len(asdict(small()))
    assert page.html.index("<details>") < page.html.index("--seed") < page.html.index("</details>")
    # one run: against the defaults
    differing, equal = (table for table in reported(runs[0]).tables if table[0][0][0] == "setting")
    values = {row[0][0]: (row[1][0], row[2][0]) for row in differing[1:]}
    assert values["--lr"] == ("0.5", "0.0001") and values["--num-frames"] == ("32", "64") and "--seed" not in values
    assert ["--tensorboard", "yes", "yes"] in [[text for text, _ in row] for row in equal]


def test_settings_of_other_versions_are_shown(reported, tmp_path):
    runs = [plant(tmp_path / name, {}) for name in "ab"]
    for path, change in ((runs[0] / "config.json", {"colour": "<red>"}), (runs[1] / "config.json", {})):
        settings = json.loads(path.read_text())
        del settings["warmup"]
        path.write_text(json.dumps(settings | change))
    page = reported(*runs)
    assert [[text for text, _ in row] for row in page.table("setting")[1:]] == [["--colour", "<red>", "–"]]
    assert "--warmup" not in page.text


def test_curves_show_all_runs_and_only_the_epochs_that_were_evaluated(reported, tmp_path, monkeypatch):
    seen = {}
    chart = report.chart

    def noting(name, lines, **options):
        seen[name] = lines
        return chart(name, lines, **options)

    monkeypatch.setattr(report, "chart", noting)
    none = {"val_loss": None, "val_top1": None, "val_top5": None}
    every_second = plant(tmp_path / "b", none, {"val_loss": 1.0}, none, {"val_loss": 0.5, "train_loss": 0.25})
    page = reported(plant(tmp_path / "a", {"data_wait_fraction": 0.25}), every_second)
    training_a, validation_a, training_b, validation_b = seen["train-loss"]
    assert validation_b.points == [(2, 1.0), (4, 0.5)] and training_b.points == [
        (1, 1.5),
        (2, 1.5),
        (3, 1.5),
        (4, 0.25),
    ]
    assert training_a.dashed and training_b.dashed and not validation_a.dashed and not validation_b.dashed
    assert training_a.colour == validation_a.colour != training_b.colour == validation_b.colour
    assert seen["data-wait-fraction"][0].points == [(1, 25.0)] and len(seen) == 6
    signs = [attributes["style"] for attributes in page.of_class("sign")]
    assert f"color: {training_a.colour}" in signs and f"color: {training_b.colour}" in signs
    # what is drawn: the validation loss goes through two points, the training loss through four
    path = re.findall(
        rf'<path d="([^"]+)"[^>]*style="[^"]*stroke: {validation_b.colour}[^"]*stroke-width: 1.6', page.html
    )
    assert [drawn.count("L") + 1 for drawn in path[:2]] == [4, 2]


def test_numbers_that_are_not_finite_are_as_if_they_were_not_there(reported, tmp_path):
    """As a validation's is, all of whose videos broke."""
    run = plant(
        tmp_path / "run", {"val_top1": 20.0}, {"val_loss": float("nan"), "val_top1": float("nan"), "lr": float("inf")}
    )
    assert [text for text, _ in reported(run).table("run")[1]][1:3] == ["1", "20.0 %"]


def test_the_many_colours_run_out_after_forty_runs():
    assert len({report.line_style(number) for number in range(40)}) == 40


def test_the_surest_mistakes_of_the_worst_classes_come_first_with_their_frames(reported, tmp_path):
    """Videos tell who they are by their length: the last frame's grey."""
    lengths = {"b0": 11, "b1": 21, "b2": 31, "b3": 41, "c0": 51, "right": 61}
    paths = {name: str(write_lossless(tmp_path / f"{name}.avi", length)) for name, length in lengths.items()}
    predictions = [
        (paths["b0"], "b", "a", 0.6),
        (paths["b1"], "b", "c", 0.9),
        (paths["b2"], "b", "a", 0.4),
        (paths["b3"], "b", "a", 0.7),
        (paths["c0"], "c", "b", 0.99),
        ("c1", "c", "c", 0.5),
        (paths["right"], "a", "a", 1.0),
        (paths["right"], "", "b", 1.0),
    ]
    run = plant(tmp_path / "run", {}, predictions=predictions, classes="abc")
    scan_videos([(path, 0) for path in paths.values()], classes=["a"], workers=1).save(run / "val.csv")
    page = reported(run)
    headings = re.findall("<h4>(.*?)</h4>", page.html)
    assert headings[:2] == ["b: 0.0 %, 4 of 4 wrong", "c: 50.0 %, 1 of 2 wrong"]
    captions = re.findall(r"(\w+\.avi): predicted <b>(\w)</b> with probability (\d+ %); true class (\w)<", page.html)
    assert captions == [
        ("b1.avi", "c", "90 %", "b"),
        ("b3.avi", "a", "70 %", "b"),
        ("b0.avi", "a", "60 %", "b"),
        ("c0.avi", "b", "99 %", "c"),
    ]
    for name, picture in zip(("b1", "b3", "b0", "c0"), page.strips(), strict=True):
        assert picture.shape == (48, 6 * 64 + 5 * 2, 3)
        for column, frame in enumerate(np.linspace(0, lengths[name] - 1, 6).round().astype(int)):
            shown = picture[4:-4, column * 66 + 4 : column * 66 + 60]
            assert shown.mean() == pytest.approx(rgb_of(frame), abs=2), (name, column, grey_of(frame))
    assert page.table("")[1:] == [
        [("a", ""), ("1", "full"), ("", ""), ("", ""), ("1", "sum"), ("100 %", "sum")],
        [("b", ""), ("3", ""), ("", ""), ("1", ""), ("4", "sum"), ("0 %", "sum")],
        [("c", ""), ("", ""), ("1", ""), ("1", ""), ("2", "sum"), ("50 %", "sum")],
    ]
    assert "Videos without a class, which are not counted here: 1." in page.text


def test_thumbnails_have_the_colours_and_fit_their_frame(reported, tmp_path):
    planes = np.full((360 * 3 // 2, 480), 90, np.uint8)
    planes[360:450], planes[450:] = 90, 230  # little blue, much red
    write_video(tmp_path / "red.avi", [planes] * 3, (360, 480))
    run = plant(tmp_path / "run", {}, predictions=[(str(tmp_path / "red.avi"), "a", "b", 1)])
    (picture,) = reported(run).strips()  # of three frames, some stand there twice
    assert picture.shape == (90, 6 * 120 + 5 * 2, 3)
    red, green, blue = picture[:, :120].mean(axis=(0, 1))
    assert red > 180 and green < 80 and blue < 80


def test_videos_that_are_gone_changed_or_unreadable_have_a_sentence_instead_of_a_picture(reported, tmp_path):
    text, changed, gone = (tmp_path / f"{name}.avi" for name in ("text", "changed", "gone"))
    write_lossless(changed, 40)
    write_lossless(gone, 5)
    manifest = scan_videos([(str(changed), 0), (str(gone), 0)], classes=["a", "b"], workers=1)
    gone.unlink()
    text.write_text("no video")
    write_lossless(changed, 11)
    predictions = [(str(path), "a", "b", 0.5) for path in (changed, gone, text)]
    predictions += [
        ("relative/<b>.avi", "b", "a", 0.5),
        (str(tmp_path), "b", "a", 0.4),
        ("/" + "x" * 300, "b", "a", 0.3),
    ]
    run = plant(tmp_path / "run", {}, predictions=predictions)
    manifest.save(run / "val.csv")
    page = reported(run)
    (picture,) = page.strips()
    assert picture[:, -30:].mean() == pytest.approx(rgb_of(10), abs=2)
    problems = [problem for problem in re.findall(r"No picture: ([^<]*)", page.html)]
    assert problems[0] == "the file no longer exists." and problems[1].startswith("cannot be read as video")
    assert (
        problems[2] == "the file no longer exists (its path is relative to the folder in which this report was made)."
    )
    assert len(problems) == 5 and problems[4] == problems[0]


@pytest.mark.parametrize("count", [len(NAMES), 25])
def test_no_name_breaks_or_enters_the_page(reported, tmp_path, count):
    names = NAMES + [f"{name} again" for name in NAMES * 2]
    raw = os.fsdecode(b"caf\xe9 \x07")
    classes = [*names[: count - 1], raw]
    predictions = [(f"/gone/{a}/{b}.avi", a, b, 0.5) for a, b in zip(classes, [*classes[1:], classes[0]], strict=True)]
    start = START | {"command": ["x", *names, raw], "device": NAMES[0], "packages": {NAMES[1]: NAMES[0]}}
    options = {"predictions": predictions, "classes": classes, "starts": [START, start]}
    runs = [plant(tmp_path / name, {}, data=NAMES[0] + raw, **options) for name in (NAMES[1].replace("/", ""), raw)]
    page = reported(*runs)
    allowed = set(
        "html head meta title style body h1 h2 h3 h4 p span a div table thead tbody tr th td ul li figure figcaption "
        "details summary section img b mark code dl dt dd svg g defs path use rect text clippath image".split()
    )
    assert {tag for tag, _ in page.tags} <= allowed
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for name in classes[:-1]:
        assert " ".join(name.split()) in page.text
    assert "caf\ufffd \ufffd" in page.text and "\x07" not in page.html
    assert_stands_alone(page)


def test_of_many_classes_there_is_a_map_and_the_most_confused_pairs(reported, tmp_path):
    page = reported(many_classes(tmp_path / "run"))
    pairs = [[text for text, _ in row] for row in page.table("true class")]
    assert pairs[:3] == [
        ["true class", "predicted class", "videos"],
        ["class 7", "class 8", "5 of 5"],
        ["class 2", "class 3", "2 of 4"],
    ]
    assert len(pairs) == 11
    assert [text for text, _ in page.table("number")[8]] == ["8", "class 7", "5", "0 %"]
    worst = re.findall("<h4>(class.*?)</h4>", page.html)
    assert worst[:2] == ["class 7: 0.0 %, 5 of 5 wrong", "class 2: 50.0 %, 2 of 4 wrong"]
    (image,) = (found for tag, found in page.tags if tag == "image")
    data = base64.b64decode("".join(image["xlink:href"].split(",")[1].split()))
    alpha = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
    assert alpha.shape == (101, 101)
    if image.get("transform", "").count("-"):  # some versions of matplotlib store it upside down
        alpha = alpha[::-1]
    assert alpha[0, 0] == 255 and alpha[7, 7] == 0 and alpha[7, 8] == 255 and alpha[8, 7] == 0
    assert alpha[2, 3] == pytest.approx(255 * 0.5**0.5, abs=1)
    assert_stands_alone(page)


def test_the_number_of_strips_is_limited(reported, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "strip", lambda *_: report.Picture("data:image/jpeg;base64,", 1, 1))
    runs = [many_classes(tmp_path / str(number)) for number in range(10)]
    for count in (1, 3, 5, 10):
        shown = len(reported(*runs[:count]).of_class("strip"))
        assert shown <= max(report.STRIPS, count * report.WORST_CLASSES) and shown >= 5 * count
        assert shown == {1: 11, 3: 33, 5: 25, 10: 50}[count]  # four of the worst classes have two mistakes


def test_a_run_that_has_only_begun(reported, tmp_path):
    page = reported(plant(tmp_path / "run"))
    assert "No epoch is finished yet" in page.text and "<svg" not in page.html
    assert (
        "val_predictions.csv is missing: the run has not been evaluated yet. The first evaluation writes it."
        in page.text
    )
    assert "samples.png does not exist; training writes it at its first step." in page.text
    assert [text for text, _ in page.table("run")[1]][1:] == ["–"] * 5 + ["0", "9", "–", "–", "–", "–"]


def test_runs_of_earlier_versions_say_how_to_make_what_is_missing(reported, tmp_path):
    run = plant(tmp_path / "my run", {})
    assert (
        "val_predictions.csv is missing: it could be made from best.pt, but best.pt is missing as well."
        in reported(run).text
    )
    (run / "best.pt").touch()
    (run / "environment.json").unlink()
    (run / "samples.png").write_bytes(b"no picture")
    text = reported(run).text
    assert f"To write the file, run: python train/run.py --eval-only '{run}/best.pt' --out '{run}'" in text
    assert (
        "environment.json is missing" in text
        and "samples.png cannot be read, because it is cut off or damaged." in text
    )


def test_what_changed_between_the_starts_is_marked(reported, tmp_path):
    later = START | {
        "started": "2026-02-01T12:00:00+00:00",
        "packages": {"torch": "2.10", "av": "17.0"},
        "processes": 4,
        "git": {"commit": "0123456789abcdef", "changed": ["a.py", "b.py"]},
    }
    page = reported(plant(tmp_path / "run", {}, starts=[START, later, later | {"git": None}]))
    assert re.findall("<mark>(.*?)</mark>", page.html) == ["0123456789 + 2 changed files", "4", "2.10", "unknown"]
    assert "Start 2 of 3" in page.text and "2026-02-01 12:00:00 UTC" in page.text
    assert "train/run.py --out 'x y'" in page.text


def test_runs_in_folders_of_one_name_stay_apart(reported, tmp_path, monkeypatch):
    runs = [plant(tmp_path / where / "latest", {}) for where in ("one", "two/deep", "three/deep")]
    shown = [row[0][0] for row in reported(*runs, runs[0]).table("run")[1:]]
    assert shown == ["● one/latest", "● two/deep/latest", "● three/deep/latest"]
    monkeypatch.chdir(runs[0])
    assert [row[0][0] for row in reported(".").table("run")[1:]] == ["● latest"]
    assert report_data.short_names([Path("/a"), Path("/b/a")]) == ["//a", "b/a"]


def test_planned_epochs_heed_max_steps(tmp_path):
    run = plant(tmp_path / "run", {}, epochs=9, max_steps=7, batch_size=2)
    (before,) = report_data.read_runs([str(run)])
    write_lossless(tmp_path / "v.avi", 5)
    manifest = scan_videos([(str(tmp_path / "v.avi"), "a")], workers=1)
    replace(manifest, videos=manifest.videos * 5).save(run / "train.csv")
    (after,) = report_data.read_runs([str(run)])
    assert before.planned_epochs == 9 and after.planned_epochs == 3  # of 3 steps each


def test_the_same_runs_give_the_same_file(reported, tmp_path):
    write_lossless(tmp_path / "v.avi", 9)
    runs = [
        many_classes(tmp_path / "a"),
        plant(tmp_path / "b", {}, predictions=[(str(tmp_path / "v.avi"), "a", "b", 1)]),
    ]
    first = reported(*runs)
    assert reported(*runs).html == first.html
    assert_stands_alone(first)
    assert "http:" not in first.html and "https:" not in first.html


def damaged_files(folder: Path) -> dict[str, tuple[str, bytes]]:
    head = b"path,label,class_1,probability_1\n"
    return {
        "config.json": ("config.json: is cut off or damaged (it is not valid JSON", b'{"lr": 1'),
        "config.json ": ("config.json: was not written by train/run.py, which writes a JSON dict", b"[]"),
        "config.json  ": ("config.json: is cut off or damaged (it is not valid JSON", b"\xff\xfe\x00"),
        "environment.json": ("environment.json: was not written by train/run.py", b'["text"]'),
        "environment.json ": ("environment.json: was not written by train/run.py", b'[{"git": "text"}]'),
        "metrics.csv": ("metrics.csv, line 2: is cut off or damaged", b"epoch,train_loss\n1"),
        "metrics.csv ": ("metrics.csv, line 3: is cut off or damaged", b"epoch,train_loss\n1,2\n2,x\n"),
        "metrics.csv  ": ("metrics.csv: is not UTF-8 text", b"\x89PNG\0\0"),
        "metrics.csv   ": ("metrics.csv, line 2: is damaged (it has more cells", b"epoch,train_loss\n1,2,3\n"),
        "val.csv": ("val.csv: is not a manifest", b"text"),
        "val_classes.csv": ("val_classes.csv: is cut off or damaged (its first line does not name class", b""),
        "val_predictions.csv": ("val_predictions.csv, line 2: has the class 'z', which", head + b"p,a,z,1\n"),
        "val_predictions.csv ": ("val_predictions.csv, line 2: is cut off or damaged", head + b"p,a,b\n"),
        "val_predictions.csv  ": ("val_predictions.csv, line 2: is damaged", head + b"p,a,b,much\n"),
    }


def test_damaged_files_are_named_in_one_sentence(tmp_path, capsys):
    for number, (name, (sentence, content)) in enumerate(damaged_files(tmp_path).items()):
        run = plant(tmp_path / str(number), {}, predictions=[("p", "a", "b", 1)])
        (run / name.strip()).write_bytes(content)
        assert report.main([str(run)]) == 2, name
        said = capsys.readouterr()
        assert said.err.startswith(f"report: {run}/{sentence}") and said.err.count("\n") == 1 and not said.out, said.err
        assert not (run / "report.html").exists()


def test_folders_that_are_no_runs_and_places_that_cannot_be_written(tmp_path, capsys):
    run = plant(tmp_path / "run", {})
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        ([run / "config.json"], "config.json: is not the folder of a run: it is a file"),
        ([run, tmp_path / "gone"], "gone: is not the folder of a run: there is no such folder"),
        (
            [tmp_path / "empty"],
            "empty: is not the folder of a run: it contains no config.json, which train/run.py writes",
        ),
        ([run, "-o", tmp_path / "no folder" / "x.html"], "x.html: cannot be written (No such file or directory)"),
        ([run, "-o", tmp_path / "empty"], "empty: cannot be written (Is a directory)"),
    ):
        assert report.main([str(word) for word in arguments]) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"report: {tmp_path}") and said.err.endswith(f"{sentence}\n"), said.err
        assert said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.rglob("*.html")) and not list(tmp_path.rglob(".*"))


def test_every_setting_has_a_help_text(reported, tmp_path):
    helps = {
        found["title"] for tag, found in reported(plant(tmp_path / "run", {})).tags if tag == "th" and "title" in found
    }
    assert {item.metadata["help"] for item in Config.__dataclass_fields__.values()} <= helps
