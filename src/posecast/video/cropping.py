"""Which part of the frame becomes the picture: one steady window, one that follows the person, or the whole.

In: a recording's keypoints `[T, J, 3]` in pixels of the source, the size of its frames, the size wanted.
Out: windows `[T, 4]`: left, top, width, height in the source's pixels, in the proportions wanted. A window may reach
beyond the frame; what lies there is black. Knows no files. Next: `extract.py`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from posecast.data.pose_maps import SURE

Crop = Literal["steady", "follow", "whole"]

MARGIN = 0.12
"""Room on every side, as a share of the person's usual height: hair and hands reach beyond the joints."""
OUTLIERS = 0.005
"""So much of the time a joint may lie outside a steady window: a wild guess of the estimator must not widen it."""
FOLLOW_S = 1.0
"""The camera that follows is as slow as this."""


def crop_windows(
    keypoints: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int], crop: Crop, fps: float
) -> np.ndarray:
    """The window of every frame, `[T, 4]`; sizes are (height, width). Without any sure joint: the whole frame."""
    boxes = person_boxes(keypoints)
    seen = np.isfinite(boxes[:, 0])
    if crop == "whole" or not seen.any():
        window = _in_proportion(np.array([0.0, 0.0, frame_size[1], frame_size[0]]), frame_size, size)
        return np.tile(window, (len(keypoints), 1))
    margin = MARGIN * np.median(boxes[seen, 3] - boxes[seen, 1])
    boxes = boxes + np.array([-margin, -1.3 * margin, margin, margin])  # the highest joints are the eyes
    if crop == "steady":
        edges = [np.quantile(boxes[seen, k], OUTLIERS if k < 2 else 1 - OUTLIERS) for k in range(4)]
        return np.tile(_in_proportion(_inside(np.array(edges), frame_size), frame_size, size), (len(keypoints), 1))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    path = np.stack([smoothed(bridged(middles[:, k]), FOLLOW_S * fps) for k in range(2)], axis=1)
    reach = np.maximum(boxes[seen, 2:] - path[seen], path[seen] - boxes[seen, :2])
    sides = 2 * np.quantile(reach, 1 - OUTLIERS, axis=0)
    corners = np.concatenate([path - sides / 2, np.broadcast_to(sides, path.shape)], axis=1)
    return np.stack([_in_proportion(corner, frame_size, size) for corner in corners])


def person_boxes(keypoints: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the sure joints in every frame, `[T, 4]`; NaN where there are none."""
    sure = (keypoints[:, :, 2] >= SURE)[:, :, None]
    low = np.where(sure, keypoints[:, :, :2], np.inf).min(1)
    high = np.where(sure, keypoints[:, :, :2], -np.inf).max(1)
    boxes = np.concatenate([low, high], axis=1).astype(float)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def smoothed(values: np.ndarray, num_frames: float) -> np.ndarray:
    """Values `[T]` under a Gaussian of so many frames' deviation; before the start and after the end they go on."""
    reach = max(1, round(3 * num_frames))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(num_frames, 1e-6)) ** 2)
    return np.convolve(np.pad(values, reach, mode="reflect", reflect_type="odd"), weights / weights.sum(), mode="valid")


def bridged(values: np.ndarray) -> np.ndarray:
    """Values `[T]` with gaps (NaN) bridged by straight lines; all zero if there are no values at all."""
    there = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), there, values[there]) if len(there) else np.zeros(len(values))


def _inside(edges: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Left, top, right, bottom, cut at the frame's edges, as left, top, width, height."""
    low, high = np.maximum(edges[:2], 0), np.minimum(edges[2:], frame_size[::-1])
    return np.concatenate([low, np.maximum(high - low, 2)])


def _in_proportion(window: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A window grown around its middle to the proportions of `size`, then moved into the frame as far as it fits."""
    aspect = size[1] / size[0]
    sides = np.maximum(window[2:], [window[3] * aspect, window[2] / aspect])
    corner = window[:2] + window[2:] / 2 - sides / 2
    room = np.array(frame_size[::-1]) - sides
    fits = room >= 0
    return np.concatenate([np.where(fits, np.clip(corner, 0, np.maximum(room, 0)), room / 2), sides])


def cut_out(frame: np.ndarray, window: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The window of a frame as a picture of (height, width), each pixel the mean of what it covers: uint8."""
    height, width = frame.shape[:2]
    left, top = np.maximum(window[:2], 0)
    right, bottom = np.minimum(window[:2] + window[2:], [width, height])
    scale = np.array(size[::-1]) / window[2:]
    x0, y0 = np.rint((np.array([left, top]) - window[:2]) * scale).astype(int)
    x1, y1 = np.rint((np.array([right, bottom]) - window[:2]) * scale).astype(int)
    picture = Image.new("RGB", (size[1], size[0]))
    if x1 > x0 and y1 > y0 and right > left and bottom > top:
        box = (float(left), float(top), float(right), float(bottom))
        whole = Image.fromarray(frame)
        part = whole.resize((int(x1 - x0), int(y1 - y0)), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
        picture.paste(part, (int(x0), int(y0)))
    return np.asarray(picture)


def keypoints_in(keypoints: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Keypoints `[T, J, 3]` of the source in pixels of the pictures cut out: `[T, J, 3]`."""
    moved = keypoints.copy()
    scale = np.array(size[::-1]) / windows[:, None, 2:]
    moved[:, :, :2] = (keypoints[:, :, :2] - windows[:, None, :2]) * scale
    return moved
