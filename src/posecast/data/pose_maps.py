"""Skeleton, and rendering of keypoints as pose maps.

In: keypoints in pixels, `[J, 2 or 3]` per frame, from the dancer or from a pose estimator.
Out: uint8 pose maps: coloured tapered limbs and round joints on white, in the style of the course's data.
Next: `dancer/choreography.py`, which makes keypoints, or `rasterizer.py`, which paints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecast.data.rasterizer import Capsules, paint_capsules
from posecast.errors import InputError


@dataclass(frozen=True)
class Joint:
    """Point of the skeleton; the limb to its `parent` has its colour. Left and right are those of the person."""

    name: str
    parent: str | None
    colour: tuple[int, int, int]


SKELETON = (
    Joint("neck", None, (0, 0, 255)),
    Joint("mid_hip", "neck", (30, 30, 225)),
    Joint("right_shoulder", "neck", (0, 50, 255)),
    Joint("right_elbow", "right_shoulder", (0, 85, 255)),
    Joint("right_wrist", "right_elbow", (0, 120, 255)),
    Joint("right_hand", "right_wrist", (60, 90, 200)),
    Joint("left_shoulder", "neck", (0, 190, 255)),
    Joint("left_elbow", "left_shoulder", (0, 215, 255)),
    Joint("left_wrist", "left_elbow", (0, 235, 245)),
    Joint("left_hand", "left_wrist", (60, 190, 190)),
    Joint("right_hip", "mid_hip", (0, 255, 170)),
    Joint("right_knee", "right_hip", (0, 255, 110)),
    Joint("right_ankle", "right_knee", (0, 250, 40)),
    Joint("right_heel", "right_ankle", (60, 230, 0)),
    Joint("right_toe", "right_ankle", (110, 255, 0)),
    Joint("left_hip", "mid_hip", (150, 25, 25)),
    Joint("left_knee", "left_hip", (225, 60, 20)),
    Joint("left_ankle", "left_knee", (255, 110, 0)),
    Joint("left_heel", "left_ankle", (255, 160, 0)),
    Joint("left_toe", "left_ankle", (255, 210, 0)),
    Joint("nose", "neck", (0, 0, 150)),
    Joint("right_eye", "nose", (255, 0, 190)),
    Joint("right_ear", "right_eye", (255, 80, 220)),
    Joint("left_eye", "nose", (170, 0, 255)),
    Joint("left_ear", "left_eye", (190, 90, 255)),
)
"""Joints in the order of a keypoint array's rows."""

JOINT_INDEX = {joint.name: index for index, joint in enumerate(SKELETON)}
"""Row of each joint, by name."""

LIMBS = tuple((JOINT_INDEX[j.parent], index) for index, j in enumerate(SKELETON) if j.parent is not None)
"""Limbs as the rows of the parent joint and of the joint that gives the limb its colour."""

SURE = 0.5
"""Confidence from which an estimated joint is drawn."""

JOINT_RADIUS = 4.0 / 512
LIMB_RADIUS = 3.3 / 512
"""Radii are shares of the image height, so that a pose map looks the same at any size."""
LIMB_OPACITY = 0.6


def draw_pose_map(keypoints_px: np.ndarray, size: tuple[int, int] = (32, 64)) -> np.ndarray:
    """Draw the keypoints `[J, 2]` or `[J, 3]` of one frame as a pose map, uint8 `[H, W, 3]`; see `draw_pose_maps`.

    >>> int(draw_pose_map(np.full((len(SKELETON), 2), np.nan), size=(32, 64)).min())
    255
    """
    return draw_pose_maps(np.asarray(keypoints_px)[None], size)[0]


def draw_pose_maps(keypoints_px: np.ndarray, size: tuple[int, int] = (32, 64)) -> np.ndarray:
    """Draw keypoints as pose maps.

    Args:
        keypoints_px: `[T, J, 2]` (x, y) or `[T, J, 3]` (x, y, confidence), J being `len(SKELETON)`; x and y in pixels
            from the upper left corner. A joint that is NaN or has confidence 0 is left out with its limbs; other
            confidences make no difference.
        size: Height and width of the pose maps.

    Returns:
        uint8 `[T, H, W, 3]`.

    Raises:
        InputError: The keypoints have another shape.
    """
    points = _present_points(keypoints_px)
    maps = np.empty((len(points), *size, 3), np.uint8)
    chunk = max(1, 2**18 // (size[0] * size[1]))  # bounds memory to a few tens of megabytes at any size
    for first in range(0, len(points), chunk):
        chunk_points = points[first : first + chunk]
        canvas = np.ones((len(chunk_points), *size, 3), np.float32)
        paint_capsules(canvas, _limbs(chunk_points, size[0]))
        paint_capsules(canvas, _joints(chunk_points, size[0]))
        maps[first : first + chunk] = np.rint(canvas * 255)
    return maps


def _present_points(keypoints_px: np.ndarray) -> np.ndarray:
    """Return x and y as float32 `[T, J, 2]`, NaN where a joint is missing."""
    keypoints = np.asarray(keypoints_px, np.float32)
    if keypoints.ndim != 3 or keypoints.shape[1] != len(SKELETON) or keypoints.shape[2] not in (2, 3):
        raise InputError(
            f"The keypoints have shape {list(keypoints.shape)}; expected [frames, {len(SKELETON)}, 2 or 3]: "
            "x, y in pixels and optionally a confidence for every joint of posecast.data.pose_maps.SKELETON."
        )
    if keypoints.shape[2] == 2:
        return keypoints
    return np.where(keypoints[:, :, 2:] > 0, keypoints[:, :, :2], np.nan).astype(np.float32)


def _limbs(points: np.ndarray, height: int) -> Capsules:
    start, end = (points[:, [limb[k] for limb in LIMBS]] for k in (0, 1))
    radius = LIMB_RADIUS * height
    colours = [SKELETON[child].colour for _, child in LIMBS]
    # Thin at both ends and thick in the middle, as pose estimators draw limbs.
    return _capsules(start, end, (0.3 * radius, 0.3 * radius, 0.7 * radius), colours, LIMB_OPACITY)


def _joints(points: np.ndarray, height: int) -> Capsules:
    radius = JOINT_RADIUS * height
    # A dot smaller than a pixel covers less of it than a strip of the same radius, by a factor of twice the radius.
    opacity = min(1.0, 2 * radius)
    return _capsules(points, points, (radius, radius, 0.0), [joint.colour for joint in SKELETON], opacity)


def _capsules(
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float, float],
    colours: list[tuple[int, int, int]],
    opacity: float,
) -> Capsules:
    lead = start.shape[:2]
    shape = np.broadcast_to(np.array([*radii, 1.0], np.float32), (*lead, 4))
    rows = [[red / 255, green / 255, blue / 255, opacity, 0.0] for red, green, blue in colours]
    return Capsules(start, end, shape, np.broadcast_to(np.array(rows, np.float32), (*lead, 5)))
