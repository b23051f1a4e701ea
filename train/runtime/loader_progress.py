"""A progress bar over a loader's batches that measures the time spent waiting for them."""

import time
from collections.abc import Iterator

from tqdm.contrib.logging import logging_redirect_tqdm

from dali_pipes import ClipBatch, VideoLoader
from dali_pipes.system import progress_bar


class LoaderProgress:
    """An iterable over the next ``steps`` batches; ``wait_s`` and ``seconds`` count from ``done`` on.

    Args:
        loader: stands at the first of these batches; what it logs does not tear the bar.
        title: beside the bar.
        steps: of the whole bar, of which ``done`` were done before.
    """

    def __init__(self, loader: VideoLoader, title: str, steps: int, done: int = 0):
        self.loader, self.steps, self.wait_s, self._start = loader, steps - done, 0.0, time.perf_counter()
        self.bar = progress_bar(total=steps, title=title, unit="step", done=done, leave=False)

    def __iter__(self) -> Iterator[ClipBatch]:
        with self.bar, logging_redirect_tqdm():
            batches = iter(self.loader) if self.steps else iter(())
            for _ in range(self.steps):
                before = time.perf_counter()
                batch = next(batches)
                self.wait_s += time.perf_counter() - before
                yield batch
                self.bar.update()

    @property
    def seconds(self) -> float:
        """The seconds since the bar began."""
        return time.perf_counter() - self._start

    def note(self, text: str) -> None:
        """Show a text beside the bar from the next step on."""
        self.bar.set_postfix_str(text, refresh=False)
