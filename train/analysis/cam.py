"""Show class activation maps (CAM): where and when a network recognised a class.

Example: ``python -m train.cam runs/latest/best.pt VIDEO``

Class activation maps over the clips as the network sees them, pure (Fig. 6 of the paper) or mixed (Fig. 5), written to
a folder: a sheet, a film, and the activation over time beside what each frame really holds, as a picture and as
numbers.
"""

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from dali_pipes.dataset import UNLABELLED, class_name
from dali_pipes.errors import InputError, check_known
from dali_pipes.pictures import SheetRow, write_sheet
from dali_pipes.system import described_by, exclusive_use, flags_of, make_folder, progress_bar, replacing, run_program

from ..config.options import Config
from ..data.loaders import make_eval_loader
from ..data.pictures import pictures_of
from ..data.videos import scan
from ..engine.evaluation import load_network, middle_clip_config
from ..engine.metrics import figure_text
from ..mixing.apply import apply_mix
from ..mixing.params import MIXES, check_alpha_and_prob, draw_mix
from ..models.zoo import MODELS, Network
from ..runtime.loader_progress import LoaderProgress
from ..runtime.processes import Processes
from ..runtime.run_files import CAM
from ..runtime.run_folder import OTHER_OUT, check_inputs_stay
from ..weights.checkpoint import load_checkpoint
from .activation import check_finite, class_maps, map_frames, stretch
from .arguments import add_device

SHOWN_PX = 128  # smaller clips are enlarged
CAM_FILES = SHEET, FILM, CURVES, NUMBERS = "maps.png", "maps.mp4", "activation.png", "activation.csv"
MIXED = [name for name, mix in MIXES.items() if not mix.deletes]


@dataclass(frozen=True)
class Clip:
    """The middle clip of a video, as it is evaluated."""

    path: str
    label: int
    """Index of the class whose name the video's folder has; -1 if the network does not know it."""
    clip_CTHW: torch.Tensor

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name


@dataclass(frozen=True)
class ClipActivation:
    """One clip, and what the network saw in it of P classes."""

    name: str
    titles: list[str]
    """The same in short lines."""
    clip_CTHW: torch.Tensor
    classes: list[str]
    """P names."""
    probabilities_P: list[float]
    maps_PTHW: torch.Tensor
    """Maps over the features' frames, rows and columns, see :func:`train.analysis.activation.class_maps`."""
    shares_PF: np.ndarray | None
    """Share of each class in each frame of the clip; None if that is not known."""
    of_A_F: np.ndarray | None = None
    """Share of the first video in each frame, if two are mixed."""

    @property
    def over_time_PT(self) -> np.ndarray:
        """The mean activation of each class at each time of the features."""
        return self.maps_PTHW.mean(dim=(2, 3)).numpy()


def read_clips(config: Config, classes: list[str], videos: Sequence[str]) -> list[Clip]:
    """The middle clips of videos.

    Raises:
        InputError: a video cannot be read.
    """
    folders = {path: class_name(Path(os.path.abspath(path)).parent.name) for path in videos}  # of links their own
    known = set(map(class_name, classes))
    items = [(path, name if name in known else None) for path, name in folders.items()]
    # here 0, as for so few it decodes in this process
    manifest = scan(items, classes, replace(config, workers=Config.workers))
    for path, reason in manifest.refused.items():
        raise InputError(f"{path}: {reason}")
    loader = make_eval_loader(config, manifest, Processes())
    try:
        read = {
            int(batch.videos_B[0]): batch.clips_BCTHW[0].clone()
            for batch in LoaderProgress(loader, "reading", len(loader))
        }
    finally:
        loader.close()
    clips = {video.path: Clip(video.path, video.label, read[place]) for place, video in enumerate(manifest.videos)}
    return [clips[path] for path in videos]


def activation_of_clips(
    network: Network, clips: Sequence[Clip], classes: list[str], chosen: list[int], layer: str
) -> list[ClipActivation]:
    """Return each clip with the ``chosen`` classes; by default its own class and the predicted one."""
    found = []
    for clip in progress_bar(clips, title="looking", unit="clip", leave=False):
        known = clip.label != UNLABELLED
        own = [clip.label] if known else []
        wanted = chosen or list(dict.fromkeys([*own, _predicted_class(network, clip)]))
        frames = clip.clip_CTHW.shape[1]
        shares_PF = np.array([[1.0 if k == clip.label else 0.0] * frames for k in wanted]) if known else None
        maps = _class_maps_of(network, clip.clip_CTHW, wanted, classes, layer)
        found.append(ClipActivation(clip.path, [clip.name], clip.clip_CTHW.cpu(), *maps, shares_PF))
    return found


def activation_of_mixes(
    network: Network,
    clips: Sequence[Clip],
    other: Clip,
    classes: list[str],
    chosen: list[int],
    layer: str,
    mix: str,
    alpha: float | None = None,
    seed: int = 0,
) -> list[ClipActivation]:
    """Return each clip A mixed with the other, B, with the ``chosen`` classes; by default those of both.

    If a video's class is not known, the one that its pure clip is taken for stands in for it in the choice, but not in
    the shares.
    """
    rng, found = np.random.default_rng(seed), []
    for clip in progress_bar(clips, title="looking", unit="clip", leave=False):
        params = draw_mix(mix, 2, tuple(clip.clip_CTHW.shape[1:]), rng=rng, alpha=alpha, prob=1.0)
        params = replace(params, partners_B=np.array([1, 0]))
        mixed_CTHW = apply_mix(torch.stack([clip.clip_CTHW, other.clip_CTHW]), params)[0]
        wanted = chosen or list(
            dict.fromkeys(
                one.label if one.label != UNLABELLED else _predicted_class(network, one) for one in (clip, other)
            )
        )
        of_A_F, known = params.shares_PT[0], UNLABELLED not in (clip.label, other.label)
        shares_PF = np.zeros((len(wanted), len(of_A_F)))
        for share_F, k in zip(shares_PF, wanted, strict=True):
            if k == clip.label:
                share_F += of_A_F
            if k == other.label:
                share_F += 1 - of_A_F
        maps = _class_maps_of(network, mixed_CTHW, wanted, classes, layer)
        titles = [mix, f"A {clip.name}", f"B {other.name}"]
        found.append(
            ClipActivation(
                f"{mix} {clip.path} {other.path}", titles, mixed_CTHW.cpu(), *maps, shares_PF if known else None, of_A_F
            )
        )
    return found


@torch.no_grad()
def _predicted_class(network: Network, clip: Clip) -> int:
    return network.eval()(clip.clip_CTHW[None])[0].argmax().item()


def _class_maps_of(
    network: Network, clip_CTHW: torch.Tensor, wanted: list[int], classes: Sequence[str], layer: str
) -> tuple[list[str], list[float], torch.Tensor]:
    maps = check_finite(class_maps(network, clip_CTHW[None], torch.tensor([wanted]), layer), network)
    probabilities_K = maps.logits_BK[0].softmax(dim=0)
    return [classes[k] for k in wanted], probabilities_K[wanted].tolist(), maps.maps_BPTHW[0].cpu()


def rows_of(seen: ClipActivation) -> list[SheetRow]:
    """The clip, and a map over it for each class. Colours go from the lowest to the highest value of all its maps."""
    frames_FHWC = pictures_of(seen.clip_CTHW)
    count, side = len(frames_FHWC), max(SHOWN_PX, frames_FHWC.shape[1])
    shown_FHWC = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame in frames_FHWC])
    low, high = seen.maps_PTHW.min(), seen.maps_PTHW.max()
    lowest, highest = seen.over_time_PT.min(), seen.over_time_PT.max()
    captions = [f"frame {frame}" for frame in range(count)]
    curves: list[tuple[str, np.ndarray | None]] = [(line, None) for line in seen.titles]
    if seen.of_A_F is not None:
        captions = [f"frame {frame}: A {share:.2f}" for frame, share in enumerate(seen.of_A_F)]
        curves.append(("share of A", seen.of_A_F))
    rows = [SheetRow(shown_FHWC, captions, curves, top=1)]
    for name, probability, map_THW in zip(seen.classes, seen.probabilities_P, seen.maps_PTHW, strict=True):
        map_FHW = stretch(map_THW, count, side)
        heat_FHW = ((map_FHW - low) / (high - low).clamp_min(1e-12)).numpy()
        colours = [cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1] for heat in heat_FHW]
        over_FHWC = (shown_FHWC * 0.5 + np.stack(colours) * 0.5).round().astype(np.uint8)
        mean_F = stretch(map_THW.mean(dim=(1, 2), keepdim=True), count, 1)[:, 0, 0].numpy()
        captions = [f"activation {value:.2f}" for value in mean_F]
        curve_F = (mean_F - lowest) / max(highest - lowest, 1e-12)
        lines = [
            (name, None),
            (f"probability {probability:.2f}", None),
            (f"activation, {lowest:.2f} to {highest:.2f}", curve_F),
        ]
        rows.append(SheetRow(over_FHWC, captions, lines, top=1))
    return rows


def draw_activation(path: Path, clips: Sequence[ClipActivation]) -> None:
    """A line of axes for each clip: the activation of its classes over time, and how much of each frame is theirs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6 * len(clips)), layout="constrained")
    for (left, right), seen in zip(figure.subplots(len(clips), 2, squeeze=False), clips, strict=True):
        count = seen.clip_CTHW.shape[1]
        frames = map_frames(seen.maps_PTHW.shape[1], count)
        for name, values_T in zip(seen.classes, seen.over_time_PT, strict=True):
            left.plot(frames, values_T, marker="o", label=figure_text(name))
        for name, values_F in zip(seen.classes, () if seen.shares_PF is None else seen.shares_PF, strict=False):
            right.plot(values_F, drawstyle="steps-mid", label=figure_text(name))
        left.set(title=figure_text(" ".join(seen.titles)), ylabel="activation", xlim=(-0.5, count - 0.5))
        right.set(
            ylabel="share of the frame" if seen.shares_PF is not None else "not known",
            xlim=left.get_xlim(),
            ylim=(-0.03, 1.03),
        )
        left.legend()
    for axes in figure.axes[-2:]:
        axes.set_xlabel("frame of the clip")
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=100)


def write_numbers(path: Path, clips: Sequence[ClipActivation]) -> None:
    """A CSV line for each clip, class and time of its map: the activation, and the class's share of that frame."""
    with replacing(path) as draft, open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "class", "probability", "frame", "activation", "share"])
        for seen in clips:
            frames = map_frames(seen.maps_PTHW.shape[1], seen.clip_CTHW.shape[1])
            for place, values_T in enumerate(seen.over_time_PT):
                of_class = [seen.name, seen.classes[place], f"{seen.probabilities_P[place]:.6g}"]
                for frame, value in zip(frames, values_T, strict=True):
                    share = ""
                    if seen.shares_PF is not None:
                        share_F = seen.shares_PF[place]
                        share = f"{np.interp(frame, range(len(share_F)), share_F):.6g}"
                    writer.writerow([*of_class, f"{frame:g}", f"{value:.6g}", share])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.cam",
        **described_by(__doc__),
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="checkpoint of train/run.py, such as runs/latest/best.pt"
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="show the maps of this class; can be repeated (default: the true class, which is the name of the video's "
        "folder, and the predicted class; with --mix, the classes of both videos)",
    )
    parser.add_argument(
        "--mix",
        nargs=2,
        metavar=("NAME", "VIDEO_B"),
        help=f"mix each VIDEO with VIDEO_B; NAME is a mixing operation: {', '.join(MIXED)}",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        help="parameter of the distribution Beta(ALPHA, ALPHA), from which lambda is sampled with --mix; lambda is the "
        "fraction of VIDEO that is kept (default: depends on the mixing operation, see docs/mixing.md)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random numbers of --mix (default: %(default)s)"
    )
    parser.add_argument(
        "--layer",
        default="",
        help="layer whose maps are shown. SlowFast: slow (default) or fast, its pathways; other networks: last",
    )
    parser.add_argument(
        "-o",
        "--out",
        help=f"output folder for {', '.join(CAM_FILES)} (default: {CAM}, in the folder of the checkpoint)",
    )
    parser.add_argument(
        "--columns", type=int, default=8, help=f"number of frames per row of {SHEET} (default: %(default)s)"
    )
    parser.add_argument(
        "--fps", type=int, default=8, help=f"frame rate of {FILM}, in frames per second (default: %(default)s)"
    )
    add_device(parser)
    return parser


def run(options: argparse.Namespace) -> Path:
    """Carry out a parsed command line; returns the folder.

    Raises:
        InputError: something given is wrong; nothing was written then.
    """
    for name, (least, most) in {"columns": (1, 1000), "fps": (1, 240), "seed": (0, 2**32)}.items():
        if not least <= getattr(options, name) <= most:
            raise InputError(f"Invalid --{name} {getattr(options, name)}: must be between {least} and {most}")
    if options.mix:
        check_known("--mix", options.mix[0], MIXED)
        check_alpha_and_prob(options.alpha, None, "--")
    elif options.alpha is not None:
        raise InputError(f"Invalid --alpha {options.alpha:g}: needs --mix; give it, or leave out --alpha")
    out = Path(options.out or Path(options.checkpoint).parent / CAM)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out must name a folder")
    check_inputs_stay(out, CAM_FILES, {"VIDEO": options.videos, "--mix": options.mix[1:] if options.mix else []})
    state = load_checkpoint(options.checkpoint)
    config = middle_clip_config({"workers": 0, "batch_size": 1, "device": options.device}, state, options.checkpoint)
    classes = state["classes"]
    for name in options.classes:
        check_known("--class", name, classes)
    if options.layer:
        check_known("--layer", options.layer, MODELS[config.model].features)
    chosen = [classes.index(name) for name in dict.fromkeys(options.classes)]
    read = read_clips(config, classes, options.videos + options.mix[1:] if options.mix else options.videos)
    network = load_network(state, config, read[0].clip_CTHW.device)
    if options.mix:
        *clips, other = read
        seen = activation_of_mixes(
            network, clips, other, classes, chosen, options.layer, options.mix[0], options.alpha, options.seed
        )
    else:
        seen = activation_of_clips(network, read, classes, chosen, options.layer)
    rows = [row for clip in progress_bar(seen, title="drawing", unit="clip", leave=False) for row in rows_of(clip)]
    with exclusive_use(make_folder(out), OTHER_OUT):
        for name in (SHEET, FILM):
            write_sheet(out / name, rows, options.columns, options.fps)
        draw_activation(out / CURVES, seen)
        write_numbers(out / NUMBERS, seen)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)

    def program() -> None:
        out = run(options)
        print(f"wrote {', '.join(CAM_FILES)} to {out}")

    return run_program("cam", program, flags_of(parser))
