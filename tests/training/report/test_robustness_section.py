"""The section about robustness: the figures of the runs that have results, side by side."""

import json

import pytest

from tests.training.report_pages import plant
from train.report import page as report

FIGURES = {"plain": [80.0, 70.0, 90.0], "pan": [41.26, 30.0, 52.0], "mean, as a share of plain": [None, None, None]}


def measured(run, figures, kind="pan"):
    conditions = [
        {"kind": name, "strength": strength, "accuracy": [50.0 + strength, 40.0, 60.0]}
        for name, strength in (("plain", 0), (kind, 1), (kind, 5))
    ]
    one = {"checkpoint": "x/best.pt", "figures": figures, "differences": {}, "conditions": conditions}
    (run / "robustness").mkdir()
    (run / "robustness" / "robustness.json").write_text(json.dumps({"videos": 7, "checkpoints": [one]}))
    return run


def test_runs_with_results_are_shown_side_by_side(reported, tmp_path):
    first = measured(plant(tmp_path / "first", {}), FIGURES)
    second = measured(plant(tmp_path / "second", {}), {"plain": [60.0, 50.0, 70.0]}, kind="flash")
    page = reported(first, plant(tmp_path / "third", {}), second)
    section = page.html.split('id="robustness"')[1].split('id="settings"')[0]
    assert "first<br>best.pt, 7 videos" in section and "second<br>" in section and "third<br>" not in section
    for cells in (
        "<th>plain</th><td>80.0 (70.0 to 90.0)</td><td>60.0 (50.0 to 70.0)</td>",
        "<th>pan</th><td>41.3 (30.0 to 52.0)</td><td>–</td>",
        "<th>mean, as a share of plain</th><td>- (- to -)</td><td>–</td>",
    ):
        assert cells in section
    assert section.count("<svg") == 2 and "pan" in section and "flash" in section


def test_runs_without_results_have_no_section(reported, tmp_path):
    assert 'id="robustness"' not in reported(plant(tmp_path / "run", {})).html


@pytest.mark.parametrize("text", ["{", "[1]", '{"checkpoints": [{}]}'])
def test_damaged_results_are_named(tmp_path, capsys, text):
    run = measured(plant(tmp_path / "run", {}), FIGURES)
    (run / "robustness" / "robustness.json").write_text(text)
    assert report.main([str(run)]) == 2
    assert "robustness.json: " in capsys.readouterr().err
