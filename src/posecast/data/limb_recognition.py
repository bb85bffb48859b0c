"""Recognition of limbs by their colours, and exchange of left and right.

In: uint8 pose maps in the colours of `pose_maps.py`, which are the course's. Out: limb indices, or uint8 pose maps.
Next: `augmentation.py`, which mirrors people with this.
"""

from __future__ import annotations

import functools

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON

COLOUR_STEPS = 32
"""Steps of red, green and blue in the colour tables; 8 values of a pixel share a step."""
MIN_INK = 24.0
"""Colours closer to white than this Euclidean distance, of 255 per channel, are noise on the background."""

PARTNERS = np.array(
    [
        JOINT_INDEX[joint.name.replace("right_", "LEFT_").replace("left_", "right_").replace("LEFT_", "left_")]
        for joint in SKELETON
    ]
)
"""Index of each joint's counterpart on the other side; a joint in the middle is its own counterpart."""


def exchange_sides(poses: np.ndarray) -> np.ndarray:
    """Exchange the colours of left and right limbs, as for a mirrored person.

    A pixel keeps its distance from white and gets the hue of the counterpart.

    Args:
        poses: Pose maps, uint8 `[..., H, W, 3]`.
    """
    return _exchange_table().take(_cells(poses), axis=0)


def limb_shown(poses: np.ndarray) -> np.ndarray:
    """Find the joint whose colour is nearest in hue to each pixel.

    Args:
        poses: Pose maps, uint8 `[..., H, W, 3]`.

    Returns:
        Rows of `SKELETON`, int8 `[..., H, W]`; -1 on white.
    """
    return _limb_table().take(_cells(poses))


def _cells(poses: np.ndarray) -> np.ndarray:
    """Return the index of each pixel's colour in a table."""
    red, green, blue = np.moveaxis((poses >> 3).astype(np.int32), -1, 0)
    return (red * COLOUR_STEPS + green) * COLOUR_STEPS + blue


@functools.cache
def _limb_table() -> np.ndarray:
    """Compute the table of `limb_shown`, `[COLOUR_STEPS ** 3]`."""
    ink, full = _ink_of_cells(), _full_ink()
    amount = np.linalg.norm(ink, axis=-1)
    nearest = (ink @ (full / np.linalg.norm(full, axis=1, keepdims=True)).T).argmax(-1)
    return np.where(amount > MIN_INK, nearest, -1).astype(np.int8)


@functools.cache
def _exchange_table() -> np.ndarray:
    """Compute the table of `exchange_sides`, `[COLOUR_STEPS ** 3, 3]`."""
    ink, limbs, full = _ink_of_cells(), _limb_table(), _full_ink()
    strength = np.linalg.norm(ink, axis=-1) / np.linalg.norm(full, axis=-1)[limbs]
    exchanged = strength[..., None] * full[PARTNERS[limbs]]
    kept = (limbs < 0) | (PARTNERS[limbs] == limbs)
    return np.rint(np.clip(255.0 - np.where(kept[..., None], ink, exchanged), 0, 255)).astype(np.uint8)


def _ink_of_cells() -> np.ndarray:
    """Return the distance from white of each table cell's colour, per channel; the last cell is exactly white."""
    axis = np.arange(COLOUR_STEPS) * (255.0 / (COLOUR_STEPS - 1))
    return 255.0 - np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def _full_ink() -> np.ndarray:
    """Return the distance from white of each joint's colour, per channel: `[J, 3]`."""
    return 255.0 - np.array([joint.colour for joint in SKELETON], float)
