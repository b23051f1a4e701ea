"""Measure the accuracy of networks under perturbations that change over time.

Example: ``python -m train.robustness runs/randaug/best.pt runs/randaug_t/best.pt --videos 200``

The validation videos are evaluated plain, and perturbed: by a shaking, panning, rolling or zooming camera, drifting
exposure, flashes, fades, lost and frozen frames, bursts of blur, noise and compression, each at five strengths. All
checkpoints are shown the same perturbed clips. The accuracies are written with 95 % intervals of a bootstrap over
videos; the differences to the first checkpoint are of pairs. What is evaluated is kept in ``--out``, so the same
command continues after a stop.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dali_pipes import Manifest, VideoLoader
from dali_pipes.augment import PERTURBATIONS, STRENGTHS, Perturbations
from dali_pipes.errors import InputError, check_known
from dali_pipes.loader import READERS, choose_device
from dali_pipes.system import described_by, exclusive_use, flag, flags_of, make_folder, replacing, run_program

from ..config.command_line import evaluation_config
from ..config.options import Config, paths_read
from ..data.loaders import make_eval_loader, notes_on_devices
from ..data.videos import load_for_evaluation
from ..engine.evaluation import check_all, load_network, scores_of_networks
from ..engine.precision import choose_precision
from ..models.zoo import MODELS, Network
from ..runtime.processes import Processes
from ..runtime.run_files import ROBUSTNESS, ROBUSTNESS_FILES, ROBUSTNESS_PARTS, short_names
from ..runtime.run_folder import OTHER_OUT, check_inputs_stay
from ..runtime.stop import Stopped, StopRequest
from ..weights.checkpoint import load_checkpoint, saved_config
from .arguments import add_checkpoints, add_device, add_workers
from .robustness_results import PLAIN, Condition, Measured, table, write_all

FIXED = {"compile": False, "on_bad_video": "error", "reader": "clips"}
"""Settings of all evaluations: no video may be left out of one condition only, and DALI's reader ``stream`` cannot show
frames in another order."""
OF_CLIPS = "num_frames stride_frames crop_px crop_mode short_videos eval_clips eval_crops".split()
"""Settings that clips depend on."""
OF_LOADER = [*OF_CLIPS, "batch_size", "model"]
"""Settings that a loader depends on; ``model`` by which frames it keeps."""

OF_CONTENT = "start_frame end_frame num_frames size_bytes".split()
"""Properties of a video that are the same in a copy of its file."""
OF_VIDEO = ["path", "label", *OF_CONTENT, "mtime_ns"]
"""Properties of a video that its clips and their scores depend on."""


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint with its settings."""

    path: str
    config: Config
    computed: dict[str, str]
    """``device`` (its type), ``precision`` and ``decoder``: what ``auto`` means on this machine."""

    @classmethod
    def here(cls, path: str, config: Config, manifest: Manifest) -> "Evaluated":
        """Return a checkpoint as it is evaluated on this machine.

        Raises:
            InputError: the device cannot compute in the precision, or cannot decode the videos.
        """
        device = choose_device(Processes().device(config.device))
        precision = choose_precision(config.precision, device)
        decoder = READERS[config.reader].choose_decoder(config.decoder, device, manifest.videos, config.workers)
        return cls(path, config, {"device": device.type, "precision": precision, "decoder": decoder})

    @property
    def sampling(self) -> tuple:
        """The settings that its clips depend on; equal ones share a loader."""
        named = {name: getattr(self.config, name) for name in OF_LOADER} | {
            "model": MODELS[self.config.model].keep_every
        }
        return tuple(named.items())

    def part(self, out: Path, condition: Condition, seed: int, manifest: Manifest) -> Path:
        """Return the file of the guesses under a condition, named after everything that they depend on."""
        kind, strength = condition
        stat = os.stat(self.path)
        facts = [os.path.abspath(self.path), stat.st_size, stat.st_mtime_ns, kind, strength, seed, self.sampling]
        facts += [[[getattr(video, name) for name in OF_VIDEO] for video in manifest.videos]]
        facts += [self.computed, PERTURBATIONS[kind].sizes if strength else ()]
        return out / ROBUSTNESS_PARTS / f"{kind}-{strength}-{_digest(facts)}.json"

    def described(self, out: Path, seed: int, manifest: Manifest) -> dict[str, Any]:
        """Return what the accuracies depend on, for the summary in ``out``; a report compares only what agrees in it.

        The path is relative to ``out``, so it still holds after a run with its results is moved. Videos are known by
        their names and sizes, so copies in another folder are the same videos.
        """
        stat, path = os.stat(self.path), Path(self.path)
        videos = [
            (Path(video.path).name, manifest.classes[video.label], *(getattr(video, name) for name in OF_CONTENT))
            for video in manifest.videos
        ]
        settings = {name: getattr(self.config, name) for name in OF_CLIPS}
        return {
            "file": {
                "path": os.path.relpath(path.parent.resolve() / path.name, out.resolve()),
                "size_bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
            },
            "videos": {"count": len(videos), "digest": _digest(videos)},
            "settings": {"seed": seed, **settings, **self.computed},
        }


def _digest(facts: object) -> str:
    return sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]


def subset(labels_V: Sequence[int], count: int, seed: int) -> list[int]:
    """Draw ``count`` videos, as many of each class as possible, or all if there are fewer; sorted positions."""
    rng, label_V = np.random.default_rng(seed), np.asarray(labels_V)
    places = np.empty(len(label_V), int)
    for label in np.unique(label_V):
        of_class = np.flatnonzero(label_V == label)
        places[of_class] = rng.permutation(len(of_class))
    ties = rng.permutation(len(label_V))
    return sorted(np.lexsort((ties, places))[:count].tolist())


def evaluate_networks(
    networks: Sequence[tuple[Network, Config]], loader: VideoLoader, title: str, stop: StopRequest
) -> list[torch.Tensor]:
    """Return (V, K) scores of each network, over one epoch of the loader: the same clips for all.

    Raises:
        Stopped: it was asked for.
        InputError: a network's output is not a number.
    """
    means = scores_of_networks(networks, loader, Processes(), stop, title)
    if not all(means_VK.isfinite().all() for means_VK in means):
        raise InputError(
            f"Cannot measure robustness: scores under {title} are not finite numbers; train again with a lower --lr"
        )
    return means


def evaluate_group(
    group: Sequence[Evaluated],
    conditions: Sequence[Condition],
    manifest: Manifest,
    out: Path,
    seed: int,
    stop: StopRequest,
) -> None:
    """Evaluate checkpoints of equal sampling under the conditions that are not in ``out`` yet, and write them there.

    One loader shows a condition per epoch, so its workers start once.
    """
    missing = [
        condition
        for condition in conditions
        if not all(one.part(out, condition, seed, manifest).exists() for one in group)
    ]
    if not missing:
        return
    policy = Perturbations(conditions=missing, crop_px=group[0].config.crop_px, seed=seed)
    loader = make_eval_loader(group[0].config, manifest, Processes(), policy)
    for note in notes_on_devices(group[0].config, {"the videos": loader}):
        print(note, flush=True)
    networks = []
    for one in group:
        config = replace(one.config, precision=one.computed["precision"])
        networks.append((load_network(load_checkpoint(one.path), config, loader.device), config))
    try:
        for number, (kind, strength) in enumerate(missing, 1):
            shown = f"{kind} {strength}" if strength else PLAIN
            scores = evaluate_networks(networks, loader, f"{shown} ({number}/{len(missing)})", stop)
            for one, scores_VK in zip(group, scores, strict=True):
                with replacing(one.part(out, (kind, strength), seed, manifest), make_folders=True) as draft:
                    draft.write_text(json.dumps(scores_VK.argmax(dim=1).tolist()))
    finally:
        loader.close()


def _guesses(path: Path, count: int) -> np.ndarray:
    try:
        found = np.array(json.loads(path.read_text()), np.int64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it, and start again") from error
    if found.shape != (count,):
        raise InputError(
            f"{path}: is damaged, because it does not hold {count} predictions; delete it, and start again"
        )
    return found


def measure(
    evaluated: Sequence[Evaluated],
    conditions: Sequence[Condition],
    manifest: Manifest,
    out: Path,
    seed: int,
    stop: StopRequest,
) -> Measured:
    """Evaluate all checkpoints plain and under all conditions; what ``out`` holds already is not evaluated again."""
    wanted = [(next(iter(PERTURBATIONS)), 0), *conditions]
    groups: dict[tuple, list[Evaluated]] = {}
    for one in evaluated:
        groups.setdefault(one.sampling, []).append(one)
    for group in groups.values():
        evaluate_group(group, wanted, manifest, out, seed, stop)
    guesses = [
        [_guesses(one.part(out, condition, seed, manifest), len(manifest)) for condition in wanted] for one in evaluated
    ]
    described = [one.described(out, seed, manifest) for one in evaluated]
    paths = [one.path for one in evaluated]
    return Measured(paths, described, [(PLAIN, 0), *conditions], manifest, np.array(guesses))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.robustness",
        **described_by(__doc__),
    )
    add_checkpoints(parser, "all are shown the same videos and perturbations")
    for name in ("eval_clips", "eval_crops"):
        about = f"see {flag(name)} of train/run.py (default: the value in the checkpoint)"
        parser.add_argument(flag(name), type=int, default=argparse.SUPPRESS, help=about)
    parser.add_argument(
        "--kinds", help=f"perturbations, separated by commas: {', '.join(PERTURBATIONS)} (default: all of them)"
    )
    parser.add_argument(
        "--strengths",
        default=",".join(map(str, STRENGTHS)),
        help="strengths, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the perturbations and --videos (default: 0)")
    parser.add_argument(
        "--videos", type=int, help="evaluate so many videos, as many of each class as possible (default: all)"
    )
    add_workers(parser)
    add_device(parser)
    parser.add_argument(
        "-o", "--out", help=f"folder to write to (default: {ROBUSTNESS} in the folder of the first checkpoint)"
    )
    return parser


def conditions_of(kinds: str | None, strengths: str) -> list[Condition]:
    """Return the conditions of two lists of the command line; kinds in their order, then strengths, the lowest first.

    Raises:
        InputError: one is unknown; names the known ones.
    """
    chosen = list(PERTURBATIONS) if kinds is None else list(dict.fromkeys(kinds.split(",")))
    for kind in chosen:
        check_known("--kinds", kind, PERTURBATIONS)
    numbers = set(strengths.split(","))
    for number in sorted(numbers):
        check_known("--strengths", number, [str(strength) for strength in STRENGTHS])
    return [(kind, number) for kind in chosen for number in sorted(map(int, numbers))]


def run(options: dict[str, Any]) -> None:
    """Carry out a parsed command line: evaluate, print the table, write the files.

    Raises:
        InputError: something given is wrong.
        Stopped: it was asked for.
    """
    names = ("checkpoints", "kinds", "strengths", "seed", "videos", "out")
    paths, kinds, strengths, seed, count, out = (options.pop(name) for name in names)
    conditions = conditions_of(kinds, strengths)
    for name, value, least in (("--seed", seed, 0), ("--videos", count, 1)):
        if value is not None and value < least:
            raise InputError(f"Invalid {name} {value}: must be at least {least}")
    paths = list(dict.fromkeys(paths))
    given = {**options, **FIXED}
    configs, classes = check_all(paths, lambda state, path: evaluation_config(given, saved_config(state, path)))
    manifest, _, notes = load_for_evaluation(configs[0], classes, predict=False)
    labelled = [video for video in manifest.videos if video.label >= 0]
    chosen = subset([video.label for video in labelled], count or len(labelled), seed)
    manifest = Manifest([labelled[place] for place in chosen], manifest.classes)
    folder = make_folder(out or Path(paths[0]).parent / ROBUSTNESS)
    check_inputs_stay(folder, ROBUSTNESS_FILES, {**paths_read(configs[0]), "the checkpoint": paths})
    print(*notes, f"{len(conditions)} conditions and plain, {len(manifest)} videos", sep="\n", flush=True)
    evaluated = [Evaluated.here(path, config, manifest) for path, config in zip(paths, configs, strict=True)]
    with exclusive_use(folder, OTHER_OUT), StopRequest() as stop:
        measured = measure(evaluated, conditions, manifest, folder, seed, stop)
        short = short_names([Path(path) for path in paths])
        summary = write_all(folder, measured, short)
    print(*table(summary, short), sep="\n")
    print(
        f"In brackets: {summary['level_percent']:g} % intervals of a bootstrap over videos "
        f"({summary['resamples']} resamples, seed {summary['bootstrap_seed']}), the same videos for all checkpoints"
    )
    print(f"wrote {', '.join(ROBUSTNESS_FILES[:-1])} to {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    try:
        return run_program("robustness", lambda: run(options), flags_of(parser))
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return stopped.exit_code
