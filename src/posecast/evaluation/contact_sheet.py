"""Labelled images of several frames: side by side, strips and contact sheets.

In: uint8 frames by name. Out: one uint8 image. Next: `samples.py`, which writes such images into a run folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from posecast.data.images import enlarged

_CANVAS, _INK = (24, 24, 24), (215, 215, 215)  # legible on pages with a light and with a dark background
STRIP_COLUMNS = 10
DISPLAY_HEIGHT = 96


def side_by_side(columns: Mapping[str, np.ndarray], frame_number: int, scale: int = 4) -> np.ndarray:
    """Draw named frames in a row, such as pose, truth and prediction, with the frame number on the left.

    Args:
        columns: uint8 `[H, W, 3]` of one size, by label.
        frame_number: Label of the row.
        scale: Side of the square that each pixel becomes.

    Returns:
        uint8 image whose size depends only on labels, frame size and scale, as the frames of a video must.
    """
    return _grid([list(columns.values())], list(columns), [str(frame_number)], scale)


def contact_sheet(
    rows: Mapping[str, Sequence[np.ndarray]],
    *,
    every: int = 1,
    scale: int = 2,
    column_labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw named sequences of frames below each other.

    Args:
        rows: uint8 `[H, W, 3]` of one size, by label; a shorter row ends in empty cells.
        every: Distance between the frames that are drawn.
        scale: Side of the square that each pixel becomes.
        column_labels: Labels of the drawn frames; None for their numbers, counted from 1.
    """
    drawn = range(0, max(len(frames) for frames in rows.values()), every)
    cells = [[frames[k] for k in drawn if k < len(frames)] for frames in rows.values()]
    return _grid(cells, list(column_labels or [str(1 + k) for k in drawn]), list(rows), scale)


def rollout_strip(truth: np.ndarray, poses: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Draw ten time steps of a rollout below the truth and the poses.

    Args:
        truth: uint8 `[T, H, W, 3]`.
        poses: Pose maps, uint8 `[T, H, W, 3]`.
        predicted: Frames 2..T, uint8 `[T-1, H, W, 3]`; the first frame was given.
    """
    rows = {"pose": list(poses), "truth": list(truth), "predicted": [truth[0], *predicted]}
    return contact_sheet(rows, every=max(1, -(-len(truth) // STRIP_COLUMNS)), scale=display_scale(truth))


def display_scale(frames: np.ndarray) -> int:
    """Return the factor that enlarges small frames `[T, H, W, 3]` to a height of about 96 pixels."""
    return max(1, DISPLAY_HEIGHT // frames.shape[1])


def _grid(cells: list[list[np.ndarray]], column_labels: list[str], row_labels: list[str], scale: int) -> np.ndarray:
    size_px = max(12, 4 * scale)
    font, line = ImageFont.load_default(size_px), size_px * 3 // 2
    height, width = (scale * side for side in cells[0][0].shape[:2])
    margin = line + max(int(font.getlength(label)) for label in (*row_labels, "00000"))  # as wide for any number
    column = scale + max(width, *(int(font.getlength(label)) + line // 2 for label in column_labels))
    canvas_size = (margin + column * len(column_labels), line + (height + scale) * len(row_labels))
    sheet = Image.new("RGB", canvas_size, _CANVAS)
    draw = ImageDraw.Draw(sheet)
    for x, label in enumerate(column_labels):
        draw.text((margin + x * column + width // 2, line // 2), label, fill=_INK, font=font, anchor="mm")
    for y, (label, row) in enumerate(zip(row_labels, cells, strict=True)):
        top = line + y * (height + scale)
        draw.text((line // 2, top + height // 2), label, fill=_INK, font=font, anchor="lm")
        for x, frame in enumerate(row):
            sheet.paste(Image.fromarray(enlarged(frame, scale)), (margin + x * column, top))
    return np.array(sheet)
