"""Retargeting of one person's motion to another person's proportions, position and ground line.

In: a driver's keypoints over time, and the `BodyProportions` of the trained person, which are measured on keypoints or
on pose maps. Out: keypoints in the trained person's image. Lengths are shares of the image's height.
Next: `driving.py`, which reads both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecast.data.dancer.kinematics import CHANNELS, Build, pose_joints
from posecast.data.limb_recognition import PARTNERS, limb_shown
from posecast.data.pose_maps import JOINT_INDEX, SKELETON, SURE
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.video.cropping import bridged, smoothed
from posecast.video.extracted_poses import FILE_NAME as POSES
from posecast.video.extracted_poses import read_poses

PARENTS = np.array([JOINT_INDEX[joint.parent] if joint.parent else -1 for joint in SKELETON])
FEET = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "heel", "toe")]
NECK = JOINT_INDEX["neck"]
STRETCHED = 0.9
"""Quantile of a limb's visible length that is its length; most of the time a limb is foreshortened."""
FEET_VISIBLE = 0.2
"""Share of the frames below which visible feet are estimation errors, and do not determine the ground."""
HEIGHT_SMOOTHING_S = 0.15
"""Standard deviation, in seconds, of the smoothing of vertical corrections."""
REACH_QUANTILE = 0.95
MAX_POSE_MAPS = 2000
"""Largest number of pose maps that proportions are measured on, evenly spread."""


@dataclass(frozen=True)
class BodyProportions:
    """Limb lengths and usual position of a person in an image, as shares of the image's height."""

    lengths: np.ndarray
    """Length of the limb that ends in each joint, `[J]`; NaN if it was never visible, and for the neck, which ends no
    limb."""
    ground: float
    """Distance of the ground from the upper edge; NaN if the feet were hardly ever visible."""
    x: float
    """Median distance of the neck from the left edge."""
    y: float
    """Median distance of the neck from the upper edge."""
    view: tuple[float, ...] | None = None
    """Window of the camera's frames that the images show, see `extracted_poses.Poses.view`."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for `from_json`."""
        named = {joint.name: float(length) for joint, length in zip(SKELETON, self.lengths, strict=True)}
        view = self.view and list(self.view)
        return {"lengths": named, "ground": self.ground, "x": self.x, "y": self.y, "view": view}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> BodyProportions:
        """Restore what `to_json` returned.

        Raises:
            InputError: The content is something else.
        """
        try:
            lengths = np.array([_number(content["lengths"][joint.name]) for joint in SKELETON])
            view = content.get("view") and tuple(float(value) for value in content["view"])
            ground, x, y = (_number(content[key]) for key in ("ground", "x", "y"))
            return cls(lengths, ground, x, y, view)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"The proportions of the trained person cannot be read ({error!r}); train again."
            ) from error


def _number(value: Any) -> float:
    """Return a number of JSON, where null represents NaN."""
    return float("nan") if value is None else float(value)


def measure_body(keypoints: np.ndarray) -> BodyProportions:
    """Measure a person's proportions.

    Args:
        keypoints: `[T, J, 3]`, as shares of the image's height.
    """
    points = _sure(keypoints)
    lengths = np.full(len(SKELETON), np.nan)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            lengths[joint] = _quantile(np.linalg.norm(points[:, joint] - points[:, parent], axis=1), STRETCHED)
    lengths = _pairs(lengths).mean(0)
    return BodyProportions(
        lengths, _ground(points), _quantile(points[:, NECK, 0], 0.5), _quantile(points[:, NECK, 1], 0.5)
    )


def _pairs(lengths: np.ndarray) -> np.ndarray:
    """Return each joint's value and its counterpart's on the other side, `[2, J]`, each replacing an unknown one."""
    both = np.stack([lengths, lengths[PARTNERS]])
    return np.where(np.isnan(both), both[::-1], both)


def _ground(points: np.ndarray) -> float:
    """Return the ground line as the 0.9 quantile of the lowest foot joint's y, or NaN if feet are hardly visible."""
    feet = lowest_foot(points)
    visible = np.isfinite(points[:, :, 0]).any(1)
    enough = np.isfinite(feet).sum() >= FEET_VISIBLE * max(1, visible.sum())
    return _quantile(feet, STRETCHED) if enough else float("nan")


def lowest_foot(points: np.ndarray) -> np.ndarray:
    """Return the y of the lowest foot joint in each frame of `[T, J, 2]`, `[T]`; NaN where none is visible."""
    feet = np.where(np.isnan(points[:, FEET, 1]), -np.inf, points[:, FEET, 1]).max(1)
    return np.where(np.isfinite(feet), feet, np.nan)


def _quantile(values: np.ndarray, share: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) else float("nan")


def _sure(keypoints: np.ndarray) -> np.ndarray:
    """Return x and y, `[T, J, 2]`; NaN where a joint is missing or unsure."""
    return np.where(keypoints[:, :, 2:] >= SURE, keypoints[:, :, :2], np.nan).astype(float)


def body_of_maps(maps: Iterable[np.ndarray]) -> BodyProportions:
    """Measure height and position of a person on pose maps, and assume limbs of usual proportions.

    In an image of 32 pixels single limbs cannot be measured, but the person's height can.

    Args:
        maps: Pose maps, uint8 `[H, W, 3]`.
    """
    joints = _standing_joints()
    eyes_to_ground = joints[:, 1].max() - joints[:, 1].min()
    tops, bottoms, middles = _ink_edges(maps)
    stature = _quantile(bottoms - tops, STRETCHED) / eyes_to_ground
    lengths = np.linalg.norm(joints - joints[PARENTS], axis=1) * stature
    lengths[NECK] = np.nan
    ground = _quantile(bottoms, STRETCHED)
    neck = ground - stature * float(joints[NECK, 1] - joints[:, 1].min())
    return BodyProportions(lengths, ground, _quantile(middles, 0.5), neck)


def _standing_joints() -> np.ndarray:
    """Return joints `[J, 3]` of a standing person of usual proportions, as shares of their height."""
    return pose_joints({channel: np.zeros(1) for channel in CHANNELS}, Build())[0]


_NO_ARM = np.array([joint.name.split("_")[-1] not in ("elbow", "wrist", "hand") for joint in SKELETON] + [False])
"""Joints that are on no arm; the last entry is the white background."""


def _ink_edges(maps: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return upper edge, lower edge and horizontal middle of the drawing on each map that is not blank."""
    edges = []
    for pose_map in maps:
        ink = _NO_ARM[limb_shown(pose_map)]  # raised arms do not change the height
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        if len(rows):
            edges.append(np.array([rows[0], rows[-1] + 1, np.median(columns) + 0.5]) / len(pose_map))
    table = np.array(edges, float).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def fit(keypoints: np.ndarray, body: BodyProportions, aspect: float, fps: float) -> np.ndarray:
    """Retarget a driver's keypoints to another person's proportions.

    Each limb keeps its direction and foreshortening, and gets the other person's length. The feet keep their height
    above the ground, scaled by the ratio of the persons' sizes; without feet the usual height of the neck decides.
    Horizontally the path is centred at the other person's usual position, and reduced if it exceeds the image.
    Confidences stay unchanged.

    Args:
        keypoints: The driver's, `[T, J, 3]`, in any unit of length.
        body: The other person's proportions.
        aspect: Width of the image divided by its height.
        fps: Frames per second of the keypoints.

    Returns:
        Keypoints, float32 `[T, J, 3]`, as shares of the image's height.

    Raises:
        InputError: The keypoints show too little of a person.
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
    fitted[:, :, 1] += _vertical_shift(points, neck, fitted, driver, body, scale, fps)[:, None]
    fitted[:, :, 0] += _horizontal_shift(neck[:, 0], fitted[:, :, 0], body, scale, aspect)[:, None]
    confidence = np.where(np.isfinite(fitted[:, :, :1]), keypoints[:, :, 2:], 0)
    return np.concatenate([np.nan_to_num(fitted), confidence], axis=2).astype(np.float32)


def _ratio(lengths: np.ndarray, reference: np.ndarray) -> float:
    """Return the total length of limbs divided by that of the same limbs of a reference person."""
    both = np.isfinite(lengths) & np.isfinite(reference) & (reference > 0)
    return float(lengths[both].sum() / reference[both].sum()) if both.any() else float("nan")


def _rebuilt(points: np.ndarray, neck: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Return joints `[T, J, 2]` relative to the neck, each placed from its nearest visible ancestor."""
    fitted = np.full_like(points, np.nan)
    from_driver, from_fitted = np.empty_like(points), np.empty_like(points)
    for joint, parent in enumerate(PARENTS):
        visible = np.isfinite(points[:, joint, :1])
        base = neck if parent < 0 else from_driver[:, parent]
        start = np.zeros_like(neck) if parent < 0 else from_fitted[:, parent]
        fitted[:, joint] = start + ratios[joint] * (points[:, joint] - base)
        from_driver[:, joint] = np.where(visible, points[:, joint], base)
        from_fitted[:, joint] = np.where(visible, fitted[:, joint], start)
    return fitted


def _vertical_shift(
    points: np.ndarray,
    neck: np.ndarray,
    fitted: np.ndarray,
    driver: BodyProportions,
    body: BodyProportions,
    scale: float,
    fps: float,
) -> np.ndarray:
    """Return the shift down of the rebuilt person in each frame, `[T]`."""
    by_neck = body.y + scale * (neck[:, 1] - driver.y)
    if not np.isfinite(driver.ground + body.ground):
        return by_neck
    foot_height = body.ground + scale * (lowest_foot(points) - driver.ground)
    # Only the effect of the other proportions is smoothed; jumps and falls stay as fast as the driver's.
    return by_neck + smoothed(bridged(foot_height - lowest_foot(fitted) - by_neck), HEIGHT_SMOOTHING_S * fps)


def _horizontal_shift(
    neck_x: np.ndarray, across: np.ndarray, body: BodyProportions, scale: float, aspect: float
) -> np.ndarray:
    """Return the shift to the right of the rebuilt person in each frame, `[T]`; `across` is their x, `[T, J]`."""
    path = scale * (neck_x - np.median(neck_x))
    reach = np.nanquantile(np.abs(across), REACH_QUANTILE)
    free_left, free_right = max(0.0, body.x - reach), max(0.0, aspect - reach - body.x)
    left, right = max(0.0, -float(path.min())), max(0.0, float(path.max()))
    share = min([1.0] + [free / far for free, far in ((free_left, left), (free_right, right)) if far > free])
    return body.x + share * path


def body_of_footage(recordings: Sequence[Recording], facts: dict[str, Any]) -> BodyProportions:
    """Measure the person in training recordings, on the keypoints that `extract` wrote or else on pose maps.

    Args:
        recordings: Training recordings.
        facts: Facts about the footage; `path` is its data folder, if there is one.
    """
    table = Path(str(facts.get("path", "")), POSES)
    if facts.get("path") and table.is_file():
        try:
            poses = read_poses(table)
        except InputError:
            pass  # the file may belong to another program
        else:
            body = measure_body(poses.keypoints / np.array([poses.size[0], poses.size[0], 1.0], np.float32))
            return dataclasses.replace(body, view=poses.view)
    every = max(1, sum(len(recording) for recording in recordings) // MAX_POSE_MAPS)
    return body_of_maps(pose_map for recording in recordings for pose_map in recording.poses[::every])
