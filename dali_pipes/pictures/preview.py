"""Show augmentations of a video.

Example: ``python -m dali_pipes.preview VIDEO -o sheet.png`` (or ``-o clip.mp4``)

Rows are operations, or with ``--aug`` samples of a policy; columns are frames over time, with the magnitude that each
frame gets written above it and the level's curve beside it. Everything shown has passed the DALI graph of training.
Without ``--level`` and ``--schedule`` the levels rise from 0 to 30: Fig. 3 of the paper.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..augment.augmix import AugMix
from ..augment.clips import augment_clip, perturb_clip
from ..augment.graph_ops import INTERPOLATIONS
from ..augment.ops import OPS, RANGE_TABLES, Affine, op_named
from ..augment.perturbations import PERTURBATIONS
from ..augment.policies import NO_POLICY, POLICIES, check_fields, make_policy
from ..augment.randaugment import RandAugmentT, check_ops
from ..errors import InputError, check_known
from ..plan.magnitude import MAX_LEVEL, SCHEDULES, schedule_levels
from ..system.files import check_not_replaced
from ..system.program import described_by, flags_of, run_program, with_todays_options
from .charts import draw_schedules
from .sheets import PICTURES, SheetRow, check_sheet_options, load_clip, write_sheet

_SHORT = {
    "degrees": "deg",
    "pixels per pixel": "",
    "pixels": "px",
    "threshold": "",
    "factor": "x",
    "share": "",
    "grey levels": "grey",
}
"""Unit -> how captions write it, where that is shorter."""


def _caption(name: str, level: float, sign: float, policy: RandAugmentT | AugMix) -> str:
    op = op_named(name)
    if not op.ranges:
        return "no magnitude"
    range_ = op.range_in(policy.ranges, policy.translate_max_px)
    value = range_.value(level, sign)
    value = max(1, int(value)) if op.unit == "bits" else value
    return f"level {level:.1f}: {value:.3g} {_SHORT.get(op.unit, op.unit)}".strip()


def rows_of_operations(
    frames_FHWC: np.ndarray,
    names: Sequence[str],
    policy: RandAugmentT | AugMix,
    levels_of: Callable[[], np.ndarray],
    side: float,
) -> list[SheetRow]:
    """Return one row for each operation; ``levels_of()`` gives its (F,) levels."""
    rows = []
    for name in names:
        levels_F = levels_of()
        drawn = augment_clip(frames_FHWC, [name], levels_F[None], [side], **_style(policy))
        captions = [_caption(name, level, side, policy) for level in levels_F]
        rows.append(SheetRow(drawn, captions, [(name, levels_F if op_named(name).ranges else None)]))
    return rows


def rows_of_samples(
    frames_FHWC: np.ndarray, policy: RandAugmentT | AugMix, count: int, rng: np.random.Generator
) -> list[SheetRow]:
    """Return ``count`` rows with draws of the policy."""
    rows = []
    for _ in range(count):
        drawn = policy.sample(rng, len(frames_FHWC))
        names = [policy.op_names[op_id] for op_id in drawn.op_ids]
        clip = augment_clip(frames_FHWC, names, drawn.levels_NF, drawn.signs, **_style(policy))
        shown = [i for i, name in enumerate(names) if name != "identity"]
        ranges = {name: op_named(name).range_in(policy.ranges) for name in names}
        signs = {i: (" +" if drawn.signs[i] > 0 else " -") if ranges[names[i]].signed else "" for i in shown}
        curves = [(names[i] + signs[i], drawn.levels_NF[i] if op_named(names[i]).ranges else None) for i in shown]
        captions = [
            "\n".join(_caption(names[i], drawn.levels_NF[i, frame], drawn.signs[i], policy) for i in shown)
            for frame in range(len(clip))
        ]
        rows.append(SheetRow(clip, captions, curves or [("identity", None)]))
    return rows


PREVIEWED_STRENGTHS = (1, 3, 5)


def rows_of_perturbations(frames_FHWC: np.ndarray, kinds: Sequence[str], seed: int) -> list[SheetRow]:
    """Return a row for each of ``PREVIEWED_STRENGTHS`` of each kind of perturbation, of clips as they are evaluated."""
    rows = []
    for kind in kinds:
        for strength in PREVIEWED_STRENGTHS:
            clip = perturb_clip(frames_FHWC, kind, strength, seed=seed)
            size = PERTURBATIONS[kind].sizes[strength - 1]
            captions = [f"strength {strength}: {size:g}"] * len(clip)
            rows.append(SheetRow(clip, captions, [(kind, None)]))
    return rows


def _style(policy: RandAugmentT | AugMix) -> dict:
    return {name: value for name, value in policy.graph_options().items() if name not in ("n", "ops", "blend_at")}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dali_pipes.preview",
        **described_by(__doc__),
    )
    parser.add_argument(
        "video", nargs="?", help="video file; without it, an image with plots of the schedules is written"
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        help="output file: an image of some frames of the clip (.png or .jpg), or a video of all frames (.mp4); both "
        "show the clip before and after augmentation",
    )
    parser.add_argument(
        "--ops", help="operations to show, separated by commas; all: every operation (default: those with a magnitude)"
    )
    parser.add_argument(
        "--aug",
        metavar="NAME",
        help=f"show examples of this augmentation instead of single operations: {NO_POLICY}, {', '.join(POLICIES)}, or "
        "another recipe of timm, see docs/policies.md",
    )
    parser.add_argument(
        "--perturb",
        help="show these perturbations of python -m train.robustness instead, separated by commas, or all, at the "
        f"strengths {', '.join(map(str, PREVIEWED_STRENGTHS))}: {', '.join(PERTURBATIONS)}",
    )
    parser.add_argument("--samples", type=int, default=6, help="number of examples, with --aug (default: %(default)s)")
    parser.add_argument(
        "--n",
        type=int,
        help="number of operations per example, with --aug; called --randaug-n in train/run.py (default: 2)",
    )
    parser.add_argument(
        "--level",
        type=float,
        help="magnitude level M, 0 to 30; called --randaug-m in train/run.py (default: 10 with --schedule or --aug; "
        "without them, there is no schedule and the level rises from 0 to 30 over the clip)",
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="how the magnitude level changes over a clip, see --schedule of train/run.py (default: temporal+ with "
        "--aug randaug_t or with --level)",
    )
    parser.add_argument(
        "--sign",
        type=int,
        choices=(1, -1),
        default=1,
        help="sign of the value, for operations that have a direction, such as rotate (default: %(default)s)",
    )
    parser.add_argument(
        "--ranges",
        choices=RANGE_TABLES,
        help="ranges of the operations' values, see docs/randaugment_t.md (default: paper)",
    )
    parser.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        help="interpolation of the operations rotate, shear, translate and zoom (default: nearest)",
    )
    parser.add_argument(
        "--num-frames", type=int, default=64, help="length of the clip, in frames (default: %(default)s)"
    )
    parser.add_argument(
        "--start",
        type=int,
        help="first frame of the clip, counted from 0 (default: the clip is in the middle of the video)",
    )
    parser.add_argument(
        "--columns", type=int, default=8, help="number of frames per row of the image (default: %(default)s)"
    )
    parser.add_argument(
        "--crop-px",
        type=int,
        default=160,
        help="width and height of the clip, in pixels; translations scale with it (default: %(default)s)",
    )
    parser.add_argument(
        "--fps", type=int, default=12, help="frame rate of the .mp4 output, in frames per second (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: %(default)s)")
    return parser


def _chosen(options: argparse.Namespace, aug: str) -> dict[str, Any]:
    """Return the fields of the policy that the command line gives.

    Raises:
        InputError: the policy does not have one of them.
    """
    given = {"n": options.n, "m": options.level, "schedule": options.schedule, "ranges": options.ranges}
    given |= {"interpolation": options.interpolation, "ops": _names(options) if options.ops else None}
    given = {name: value for name, value in given.items() if value is not None}
    if aug == NO_POLICY:  # nothing is augmented, so these options change nothing
        return {}
    check_fields(aug, given)
    return given


def _names(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the operations of ``--ops``; without it, those with a magnitude."""
    geometric_first = sorted(OPS, key=lambda name: not isinstance(OPS[name].graph, Affine))
    with_magnitude = [name for name in geometric_first if op_named(name).ranges]
    return check_ops({None: with_magnitude, "all": list(OPS)}.get(options.ops) or options.ops.split(","))


def run(options: argparse.Namespace) -> None:
    """Carry out a parsed command line."""
    out = Path(options.out)
    check_sheet_options(options, {"num_frames": 1, "columns": 1, "crop_px": 16, "samples": 1, "fps": 1, "seed": 0})
    if options.video is None:
        if out.suffix not in PICTURES:
            raise InputError(
                f"Invalid out {out}: must end in .png or .jpg, because without a video the program draws the schedules"
            )
        draw_schedules(out)
        print(options.out)
        return
    check_not_replaced(out, [options.video])
    aug = options.aug or "randaug_t"
    policy = make_policy(aug, options.crop_px, **_chosen(options, aug))
    rng = np.random.default_rng(options.seed)
    clip = load_clip(options.video, options.num_frames, options.crop_px, options.start)
    rows = [SheetRow(clip, [f"frame {frame}" for frame in range(len(clip))], [("original", None)])]
    if options.perturb is not None:
        for name in ("aug", "ops", "n", "level", "schedule", "ranges", "interpolation"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"Invalid perturb {options.perturb}: cannot be combined with {name}=...; leave out one of them"
                )
        kinds = list(PERTURBATIONS) if options.perturb == "all" else options.perturb.split(",")
        for kind in kinds:
            check_known("perturb", kind, PERTURBATIONS)
        rows += rows_of_perturbations(clip, kinds, options.seed)
    elif policy is not None and options.aug:
        rows += rows_of_samples(clip, policy, options.samples, rng)
    elif policy is not None:
        schedule, m, rising = policy.schedule, policy.m, options.level is None and options.schedule is None
        whole = np.linspace(0, MAX_LEVEL, len(clip), dtype=np.float32)
        rows += rows_of_operations(
            clip,
            _names(options),
            policy,
            lambda: whole if rising else schedule_levels(schedule, m, len(clip), rng),
            options.sign,
        )
    write_sheet(out, rows, options.columns, options.fps)
    print(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    parser = _parser()
    options = parser.parse_args(with_todays_options(arguments))
    return run_program("preview", lambda: run(options), flags_of(parser) | {"m": "--level", "operation": "--ops"})
