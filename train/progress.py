"""A progress bar over a loader's batches that measures the time spent waiting for them."""

import time
from collections.abc import Iterator

from tqdm import tqdm

from dali_pipes import ClipBatch, VideoLoader

from .processes import Processes


class Bar:
    """Iterates over the next ``steps`` batches; ``wait_s`` and ``seconds`` count from ``done`` on.

    Args:
        loader: stands at the first of these batches.
        title: beside the bar.
        steps: of the whole bar, of which ``done`` were done before.
        processes: only the first one's bar is shown.
    """

    def __init__(self, loader: VideoLoader, title: str, steps: int, processes: Processes, done: int = 0):
        self.loader, self.steps, self.wait_s, self._start = loader, steps - done, 0.0, time.perf_counter()
        self.bar = tqdm(total=steps, initial=done, desc=title, unit="step", leave=False, mininterval=1,
                        disable=not processes.is_first)  # fmt: skip

    def __iter__(self) -> Iterator[ClipBatch]:
        batches = iter(self.loader) if self.steps else iter(())
        with self.bar:
            for _ in range(self.steps):
                before = time.perf_counter()
                batch = next(batches)
                self.wait_s += time.perf_counter() - before
                yield batch
                self.bar.update()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def note(self, text: str) -> None:
        """Shown beside the bar."""
        self.bar.set_postfix_str(text)
