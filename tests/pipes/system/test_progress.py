"""The progress bar in a terminal, a log file and a notebook."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dali_pipes.system.progress import FIRST_LINE_S, LONGEST_SILENCE_S, progress_bar
from tests.terminal import ROOT, rows, run_in_terminal

WIDGET = "application/vnd.jupyter.widget-view+json"
WORK = """
from dali_pipes.system import progress
progress.REDRAW_S = 0
for _ in progress.progress_bar(range(4), total=4, title="reading", unit="file"):
    pass
print("between")
with progress.progress_bar(total=4, title="training", unit="step", leave=False) as bar:
    for number in range(4):
        bar.set_postfix_str(f"loss {number}", refresh=False)
        bar.update()
print("end")
"""


@pytest.fixture
def clock(monkeypatch):
    """The bar's clock, which is moved by hand."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr("tqdm.std.time", lambda: clock.now_s)
    return clock


def work(clock, seconds: float, items: int, stop_after: int | None = None, refresh: bool = False) -> None:
    with progress_bar(total=items, title="work", unit="step") as bar:
        for number in range(items if stop_after is None else stop_after):
            clock.now_s += seconds / items
            bar.set_postfix_str(f"loss {number}", refresh=False)
            bar.update()
            if refresh:
                bar.refresh()


def test_a_terminal_shows_a_bar_that_is_redrawn():
    written = run_in_terminal(WORK)
    before = written[: written.index("between")]
    assert before.count("\r") > 4 and before.count("\n") == 1 and "reading:  50%|█" in before
    assert ", loss 3]" in written  # of a bar that is gone at the end
    shown = rows(written)
    assert re.fullmatch(r"reading: 100%\|█+\| 4/4 \[.*file/s\]", shown[0]) and shown[1:] == ["between", "end"]


def test_a_terminal_that_does_not_say_how_wide_it_is():
    written = run_in_terminal(WORK, columns=0)
    assert "reading:  50%|█" in written and ", loss 3]" in written
    assert max(map(len, written.replace("\r", "\n").split("\n"))) <= 80


def test_ctrl_c_leaves_a_clean_terminal():
    code = """
import time
from dali_pipes.system import progress
progress.REDRAW_S = 0
try:
    for _ in progress.progress_bar(range(5000), title="reading", unit="file"):
        time.sleep(0.01)
except KeyboardInterrupt:
    print("interrupted")
"""
    shown = rows(run_in_terminal(code, ctrl_c_after=b" 5/5000 "))
    assert len(shown) == 2 and shown[0].startswith("reading: ") and shown[0].endswith("]^C")
    assert shown[1] == "interrupted"


def test_a_terminal_that_cannot_redraw_gets_lines():
    code = "from dali_pipes.system import progress; progress._Lines.due_s = 0\n" + WORK
    written = run_in_terminal(code, term="dumb").replace("\r\n", "\n")
    assert "\r" not in written and "reading: 100% 4/4 [" in written and "training: 100% 4/4 [" in written


@pytest.mark.parametrize("into", ["pipe", "file"])
def test_a_pipe_and_a_file_get_whole_lines_if_the_work_takes_long(tmp_path, into):
    def stderr_of(code):
        with open(tmp_path / "log", "wb") as file:
            stderr = file if into == "file" else subprocess.PIPE
            result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=stderr, cwd=ROOT)
        assert result.returncode == 0
        return (result.stderr or (tmp_path / "log").read_bytes()).decode()

    assert stderr_of(WORK) == ""
    written = stderr_of("from dali_pipes.system import progress; progress._Lines.due_s = 0\n" + WORK)
    lines = written.splitlines(keepends=True)
    assert "\r" not in written and all(line.endswith("]\n") for line in lines) and 4 <= len(lines) <= 12
    assert lines[0].startswith("reading:   0% 0/4 [") and lines[-1].startswith("training: 100% 4/4 [")
    assert lines[-1].endswith(", loss 3]\n")


def test_ten_hours_are_few_lines(clock, capsys):
    work(clock, 36_000, 28_800, refresh=True)
    written = capsys.readouterr().err
    lines = written.splitlines()
    assert "\r" not in written and written.endswith("\n") and 36_000 / LONGEST_SILENCE_S < len(lines) <= 70
    assert lines[0] == "work:   0% 24/28800 [00:30<9:59:30,  1.25s/step, loss 23]"
    assert lines[-1] == "work: 100% 28800/28800 [10:00:00<00:00,  1.25s/step, loss 28799]"
    assert len({re.search(r" (\d+)/", line)[1] for line in lines}) == len(lines)


def test_short_work_is_silent_and_stopped_work_says_where(clock, capsys):
    work(clock, FIRST_LINE_S - 1, 50)
    assert capsys.readouterr().err == ""
    work(clock, 2 * FIRST_LINE_S, 100, stop_after=70)
    lines = capsys.readouterr().err.splitlines()
    assert [re.search(r" \d+/100 ", line)[0] for line in lines] == [" 50/100 ", " 70/100 "]
    work(clock, 2 * FIRST_LINE_S, 2)  # each step in a line: none is written twice
    lines = capsys.readouterr().err.splitlines()
    assert [re.search(r" \d/2 ", line)[0] for line in lines] == [" 1/2 ", " 2/2 "]


def test_only_the_first_of_several_processes_shows_one(clock, capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    for rank, shown in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        work(clock, 100, 10)
        assert bool(capsys.readouterr().err) == shown


def test_work_goes_on_where_nothing_can_be_shown(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    work(clock, 100, 10)
    assert list(progress_bar(range(3), title="work")) == [0, 1, 2]


def run_notebook(tmp_path, monkeypatch, *cells: str):
    """Run cells in a real kernel; returns the notebook with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return NotebookClient(notebook, timeout=120, kernel_name="python3").execute()


def scan(folder) -> str:
    return f"""
from functools import partial
from dali_pipes import find_videos, scan_videos
from dali_pipes.system.progress import progress_bar
progress = partial(progress_bar, title="scanning", unit="file")
print(len(scan_videos(find_videos({str(folder)!r}), progress=progress)), "videos")
"""


def test_a_notebook_shows_a_widget(tmp_path, monkeypatch, class_folders):
    notebook = run_notebook(tmp_path, monkeypatch, WORK, scan(class_folders))
    for cell, bars in zip(notebook.cells, (2, 1), strict=True):
        assert sum(WIDGET in output.get("data", {}) for output in cell.outputs) == bars
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.outputs
        assert "Warning" not in json.dumps(cell.outputs) and "%|" not in "".join(
            output.get("text", "") for output in cell.outputs
        )
    assert "5 videos" in json.dumps(notebook.cells[1].outputs)
    assert "scanning:" in json.dumps(notebook.metadata["widgets"])


def test_a_notebook_without_widgets_shows_text(tmp_path, monkeypatch, class_folders):
    hide = "import sys; sys.modules['ipywidgets'] = None"
    (_, cell) = run_notebook(tmp_path, monkeypatch, hide, scan(class_folders)).cells
    text = "".join(output.get("text", "") for output in cell.outputs)
    assert "scanning: 100%|" in text and "5 videos" in text and "Warning" not in json.dumps(cell.outputs)
    assert WIDGET not in json.dumps(cell.outputs)
