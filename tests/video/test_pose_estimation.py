"""Tests of boxes around people, and of removing duplicate detections."""

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.video.pose_estimation import Person, Region, box_of, contained, overlap, without_duplicates


def person(left: float, top: float, right: float, bottom: float, confidence: float = 1.0) -> Person:
    """Return a person whose joints lie on the diagonal of a box."""
    spread = np.linspace(0, 1, len(SKELETON))
    x, y = left + spread * (right - left), top + spread * (bottom - top)
    return Person(np.stack([x, y, np.full_like(x, confidence)], 1).astype(np.float32), Region(0, 0, 0, 0))


def test_overlap_and_containment_of_boxes() -> None:
    box, shifted = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert overlap(box, box) == 1
    assert overlap(box, shifted) == pytest.approx(1 / 3)
    assert overlap(box, shifted + 100) == 0
    assert contained(np.array([2.0, 2, 4, 4]), box) == 1


def test_box_ignores_unsure_joints() -> None:
    keypoints = person(0, 0, 10, 20).keypoints
    keypoints[-1, 2] = 0.2
    assert box_of(keypoints)[3] < 20


def test_duplicates_are_removed_except_the_most_confident() -> None:
    people = [
        person(0, 0, 10, 20, 0.8),
        person(1, 0, 11, 20, 0.9),
        person(50, 0, 60, 20, 0.7),
        person(3, 5, 8, 10, 0.6),
    ]
    kept = without_duplicates(people)
    assert [float(person.keypoints[0, 2]) for person in kept] == pytest.approx([0.9, 0.7])
