"""Look at augmentations: ``python -m dali_pipes.preview VIDEO -o sheet.png`` (or ``-o clip.mp4``).

Rows are operations, or with ``--aug`` samples of a policy; columns are frames over time, with the magnitude that each
frame gets written above it and the level's curve beside it. Everything shown has passed the DALI graph of training.
Without ``--level`` and ``--schedule`` the levels rise from 0 to 30: Fig. 3 of the paper.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from .decode import decode_frames
from .errors import InputError, check_known
from .files import check_not_replaced, replacing
from .magnitude import MAX_LEVEL, SCHEDULES, schedule_levels
from .manifest import scan_videos
from .ops import INTERPOLATIONS, OPS, RANGE_TABLES, Affine
from .program import end_of
from .randaugment import RandAugmentT, augment_clip, check_ops
from .sampling import count_starts, fixed_box, window_indices

AUGMENTATIONS = {"none": None, "randaug": "spatial", "randaug_t": "temporal+"}  # name -> its schedule

PICTURES = (".png", ".jpg")
TITLE_PX, GAP_PX, CAPTION_PX = 150, 4, 18
BLACK, GREY = (0, 0, 0), (150, 150, 150)
CURVE_COLOURS = (30, 90, 200), (210, 80, 0), (20, 140, 60), (150, 40, 160)


@dataclass(frozen=True)
class Row:
    """One clip of a sheet."""

    frames_FHWC: np.ndarray
    """(F, H, W, 3) uint8."""
    captions: Sequence[str]
    """F texts, of equally many lines each."""
    curves: Sequence[tuple[str, np.ndarray | None]]
    """What was applied: a name, and its (F,) levels if it has any."""
    top: float = MAX_LEVEL
    """The levels' scale ends here; it begins at 0."""


def _text(
    image: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int] = BLACK, size: float = 0.36
) -> None:
    text = text.encode("ascii", "replace").decode()  # OpenCV has no others, and crashes on bytes that are not UTF-8
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _title_panel(row: Row, height: int, now: Sequence[int] | np.ndarray) -> np.ndarray:
    """The names of what was applied and the curves of their levels, with a dot at each frame that is shown."""
    panel = np.full((height, TITLE_PX, 3), 255, np.uint8)
    colours = [CURVE_COLOURS[i % len(CURVE_COLOURS)] for i in range(len(row.curves))]
    for i, (name, levels) in enumerate(row.curves):
        _text(panel, name, 4, 16 + 16 * i, BLACK if levels is None else colours[i], size=0.42)
    top, bottom, left, right = 10 + 16 * len(row.curves), height - 8, 26, TITLE_PX - 10
    if all(levels is None for _, levels in row.curves) or bottom - top < 20:
        return panel
    cv2.rectangle(panel, (left, top), (right, bottom), GREY)
    _text(panel, f"{row.top:g}", 6, top + 8, GREY, 0.32)
    _text(panel, "0", 14, bottom, GREY, 0.32)
    for (_, levels), colour in zip(row.curves, colours, strict=True):
        if levels is None:
            continue
        x = np.linspace(left, right, len(levels)) if len(levels) > 1 else np.array([left])
        points = np.stack([x, bottom - levels / row.top * (bottom - top)], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], False, colour, 1, cv2.LINE_AA)
        for frame in now:
            cv2.circle(panel, points[frame].tolist(), 2, colour, cv2.FILLED, cv2.LINE_AA)
    return panel


def sheet(rows: Sequence[Row], shown: Sequence[int] | np.ndarray) -> np.ndarray:
    """A contact sheet, (H, W, 3) uint8 RGB: one line per row, one column per frame number in ``shown``."""
    lines = []
    for row in rows:
        caption_px = CAPTION_PX * len(row.captions[0].split("\n"))
        cells = [_title_panel(row, row.frames_FHWC.shape[1] + caption_px, shown)]
        for frame in shown:
            strip = np.full((caption_px, row.frames_FHWC.shape[2], 3), 255, np.uint8)
            for i, caption in enumerate(row.captions[frame].split("\n")):
                _text(strip, caption, 2, CAPTION_PX * (i + 1) - 6)
            cell = np.concatenate([strip, row.frames_FHWC[frame]])
            cells.append(np.pad(cell, ((0, 0), (GAP_PX, 0), (0, 0)), constant_values=255))
        line = np.concatenate(cells, axis=1)
        lines.append(np.pad(line, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255))
    return np.concatenate(lines)


def write_picture(path: Path, image: np.ndarray) -> None:
    """As PNG or JPEG, by the name's suffix."""
    good, data = cv2.imencode(path.suffix, image[..., ::-1])
    assert good
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())


def write_mp4(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    """H.264 that every player and browser shows; sides are made even."""

    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with replacing(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _caption(name: str, level: float, sign: float, policy: RandAugmentT) -> str:
    op = OPS[name]
    if not op.ranges:
        return "no magnitude"
    range_ = op.range_in(policy.ranges, policy.translate_max_px)
    value = range_.value(level, sign)
    value = max(1, int(value)) if op.unit == "bits" else value
    short = {"degrees": "deg", "pixels per pixel": "", "pixels": "px", "threshold": "", "factor": "x"}
    return f"level {level:.1f}: {value:.3g} {short.get(op.unit, op.unit)}".strip()


def rows_of_operations(
    frames_FHWC: np.ndarray,
    names: Sequence[str],
    policy: RandAugmentT,
    levels_of: Callable[[], np.ndarray],
    side: float,
) -> list[Row]:
    """One row for each operation; ``levels_of()`` gives its (F,) levels."""
    rows = []
    for name in names:
        levels_F = levels_of()
        drawn = augment_clip(frames_FHWC, [name], levels_F[None], [side], **_style(policy))
        captions = [_caption(name, level, side, policy) for level in levels_F]
        rows.append(Row(drawn, captions, [(name, levels_F if OPS[name].ranges else None)]))
    return rows


def rows_of_samples(frames_FHWC: np.ndarray, policy: RandAugmentT, count: int, rng: np.random.Generator) -> list[Row]:
    """``count`` draws of the policy."""
    rows = []
    for _ in range(count):
        drawn = policy.sample(rng, len(frames_FHWC))
        names = [policy.op_names[op_id] for op_id in drawn.op_ids]
        clip = augment_clip(frames_FHWC, names, drawn.levels_NF, drawn.signs, **_style(policy))
        signed = [OPS[name].range_in(policy.ranges).signed for name in names]
        titles = [f"{name} {'-+'[int(sign > 0)]}" if has_sign else name
                  for name, sign, has_sign in zip(names, drawn.signs, signed, strict=True)]  # fmt: skip
        levels = [levels if OPS[name].ranges else None for name, levels in zip(names, drawn.levels_NF, strict=True)]
        captions = ["\n".join(_caption(name, level, sign, policy)
                              for name, level, sign in zip(names, levels_N, drawn.signs, strict=True))
                    for levels_N in drawn.levels_NF.T]  # fmt: skip
        rows.append(Row(clip, captions, list(zip(titles, levels, strict=True))))
    return rows


def _style(policy: RandAugmentT) -> dict:
    return {name: value for name, value in policy.graph_options().items() if name not in ("n", "ops")}


def load_clip(path: str, num_frames: int, side_px: int, start: int | None) -> np.ndarray:
    """The middle of a video (or from ``start``), centre square, (F, side, side, 3) uint8."""
    (video,) = scan_videos([(path, 0)]).videos
    last = count_starts(video.num_frames, num_frames) - 1
    if start is not None and not 0 <= start <= last:
        raise InputError(f"--start is {start}, a window of {num_frames} frames in {path} starts at 0 to {last}")
    indices = window_indices(video.num_frames, num_frames, first=last // 2 if start is None else start)
    box = fixed_box(video.height, video.width, "short_side", (160, 200))
    return decode_frames(path, indices, tuple(box), side_px)


def draw_schedules(path: Path, m: float = 10.0, num_frames: int = 64, draws: int = 6) -> None:
    """A figure with a few draws of every schedule."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(2)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    places = figure.subplots(-(-len(SCHEDULES) // 3), 3, sharex=True, sharey=True).flat
    for axes, name in zip(places, SCHEDULES, strict=False):
        for _ in range(draws):
            axes.plot(schedule_levels(name, m, num_frames, rng))
        axes.set(title=name, ylim=(0, 2 * m))
    figure.supxlabel("frame")
    figure.supylabel(f"level, M = {m:g}")
    with replacing(path) as draft:
        figure.savefig(draft, format=path.suffix[1:], dpi=100)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dali_pipes.preview", description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", help="video file; without one, and with -o, the schedules are drawn")
    parser.add_argument(
        "-o", "--out", required=True, help="sheet.png (or .jpg), or clip.mp4: before and after, playing"
    )
    parser.add_argument("--ops", help="operations, with commas, or all; default: those with a magnitude")
    parser.add_argument("--aug", choices=AUGMENTATIONS, help="show samples of this augmentation instead of operations")
    parser.add_argument("--samples", type=int, default=6, help="how many, with --aug (default: %(default)s)")
    parser.add_argument("--n", type=int, default=2, help="operations per sample, with --aug (default: %(default)s)")
    parser.add_argument("--level", type=float, help="RandAugment level M, 0 to 30 (default: 10)")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="how levels change over a clip (default: temporal+, and spatial for --aug randaug)",
    )
    parser.add_argument("--sign", type=int, choices=(1, -1), default=1, help="direction of signed operations")
    parser.add_argument(
        "--ranges", choices=RANGE_TABLES, default="paper", help="what a level means (default: %(default)s)"
    )
    parser.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        default="nearest",
        help="of shearing, moving and turning (default: %(default)s)",
    )
    parser.add_argument("--frames", type=int, default=64, help="clip window (default: %(default)s)")
    parser.add_argument("--start", type=int, help="first frame; default: the middle of the video")
    parser.add_argument("--columns", type=int, default=8, help="frames shown in a sheet (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        default=160,
        help="side of the clip in pixels; translations are in proportion (default: %(default)s)",
    )
    parser.add_argument("--fps", type=int, default=12, help="frames per second of clip.mp4 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Carry out a parsed command line."""
    out = Path(options.out)
    check_options(options, {"frames": 1, "columns": 1, "size": 16, "samples": 1, "fps": 1, "seed": 0})
    if options.video is None:
        if out.suffix not in PICTURES:
            raise InputError(
                f"{out}: without a video the schedules are drawn, which needs a name that ends with .png or .jpg"
            )
        draw_schedules(out)
        return
    check_not_replaced(out, [options.video])
    geometric_first = sorted(OPS, key=lambda name: not isinstance(OPS[name].graph, Affine))
    with_magnitude = [name for name in geometric_first if OPS[name].ranges]
    names = {None: with_magnitude, "all": list(OPS)}.get(options.ops) or options.ops.split(",")
    schedule = options.schedule or AUGMENTATIONS.get(options.aug) or "temporal+"
    m = 10.0 if options.level is None else options.level
    policy = RandAugmentT(n=options.n, m=m, schedule=schedule, ops=check_ops(names) if options.ops else None,
                          ranges=options.ranges, interpolation=options.interpolation,
                          translate_max_px=100 * options.size / 160)  # fmt: skip
    rng = np.random.default_rng(options.seed)
    clip = load_clip(options.video, options.frames, options.size, options.start)
    rows = [Row(clip, [f"frame {frame}" for frame in range(len(clip))], [("original", None)])]
    if options.aug is None:
        rising = options.level is None and options.schedule is None
        whole = np.linspace(0, MAX_LEVEL, len(clip), dtype=np.float32)
        rows += rows_of_operations(clip, check_ops(names), policy, lambda: whole if rising else
                                   schedule_levels(schedule, m, len(clip), rng), options.sign)  # fmt: skip
    elif options.aug != "none":
        rows += rows_of_samples(clip, policy, options.samples, rng)
    write(out, rows, options.columns, options.fps)


def check_options(options: argparse.Namespace, least: dict[str, int]) -> None:
    """The output's kind, and numbers that have a least value."""
    check_known("kind of output, by its suffix,", Path(options.out).suffix, (*PICTURES, ".mp4"))
    for name, value in least.items():
        if getattr(options, name) < value:
            raise InputError(f"--{name} is {getattr(options, name)}, it must be at least {value}")


def write(out: Path, rows: Sequence[Row], columns: int, fps: int) -> None:
    """A sheet with so many columns, or a film of all frames, by the name's suffix."""
    count = len(rows[0].frames_FHWC)
    if out.suffix in PICTURES:
        write_picture(out, sheet(rows, np.linspace(0, count - 1, min(columns, count)).round().astype(int)))
    else:
        write_mp4(out, [_grid(rows, frame) for frame in range(count)], fps)


def _grid(rows: Sequence[Row], frame: int) -> np.ndarray:
    """One moment of all rows, about as wide as high, with names; the original is the first."""
    across = int(np.ceil(np.sqrt(len(rows) / 2)))
    blank = sheet(rows[:1], [frame]) * 0 + 255
    cells = [sheet([row], [frame]) for row in rows]
    cells += [blank] * (-len(cells) % across)
    return np.concatenate([np.concatenate(cells[i : i + across], axis=1) for i in range(0, len(cells), across)])


def main(
    arguments: Sequence[str] | None = None,
    parser: Callable[[], argparse.ArgumentParser] = _parser,
    run: Callable[[argparse.Namespace], None] = run,
) -> int:
    """Run the command line; 0, or 2 with one sentence on stderr."""
    options = parser().parse_args(arguments)

    def program() -> None:
        run(options)
        print(options.out)

    return end_of("preview", program)


if __name__ == "__main__":
    sys.exit(main())
