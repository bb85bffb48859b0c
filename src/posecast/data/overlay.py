"""Footage and what was read off it, side by side for the eye.

In: a frame, keypoints in its pixels, the window that becomes the picture. Out: one wide picture, uint8.
Knows no files. Next: `extract.py`, which writes these as a video.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from posecast.data.cropping import keypoints_in
from posecast.data.pose_maps import LIMBS, SKELETON, draw_pose_map

HEIGHT = 360


def preview_picture(
    frame: np.ndarray, keypoints: np.ndarray, window: np.ndarray, size: tuple[int, int], note: str
) -> np.ndarray:
    """The whole frame with the skeleton and the window on it, and beside it the pose map as it is drawn.

    `keypoints` `[J, 3]` have confidence 0 where they are left out; `note` is written into the corner.
    """
    scale = HEIGHT / frame.shape[0]
    width = round(frame.shape[1] * scale)
    picture = Image.fromarray(frame).resize((width, HEIGHT), Image.Resampling.BILINEAR, reducing_gap=2.0)
    brush = ImageDraw.Draw(picture)
    left, top, wide, high = (float(value) * scale for value in window)
    brush.rectangle((left, top, left + wide - 1, top + high - 1), outline=(255, 255, 255))
    shown = keypoints[:, 2] > 0
    points = keypoints[:, :2] * scale
    for parent, joint in LIMBS:
        if shown[parent] and shown[joint]:
            ends = [tuple(points[parent].tolist()), tuple(points[joint].tolist())]
            brush.line(ends, fill=SKELETON[joint].colour, width=3)
    brush.text((6, 4), note, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    pose_size = (HEIGHT, round(HEIGHT * size[1] / size[0]))
    drawn = draw_pose_map(keypoints_in(keypoints[None], window[None], pose_size)[0], pose_size)
    return np.concatenate([np.asarray(picture), drawn], axis=1)
