"""Makes the pictures and texts of docs/gallery.md in docs/_gallery: python docs/make_gallery.py

conf.py calls it, so each build of the site shows all rows of the tables. Pictures are drawn by the code of the preview
programs, of clips that are made here, the same ones each time.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tables of this folder, whatever is installed
from dali_pipes import OPS, SCHEDULES, Affine, RandAugmentT, Range, schedule_levels  # noqa: E402
from dali_pipes.augment import PAPER_CROP_PX, PERTURBATIONS, STRENGTHS, translate_max_px  # noqa: E402
from dali_pipes.augment.ops import EXTRA_OPS, Op  # noqa: E402
from dali_pipes.pictures import SheetRow, draw_sheet  # noqa: E402
from dali_pipes.pictures.preview import rows_of_operations, rows_of_perturbations  # noqa: E402
from train.analysis.mix_preview import mixed_row  # noqa: E402
from train.data.demo_data import make_frames  # noqa: E402
from train.mixing import MIXES  # noqa: E402
from train.mixing.params import Mix  # noqa: E402

FOLDER = ROOT / "docs" / "_gallery"
FRAMES, COLUMNS, SIDE_PX, LEVEL = 32, 6, 96, 15.0
JPEG_QUALITY = 88
POLICY = RandAugmentT(fill=128, translate_max_px=translate_max_px(SIDE_PX))
AXES = {"T": "time", "H": "height", "W": "width"}


def demo_clip(motion: str, seed: int) -> np.ndarray:
    """(F, side, side, 3) uint8: the first frames of a demo video, its centre square."""
    frames = list(make_frames(motion, np.random.default_rng(seed)))[:FRAMES]
    height, width = frames[0].shape[:2]
    left = (width - height) // 2
    square = [frame[:, left : left + height] for frame in frames]
    return np.stack([cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for frame in square])


def unchanged(clip: np.ndarray, title: str) -> SheetRow:
    return SheetRow(clip, [f"frame {frame}" for frame in range(FRAMES)], [(title, None)])


def entry(name: str, about: str, facts: Sequence[str], picture: str, rows: Sequence[SheetRow]) -> str:
    """Write a picture, and return the text around it."""
    sheet = draw_sheet(rows, np.linspace(0, FRAMES - 1, COLUMNS).round().astype(int))
    good, data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert good
    write(f"{picture}.jpg", data.tobytes())
    lines = [f"### {name}", "", about, "", *(f"- {fact}" for fact in facts), ""]
    return "\n".join([*lines, f"![{name}: frames over time](_gallery/{picture}.jpg)", ""])


def write(name: str, data: bytes) -> None:
    """Leave a file alone that holds the same already, so that Sphinx does not read its page again."""
    path = FOLDER / name
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def first_line(function: Callable) -> str:
    if not function.__doc__:
        raise SystemExit(
            f"{function.__module__}.{function.__name__}: has no docstring, the gallery shows its first line"
        )
    return function.__doc__.splitlines()[0]


def times(factor: float) -> str:
    return "" if factor == 1 else f"{factor:g} * "


def about_op(op: Op) -> str:
    """Say what an operation does: the first line of its graph function, or what an affine operation's numbers mean."""
    if not isinstance(op.graph, Affine):
        return first_line(op.graph)
    if op.graph.turn:
        return f"Turn each frame about its centre by {times(op.graph.turn)}value degrees, counter-clockwise."
    if op.graph.zoom:
        return f"Show the centre of each frame, with sides shorter by {times(op.graph.zoom)}value of the frame's sides."
    factors = zip(op.graph.slope, (" * x", " * y", "") * 2, strict=True)
    a, b, c, d, e, f = (f" + {times(slope)}value{axis}" if slope else "" for slope, axis in factors)
    return f"Show at (x, y) the input's pixel (x{a}{b}{c}, y{d}{e}{f})."


def range_text(range_: Range) -> str:
    """The values at the levels 0 and 30."""
    if not range_.signed:
        return f"{range_.value(0.0):g} to {range_.value(30.0):g}"
    if not range_.base:
        return f"{range_.low:g} to {range_.high:g}, with either sign"
    return f"{range_.base:g} ± {range_.low:g} to {range_.base:g} ± {range_.high:g}"


def op_facts(op: Op) -> list[str]:
    if not op.ranges:
        return ["No magnitude."]
    scale = f", of a crop of {PAPER_CROP_PX} x {PAPER_CROP_PX} pixels" if op.scales_with_crop else ""
    rows = [f"`{table}`, levels 0 to 30: {range_text(range_)}" for table, range_ in op.ranges.items()]
    return [f"Unit: {op.unit}{scale}", *rows]


def operations(table: dict[str, Op], clip: np.ndarray) -> list[str]:
    rising = np.linspace(0, 30, FRAMES, dtype=np.float32)
    original = unchanged(clip, "original")
    return [
        entry(
            name,
            about_op(op),
            op_facts(op),
            f"op-{name}",
            [original, *rows_of_operations(clip, [name], POLICY, lambda: rising, side=1)],
        )
        for name, op in table.items()
    ]


def schedules(clip: np.ndarray) -> list[str]:
    """Three draws of each schedule, that move one frame to the side: only the level changes."""
    still, entries = np.repeat(clip[:1], FRAMES, axis=0), []
    for name, schedule in SCHEDULES.items():
        rng = np.random.default_rng(2)
        levels_of = lambda name=name, rng=rng: schedule_levels(name, LEVEL, FRAMES, rng)  # noqa: E731
        rows = rows_of_operations(still, ["translate_x"] * 3, POLICY, levels_of, side=1)
        entries.append(entry(name, first_line(schedule), [], f"schedule-{name}", rows))
    return entries


def perturbations(clip: np.ndarray) -> list[str]:
    """Each kind at the strengths of the preview."""
    original, entries = unchanged(clip, "original"), []
    for name, kind in PERTURBATIONS.items():
        sizes = ", ".join(f"{size:g}" for size in kind.sizes)
        facts = [f"Unit: {kind.unit}", f"Strengths {STRENGTHS[0]} to {STRENGTHS[-1]}: {sizes}"]
        rows = [original, *rows_of_perturbations(clip, [name], seed=0)]
        about = f"{kind.about[0].upper()}{kind.about[1:]}."
        entries.append(entry(name, about, facts, f"perturbation-{name}", rows))
    return entries


def mix_facts(mix: Mix) -> list[str]:
    axes = ", ".join(AXES[axis] for axis in mix.axes) or "no axis, the same everywhere"
    drawn = [] if mix.alpha is None else [f"lambda: from Beta({mix.alpha:g}, {mix.alpha:g})"]
    return [f"The share of A changes along: {axes}", *drawn, f"Applied to: {mix.prob:.0%} of the batches"]


def mixes(clip_a: np.ndarray, clip_b: np.ndarray) -> list[str]:
    entries = []
    for name, mix in MIXES.items():
        mixed = mixed_row(clip_a, clip_b, name, np.random.default_rng(1), 5.0)
        rows = [unchanged(clip_a, "clip A"), *([] if mix.deletes else [unchanged(clip_b, "clip B")]), mixed]
        entries.append(entry(name, first_line(mix.draw), mix_facts(mix), f"mix-{name}", rows))
    return entries


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    clip_a, clip_b = demo_clip("sideways", 1), 255 - demo_clip("up", 2)  # a light one, to tell it from the first
    parts = {
        "operations": operations(OPS, clip_a),
        "extra_operations": operations(EXTRA_OPS, clip_a),
        "schedules": schedules(clip_a),
        "perturbations": perturbations(clip_a),
        "mixes": mixes(clip_a, clip_b),
    }
    for name, entries in parts.items():
        write(f"{name}.md", "\n".join(entries).encode())


if __name__ == "__main__":
    main()
    print(FOLDER.relative_to(ROOT))
