"""The bar over a loader's batches."""

import time

import pytest

from tests.terminal import rows, run_in_terminal
from train.runtime.loader_progress import LoaderProgress


class SlowLoader:
    """0.2 s a batch, from the third on."""

    def __iter__(self):
        for number in range(2, 5):
            time.sleep(0.2)
            yield number


def test_only_waiting_counts_as_waiting():
    bar = LoaderProgress(SlowLoader(), "epoch 1/1", 5, done=2)
    seen = []
    for number in bar:
        time.sleep(0.1)
        seen.append(number)
    assert seen == [2, 3, 4] and bar.bar.n == 5
    assert 0.6 <= bar.wait_s <= bar.seconds - 0.3


def test_a_loader_that_fails_at_once_leaves_no_bar():
    class Broken:
        def __iter__(self):
            raise ValueError("broken")

    bar = LoaderProgress(Broken(), "epoch 1/1", 3)
    with pytest.raises(ValueError, match="broken"):
        next(iter(bar))
    assert bar.bar.disable


def test_the_lines_of_a_run_do_not_tear_the_bar():
    """Those of an epoch, printed when its bar is gone, and those that the loader logs meanwhile."""
    code = """
import logging
from dali_pipes.system import progress
from train.runtime.loader_progress import LoaderProgress
progress.REDRAW_S = 0
def batches():
    for number in range(4):
        if number == 2:
            logging.getLogger("dali_pipes").warning("0.avi: is empty; it is left out")
        yield number
for epoch in (1, 2):
    bar = LoaderProgress(batches(), f"epoch {epoch}/2", 4)
    for number in bar:
        bar.note(f"loss {number}")
    print("epoch", epoch, "loss 3", flush=True)
"""
    written = run_in_terminal(code)
    assert "epoch 2/2:  75%|" in written and ", loss 2]" in written
    line = "0.avi: is empty; it is left out"
    assert rows(written) == [line, "epoch 1 loss 3", line, "epoch 2 loss 3"]
