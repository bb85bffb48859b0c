"""Pictures of many frames: side by side, strips and sheets with labels.

In: uint8 frames by name. Out: one picture. Knows no model. Next: `samples.py` writes them into a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from posecast.data.images import enlarged

_CANVAS, _INK = (24, 24, 24), (215, 215, 215)  # dark enough for light pages, light enough for dark ones


def side_by_side(columns: Mapping[str, np.ndarray], frame_number: int, scale: int = 4) -> np.ndarray:
    """One picture of named frames (say pose, truth, prediction) in a row, the frame number on the left.

    Frames are uint8 `[H, W, 3]` of one size. The result's size depends on names, size and scale only.
    """
    return _grid([list(columns.values())], tops=list(columns), lefts=[str(frame_number)], scale=scale)


def contact_sheet(
    rows: Mapping[str, Sequence[np.ndarray]], *, every: int = 1, scale: int = 2, tops: Sequence[str] | None = None
) -> np.ndarray:
    """A strip for the eye: each row a named sequence of frames, every `every`-th of them, numbers above.

    Frames are uint8 `[H, W, 3]` of one size, counted from 1 unless `tops` names the columns. A shorter row ends in
    empty places.
    """
    shown = range(0, max(len(frames) for frames in rows.values()), every)
    cells = [[frames[k] for k in shown if k < len(frames)] for frames in rows.values()]
    return _grid(cells, tops=list(tops or [str(1 + k) for k in shown]), lefts=list(rows), scale=scale)


def rollout_strip(truth: np.ndarray, poses: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Ten instants of a rollout below the truth and the poses; `predicted` is frames 2..T, the first was given."""
    rows = {"pose": list(poses), "truth": list(truth), "predicted": [truth[0], *predicted]}
    return contact_sheet(rows, every=max(1, -(-len(truth) // 10)), scale=display_scale(truth))


def display_scale(frames: np.ndarray) -> int:
    """How many times to enlarge small pictures for the eye."""
    return max(1, 96 // frames.shape[1])


def _grid(cells: list[list[np.ndarray]], tops: list[str], lefts: list[str], scale: int) -> np.ndarray:
    size_px = max(12, 4 * scale)
    font, line = ImageFont.load_default(size_px), size_px * 3 // 2
    height, width = (scale * side for side in cells[0][0].shape[:2])
    margin = line + max(int(font.getlength(label)) for label in (*lefts, "00000"))  # one width, any number
    column = scale + max(width, *(int(font.getlength(label)) + line // 2 for label in tops))
    sheet = Image.new("RGB", (margin + column * len(tops), line + (height + scale) * len(lefts)), _CANVAS)
    draw = ImageDraw.Draw(sheet)
    for x, label in enumerate(tops):
        draw.text((margin + x * column + width // 2, line // 2), label, fill=_INK, font=font, anchor="mm")
    for y, (label, row) in enumerate(zip(lefts, cells, strict=True)):
        top = line + y * (height + scale)
        draw.text((line // 2, top + height // 2), label, fill=_INK, font=font, anchor="lm")
        for x, frame in enumerate(row):
            picture = Image.fromarray(enlarged(frame, scale))
            sheet.paste(picture, (margin + x * column, top))
    return np.array(sheet)
