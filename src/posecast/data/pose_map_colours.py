"""Pose maps read by their colours: which limb a pixel shows, left and right exchanged.

In: uint8 pose maps in the colours of `pose_maps.py` (the course's). Out: uint8 pose maps.
Knows no keypoints. Next: `augmentation.py`, which moves a person and uses this.
"""

from __future__ import annotations

import functools

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON

LEVELS = 32
"""Steps of red, green and blue in the table of colours: 8 values of a pixel share one."""
FAINT = 24.0
"""Ink this faint is the paper's own unevenness: its colour says nothing."""

PARTNERS = np.array(
    [
        JOINT_INDEX[joint.name.replace("right_", "LEFT_").replace("left_", "right_").replace("LEFT_", "left_")]
        for joint in SKELETON
    ]
)
"""For each joint the one on the person's other side; a joint in the middle is its own."""


def exchange_sides(poses: np.ndarray) -> np.ndarray:
    """Pose maps `[..., H, W, 3]` with the colours of left and right limbs exchanged: a mirrored person's own.

    A pixel keeps its amount of ink, what it is short of white, and gets the hue of the limb's partner.
    """
    return _exchanged().take(_cells(poses), axis=0)


def limb_shown(poses: np.ndarray) -> np.ndarray:
    """The joint of `SKELETON` whose colour each pixel of `[..., H, W, 3]` is nearest to in hue; -1 on white: int8."""
    return _shown().take(_cells(poses))


def _cells(poses: np.ndarray) -> np.ndarray:
    """The place of each pixel's colour in a table."""
    red, green, blue = np.moveaxis((poses >> 3).astype(np.int32), -1, 0)
    return (red * LEVELS + green) * LEVELS + blue


@functools.cache
def _shown() -> np.ndarray:
    """The table behind `limb_shown`, `[LEVELS ** 3]`."""
    ink = _ink_of_cells()
    amount = np.linalg.norm(ink, axis=-1)
    nearest = (ink @ _hues().T).argmax(-1)
    return np.where(amount > FAINT, nearest, -1).astype(np.int8)


@functools.cache
def _exchanged() -> np.ndarray:
    """The table behind `exchange_sides`, `[LEVELS ** 3, 3]`."""
    ink, shown = _ink_of_cells(), _shown()
    full = _full_ink()
    strength = np.linalg.norm(ink, axis=-1) / np.linalg.norm(full, axis=-1)[shown]
    changed = strength[..., None] * full[PARTNERS[shown]]
    middle = PARTNERS[shown] == shown
    kept = (shown < 0) | middle
    return np.rint(np.clip(255.0 - np.where(kept[..., None], ink, changed), 0, 255)).astype(np.uint8)


def _ink_of_cells() -> np.ndarray:
    """What the middle of each cell of the table is short of white; white itself is exactly white."""
    axis = np.arange(LEVELS) * (255.0 / (LEVELS - 1))
    return 255.0 - np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def _full_ink() -> np.ndarray:
    return 255.0 - np.array([joint.colour for joint in SKELETON], float)


def _hues() -> np.ndarray:
    full = _full_ink()
    return full / np.linalg.norm(full, axis=1, keepdims=True)
