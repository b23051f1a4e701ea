"""Show two videos mixed by each mixing operation, as in Fig. 4 of the paper (Kim et al., ECCV-W 2020).

Example: ``python -m train.preview VIDEO_A VIDEO_B -o sheet.png`` (or ``-o clip.mp4``)

Rows are operations, columns frames over time; above each frame stands the share of A in it, beside the row the weights
of both labels and the share of A as a curve. Without videos, two of the demo's are taken.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dali_pipes.errors import InputError
from dali_pipes.loader import MEAN, STD
from dali_pipes.pictures import SheetRow, check_sheet_options, load_clip, write_sheet
from dali_pipes.system import check_not_replaced, described_by, flags_of, run_program, with_todays_options

from ..data.demo_data import demo_folder
from ..data.pictures import pictures_of
from ..mixing.apply import apply_mix
from ..mixing.params import MIXES, check_alpha_is_used, draw_mix, parse_names


def mixed_row(
    clip_a_FHWC: np.ndarray, clip_b_FHWC: np.ndarray, name: str, rng: np.random.Generator, alpha: float | None
) -> SheetRow:
    """Mix clip A with B, uint8 (F, H, W, 3) both, as training does it."""
    clips_BCTHW = torch.from_numpy(np.stack([clip_a_FHWC, clip_b_FHWC])).movedim(-1, 1).sub(MEAN).div(STD)
    frames, height, width = clips_BCTHW.shape[2:]
    params = draw_mix(name, 2, (frames, height, width), rng=rng, alpha=alpha, prob=1.0)
    if params.partners_B is not None:
        params = replace(params, partners_B=np.array([1, 0]))
    mixed_FHWC = pictures_of(apply_mix(clips_BCTHW, params)[0])
    shares_T, (of_A,) = params.shares_PT[0], params.label_weights_P()
    title = f"label A {of_A:.2f}" + (f" B {1 - of_A:.2f}" if params.partners_B is not None else "")
    return SheetRow(mixed_FHWC, [f"A {share:.2f}" for share in shares_T], [(name, None), (title, shares_T)], top=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.preview",
        **described_by(__doc__),
    )
    parser.add_argument(
        "videos",
        nargs="*",
        metavar="VIDEO",
        help="two video files, A and B (default: two videos of the generated dataset demo)",
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        help="output file: an image of some frames of the clips (.png or .jpg), or a video of all frames (.mp4)",
    )
    parser.add_argument("--mix", default=",".join(MIXES), help="comma-separated mixing operations (default: all)")
    parser.add_argument(
        "--alpha",
        type=float,
        help="parameter of the distribution Beta(ALPHA, ALPHA), from which lambda is sampled; lambda is the fraction "
        "of A that is kept (default: depends on the mixing operation, see docs/mixing.md)",
    )
    parser.add_argument(
        "--samples", type=int, default=1, help="number of examples per mixing operation (default: %(default)s)"
    )
    parser.add_argument(
        "--num-frames", type=int, default=64, help="length of the clips, in frames (default: %(default)s)"
    )
    parser.add_argument(
        "--columns", type=int, default=8, help="number of frames per row of the image (default: %(default)s)"
    )
    parser.add_argument(
        "--crop-px", type=int, default=112, help="width and height of the clips, in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--fps", type=int, default=12, help="frame rate of the .mp4 output, in frames per second (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Carry out a parsed command line."""
    check_sheet_options(options, {"num_frames": 1, "columns": 1, "crop_px": 16, "samples": 1, "fps": 1, "seed": 0})
    names = parse_names(options.mix)
    check_alpha_is_used(names, options.alpha, "--alpha")
    videos = options.videos or _demo_videos()
    if len(videos) != 2:
        raise InputError(f"Invalid VIDEO {' '.join(videos)}: must be two video files, A and B, not {len(videos)}")
    check_not_replaced(options.out, videos)
    clip_a, clip_b = (load_clip(video, options.num_frames, options.crop_px, None) for video in videos)
    numbers = [f"frame {frame}" for frame in range(options.num_frames)]
    rows = [SheetRow(clip_a, numbers, [("clip A", None)]), SheetRow(clip_b, numbers, [("clip B", None)])]
    rng = np.random.default_rng(options.seed)
    rows += [mixed_row(clip_a, clip_b, name, rng, options.alpha) for name in names for _ in range(options.samples)]
    write_sheet(Path(options.out), rows, options.columns, options.fps)
    print(options.out)


def _demo_videos() -> list[str]:
    """The first validation videos of the first and the last class."""
    classes = sorted((demo_folder(workers=2) / "val").iterdir())
    return [str(sorted(folder.iterdir())[0]) for folder in (classes[0], classes[-1])]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    parser = _parser()
    options = parser.parse_args(with_todays_options(arguments))
    return run_program("preview", lambda: run(options), flags_of(parser))
