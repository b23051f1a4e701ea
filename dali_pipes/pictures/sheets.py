"""Contact sheets and films of clips: one row per clip, with captions above its frames and curves beside it."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from ..dataset.manifest import scan_videos
from ..decode.frames import decode_frames
from ..errors import InputError, check_known
from ..plan.magnitude import MAX_LEVEL
from ..plan.sampling import count_starts, fixed_box, window_indices
from ..system.files import replacing

PICTURES = (".png", ".jpg")
TITLE_PX, GAP_PX, CAPTION_PX = 150, 4, 18
BLACK, GREY = (0, 0, 0), (150, 150, 150)
CURVE_COLOURS = (30, 90, 200), (210, 80, 0), (20, 140, 60), (150, 40, 160), (0, 150, 170), (130, 95, 60)


@dataclass(frozen=True)
class SheetRow:
    """One clip of a sheet."""

    frames_FHWC: np.ndarray
    """(F, H, W, 3) uint8."""
    captions: Sequence[str]
    """F texts, of equally many lines each."""
    curves: Sequence[tuple[str, np.ndarray | None]]
    """The operations that were applied: a name, and its (F,) levels if it has any."""
    top: float = MAX_LEVEL
    """The levels' scale ends here; it begins at 0."""


def draw_text(
    image: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int] = BLACK, size: float = 0.36
) -> None:
    """Draw one line of ASCII text on an RGB image, in place; ``x`` and ``y`` are its lower left corner."""
    text = text.encode("ascii", "replace").decode()  # OpenCV has no others, and crashes on bytes that are not UTF-8
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _title_panel(row: SheetRow, height: int, now: Sequence[int] | np.ndarray) -> np.ndarray:
    """The names of what was applied and the curves of their levels, with a dot at each frame that is shown."""
    panel = np.full((height, TITLE_PX, 3), 255, np.uint8)
    colours = [CURVE_COLOURS[i % len(CURVE_COLOURS)] for i in range(len(row.curves))]
    for i, (name, levels) in enumerate(row.curves):
        draw_text(panel, name, 4, 16 + 16 * i, BLACK if levels is None else colours[i], size=0.42)
    top, bottom, left, right = 10 + 16 * len(row.curves), height - 8, 26, TITLE_PX - 10
    if all(levels is None for _, levels in row.curves) or bottom - top < 20:
        return panel
    cv2.rectangle(panel, (left, top), (right, bottom), GREY)
    draw_text(panel, f"{row.top:g}", 6, top + 8, GREY, 0.32)
    draw_text(panel, "0", 14, bottom, GREY, 0.32)
    for (_, levels), colour in zip(row.curves, colours, strict=True):
        if levels is None:
            continue
        x = np.linspace(left, right, len(levels)) if len(levels) > 1 else np.array([left])
        points = np.stack([x, bottom - levels / row.top * (bottom - top)], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], False, colour, 1, cv2.LINE_AA)
        for frame in now:
            cv2.circle(panel, points[frame].tolist(), 2, colour, cv2.FILLED, cv2.LINE_AA)
    return panel


def draw_sheet(rows: Sequence[SheetRow], shown: Sequence[int] | np.ndarray) -> np.ndarray:
    """A contact sheet, (H, W, 3) uint8 RGB: one line per row, one column per frame number in ``shown``."""
    lines = []
    for row in rows:
        caption_px = CAPTION_PX * len(row.captions[0].split("\n"))
        cells = [_title_panel(row, row.frames_FHWC.shape[1] + caption_px, shown)]
        for frame in shown:
            strip = np.full((caption_px, row.frames_FHWC.shape[2], 3), 255, np.uint8)
            for i, caption in enumerate(row.captions[frame].split("\n")):
                draw_text(strip, caption, 2, CAPTION_PX * (i + 1) - 6)
            cell = np.concatenate([strip, row.frames_FHWC[frame]])
            cells.append(np.pad(cell, ((0, 0), (GAP_PX, 0), (0, 0)), constant_values=255))
        line = np.concatenate(cells, axis=1)
        lines.append(np.pad(line, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255))
    return np.concatenate(lines)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an RGB image as PNG or JPEG, by the suffix of the path."""
    good, data = cv2.imencode(path.suffix, image[..., ::-1])
    assert good
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())


def write_mp4(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    """Write an H.264 video that every player and browser shows; sides are made even."""
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with replacing(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def load_clip(path: str, num_frames: int, crop_px: int, start: int | None) -> np.ndarray:
    """The middle of a video (or from ``start``), centre square, (F, side, side, 3) uint8."""
    (video,) = scan_videos([(path, 0)]).videos
    last = count_starts(video.num_frames, num_frames) - 1
    if start is not None and not 0 <= start <= last:
        raise InputError(
            f"Invalid start {start}: must be between 0 and {last} for a window of {num_frames} frames in {path}"
        )
    indices = window_indices(video.num_frames, num_frames, first=last // 2 if start is None else start)
    box = fixed_box(video.height, video.width, "short_side", (160, 200))
    return decode_frames(path, indices, tuple(box), crop_px)


def check_sheet_options(options: argparse.Namespace, least: dict[str, int]) -> None:
    """The output's kind, and numbers that have a least value."""
    check_known("suffix", Path(options.out).suffix, (*PICTURES, ".mp4"), of=options.out)
    for name, value in least.items():
        if getattr(options, name) < value:
            raise InputError(f"Invalid {name} {getattr(options, name)}: must be at least {value}")


def write_sheet(out: Path, rows: Sequence[SheetRow], columns: int, fps: int) -> None:
    """A sheet with so many columns, or a film of all frames, by the name's suffix."""
    count = len(rows[0].frames_FHWC)
    if out.suffix in PICTURES:
        write_picture(out, draw_sheet(rows, np.linspace(0, count - 1, min(columns, count)).round().astype(int)))
    else:
        write_mp4(out, [_grid(rows, frame) for frame in range(count)], fps)


def _grid(rows: Sequence[SheetRow], frame: int) -> np.ndarray:
    """Return one frame of all rows in a grid about as wide as high, with names; the original is the first."""
    across = int(np.ceil(np.sqrt(len(rows) / 2)))
    blank = draw_sheet(rows[:1], [frame]) * 0 + 255
    cells = [draw_sheet([row], [frame]) for row in rows]
    cells += [blank] * (-len(cells) % across)
    return np.concatenate([np.concatenate(cells[i : i + across], axis=1) for i in range(0, len(cells), across)])
