"""Measure how well class activation maps show when each of two classes is visible in a clip.

Example: ``python -m train.localisation runs/mixup/best.pt runs/fademixup/best.pt``

A number for what Fig. 5 of the paper shows. Two validation videos of different classes, A and B, are cut together as
FrameCutMix does: half of the clip's frames are A's, the other half B's, once in either order. At each time of the
network's class activation maps there is a mean activation of class A and one of class B. The score of a clip is the
chance that their difference, A minus B, is higher at a time of A's half than at one of B's half (the area under the ROC
curve): 1 if activation separates the halves, 0.5 if it knows nothing of time. Whatever adds the same to a class at all
times, such as its bias, does not count. As the maps of a network that does not know the classes say little, the mean is
also taken over the pairs whose pure clips are both recognised.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dali_pipes import Manifest
from dali_pipes.errors import InputError, check_known
from dali_pipes.system import check_not_replaced, described_by, flags_of, make_folder, replacing, run_program

from ..config.options import Config
from ..data.loaders import make_eval_loader
from ..data.videos import load_for_evaluation
from ..engine.evaluation import check_all, load_network, middle_clip_config
from ..mixing.apply import apply_mix
from ..mixing.params import MixParams
from ..models.zoo import MODELS, Network
from ..runtime.loader_progress import LoaderProgress
from ..runtime.processes import Processes
from ..weights.checkpoint import load_checkpoint
from .activation import check_finite, class_maps, map_frames
from .arguments import add_checkpoints, add_device, add_workers


@dataclass(frozen=True)
class Localisation:
    """Scores of one checkpoint, over N pairs of videos."""

    scores_N: np.ndarray
    """float64, 0 to 1: the mean of both orders."""
    recognised_N: np.ndarray
    """bool: whether both pure clips were taken for their classes."""

    def mean(self, chosen_N: np.ndarray | slice = slice(None)) -> tuple[float, float]:
        """The mean in percent and its standard error, as if pairs shared no videos; NaN where there are too few."""
        scores = 100 * self.scores_N[chosen_N]
        error = scores.std(ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else np.nan
        return (scores.mean() if len(scores) else np.nan), error


def draw_pairs(labels_V: Sequence[int], count: int, seed: int) -> list[tuple[int, int]]:
    """Draw ``count`` different pairs of videos of two classes, or all if there are fewer; a video may be in several.

    Raises:
        InputError: the videos are all of one class.
    """
    rng, label_V = np.random.default_rng(seed), np.asarray(labels_V)
    known = np.flatnonzero(label_V >= 0)
    of_class = np.unique(label_V[known], return_counts=True)[1]
    if len(of_class) < 2:
        raise InputError(
            f"Cannot form pairs: the {len(known)} videos with a label belong to {len(of_class)} class; "
            "give videos of at least two classes"
        )
    total = (len(known) ** 2 - int((of_class**2).sum())) // 2
    if total <= 4 * count:  # so few that drawing would meet the same ones again and again
        numbers = known.tolist()
        pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :] if labels_V[a] != labels_V[b]]
        return [pairs[place] for place in rng.permutation(total)[:count]]
    drawn: dict[tuple[int, int], None] = {}
    while len(drawn) < count:
        a, b = sorted(rng.choice(known, 2).tolist())
        if labels_V[a] != labels_V[b]:
            drawn[a, b] = None
    return list(drawn)


def swap_halves(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """Cut two clips of T frames, A and B: (A's first and B's second half, B's first and A's second half)."""
    frames, height, width = clips_BCTHW.shape[2:]
    half = [frames // 2, 0, 0]
    params = MixParams(
        batch_size=2,
        size_THW=(frames, height, width),
        partners_B=np.array([1, 0]),
        start_P3=np.array([half]),
        stop_P3=np.array([[frames, height, width]]),
        inside_P2=np.zeros((1, 2)),
        outside_P=np.ones(1),
    )
    return apply_mix(clips_BCTHW, params)


def separation(differences_T: np.ndarray, is_A_T: np.ndarray) -> float:
    """The area under the ROC curve: how often a difference of A's times is above one of B's; a tie counts half.

    Args:
        differences_T: activation of class A minus that of B.
        is_A_T: bool, which times are A's.
    """
    above = differences_T[is_A_T][:, None] - differences_T[~is_A_T]
    return float(np.mean(np.select([above > 0, above == 0], [1.0, 0.5], 0.0)))


@torch.no_grad()
def score_pair(
    network: Network, clips_BCTHW: torch.Tensor, labels: Sequence[int], layer: str = ""
) -> tuple[float, bool]:
    """The score of two clips in both orders, and whether both are recognised when they are pure.

    Raises:
        InputError: the network's maps have one time, so that there is nothing to separate.
    """
    recognised = network.eval()(clips_BCTHW).argmax(dim=1).tolist() == list(labels)
    maps = class_maps(network, swap_halves(clips_BCTHW), torch.tensor([labels, labels]), layer)
    over_time_BPT = check_finite(maps, network).over_time_BPT
    times, frames = over_time_BPT.shape[2], clips_BCTHW.shape[2]
    if times < 2:
        raise InputError(
            f"Cannot measure temporal localisation: the maps of {network.name} have a single time step for all "
            f"{frames} frames; train it with a larger --num-frames"
        )
    in_first_half = map_frames(times, frames) < frames // 2
    first, second = (over_time_BPT[:, 0] - over_time_BPT[:, 1]).double().cpu().numpy()
    return (separation(first, in_first_half) + separation(second, ~in_first_half)) / 2, recognised


def localise(
    state: dict, config: Config, manifest: Manifest, pairs: Sequence[tuple[int, int]], layer: str = ""
) -> Localisation:
    """Score a checkpoint on pairs of videos of the manifest.

    Raises:
        InputError: a video can no longer be read, or the network has no such layer.
    """
    videos = [manifest.videos[video] for pair in pairs for video in pair]
    loader = make_eval_loader(config, Manifest(videos, manifest.classes), Processes())
    network, found = load_network(state, config, loader.device), []
    try:
        for batch in LoaderProgress(loader, "localising", len(loader)):
            found.append(score_pair(network, batch.clips_BCTHW, batch.labels_B.tolist(), layer))
    finally:
        loader.close()
    scores, recognised = zip(*found, strict=True)
    return Localisation(np.array(scores), np.array(recognised))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.localisation",
        **described_by(__doc__),
    )
    add_checkpoints(parser, "all are measured on the same pairs of videos")
    parser.add_argument(
        "--pairs", type=int, default=200, help="number of pairs, or all if there are fewer (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice of pairs (default: %(default)s)")
    parser.add_argument(
        "--layer",
        default="",
        help="layer to measure. SlowFast: slow (default) or fast, its pathways; other networks: last",
    )
    add_workers(parser)
    add_device(parser)
    parser.add_argument("-o", "--out", help="write one line per pair and checkpoint to this .csv file")
    return parser


def run(options: dict) -> None:
    """Carry out a parsed command line: print a line per checkpoint.

    Raises:
        InputError: something given is wrong.
    """
    paths, count, seed, layer, out = (options.pop(name) for name in ("checkpoints", "pairs", "seed", "layer", "out"))
    if count < 1 or seed < 0:
        raise InputError(
            f"Invalid --pairs {count}: must be at least 1"
            if count < 1
            else f"Invalid --seed {seed}: must be at least 0"
        )
    if out and Path(out).is_dir():
        raise InputError(f"{out}: is a folder; --out must name a .csv file")
    found, classes = check_all(paths, lambda state, path: middle_clip_config({**options, "batch_size": 2}, state, path))
    configs = dict(zip(paths, found, strict=True))
    _check_layer(configs, layer)
    manifest, _, notes = load_for_evaluation(configs[paths[0]], classes, predict=True)
    pairs = draw_pairs([video.label for video in manifest.videos], count, seed)
    if out:
        check_not_replaced(out, [*paths, configs[paths[0]].data, configs[paths[0]].val_data])
        make_folder(Path(out).parent)
    print(*notes, f"{len(pairs)} pairs from {len(manifest)} videos; chance is 50 %", sep="\n", flush=True)
    results = {}
    for path, config in configs.items():
        results[path] = result = localise(load_checkpoint(path), config, manifest, pairs, layer)
        known = result.recognised_N
        print(
            f"{path}: temporal localisation {_shown(*result.mean())}, and {_shown(*result.mean(known))} for the "
            f"{known.sum()} pairs whose unmixed clips are both classified correctly",
            flush=True,
        )
    if out:
        _write(Path(out), results, manifest, pairs)


def _check_layer(configs: dict[str, Config], layer: str) -> None:
    for config in configs.values():
        if layer:
            check_known("--layer", layer, MODELS[config.model].features)


def _shown(mean: float, error: float) -> str:
    if np.isnan(mean):
        return "no score"
    return f"{mean:.1f} %" if np.isnan(error) else f"{mean:.1f} +- {error:.1f} %"


def _write(path: Path, results: dict[str, Localisation], manifest: Manifest, pairs: Sequence[tuple[int, int]]) -> None:
    with replacing(path) as draft, open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["checkpoint", "video_a", "video_b", "score", "recognised"])
        for checkpoint, result in results.items():
            for (a, b), score, known in zip(pairs, result.scores_N, result.recognised_N, strict=True):
                videos = manifest.videos[a].path, manifest.videos[b].path
                writer.writerow([checkpoint, *videos, f"{score:.6g}", "yes" if known else "no"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    return run_program("localisation", lambda: run(options), flags_of(parser))
