"""Windows that are cut out of frames: one steady window, one that follows the person, or the whole frame.

In: keypoints `[T, J, 3]` in pixels of the source, the size of its frames, the size of the result, (height, width).
Out: windows `[T, 4]`: left, top, width, height in pixels of the source, with the aspect ratio of the result. A window
may extend beyond the frame, where the result is black. Next: `export.py`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from posecast.data.pose_maps import SURE

Crop = Literal["steady", "follow", "whole"]

MARGIN = 0.12
"""Margin around the joints, as a share of the person's usual height; hair and hands extend beyond the joints."""
OUTLIERS = 0.005
"""Share of the frames in which a joint may lie outside a window, so that gross errors do not widen it."""
FOLLOW_S = 1.0
"""Standard deviation of the smoothing of a window that follows the person, in seconds."""


def crop_windows(
    keypoints: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int], crop: Crop, fps: float
) -> np.ndarray:
    """Choose the window of every frame; without any sure joint it is the whole frame.

    Args:
        keypoints: `[T, J, 3]` in pixels of the source.
        frame_size: Height and width of the source's frames.
        size: Height and width of the result.
        crop: "steady" is one window for all frames, "follow" moves with the person, "whole" is the whole frame.
        fps: Frames per second.

    Returns:
        Windows, float `[T, 4]`: left, top, width and height in pixels of the source.
    """
    boxes = person_boxes(keypoints)
    visible = np.isfinite(boxes[:, 0])
    if crop == "whole" or not visible.any():
        window = _in_proportion(np.array([0.0, 0.0, frame_size[1], frame_size[0]]), frame_size, size)
        return np.tile(window, (len(keypoints), 1))
    margin = MARGIN * np.median(boxes[visible, 3] - boxes[visible, 1])
    boxes = boxes + np.array([-margin, -1.3 * margin, margin, margin])  # the highest joints are the eyes
    if crop == "steady":
        edges = [np.quantile(boxes[visible, k], OUTLIERS if k < 2 else 1 - OUTLIERS) for k in range(4)]
        return np.tile(_in_proportion(_inside(np.array(edges), frame_size), frame_size, size), (len(keypoints), 1))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    path = np.stack([smoothed(bridged(middles[:, k]), FOLLOW_S * fps) for k in range(2)], axis=1)
    reach = np.maximum(boxes[visible, 2:] - path[visible], path[visible] - boxes[visible, :2])
    sides = 2 * np.quantile(reach, 1 - OUTLIERS, axis=0)
    corners = np.concatenate([path - sides / 2, np.broadcast_to(sides, path.shape)], axis=1)
    return np.stack([_in_proportion(corner, frame_size, size) for corner in corners])


def person_boxes(keypoints: np.ndarray) -> np.ndarray:
    """Return left, top, right and bottom of the sure joints in every frame, `[T, 4]`; NaN where there are none."""
    sure = (keypoints[:, :, 2] >= SURE)[:, :, None]
    low = np.where(sure, keypoints[:, :, :2], np.inf).min(1)
    high = np.where(sure, keypoints[:, :, :2], -np.inf).max(1)
    boxes = np.concatenate([low, high], axis=1).astype(float)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def smoothed(values: np.ndarray, num_frames: float) -> np.ndarray:
    """Smooth values `[T]` by a Gaussian; they are extrapolated by point reflection at both ends.

    Args:
        values: Values without NaN.
        num_frames: Standard deviation of the Gaussian, in frames.
    """
    reach = max(1, round(3 * num_frames))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(num_frames, 1e-6)) ** 2)
    return np.convolve(np.pad(values, reach, mode="reflect", reflect_type="odd"), weights / weights.sum(), mode="valid")


def bridged(values: np.ndarray) -> np.ndarray:
    """Interpolate gaps (NaN) in values `[T]` linearly; return zeros if there are only gaps."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known]) if len(known) else np.zeros(len(values))


def _inside(edges: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Convert left, top, right, bottom, clipped to the frame, to left, top, width, height."""
    low, high = np.maximum(edges[:2], 0), np.minimum(edges[2:], frame_size[::-1])
    return np.concatenate([low, np.maximum(high - low, 2)])


def _in_proportion(window: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Enlarge a window around its centre to the aspect ratio of `size`, and move it into the frame if it fits."""
    aspect = size[1] / size[0]
    sides = np.maximum(window[2:], [window[3] * aspect, window[2] / aspect])
    corner = window[:2] + window[2:] / 2 - sides / 2
    slack = np.array(frame_size[::-1]) - sides
    fits = slack >= 0
    return np.concatenate([np.where(fits, np.clip(corner, 0, np.maximum(slack, 0)), slack / 2), sides])


def cut_out(frame: np.ndarray, window: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a window out of a frame and resize it, antialiased.

    Args:
        frame: uint8 `[H, W, 3]`.
        window: Left, top, width and height in pixels of the frame, `[4]`; black beyond the frame.
        size: Height and width of the result.

    Returns:
        uint8 `[height, width, 3]`.
    """
    height, width = frame.shape[:2]
    left, top = np.maximum(window[:2], 0)
    right, bottom = np.minimum(window[:2] + window[2:], [width, height])
    scale = np.array(size[::-1]) / window[2:]
    x0, y0 = np.rint((np.array([left, top]) - window[:2]) * scale).astype(int)
    x1, y1 = np.rint((np.array([right, bottom]) - window[:2]) * scale).astype(int)
    canvas = Image.new("RGB", (size[1], size[0]))
    if x1 > x0 and y1 > y0 and right > left and bottom > top:
        box = (float(left), float(top), float(right), float(bottom))
        shape = (int(x1 - x0), int(y1 - y0))
        resized = Image.fromarray(frame).resize(shape, Image.Resampling.BICUBIC, box, reducing_gap=3.0)
        canvas.paste(resized, (int(x0), int(y0)))
    return np.asarray(canvas)


def keypoints_in(keypoints: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert keypoints from pixels of the source to pixels of what is cut out.

    Args:
        keypoints: `[T, J, 3]`.
        windows: Windows of the frames, `[T, 4]`.
        size: Height and width of the result of `cut_out`.

    Returns:
        Keypoints `[T, J, 3]`.
    """
    converted = keypoints.copy()
    scale = np.array(size[::-1]) / windows[:, None, 2:]
    converted[:, :, :2] = (keypoints[:, :, :2] - windows[:, None, :2]) * scale
    return converted
