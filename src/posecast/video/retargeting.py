"""One person's moves for another person's body: limb lengths, height, place and ground line.

In: a driver's keypoints over time, and the `Body` of the person who was trained. Out: keypoints in their picture.
A body is measured on keypoints where a data set has them, else on its pose maps. All lengths are in shares of the
picture's height. Knows no files and no videos. Next: `driving.py`, which reads both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecast.data.dancer.kinematics import CHANNELS, Build, pose_joints
from posecast.data.pose_map_colours import PARTNERS, limb_shown
from posecast.data.pose_maps import JOINT_INDEX, SKELETON, SURE
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.video.cropping import bridged, smoothed
from posecast.video.keypoint_files import read_poses

PARENTS = np.array([JOINT_INDEX[joint.parent] if joint.parent else -1 for joint in SKELETON])
FEET = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "heel", "toe")]
NECK = JOINT_INDEX["neck"]
STRETCHED = 0.9
"""A limb's length is this quantile of how long it is seen: mostly it points somewhat towards the camera or away."""
FEET_SEEN = 0.2
"""Feet that are seen in fewer of the frames are guesses, and say nothing of the ground."""
SETTLES_S = 0.15
"""How fast a body may move up and down so that its feet stay where the driver's are."""


@dataclass(frozen=True)
class BodyProportions:
    """How large somebody is in a picture, and where they stand; unit: the picture's height."""

    lengths: np.ndarray
    """Of the limb that ends in each joint, `[J]`; NaN where it was never seen (and for the neck, which ends none)."""
    ground: float
    """How far down the feet stand; NaN if they were never seen."""
    x: float
    """How far right the neck is, usually; `y` how far down."""
    y: float
    view: tuple[float, ...] | None = None
    """What the pictures show of the camera's frames, where that is one window; see `keypoint_files.Poses.view`."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        named = {joint.name: float(length) for joint, length in zip(SKELETON, self.lengths, strict=True)}
        view = self.view and list(self.view)
        return {"lengths": named, "ground": self.ground, "x": self.x, "y": self.y, "view": view}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> BodyProportions:
        """What `to_json` wrote. Raises InputError for anything else."""
        try:
            lengths = np.array([_number(content["lengths"][joint.name]) for joint in SKELETON])
            view = content.get("view") and tuple(float(value) for value in content["view"])
            ground, x, y = (_number(content[key]) for key in ("ground", "x", "y"))
            return cls(lengths, ground, x, y, view)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The body of the trained person cannot be read ({error!r}); train again.") from error


def _number(value: Any) -> float:
    """JSON has null for what is not known."""
    return float("nan") if value is None else float(value)


def measure_body(keypoints: np.ndarray) -> BodyProportions:
    """The body that keypoints `[T, J, 3]` show, in shares of the picture's height."""
    points = _sure(keypoints)
    lengths = np.full(len(SKELETON), np.nan)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            lengths[joint] = _quantile(np.linalg.norm(points[:, joint] - points[:, parent], axis=1), STRETCHED)
    lengths = _pairs(lengths).mean(0)
    return BodyProportions(
        lengths, ground_of(points), _quantile(points[:, NECK, 0], 0.5), _quantile(points[:, NECK, 1], 0.5)
    )


def _pairs(lengths: np.ndarray) -> np.ndarray:
    """Left and right as two rows, `[2, J]`; where one is not known it is the other's."""
    both = np.stack([lengths, lengths[PARTNERS]])
    return np.where(np.isnan(both), both[::-1], both)


def ground_of(points: np.ndarray) -> float:
    """How far down the lower foot usually is at its lowest, of `[T, J, 2]`; NaN where feet are hardly ever seen."""
    feet = lowest_foot(points)
    anybody = np.isfinite(points[:, :, 0]).any(1)
    seen = np.isfinite(feet).sum() >= FEET_SEEN * max(1, anybody.sum())
    return _quantile(feet, STRETCHED) if seen else float("nan")


def lowest_foot(points: np.ndarray) -> np.ndarray:
    """How far down the lowest joint of both feet is, `[T]`; NaN where none is seen."""
    feet = np.where(np.isnan(points[:, FEET, 1]), -np.inf, points[:, FEET, 1]).max(1)
    return np.where(np.isfinite(feet), feet, np.nan)


def _quantile(values: np.ndarray, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else float("nan")


def _sure(keypoints: np.ndarray) -> np.ndarray:
    """x and y, `[T, J, 2]`, NaN where a joint is missing or unsure."""
    return np.where(keypoints[:, :, 2:] >= SURE, keypoints[:, :, :2], np.nan).astype(float)


# From pose maps ---------------------------------------------------------------------------------------------------


def body_of_maps(maps: Iterable[np.ndarray]) -> BodyProportions:
    """The body that pose maps `[H, W, 3]` show: its height and place by their ink, its limbs in usual proportions.

    At 32 pixels a limb's length cannot be read off; the height of the whole can.
    """
    joints = _standing()
    eyes_to_ground = joints[:, 1].max() - joints[:, 1].min()
    tops, bottoms, middles = _ink_edges(maps)
    stature = _quantile(bottoms - tops, STRETCHED) / eyes_to_ground
    lengths = np.linalg.norm(joints - joints[PARENTS], axis=1) * stature
    lengths[NECK] = np.nan
    ground = _quantile(bottoms, STRETCHED)
    neck = ground - stature * float(joints[NECK, 1] - joints[:, 1].min())
    return BodyProportions(lengths, ground, _quantile(middles, 0.5), neck)


def _standing() -> np.ndarray:
    """Joints `[J, 3]` of a body of usual proportions that stands upright, in statures."""
    return pose_joints({channel: np.zeros(1) for channel in CHANNELS}, Build())[0]


_NO_ARM = np.array([joint.name.split("_")[-1] not in ("elbow", "wrist", "hand") for joint in SKELETON] + [False])
"""Joints that are on no arm; the last entry is the white of the paper."""


def _ink_edges(maps: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top, bottom and middle (across) of what is drawn on each map that is not blank, in shares of the height."""
    edges = []
    for pose_map in maps:
        ink = _NO_ARM[limb_shown(pose_map)]  # raised arms make nobody taller
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        if len(rows):
            edges.append(np.array([rows[0], rows[-1] + 1, np.median(columns) + 0.5]) / len(pose_map))
    found = np.array(edges, float).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]


# The fit ----------------------------------------------------------------------------------------------------------


def fit(keypoints: np.ndarray, body: BodyProportions, aspect: float, fps: float) -> np.ndarray:
    """A driver's keypoints `[T, J, 3]`, in any unit, for another body: `[T, J, 3]` in shares of the picture's height.

    Every limb keeps its direction and how much of its length is seen, and gets the other body's length. The feet
    stay as far above the ground as the driver's, in proportion; without feet the neck's usual height decides. Across,
    the driver's path is centred where the other body usually is and, if it does not fit between the edges of a
    picture so many times wider than high (`aspect`), made smaller. Confidences stay. Raises InputError if the driver
    is never seen.
    """
    points = _sure(keypoints)
    driver = measure_body(keypoints)
    scale = _ratio(body.lengths, driver.lengths)
    if not np.isfinite(scale):
        raise InputError("The poses to follow show too little of a person to fit them; try others, or --no-fit.")
    ratios = body.lengths / driver.lengths
    ratios = np.where(np.isfinite(ratios), ratios, scale)
    neck = np.stack([bridged(points[:, NECK, axis]) for axis in (0, 1)], axis=1)
    fitted = _rebuilt(points, neck, ratios)
    fitted[:, :, 1] += _heights(points, neck, fitted, driver, body, scale, fps)[:, None]
    fitted[:, :, 0] += _path(neck[:, 0], fitted[:, :, 0], body, scale, aspect)[:, None]
    confidence = np.where(np.isfinite(fitted[:, :, :1]), keypoints[:, :, 2:], 0)
    return np.concatenate([np.nan_to_num(fitted), confidence], axis=2).astype(np.float32)


def _ratio(one: np.ndarray, other: np.ndarray) -> float:
    """How many times longer one body's limbs are than the other's, all in all."""
    both = np.isfinite(one) & np.isfinite(other) & (other > 0)
    return float(one[both].sum() / other[both].sum()) if both.any() else float("nan")


def _rebuilt(points: np.ndarray, neck: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Joints `[T, J, 2]` from the neck, which is at 0, outwards: each from its nearest ancestor that is seen."""
    fitted = np.full_like(points, np.nan)
    from_driver, from_fitted = np.empty_like(points), np.empty_like(points)
    for joint, parent in enumerate(PARENTS):
        seen = np.isfinite(points[:, joint, :1])
        base = neck if parent < 0 else from_driver[:, parent]
        start = np.zeros_like(neck) if parent < 0 else from_fitted[:, parent]
        fitted[:, joint] = start + ratios[joint] * (points[:, joint] - base)
        from_driver[:, joint] = np.where(seen, points[:, joint], base)
        from_fitted[:, joint] = np.where(seen, fitted[:, joint], start)
    return fitted


def _heights(
    points: np.ndarray,
    neck: np.ndarray,
    fitted: np.ndarray,
    driver: BodyProportions,
    body: BodyProportions,
    scale: float,
    fps: float,
) -> np.ndarray:
    """How far down to move the rebuilt body in each frame, `[T]`."""
    by_neck = body.y + scale * (neck[:, 1] - driver.y)
    if not np.isfinite(driver.ground + body.ground):
        return by_neck
    wanted = body.ground + scale * (lowest_foot(points) - driver.ground)
    # Only what other proportions make of it is smoothed: jumps and falls are the driver's.
    return by_neck + smoothed(bridged(wanted - lowest_foot(fitted) - by_neck), SETTLES_S * fps)


def _path(neck_x: np.ndarray, across: np.ndarray, body: BodyProportions, scale: float, aspect: float) -> np.ndarray:
    """How far right to move the rebuilt body in each frame, `[T]`."""
    path = scale * (neck_x - np.median(neck_x))
    reach = np.nanquantile(np.abs(across), 0.95)
    room_left, room_right = max(0.0, body.x - reach), max(0.0, aspect - reach - body.x)
    left, right = max(0.0, -float(path.min())), max(0.0, float(path.max()))
    share = min([1.0] + [room / far for room, far in ((room_left, left), (room_right, right)) if far > room])
    return body.x + share * path


MOST_MAPS = 2000
"""A body is measured on so many pose maps at most, evenly spread."""


def body_of_footage(recordings: Sequence[Recording], facts: dict[str, Any]) -> BodyProportions:
    """The person in training recordings: by the keypoints beside them where `extract` wrote some, else by pose maps."""
    table = Path(str(facts.get("path", "")), "poses.npz")
    if facts.get("path") and table.is_file():
        try:
            found = read_poses(table)
        except InputError:
            pass  # somebody else's poses.npz is no error
        else:
            body = measure_body(found.keypoints / np.array([found.size[0], found.size[0], 1.0], np.float32))
            return dataclasses.replace(body, view=found.view)
    every = max(1, sum(len(one) for one in recordings) // MOST_MAPS)
    return body_of_maps(pose_map for one in recordings for pose_map in one.poses[::every])
