"""Plan of sample i of epoch e: all random choices of the loader, as data. Pure numpy.

A :class:`ClipPlan` says which video, which frames, which crop, flip, operations, levels and signs; decoding and the
DALI graph only carry it out. It depends on ``(seed, epoch, i)`` alone, so batch size, workers, shards and restarts
change nothing, and an epoch is exactly one sample of every video.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ..deprecated import renamed_arguments, renamed_attribute
from ..errors import InputError, check_known
from ..python_values import fields_to_python, to_python, whole_number

SHORT_SIDE_PX = 240.0
"""The short side of the paper's videos; crop sides are fractions of it, so they mean the same at any resolution."""

SIDE_EXPONENT = {"crop": 0.0, "short_side": -2.0}
"""Crop mode -> x, where crops of side s are drawn as often as s^x. In a frame whose short side is scaled to a length l,
uniform, a crop of fixed size has the side s = c / l in source pixels; the density of s falls as 1 / s^2."""
CROP_MODES = tuple(SIDE_EXPONENT)
SHORT_VIDEOS = ("slow_down", "pad")
CROPS_PER_VIDEO = (1, 3)


@dataclass(frozen=True)
class ClipPlan:
    """One sample: V clips of one video (V is 1 in training), K kept frames each."""

    epoch: int
    """Number of the epoch, from 0."""
    sample: int
    """Number of the sample within the epoch, from 0."""
    video: int
    """Index into the manifest's videos."""
    frame_indices: np.ndarray
    """(V*K,) int32, clip after clip."""
    box_yxyx: np.ndarray
    """(4,) int32 crop in source pixels: y0, x0, y1, x1, ends excluded."""
    flip: bool
    """Whether the clip is mirrored left to right."""
    op_ids: np.ndarray | None = None
    """(N,) int32, positions in the policy's ``ops``; None without augmentation."""
    levels_NK: np.ndarray | None = None
    """(N, V*K) float32, 0..30."""
    signs: np.ndarray | None = None
    """(N,) float32, +1 or -1."""


class Policy(Protocol):
    """The operations that a graph applies to each clip by ``apply_inputs``, however they are drawn."""

    @property
    def n(self) -> int:
        """The number N of operations of each clip."""

    @property
    def op_names(self) -> Sequence[str]:
        """The operations to which the drawn positions refer."""

    @property
    def blend_at(self) -> tuple[int, ...]:
        """The places of ``blend_in`` among the N operations."""

    @property
    def interpolation(self) -> str:
        """Interpolation of geometric operations, ``nearest`` or ``linear``."""

    @property
    def fill(self) -> float:
        """Grey level outside the frame."""

    def table(self, device: str) -> Any:
        """Return the operations as numbers, for what applies them on a device, ``cpu`` or ``gpu``."""


class Augmentation(Policy, Protocol):
    """A policy for training, such as ``RandAugmentT``."""

    def sample(self, rng: np.random.Generator, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the operations of one clip: (N,) int32 positions, (N, F) levels and (N,) signs, see ``DrawnOps``."""


class Perturbing(Policy, Protocol):
    """A policy for evaluation, whose draws depend on the video and not on its place, such as ``Perturbations``."""

    def perturb(
        self, epoch: int, video: str, clip: int, num_frames: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Draw for one clip: what ``Augmentation.sample`` returns, and (F,) positions of the frames to show."""


def _repeats(num_frames_video: int, span: int, short_videos: str) -> int:
    """Return how often each frame is shown: 1, 2, 4, ..., the least that fills the window."""
    repeats = 1
    while short_videos == "slow_down" and num_frames_video * repeats < span:
        repeats *= 2
    return repeats


def _span(num_frames: int, stride_frames: int) -> int:
    return (num_frames - 1) * stride_frames + 1


def count_starts(
    num_frames_video: int, num_frames: int, stride_frames: int = 1, short_videos: str = "slow_down"
) -> int:
    """Return the number of places that a window has in a video, at least 1; arguments as :func:`window_indices`."""
    span = _span(num_frames, stride_frames)
    return max(1, num_frames_video * _repeats(num_frames_video, span, short_videos) - span + 1)


def window_indices(
    num_frames_video: int, num_frames: int, stride_frames: int = 1, first: int = 0, short_videos: str = "slow_down"
) -> np.ndarray:
    """Return the frame indices of one clip window; videos shorter than the window are filled.

    Args:
        num_frames_video: frames in the video.
        num_frames: F, frames in the window.
        stride_frames: step between them.
        first: where the window starts, in 0..count_starts - 1.
        short_videos: ``slow_down`` shows each frame 2, 4, ... times, the least that fills the window (paper section
            4.1; the authors stop at 4); ``pad`` repeats the last frame.

    Returns:
        (F,) int32.

    Example: 3 frames to fill 4: ``slow_down`` gives 0 0 1 1 (or, with first = 1, 0 1 1 2), ``pad`` gives 0 1 2 2.
    """
    repeats = _repeats(num_frames_video, _span(num_frames, stride_frames), short_videos)
    indices = (first + np.arange(num_frames) * stride_frames) // repeats
    return np.minimum(indices, num_frames_video - 1).astype(np.int32)


def random_box(
    rng: np.random.Generator, height: int, width: int, crop_mode: str, side_range_px: tuple[float, float]
) -> np.ndarray:
    """A random square in source pixels, (4,) int32 y0, x0, y1, x1 (paper section 4.1).

    ``crop``: its side is drawn from ``side_range_px`` for a short side of 240 pixels, and in proportion for others,
    rounded to even ends; every even side from one to the other is equally likely. ``short_side``: the short side is
    scaled to a length uniform in ``side_range_px`` and the lower end cut out of it; the side in source pixels is even
    here too.
    """
    low, high = side_range_px
    shares = (low / SHORT_SIDE_PX, high / SHORT_SIDE_PX) if crop_mode == "crop" else (low / high, 1.0)
    smallest, largest = (_even_side(share, height, width) for share in shares)
    sides = np.arange(smallest, largest + 1, 2)
    weights = sides ** SIDE_EXPONENT[crop_mode]
    side = int(rng.choice(sides, p=weights / weights.sum()))
    y0, x0 = 2 * rng.integers((height - side) // 2 + 1), 2 * rng.integers((width - side) // 2 + 1)
    return np.array([y0, x0, y0 + side, x0 + side], np.int32)


def fixed_box(
    height: int, width: int, crop_mode: str, side_range_px: tuple[float, float], place: float = 0.5
) -> np.ndarray:
    """Return a square box in the middle of the short side and at ``place`` (0 to 1) of the long side.

    Where both sides are equal, the vertical one counts as the long one.

    ``crop`` takes the smallest training side, ``short_side`` the whole short side.
    """
    share = side_range_px[0] / SHORT_SIDE_PX if crop_mode == "crop" else 1.0
    side = _even_side(share, height, width)
    along_y, along_x = (place, 0.5) if height >= width else (0.5, place)
    y0, x0 = (int((length - side) * along) // 2 * 2 for length, along in ((height, along_y), (width, along_x)))
    return np.array([y0, x0, y0 + side, x0 + side], np.int32)


def _even_side(share: float, height: int, width: int) -> int:
    """Return an even side, as boxes start and end where chroma samples do; the only odd one is 1 pixel."""
    short = min(height, width)
    return min(max(2, 2 * round(share * short / 2)), short // 2 * 2 or short)


_ORDER, _CLIP, _AUGMENT, _REPLACE = range(4)  # independent streams of chance


@renamed_arguments(short="short_videos")
@dataclass(frozen=True, kw_only=True)
class ClipSampler:
    """Plans of the samples i in 0..len-1 of each epoch (paper section 4.1). Checked on construction; picklable.

    Raises:
        InputError: a setting is out of range, or they contradict each other; or there are no videos.
    """

    videos: Sequence = field(repr=False)
    """Objects with ``used_frames``, ``width``, ``height`` and ``label``, such as ``Manifest.videos``."""
    num_frames: int = 64
    """F, the clip window; the paper's 64."""
    stride_frames: int = 1
    """Step between frames of the window."""
    keep_every: int = 1
    """K = F / keep_every frames are decoded and augmented: SlowFast never looks at the others.
    Levels are drawn over all F."""
    clips_per_video: int = 1
    """V, spread uniformly over time when not training; 1 in training."""
    crops_per_video: int = 1
    """1 in the centre, or 3 spread over the long side, each a sample of its own; 1 in training."""
    training: bool = True
    """Random order, window, crop and flip; otherwise all fixed and centred."""
    augment: Augmentation | Perturbing | None = None
    """Policy that draws operations for each clip, or None: in training a ``RandAugmentT``, in evaluation
    ``Perturbations``. The operations of all clips of a video must be the same."""
    flip: bool = True
    """Mirror half of the training clips."""
    crop_mode: str = "crop"
    """``crop`` cuts a square out of the frame, its side drawn from ``side_range_px``, all even ones alike;
    ``short_side`` scales the frame so that its short side is as long as drawn, uniformly,
    and cuts the lower end out of it."""
    side_range_px: tuple[float, float] = (160.0, 200.0)
    """The smallest and the largest, in pixels of a frame with a short side of 240; in proportion for others."""
    short_videos: str = "slow_down"
    """Videos shorter than the window: ``slow_down`` shows each frame 2, 4, ... times, ``pad`` repeats the last one."""
    seed: int = 0
    """Seed of all random choices."""
    even_steps: bool = False
    """Steps of an epoch differ by at most one sample, so that with batches of 2 or more, and no fewer samples than
    processes, none leaves a process empty; otherwise all are full but the last, which may."""

    def __post_init__(self) -> None:
        check_known("crop_mode", self.crop_mode, CROP_MODES)
        check_known("short_videos", self.short_videos, SHORT_VIDEOS)
        fields_to_python(self)
        for name in ("num_frames", "stride_frames", "keep_every", "clips_per_video"):
            whole_number(name, getattr(self, name), 1)
        if self.num_frames % self.keep_every:
            raise InputError(
                f"Invalid num_frames {self.num_frames}: must be a multiple of keep_every, {self.keep_every}"
            )
        check_known("crops_per_video", self.crops_per_video, CROPS_PER_VIDEO)
        for name in ("clips_per_video", "crops_per_video"):
            if self.training and getattr(self, name) != 1:
                raise InputError(f"Invalid {name} {getattr(self, name)}: must be 1 in training")
        low, high = self.side_range_px
        if not 0 < low <= high <= SHORT_SIDE_PX:
            raise InputError(
                f"Invalid side_range_px {self.side_range_px}: must be the smallest and the largest side, both "
                "above 0 and "
                f"at most {SHORT_SIDE_PX:g}"
            )
        if self.augment is not None and not hasattr(self.augment, "sample" if self.training else "perturb"):
            needed = "draw for training" if self.training else "be None or Perturbations in evaluation"
            why = "which perturbs evaluation clips" if self.training else "because evaluation clips are not augmented"
            raise InputError(f"Invalid augment {self.augment!r}: must {needed}, {why}")
        whole_number("seed", self.seed, 0)
        if not len(self.videos):
            raise InputError(f"Invalid videos {self.videos!r}: must hold at least one video")

    short = renamed_attribute("short", "short_videos")

    def __len__(self) -> int:
        """Return the number of samples per epoch: one per video, or per crop of it."""
        return len(self.videos) * self.crops_per_video

    @property
    def kept_frames(self) -> int:
        """The number K of frames of each clip that are decoded."""
        return self.num_frames // self.keep_every

    def video_of(self, epoch: int, sample: int) -> int:
        """The index of the video that a sample shows: in training a random order, else the manifest's."""
        return int(_order(len(self), self.seed, epoch)[sample]) if self.training else sample // self.crops_per_video

    def plan(self, epoch: int, sample: int, video: int | None = None) -> ClipPlan:
        """The plan of one sample; pure, cheap, the same in every process.

        ``video`` shows another video than the sample's own, in place of one that cannot be read.

        Raises:
            InputError: an epoch has no such sample.
        """
        epoch, sample = to_python(epoch), to_python(sample)
        if not 0 <= sample < len(self):
            raise InputError(
                f"Invalid sample {sample}: must be between 0 and {len(self) - 1}, because an epoch has "
                f"{len(self)} samples"
            )
        index = self.video_of(epoch, sample) if video is None else video
        if not self.training:
            return self._fixed_plan(epoch, sample, index)
        augment = cast("Augmentation | None", self.augment)
        # Separate streams: switching the augmentation on leaves frames and crops as they were.
        clip_rng, augment_rng = (_generator(stream, self.seed, epoch, sample) for stream in (_CLIP, _AUGMENT))
        shown = self.videos[index]
        frames = shown.used_frames
        first = int(clip_rng.integers(count_starts(len(frames), *self._window)))
        indices = frames.start + window_indices(len(frames), *self._window[:2], first, self.short_videos)
        box = random_box(clip_rng, shown.height, shown.width, self.crop_mode, self.side_range_px)
        flip = bool(clip_rng.integers(2)) and self.flip
        drawn: tuple[np.ndarray, ...] = ()
        if augment is not None:
            op_ids, levels_NF, signs = augment.sample(augment_rng, self.num_frames)
            drawn = (op_ids, np.ascontiguousarray(levels_NF[:, :: self.keep_every]), signs)
        kept = np.ascontiguousarray(indices[:: self.keep_every])  # DALI takes no strides
        return ClipPlan(epoch, sample, index, kept, box, flip, *drawn)

    @property
    def _window(self) -> tuple[int, int, str]:
        return self.num_frames, self.stride_frames, self.short_videos

    def replacements(self, epoch: int, sample: int) -> list[int]:
        """Return the videos of the same class that may take a sample's place, in an order drawn for this sample.

        In evaluation the sample is left out and only its place in a batch to be filled: any video, the nearest first.
        """
        own = self.video_of(epoch, sample)
        if not self.training:
            return sorted(set(range(len(self.videos))) - {own}, key=lambda index: abs(index - own))
        label = self.videos[own].label
        same = [index for index, video in enumerate(self.videos) if video.label == label and index != own]
        return _generator(_REPLACE, self.seed, epoch, sample).permutation(same).astype(int).tolist()

    def _fixed_plan(self, epoch: int, sample: int, index: int) -> ClipPlan:
        video = self.videos[index]
        frames = video.used_frames
        last = count_starts(len(frames), *self._window) - 1
        firsts = np.linspace(0, last, self.clips_per_video) if self.clips_per_video > 1 else np.array([last / 2])
        windows = [
            frames.start + window_indices(len(frames), *self._window[:2], first, self.short_videos)
            for first in np.rint(firsts).astype(int)
        ]
        drawn: tuple[np.ndarray, ...] = ()
        if self.augment is not None:
            windows, drawn = self._perturbed(epoch, video, windows)
        place = (sample % self.crops_per_video) / (self.crops_per_video - 1) if self.crops_per_video > 1 else 0.5
        box = fixed_box(video.height, video.width, self.crop_mode, self.side_range_px, place)
        kept = np.concatenate([window[:: self.keep_every] for window in windows])
        return ClipPlan(epoch, sample, index, kept, box, False, *drawn)

    def _perturbed(
        self, epoch: int, video: Any, windows: list[np.ndarray]
    ) -> tuple[list[np.ndarray], tuple[np.ndarray, ...]]:
        """Return the windows in the order of their frames that is drawn, and the operations, levels and signs."""
        policy, name = cast(Perturbing, self.augment), perturbed_name(video.path, video.used_frames.start)
        clips = [policy.perturb(epoch, name, clip, self.num_frames) for clip in range(len(windows))]
        shown = [window[positions] for window, (*_, positions) in zip(windows, clips, strict=True)]
        levels_NK = np.concatenate([levels_NF[:, :: self.keep_every] for _, levels_NF, *_ in clips], axis=1)
        return shown, (clips[0][0], levels_NK, clips[0][2])


def perturbed_name(path: str, first_frame: int) -> str:
    """Return what the perturbations of a video depend on: its folder's and its own name, and where its segment begins.

    Files of many data sets are called alike in all classes' folders; the folders above may differ between machines.
    """
    return f"{'/'.join(Path(path).parts[-2:])} {first_frame}"


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


@lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return _generator(_ORDER, seed, epoch).permutation(length)
