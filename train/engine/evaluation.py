"""Accuracy over whole videos, predictions, and ensembles of checkpoints (paper sections 4.1 and 4.5)."""

import csv
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch

from dali_pipes import Manifest, VideoLoader
from dali_pipes.dataset import KINDS, UNLABELLED_DATA, item_name
from dali_pipes.errors import InputError
from dali_pipes.loader import choose_device
from dali_pipes.system import exclusive_use, make_folder, one_line, replacing

from ..config.command_line import INIT_WEIGHTS, ActionOptions, evaluation_config, published_config
from ..config.options import Config, paths_read
from ..data.loaders import make_eval_loader, notes_on_devices, videos_at_once
from ..data.videos import Items, all_classes, load_for_evaluation, load_named, validation_of
from ..models.zoo import Network
from ..runtime.loader_progress import LoaderProgress
from ..runtime.processes import Processes
from ..runtime.run_files import (
    CLASS_ACCURACY,
    CLASS_FILES,
    CONFUSION,
    ENSEMBLE,
    EVALUATION,
    EVALUATION_FILES,
    PREDICTIONS,
    SUBMISSION,
    VAL_PREDICTIONS,
)
from ..runtime.run_folder import OTHER_OUT, check_inputs_stay
from ..runtime.stop import Stopped, StopRequest
from ..weights.checkpoint import load_checkpoint, saved_config, weights_of
from ..weights.pretrained import load_pretrained
from .metrics import (
    VideoScores,
    confusion,
    draw_confusion,
    known_videos,
    mean_class_accuracy,
    summarise,
    write_class_accuracy,
)
from .network import make_network
from .precision import autocast, choose_precision, prepare
from .to_host import HostCopy

TOP = 5


def evaluate(
    model: torch.nn.Module, loader: VideoLoader, config: Config, processes: Processes, stop: StopRequest
) -> torch.Tensor:
    """Return (V, K) softmax scores averaged over the clips of each video (paper section 4.1).

    They do not depend on the number of processes; see :meth:`train.engine.metrics.VideoScores.means_VK`.

    Raises:
        Stopped: it was asked for.
        InputError: the network's output is not a number.
    """
    (means_VK,) = scores_of_networks([(model, config)], loader, processes, stop)
    if not means_VK.isfinite().all():
        video = loader.manifest.videos[int((~means_VK.isfinite()).any(dim=1).nonzero()[0])]
        raise InputError(
            f"{video.path}: the network's scores for this video are not finite numbers; "
            "train the network again with a lower --lr"
        )
    return means_VK


@torch.no_grad()
def scores_of_networks(
    networks: Sequence[tuple[torch.nn.Module, Config]],
    loader: VideoLoader,
    processes: Processes,
    stop: StopRequest,
    title: str = "evaluating",
) -> list[torch.Tensor]:
    """Return (V, K) scores of each network over one epoch of the loader, the same clips for all; see :func:`evaluate`.

    They may be NaN, if a network's output is not a number.

    Raises:
        Stopped: it was asked for.
    """
    scores = [VideoScores(len(loader.manifest), len(loader.manifest.classes)) for _ in networks]
    for model, _ in networks:
        model.eval()
    earlier: tuple[VideoScores, HostCopy, torch.Tensor] | None = None
    for batch in LoaderProgress(loader, title, len(loader)):
        # a bad video may leave none, and the last step may have fewer videos than there are processes
        for (model, config), found in zip(networks, scores, strict=True) if len(batch) else ():
            # whole videos, so that a GPU meets one size of batch, whatever the loader has in hand
            at_once = videos_at_once(config, processes) * config.eval_clips
            parts = (tensor.split(at_once) for tensor in (batch.clips_BCTHW, batch.videos_B))
            for clips_BCTHW, videos_B in zip(*parts, strict=True):
                with autocast(config, loader.device):
                    logits_BK = model(clips_BCTHW)
                fresh = found, HostCopy(logits_BK.float()), videos_B
                if earlier:  # one part later, so that a GPU always has work
                    earlier[0].add(earlier[1].wait(), earlier[2])
                earlier = fresh
        if processes.sum(torch.tensor([stop.number])).item():
            raise Stopped(stop.number or signal.SIGTERM)
    if earlier:
        earlier[0].add(earlier[1].wait(), earlier[2])
    for found in scores:
        processes.sum(found.sums_VK)
        processes.sum(found.counts_V)
    return [found.means_VK() for found in scores]


def labels_of(manifest: Manifest) -> torch.Tensor:
    """(V,) int64; -1 where the class is not known."""
    return torch.tensor([video.label for video in manifest.videos])


def write_classes(out: Path, scores_VK: torch.Tensor, manifest: Manifest) -> None:
    """The ``CLASS_FILES``: accuracy of each class, what it was taken for, and what each video was taken for."""
    table = confusion(scores_VK, labels_of(manifest))
    write_class_accuracy(out / CLASS_ACCURACY, table, manifest.classes)
    draw_confusion(out / CONFUSION, table, manifest.classes)
    write_predictions(out / VAL_PREDICTIONS, scores_VK, manifest)


def write_predictions(path: Path, scores_VK: torch.Tensor, manifest: Manifest, items: Items | None = None) -> None:
    """Write a CSV line per video: path, class if it is known, and the most probable classes with their probabilities.

    Where a list names segments, they stand behind the class. ``items``, the list that the manifest was made of, gives a
    line to each of its rows, in its order; that of a file that could not be read holds no classes.
    """
    numbers = range(1, min(TOP, len(manifest.classes)) + 1)
    predicted = [f"{name}_{number}" for number in numbers for name in ("class", "probability")]
    segment = ["start_frame", "end_frame"] if any(video.end_frame for video in manifest.videos) else []
    found = zip(manifest.videos, _most_probable(scores_VK, manifest.classes), strict=True)
    with replacing(path) as draft, open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, ["path", "label", *segment, *predicted], extrasaction="ignore", restval="")
        writer.writeheader()
        for item in items or [(video.path, None) for video in manifest.videos]:
            if item_name(*item) in manifest.refused:
                writer.writerow({"path": item[0], "label": item[1] or ""})
                continue
            video, pairs = next(found)
            label = manifest.classes[video.label] if video.label >= 0 else ""
            cells = [cell for name, value in pairs for cell in (name, f"{value:.6f}")]
            frames = {"start_frame": video.start_frame, "end_frame": video.end_frame} if video.end_frame else {}
            writer.writerow({"path": video.path, "label": label} | frames | dict(zip(predicted, cells, strict=False)))


def _most_probable(scores_VK: torch.Tensor, classes: list[str]) -> list[list[tuple[str, float]]]:
    """The most probable classes of each video, with their probabilities; none for a video without scores."""
    top = scores_VK.topk(min(TOP, len(classes)), dim=1)
    return [
        [(classes[k], value) for k, value in zip(chosen, values, strict=True)] if sum(values) else []
        for chosen, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def write_submission(path: Path, scores_VK: torch.Tensor, manifest: Manifest) -> None:
    """The VIPriors challenge's file: a line per video, its listed name and its most probable classes, from 1."""
    top_VK = scores_VK.topk(min(TOP, len(manifest.classes)), dim=1).indices + 1
    with replacing(path) as draft, open(draft, "w") as file:
        for video, seen, numbers in zip(manifest.videos, scores_VK.sum(dim=1) > 0, top_VK.tolist(), strict=True):
            if seen:
                print(f"{Path(video.path).stem}.avi", *numbers, file=file)


def average(scores: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """(V, K) weighted mean of several networks' scores; 0 for a video that one of them lacks."""
    weights_N = torch.tensor(weights or [1.0] * len(scores), dtype=torch.float64)
    stacked_NVK = torch.stack(scores)
    everywhere_V = (stacked_NVK.sum(dim=2) > 0).all(dim=0)
    return torch.einsum("n,nvk->vk", weights_N / weights_N.sum(), stacked_NVK) * everywhere_V[:, None]


def evaluate_checkpoints(overrides: dict, action: ActionOptions, processes: Processes) -> None:
    """Carry out --eval-only, --ensemble or --predict: print the accuracy, write the tables.

    Raises:
        InputError: a checkpoint, a setting or the data is wrong.
    """
    if action.videos:  # whatever the checkpoints were validated with
        overrides = overrides | {"data": action.videos[0], "dataset": UNLABELLED_DATA}
    if action.eval_only == INIT_WEIGHTS:
        paths = [overrides["init"]]
        config, published, said = published_checkpoint(overrides, processes)
        configs, classes = [config], published["classes"]
    else:
        paths, published, said = action.checkpoints, None, []
        configs, classes = check_all(paths, lambda state, path: evaluation_config(overrides, saved_config(state, path)))
    items: Items | None = None
    notes: list[str] = []
    with processes.local_main_process_first():
        if action.videos:
            manifest = load_named(action.videos, classes, configs[0])
        else:
            manifest, items, notes = load_for_evaluation(configs[0], classes, bool(action.predict))
    out = make_folder(overrides.get("out") or Path(paths[0]).parent / (ENSEMBLE if action.ensemble else EVALUATION))
    config = configs[0]
    check_inputs_stay(
        out, EVALUATION_FILES, {**paths_read(config), "--predict": action.videos, "the checkpoint": paths}
    )
    scores: list[torch.Tensor] = []
    with exclusive_use(out, OTHER_OUT) if processes.is_main_process else nullcontext(), StopRequest() as stop:
        for path, config in zip(paths, configs, strict=True):
            state, loader = published or load_checkpoint(path), make_eval_loader(config, manifest, processes)
            if processes.is_main_process and not scores:
                for note in (*said, *notes, *notes_on_devices(config, {"the videos": loader})):
                    print(note, flush=True)
            scores.append(_scores_of(state, config, loader, processes, stop))
            if processes.is_main_process:
                views = f", {config.eval_clips} x {config.eval_crops} views"
                _print_accuracy(path, scores[-1], manifest, views)
        if processes.is_main_process:
            _write_all(out, average(scores, action.ensemble_weights), manifest, items, configs[0].dataset, action)


def published_checkpoint(overrides: dict, processes: Processes) -> tuple[Config, dict, list[str]]:
    """Load the weights of --init as if they were a checkpoint.

    Returns the settings, the checkpoint with the classes of --data, and remarks for the user.

    Raises:
        InputError: a setting or the data is wrong, or the file holds no such network with as many classes.
    """
    config = published_config(overrides)
    choose_precision(config.precision, choose_device(config.device))
    with processes.local_main_process_first():
        classes = all_classes(config)
    model = make_network(config, len(classes))
    note = load_pretrained(model, config.init, classes, to_evaluate=True)
    step = f", {config.stride_frames} apart" if config.stride_frames > 1 else ""
    size = f"{config.crop_px}x{config.crop_px}"
    clips = f"Clips of {config.num_frames} frames{step}, {size} pixels (--num-frames, --stride-frames, --crop-px)."
    return config, {"model": model.state_dict(), "config": asdict(config), "classes": classes}, [note, clips]


def check_all(paths: list[str], config_of: Callable[[dict, str], Config]) -> tuple[list[Config], list[str]]:
    """Return ``config_of(state, path)`` of each checkpoint, and their classes; all are checked before any is evaluated.

    Raises:
        InputError: a checkpoint or setting is wrong, or the checkpoints' classes or videos differ.
    """
    configs: list[Config] = []
    classes: list[str] = []
    for path in paths:
        state = load_checkpoint(path)
        config = config_of(state, path)
        configs.append(config)
        # a wrong one is said before videos are checked
        choose_precision(config.precision, choose_device(config.device))
        classes = classes or state["classes"]
        if state["classes"] != classes:
            raise InputError(
                f"{path}: its {len(state['classes'])} classes differ from the {len(classes)} classes of {paths[0]}; "
                "give checkpoints with the same classes"
            )
        ours, theirs = map(validation_of, (config, configs[0]))
        if ours != theirs:  # else one might be scored on what it was trained on
            raise InputError(
                f"{path}: was validated with {ours}, but {paths[0]} with {theirs}; "
                "use --data (and --val-data, --dataset and --split if needed) to give videos to evaluate them on"
            )
    return configs, classes


def _scores_of(
    state: dict, config: Config, loader: VideoLoader, processes: Processes, stop: StopRequest
) -> torch.Tensor:
    config = replace(config, precision=choose_precision(config.precision, loader.device))
    model = load_network(state, config, loader.device)
    try:
        return evaluate(model, loader, config, processes, stop)
    finally:
        loader.close()


def middle_clip_config(overrides: dict, state: dict, path: str | os.PathLike) -> Config:
    """A checkpoint's settings to look at the middle clip of each video, and into the network.

    Not compiled, as compiled networks pass over what is attached to them; sums are exact; no video is replaced.
    """
    fixed = {"eval_clips": 1, "eval_crops": 1, "compile": False, "tf32": False, "on_bad_video": "error"}
    return evaluation_config({**overrides, **fixed}, saved_config(state, path))


def load_network(state: dict, config: Config, device: torch.device) -> Network:
    """The network of a checkpoint, with its averaged weights if it has any."""
    model = make_network(config, len(state["classes"]))
    model.load_state_dict(weights_of(state))
    prepare(model.to(device), config, device)
    return model


def _print_accuracy(name: str, scores_VK: torch.Tensor, manifest: Manifest, views: str = "") -> None:
    labels_V = labels_of(manifest)
    count = int(known_videos(scores_VK, labels_V).sum())
    if not count:
        return
    row, by_class = summarise(scores_VK, labels_V), mean_class_accuracy(confusion(scores_VK, labels_V))
    print(
        f"{name}: top-1 {row['val_top1']:.2f} %, top-5 {row['val_top5']:.2f} %, mean class accuracy {by_class:.2f} %, "
        f"loss {row['val_loss']:.4f}; {count} videos{views}"
    )


def _write_all(
    out: Path, scores_VK: torch.Tensor, manifest: Manifest, items: Items | None, dataset: str, action: ActionOptions
) -> None:
    written: list[str] = []
    if known_videos(scores_VK, labels_of(manifest)).any():
        if action.ensemble:
            _print_accuracy(f"ensemble of {len(action.ensemble)}", scores_VK, manifest)
        write_classes(out, scores_VK, manifest)
        written += CLASS_FILES
    if action.videos:
        for video, pairs in zip(manifest.videos, _most_probable(scores_VK, manifest.classes), strict=True):
            print(f"{one_line(video.path)}: {', '.join(f'{name} {value:.3f}' for name, value in pairs)}")
    if action.predict:
        write_predictions(out / PREDICTIONS, scores_VK, manifest, items)
        written += [PREDICTIONS]
        if KINDS[dataset].takes_submissions:
            write_submission(out / SUBMISSION, scores_VK, manifest)
            written += [SUBMISSION]
    missing = [video.path for video, seen in zip(manifest.videos, scores_VK.sum(dim=1) > 0, strict=True) if not seen]
    if missing:
        print(f"Videos that could no longer be read and have no scores: {len(missing)}, for example {missing[0]}")
    if written:
        print(f"wrote {', '.join(written)} to {out}")
