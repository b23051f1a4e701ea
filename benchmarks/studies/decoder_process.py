"""One decoder of decoder_readers.py and one file, in a process of its own, which may crash or hang."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
from decoder_readers import REFERENCE, Reader
from frame_matching import thumbnail

REPEATS = 3
_FORK = get_context("fork")


@dataclass
class Read:
    """The frames that a reader gave of one request, as thumbnails, and the words of the error that ended it."""

    start: int
    stop: int | None
    thumbnails: np.ndarray
    error: str = ""


@dataclass
class Outcome:
    """What a reader made of a file."""

    count: int | None = None
    """The number of frames, as the library says; None: it does not say."""
    reads: list[Read] = field(default_factory=list)
    """The whole file first, then windows."""
    clip_s: float | None = None
    """Processor seconds for the first window, the median of some."""
    codec: str = ""
    """As FFmpeg names it; of the reference."""
    failure: str = ""
    """Why there are no reads at all, such as ``crashed (SIGSEGV)``."""


def why_not(reader: Reader) -> str | None:
    """Words for the page where a reader cannot be used here."""
    try:
        import_module(reader.imports)
    except ImportError:
        return "not installed"
    except (OSError, RuntimeError) as error:
        return f"cannot load its libraries ({few_words(error)})"
    return None


def few_words(error: BaseException) -> str:
    """The first line of an error that says something, shortened; without the file's path."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # DALI says first where its own code failed
    telling = next((line for line in lines if line.startswith("[/") or "Assert" in line), lines[0] if lines else "")
    words = [word for word in telling.split() if "/" not in word]
    text = " ".join(words).replace("|", "/").replace("`", "'") or type(error).__name__
    return text if len(text) <= 90 else f"{text[:87]}..."


def read(reader: Reader, path: str, start: int, stop: int | None) -> Read:
    kept, error = [], ""
    try:
        for frame in reader.frames(path, start, stop):
            kept.append(thumbnail(frame))
    except Exception as problem:  # whatever a library raises is what it makes of this file
        error = few_words(problem)
    return Read(start, stop, np.array(kept, np.float32), error)


def read_file(reader: Reader, path: str, windows: Sequence[tuple[int, int]]) -> Outcome:
    """The whole file, then windows; the first window is timed."""
    outcome = Outcome(codec=_codec(path) if reader is REFERENCE else "")
    if reader.count is not None:
        try:
            outcome.count = reader.count(path)
        except Exception as error:
            outcome.failure = few_words(error)
            return outcome
    outcome.reads = [read(reader, path, 0, None), *(read(reader, path, *window) for window in windows)]
    whole = outcome.reads[0]
    if whole.error and not len(whole.thumbnails):
        outcome.failure = whole.error
    elif windows and reader.is_timed and not outcome.reads[1].error:
        outcome.clip_s = statistics.median(_seconds(reader, path, windows[0]) for _ in range(REPEATS))
    return outcome


def _codec(path: str) -> str:
    import av

    try:
        with av.open(path) as container:
            return container.streams.best("video").codec_context.codec.canonical_name
    except (av.FFmpegError, AttributeError):  # no video stream
        return ""


def _seconds(reader: Reader, path: str, window: tuple[int, int]) -> float:
    begin = time.process_time()
    for _ in reader.frames(path, *window):
        pass
    return time.process_time() - begin


def call_apart(function: Callable, arguments: tuple, limit_s: float) -> Any:
    """Call a function in a forked process; what it returns, or words that say how the process ended.

    The caller's other processes, and what a crash would take with it, are not touched.
    """
    answers, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not answers.poll(limit_s):
            process.kill()
            return f"hung (killed after {limit_s:g} s)"
        return answers.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        return f"crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
    finally:
        process.join()
        answers.close()


def _answer(sender, function: Callable, arguments: tuple) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg says of each file
    sender.send(function(*arguments))
    sender.close()


def read_files(
    reader: Reader, requests: Sequence[tuple[str, Sequence[tuple[int, int]]]], limit_s: float
) -> list[Outcome] | str:
    """Each file in a process of its own, forked from this one, which has imported the library; or why not."""
    if words := why_not(reader):
        return words
    outcomes = []
    for path, windows in requests:
        outcome = call_apart(read_file, (reader, path, windows), limit_s)
        outcomes.append(Outcome(failure=outcome) if isinstance(outcome, str) else outcome)
    return outcomes
