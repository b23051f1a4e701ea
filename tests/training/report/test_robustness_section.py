"""The section about robustness: the figures of the runs that have results, side by side."""

import json
import os

import pytest

from tests.training.report_pages import plant
from train.report import page as report

FIGURES = {"plain": [80.0, 70.0, 90.0], "pan": [41.26, 30.0, 52.0], "mean, as a share of plain": [None, None, None]}
OTHER_FIGURES = {
    "plain": [60.0, 50.0, 70.0],
    "pan": [20.0, 10.0, 30.0],
    "mean, as a share of plain": [33.3, 20.0, 50.0],
}
NO_FILE = json.dumps({"checkpoints": [{"checkpoint": "", "figures": {}, "conditions": [], "file": 1}]})


def result(file, figures=FIGURES, kinds=("pan",), digest="a", right="1110000", **settings) -> dict:
    """Return the summary of one checkpoint; the path of ``file`` is relative to the folder of the results."""
    rows = [("plain", 0), *((kind, strength) for kind in kinds for strength in (1, 5))]
    return {
        "checkpoint": "x/best.pt",
        "file": {"path": file, "size_bytes": 4, "mtime_ns": 10**18},
        "videos": {"count": 7, "digest": digest},
        "settings": {"seed": 0, "eval_clips": 10} | settings,
        "figures": figures,
        "differences": {},
        "conditions": [
            {"kind": kind, "strength": strength, "accuracy": [50.0 + strength, 40.0, 60.0], "right": right}
            for kind, strength in rows
        ],
    }


def measured(run, *results):
    """Write results, and the checkpoint best.pt that they are of, to the folder of a run."""
    (run / "best.pt").write_text("1234")
    os.utime(run / "best.pt", ns=(10**18, 10**18))
    (run / "robustness").mkdir()
    found = {"videos": 7, "checkpoints": list(results or [result("../best.pt")])}
    (run / "robustness" / "robustness.json").write_text(json.dumps(found))
    return run


def section_of(page) -> str:
    return page.html.split('id="robustness"')[1].split('id="settings"')[0]


def test_runs_with_results_are_shown_side_by_side(reported, tmp_path):
    first = measured(plant(tmp_path / "first", {}))
    second = measured(plant(tmp_path / "second", {}), result("../best.pt", OTHER_FIGURES))
    section = section_of(reported(first, plant(tmp_path / "third", {}), second))
    assert "first<br>best.pt, 7 videos" in section and "second<br>" in section and "third<br>" not in section
    for cells in (
        "<th>plain</th><td>80.0 (70.0 to 90.0)</td><td>60.0 (50.0 to 70.0)</td>",
        "<th>pan</th><td>41.3 (30.0 to 52.0)</td><td>20.0 (10.0 to 30.0)</td>",
        "<th>mean, as a share of plain</th><td>- (- to -)</td><td>33.3 (20.0 to 50.0)</td>",
    ):
        assert cells in section
    assert section.count("<svg") == 1 and "differ in" not in section and "measured" not in section


def test_differences_to_the_first_run_are_of_the_same_videos(reported, tmp_path):
    """A network that recognises the same videos and one more of seven: each resample has it at least as good."""
    first = measured(plant(tmp_path / "first", {}))
    second = measured(plant(tmp_path / "second", {}), result("../best.pt", right="1111000"))
    section = section_of(reported(first, second))
    assert "second - first" in section.split("<tbody>")[0].replace("\n", "")
    cells = section.split("<th>pan</th>")[1].split("</tr>")[0].split("<td>")[1:]
    assert len(cells) == 3 and cells[2].startswith("+14.3 (+0.0 to ")
    assert "second - first" not in section_of(reported(first))


def test_results_without_videos_have_no_differences(reported, tmp_path):
    first = measured(plant(tmp_path / "first", {}))
    second = measured(plant(tmp_path / "second", {}), result("../best.pt", right=""))
    section = section_of(reported(first, second))
    assert "an earlier version, which kept no videos: for differences, run train.robustness again." in section
    assert "second - first" not in section and "<th>pan</th>" in section


@pytest.mark.parametrize(
    "other, differs",
    [
        ({"kinds": ("flash",)}, "the conditions"),
        ({"digest": "b", "seed": 1}, "the videos, --seed"),
        ({"eval_clips": 2}, "--eval-clips"),
        ({"device": "cuda"}, "--device"),
    ],
)
def test_means_that_cannot_be_compared_are_left_out(reported, tmp_path, other, differs):
    first = measured(plant(tmp_path / "first", {}))
    second = measured(plant(tmp_path / "second", {}), result("../best.pt", OTHER_FIGURES, **other))
    section = section_of(reported(first, second))
    assert f"The measurements differ in {differs}: their means cannot be compared, and are left out." in section
    assert "<th>plain</th><td>80.0 (70.0 to 90.0)</td><td>60.0 (50.0 to 70.0)</td>" in section
    assert "<th>pan</th>" not in section and "<th>mean" not in section
    assert section.count("<svg") == len({"pan", *other.get("kinds", ())})


def test_a_run_is_shown_with_its_own_checkpoint(reported, tmp_path):
    """Also after it is moved; results of other runs alone are not shown under its name."""
    results = result("../../a/best.pt", OTHER_FIGURES), result("../best.pt")
    run = measured(plant(tmp_path / "b", {}), *results).rename(tmp_path / "moved")
    section = section_of(reported(run))
    assert "<th>plain</th><td>80.0 (70.0 to 90.0)</td>" in section and "60.0" not in section
    other = measured(plant(tmp_path / "c", {}), results[0])
    section = section_of(reported(other))
    assert "c: none of the measured checkpoints is in the folder of this run." in section
    assert "<table" not in section and "<svg" not in section


@pytest.mark.parametrize("change", [lambda path: path.write_text("12345"), os.utime, os.unlink])
def test_a_checkpoint_that_has_changed_has_a_remark(reported, tmp_path, change):
    run = measured(plant(tmp_path / "run", {}))
    change(run / "best.pt")
    section = section_of(reported(run))
    assert "run: best.pt is missing or has changed since it was measured." in section and "41.3" in section


def test_results_that_do_not_say_what_was_measured_are_not_shown(reported, tmp_path):
    earlier = {name: result("")[name] for name in ("checkpoint", "figures", "differences", "conditions")}
    section = section_of(reported(measured(plant(tmp_path / "run", {}), earlier)))
    assert "do not say what was measured; run train.robustness again." in section and "41.3" not in section


def test_runs_without_results_have_no_section(reported, tmp_path):
    assert 'id="robustness"' not in reported(plant(tmp_path / "run", {})).html


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"checkpoints": [{}]}',
        '{"checkpoints": [{"checkpoint": "", "figures": {}, "conditions": [], "file": 1}]}',
        json.dumps({"checkpoints": [result("../best.pt", right="11")]}),
    ],
)
def test_damaged_results_are_named(tmp_path, capsys, text):
    run = measured(plant(tmp_path / "run", {}))
    (run / "robustness" / "robustness.json").write_text(text)
    assert report.main([str(run)]) == 2
    assert "robustness.json: " in capsys.readouterr().err
