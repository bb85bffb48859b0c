"""Interface of pose estimators, and boxes around people.

In: RGB frames, uint8 `[H, W, 3]`, one at a time. Out: `Person`s with keypoints in pixels. An estimator keeps no state
between frames. Next: `blazepose.py` and `keypoint_files.py`, the estimators; `tracker.py`, which follows one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from posecast.data.pose_maps import SURE

MIDDLE_JOINTS = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
"""Joints that some estimators do not report, and the pairs of joints whose midpoints they are."""
MAX_OVERLAP, MAX_CONTAINED = 0.4, 0.8
"""Two boxes show one person from this intersection over union on, or from this share of the smaller box on."""


class Region(NamedTuple):
    """A rotated square of a frame that contains one person, in pixels and radians."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True)
class Person:
    """One person in one frame."""

    keypoints: np.ndarray
    """float32 `[J, 3]`: x, y in pixels, confidence in [0, 1], for each joint of `SKELETON`."""
    region: Region
    """Region in which to look for this person in the next frame."""

    @property
    def box(self) -> np.ndarray:
        """Box of the joints, see `box_of`."""
        return box_of(self.keypoints)

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def confidence(self) -> float:
        """Mean confidence of the joints inside the frame."""
        inside = self.keypoints[:, 2] > 0
        return float(self.keypoints[inside, 2].mean()) if inside.any() else 0.0


class Estimator(Protocol):
    """Estimator of the joints of people in a frame."""

    name: str
    """Library, version and model, recorded in extract.json."""

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """Find all people in a frame.

        Args:
            frame: uint8 `[H, W, 3]`.
            number: Number of the frame in its file.
            closely: Whether to search for small people too, which is slow.
        """
        ...

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """Find a person at the position of the previous frame, which is fast.

        Args:
            frame: uint8 `[H, W, 3]`.
            number: Number of the frame in its file.
            last: The person in the previous frame.

        Returns:
            None if nobody is there.
        """
        ...


def box_of(keypoints: np.ndarray) -> np.ndarray:
    """Return the box around the sure joints of `[J, 3]`, or around all that have a position if fewer than three are.

    Returns:
        Left, top, right and bottom: float `[4]`.
    """
    sure = keypoints[keypoints[:, 2] >= SURE]
    present = np.isfinite(keypoints[:, 0]) & keypoints.any(1)  # files have zeros for missing joints
    points = (sure if len(sure) >= 3 else keypoints[present])[:, :2]
    return np.concatenate([points.min(0), points.max(0)])


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom)."""
    common = _intersection(first, second)
    union = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - common
    return float(common / union) if union > 0 else 0.0


def contained(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of the smaller of two boxes that lies inside the other, in [0, 1]."""
    smaller = min((box[2:] - box[:2]).prod() for box in (first, second))
    return float(_intersection(first, second) / smaller) if smaller > 0 else 1.0


def _intersection(first: np.ndarray, second: np.ndarray) -> float:
    """Return the area common to two boxes."""
    return float(np.maximum(0, np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])).prod())


def without_duplicates(people: list[Person]) -> list[Person]:
    """Keep only the most confident of the detections that overlap, in order of confidence."""
    kept: list[Person] = []
    for person in sorted(people, key=lambda person: -person.confidence):
        if all(
            overlap(person.box, other.box) < MAX_OVERLAP and contained(person.box, other.box) < MAX_CONTAINED
            for other in kept
        ):
            kept.append(person)
    return kept


def midpoint(ends: np.ndarray) -> np.ndarray:
    """Return the midpoint of two keypoints `[2, 3]`, with the lower of their confidences: `[3]`."""
    return np.array([*ends[:, :2].mean(0), ends[:, 2].min()])
