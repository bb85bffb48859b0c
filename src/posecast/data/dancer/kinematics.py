"""Forward kinematics of the dancer: joint positions from angles, with the lowest foot on the floor.

In: angles over time by channel, a build. Out: joints `[T, J, 3]` in units of the dancer's stature: x right, y up from
the floor, z towards the camera. Next: `choreography.py`, which defines the angles over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON

Track = dict[str, np.ndarray]
"""Angles in radians over time, `[T]` each, by channel."""

PAIRED = ("arm_side", "arm_front", "elbow_side", "elbow_front", "leg_side", "leg_front", "knee")
"""Channels of limbs, with suffix _r or _l. Side: away from the body. Front: forwards. 0 hangs straight down."""

SINGLE = ("x", "yaw", "hop", "lean", "tilt", "twist", "head_turn", "head_nod")
"""x and hop are in statures. Yaw 0 faces the camera, a quarter turn faces the right edge of the image."""

CHANNELS = (*SINGLE, *(f"{name}_{side}" for name in PAIRED for side in "rl"))

THIGH, SHIN, SPINE, NECK_TO_HEAD = 0.245, 0.23, 0.29, 0.115
UPPER_ARM, FOREARM, HAND = 0.165, 0.14, 0.055


@dataclass(frozen=True)
class Build:
    """Half widths of shoulders and hips in statures; all dancers share the lengths of limbs."""

    shoulders: float = 0.108
    hips: float = 0.055


def pose_joints(track: Track, build: Build) -> np.ndarray:
    """Compute joint positions from angles.

    Args:
        track: Arrays `[T]` of all `CHANNELS`.
        build: Proportions of the dancer.

    Returns:
        Joints `[T, J, 3]` in statures, in the order of `SKELETON`. The lowest foot is on the floor unless `hop` lifts
        it.
    """
    joints = {"mid_hip": _vector(0, 0, 0, like=track["x"])}
    for side, sign in (("right", -1), ("left", 1)):
        _add_leg(joints, track, side, sign * build.hips)
    _add_upper_body(joints, track, build)
    body = np.stack([joints[joint.name] for joint in SKELETON], axis=1)
    body = _rotated(body, _about_y(track["yaw"]))
    feet = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("heel", "toe")]
    lift = track["hop"] - body[:, feet, 1].min(axis=1)
    return body + _vector(track["x"], lift, 0, like=lift)[:, None]


def _add_leg(joints: dict[str, np.ndarray], track: Track, side: str, hip_x: float) -> None:
    away, front, knee = (track[f"{name}_{side[0]}"] for name in ("leg_side", "leg_front", "knee"))
    outwards = np.sign(hip_x)
    hip = _vector(hip_x, 0, 0, like=knee)
    knee_joint = hip + THIGH * _hanging(away, front, outwards)
    ankle = knee_joint + SHIN * _hanging(0.7 * away, front - knee, outwards)
    # The sole stays flat until the shin leans back by more than half a radian; then the heel rises.
    pitch = np.clip(knee - front - 0.5, 0, 1.3)
    sole = _rotated(np.array([[outwards * 0.02, -0.035, 0.1], [0.0, -0.035, -0.03]]), _about_x(pitch))
    toe, heel = ankle + sole[:, 0], ankle + sole[:, 1]
    leg = {"hip": hip, "knee": knee_joint, "ankle": ankle, "toe": toe, "heel": heel}
    joints |= {f"{side}_{name}": position for name, position in leg.items()}


def _add_upper_body(joints: dict[str, np.ndarray], track: Track, build: Build) -> None:
    trunk = _about_z(track["tilt"]) @ _about_x(track["lean"])
    chest = trunk @ _about_y(track["twist"])
    neck = _rotated(np.array([[0, SPINE, 0]]), trunk)[:, 0]
    joints["neck"] = neck
    for side, sign in (("right", -1), ("left", 1)):
        arm = (track[f"{name}_{side[0]}"] for name in ("arm_side", "arm_front", "elbow_side", "elbow_front"))
        away, front, elbow_away, elbow_front = arm
        upper = UPPER_ARM * _hanging(away, front, sign)
        lower = _hanging(away + elbow_away, front + elbow_front, sign)
        shoulder = _vector(sign * build.shoulders, -0.015, 0, like=away)
        chain = np.cumsum([shoulder, upper, FOREARM * lower, HAND * lower], axis=0)
        for name, offset in zip(("shoulder", "elbow", "wrist", "hand"), chain, strict=True):
            joints[f"{side}_{name}"] = neck + _rotated(offset[:, None], chest)[:, 0]
    head = chest @ _about_y(track["head_turn"]) @ _about_x(track["head_nod"])
    centre = neck + NECK_TO_HEAD * _rotated(np.array([[0, 1, 0.08]]), trunk)[:, 0]
    face = {"nose": (0, -0.005, 0.062)}
    for side, sign in (("right", -1), ("left", 1)):
        face |= {f"{side}_eye": (sign * 0.024, 0.016, 0.048), f"{side}_ear": (sign * 0.05, 0.0, 0.0)}
    joints |= {name: centre + _rotated(np.array([offset]), head)[:, 0] for name, offset in face.items()}


def _hanging(away: np.ndarray, front: np.ndarray, outwards: float) -> np.ndarray:
    """Return the direction `[T, 3]` of a limb that hangs down, is swung forwards and raised sideways."""
    across, down = np.sin(away), np.cos(away)
    return np.stack([outwards * across, -down * np.cos(front), down * np.sin(front)], axis=1)


def _rotated(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Rotate points `[J, 3]` or `[T, J, 3]` by rotations `[T, 3, 3]`: `[T, J, 3]`."""
    return points @ rotation.swapaxes(1, 2)


def _about_x(angle: np.ndarray) -> np.ndarray:
    """Return rotations `[T, 3, 3]` forwards: up turns towards the front."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([i, o, o, o, c, -s, o, s, c], axis=1).reshape(-1, 3, 3)


def _about_y(angle: np.ndarray) -> np.ndarray:
    """Return rotations `[T, 3, 3]` about the vertical: the front turns to the right of the image."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([c, o, s, o, i, o, -s, o, c], axis=1).reshape(-1, 3, 3)


def _about_z(angle: np.ndarray) -> np.ndarray:
    """Return rotations `[T, 3, 3]` sideways: up turns to the right of the image."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([c, s, o, -s, c, o, o, o, i], axis=1).reshape(-1, 3, 3)


def _vector(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float, like: np.ndarray) -> np.ndarray:
    return np.stack([np.broadcast_to(value, like.shape) for value in (x, y, z)], axis=1).astype(float)
