"""Orders of keypoints: which joint is at which index in the output of other pose estimators.

In: keypoints `[P, K, 3]`, and the names of the points if a file has them. Out: keypoints `[P, J, 3]` of `SKELETON`.
Next: `keypoint_formats.py`, which reads the files; `keypoint_files.py`, the estimator.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON, SURE
from posecast.errors import InputError
from posecast.video.pose_estimation import MIDDLE_JOINTS

_COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
_OPENPOSE = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist {}right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
)
_FEET = "left_toe - left_heel right_toe - right_heel".split()
_HALPE = [*_COCO, *"- neck mid_hip left_toe right_toe - - left_heel right_heel".split()]
_HANDS = [*["-"] * 5, "left_hand", *["-"] * 20, "right_hand", *["-"] * 15]
"""Two hands of 21 points: of each, the first joint of the index finger, as in BlazePose."""
_BODY_25B = [*_COCO, "-", "-", *_FEET]  # its neck lies above the shoulders

_ORDERS = {
    15: "- neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle -".split(),  # OpenPose MPI
    16: "right_ankle right_knee right_hip left_hip left_knee left_ankle mid_hip neck - - right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist".split(),  # MPII
    17: _COCO,
    18: _OPENPOSE.format("").split(),
    23: [*_COCO, *_FEET],
    25: [*_OPENPOSE.format("mid_hip ").split(), *_FEET],
    26: _HALPE,
    133: [*_COCO, *_FEET, *["-"] * 68, *_HANDS],  # COCO-WholeBody
    135: [*_BODY_25B, *["-"] * 110],
    136: [*_HALPE, *["-"] * 68, *_HANDS],
}
"""Joints in their order, by the number of points; "-" is a point that is not drawn."""
_SYNONYMS = {"left_big_toe": "left_toe", "right_big_toe": "right_toe", "thorax": "neck"} | dict.fromkeys(
    ("hip", "pelvis", "midhip"), "mid_hip"
)
MIN_NAMED = 5
"""Number of known names from which a file's own names decide on the order."""


def to_skeleton(points: np.ndarray, names: Sequence[Any], source: str) -> np.ndarray:
    """Arrange keypoints as the joints of `SKELETON`; neck and mid-hip are interpolated if the file lacks them.

    Args:
        points: `[P, K, 3]`; the third column is a confidence in [0, 1].
        names: The file's names of the K points; empty if it has none.
        source: The file, for error messages.

    Returns:
        float32 `[P, J, 3]`; joints that the file lacks are 0.

    Raises:
        InputError: The order is unknown.
    """
    order = _named_order(names, points.shape[1]) or _usual_order(points, source)
    joints = np.zeros((len(points), len(SKELETON), 3), np.float32)
    for index, name in enumerate(order):
        if name in JOINT_INDEX:
            joints[:, JOINT_INDEX[name]] = points[:, index]
    for name, pair in MIDDLE_JOINTS.items():
        ends = joints[:, [JOINT_INDEX[end] for end in pair]]
        missing = (joints[:, JOINT_INDEX[name], 2] == 0) & (ends[:, :, 2] > 0).all(1)
        joints[missing, JOINT_INDEX[name], :2] = ends[missing, :, :2].mean(1)
        joints[missing, JOINT_INDEX[name], 2] = ends[missing, :, 2].min(1)
    return joints


def _named_order(names: Sequence[Any], num_points: int) -> list[str] | None:
    """Return the joints by the file's own names of its points, or None if they say too little."""
    order = [str(name).strip().lower().replace(" ", "_").replace("-", "_") for name in names]
    order = [_SYNONYMS.get(name, name) for name in order]
    num_known = len(set(order) & set(JOINT_INDEX))
    return order if len(order) == num_points and num_known >= MIN_NAMED else None


def _usual_order(points: np.ndarray, source: str) -> list[str]:
    """Return the joints by the number of points; BODY_25B, which also has 25, is recognised by the head."""
    order = _ORDERS.get(points.shape[1])
    if order is None:
        raise InputError(
            f"{source} has {points.shape[1]} points per person; expected the body in one of the orders of OpenPose, "
            "COCO, COCO-WholeBody, Halpe or MPII. Convert it to the 17 points of COCO."
        )
    for candidate in (order, _BODY_25B) if len(order) == 25 else (order,):
        if _has_face_at_head(points, candidate):
            return candidate
    raise InputError(
        f"The {len(order)} points per person in {source} are not in the usual order: where eyes or shoulders are "
        "expected, points lie farther from the nose than the ankles. Convert it to the 17 points of COCO."
    )


def _has_face_at_head(points: np.ndarray, order: list[str]) -> bool:
    """Return whether eyes and shoulders are nearer to the nose than the ankles, for most of the complete people."""
    if "nose" not in order:
        return True
    pairs = [[order.index(f"{side}_{part}") for side in ("left", "right")] for part in ("eye", "shoulder", "ankle")]
    nose = order.index("nose")
    needed = [nose, *itertools.chain(*pairs)]
    complete = points[(points[:, needed, 2] >= SURE).all(1), :, :2]
    distances = [np.linalg.norm(complete[:, pair].mean(1) - complete[:, nose], axis=1) for pair in pairs]
    plausible = np.maximum(distances[0], distances[1]) <= distances[2]
    return not len(complete) or float(plausible.mean()) >= 0.5
