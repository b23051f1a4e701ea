"""Which frame of a file a decoder has shown, found by looking for it among all frames of the reference.

Decoders convert colours differently, so frames are compared as small grey pictures, after a gain and an offset that are
the same for all frames of a file. A frame is wrong if another frame of the reference is clearly nearer than the one
that was asked for, so that frames which equal their neighbours cannot be wrong by being taken for these.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

SIDE_PX = 64
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
NEARER = 0.2
"""Grey levels, root mean square: the smallest difference between two frames that can tell them apart."""
UNLIKE = 12.0
"""Grey levels, root mean square, above which a picture is none of the file's frames."""
GAINS = 0.75, 1.35
"""From the limited range of values taken for the full one, 219 / 255, to the reverse, and a little more."""


def thumbnail(frame_HWC: np.ndarray) -> np.ndarray:
    """(SIDE_PX, SIDE_PX) float32: the mean luma of each part of a frame; square, so that it can be turned."""
    height, width, _ = frame_HWC.shape
    rows = _shares(height) @ frame_HWC.reshape(height, -1).astype(np.float32)
    grey = rows.reshape(SIDE_PX, width, 3) @ LUMA
    return grey @ _shares(width).T


@cache
def _shares(size: int) -> np.ndarray:
    """(SIDE_PX, size) float32: how much of each part's mean each pixel is."""
    edges, pixels = np.linspace(0, size, SIDE_PX + 1), np.arange(size)
    ends = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(ends, 0) * SIDE_PX / size).astype(np.float32)


@dataclass
class Match:
    """The frames that a request gave, against those that it asked for."""

    wanted: Sequence[int]
    """Numbers of the frames that were asked for."""
    given: int
    """How many frames came."""
    shifts: dict[int, int] = field(default_factory=dict)
    """Wanted frame -> the distance to the one shown instead; positive if a later one."""
    unlike: list[int] = field(default_factory=list)
    """Wanted frames for which a picture came that is none of the file's frames."""
    turned: bool = False
    """Whether the pictures are right but for a turn by a multiple of 90 degrees."""

    @property
    def wrong(self) -> list[int]:
        """Wanted frames that were not shown, but something else."""
        return sorted([*self.shifts, *self.unlike])

    @property
    def is_right(self) -> bool:
        """Whether all frames came and are the ones asked for; they may be turned."""
        return self.given == len(self.wanted) and not self.wrong

    @property
    def counted_shifts(self) -> list[tuple[int, int]]:
        """(shift, how many frames), the most frequent first."""
        return Counter(self.shifts.values()).most_common()


def match(shown_KHW: np.ndarray, wanted: Sequence[int], reference_NHW: np.ndarray) -> Match:
    """Compare thumbnails with those of the wanted frames, and with all others.

    Frames that came beyond the wanted ones, or beyond the end of the reference, are not compared.
    """
    found = Match(wanted, len(shown_KHW))
    count = min(len(shown_KHW), len(wanted))
    if not count or not len(reference_NHW):
        return found
    shown_KHW = shown_KHW[:count]
    differences_KN = _differences(shown_KHW, reference_NHW)
    if _distance(differences_KN) > UNLIKE:
        by_turn = [_differences(np.rot90(shown_KHW, turn, (1, 2)), reference_NHW) for turn in (1, 2, 3)]
        nearest = min(by_turn, key=_distance)
        if _distance(nearest) <= UNLIKE:
            differences_KN, found.turned = nearest, True
    smallest_K = differences_KN.min(axis=1)
    for place, number in enumerate(wanted[:count]):
        near = np.flatnonzero(differences_KN[place] <= smallest_K[place] + NEARER**2)
        if smallest_K[place] > UNLIKE**2:
            found.unlike.append(number)
        elif number not in near:
            found.shifts[number] = int(near[np.abs(near - number).argmin()]) - number
    return found


def _differences(shown_KHW: np.ndarray, reference_NHW: np.ndarray) -> np.ndarray:
    """(K, N) mean squares, after the gain and offset that fit the pictures to those that they resemble most."""
    raw = _mean_squares(shown_KHW, reference_NHW)
    alike = reference_NHW[raw.argmin(axis=1)]
    spread = float(np.var(shown_KHW))
    if spread < 1:
        return raw
    gain = float(np.mean((shown_KHW - shown_KHW.mean()) * (alike - alike.mean()))) / spread
    offset = float(alike.mean()) - gain * float(shown_KHW.mean())
    return _mean_squares(shown_KHW * gain + offset, reference_NHW) if GAINS[0] < gain < GAINS[1] else raw


def _distance(differences_KN: np.ndarray) -> float:
    """The usual distance of a picture from the frame that is nearest to it, in grey levels."""
    return float(np.median(np.sqrt(differences_KN.min(axis=1))))


def _mean_squares(shown_KHW: np.ndarray, reference_NHW: np.ndarray) -> np.ndarray:
    shown, reference = (
        frames.reshape(len(frames), -1).astype(np.float64) - 128 for frames in (shown_KHW, reference_NHW)
    )
    squares = (shown**2).sum(axis=1)[:, None] + (reference**2).sum(axis=1) - 2 * shown @ reference.T
    return np.maximum(squares, 0) / shown.shape[1]


def moving_frames(reference_NHW: np.ndarray) -> int:
    """How many frames differ from the next one by so much that a shift by one would be seen."""
    steps = np.square(np.diff(reference_NHW, axis=0)).mean(axis=(1, 2))
    return int((steps > NEARER**2).sum())
