"""From angles to joints: the dancer's skeleton, train_state on the floor.

In: angles over time by channel, a build. Out: joints `[T, J, 3]` in statures: x right, y up from the floor,
z towards the camera. Knows no moves and no pixels. Next: `choreography.py`, which writes the angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON

Track = dict[str, np.ndarray]
"""Angles in radians over time, `[T]` each, by channel."""

PAIRED = ("arm_side", "arm_front", "elbow_side", "elbow_front", "leg_side", "leg_front", "knee")
"""Channels of a limb, ending in _r or _l. Side: away from the body. Front: forwards. 0 hangs straight down."""

SINGLE = ("x", "yaw", "hop", "lean", "tilt", "twist", "head_turn", "head_nod")
"""x and hop are statures. Yaw 0 faces the camera, a quarter turn faces the picture's right edge."""

CHANNELS = (*SINGLE, *(f"{name}_{side}" for name in PAIRED for side in "rl"))

THIGH, SHIN, SPINE, NECK_TO_HEAD = 0.245, 0.23, 0.29, 0.115
UPPER_ARM, FOREARM, HAND = 0.165, 0.14, 0.055


@dataclass(frozen=True)
class Build:
    """Half widths in statures; lengths of limbs are everybody's."""

    shoulders: float = 0.108
    hips: float = 0.055


def pose_joints(track: Track, build: Build) -> np.ndarray:
    """Joints `[T, J, 3]` for angles of every channel; the lowest foot stands on the floor unless `hop` lifts it."""
    joints = {"mid_hip": _vector(0, 0, 0, like=track["x"])}
    for side, sign in (("right", -1), ("left", 1)):
        _add_leg(joints, track, side, sign * build.hips)
    _add_upper_body(joints, track, build)
    body = np.stack([joints[joint.name] for joint in SKELETON], axis=1)
    body = turn(body, _about_y(track["yaw"]))
    feet = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("heel", "toe")]
    lift = track["hop"] - body[:, feet, 1].min(axis=1)
    return body + _vector(track["x"], lift, 0, like=lift)[:, None]


def _add_leg(joints: dict[str, np.ndarray], track: Track, side: str, hip_x: float) -> None:
    away, front, knee = (track[f"{name}_{side[0]}"] for name in ("leg_side", "leg_front", "knee"))
    outwards = np.sign(hip_x)
    hip = _vector(hip_x, 0, 0, like=knee)
    knee_joint = hip + THIGH * _hanging(away, front, outwards)
    ankle = knee_joint + SHIN * _hanging(0.7 * away, front - knee, outwards)
    # The sole stays flat until the shin leans back by more than half a radian; then the heel comes off.
    pitch = np.clip(knee - front - 0.5, 0, 1.3)
    sole = turn(np.array([[outwards * 0.02, -0.035, 0.1], [0.0, -0.035, -0.03]]), _about_x(pitch))
    toe, heel = ankle + sole[:, 0], ankle + sole[:, 1]
    parts = {"hip": hip, "knee": knee_joint, "ankle": ankle, "toe": toe, "heel": heel}
    joints |= {f"{side}_{part}": where for part, where in parts.items()}


def _add_upper_body(joints: dict[str, np.ndarray], track: Track, build: Build) -> None:
    trunk = _about_z(track["tilt"]) @ _about_x(track["lean"])
    chest = trunk @ _about_y(track["twist"])
    neck = turn(np.array([[0, SPINE, 0]]), trunk)[:, 0]
    joints["neck"] = neck
    for side, sign in (("right", -1), ("left", 1)):
        arm = (track[f"{name}_{side[0]}"] for name in ("arm_side", "arm_front", "elbow_side", "elbow_front"))
        away, front, elbow_away, elbow_front = arm
        upper = UPPER_ARM * _hanging(away, front, sign)
        lower = _hanging(away + elbow_away, front + elbow_front, sign)
        shoulder = _vector(sign * build.shoulders, -0.015, 0, like=away)
        chain = np.cumsum([shoulder, upper, FOREARM * lower, HAND * lower], axis=0)
        for part, where in zip(("shoulder", "elbow", "wrist", "hand"), chain, strict=True):
            joints[f"{side}_{part}"] = neck + turn(where[:, None], chest)[:, 0]
    head = chest @ _about_y(track["head_turn"]) @ _about_x(track["head_nod"])
    centre = neck + NECK_TO_HEAD * turn(np.array([[0, 1, 0.08]]), trunk)[:, 0]
    face = {"nose": (0, -0.005, 0.062)}
    for side, sign in (("right", -1), ("left", 1)):
        face |= {f"{side}_eye": (sign * 0.024, 0.016, 0.048), f"{side}_ear": (sign * 0.05, 0.0, 0.0)}
    joints |= {part: centre + turn(np.array([where]), head)[:, 0] for part, where in face.items()}


def _hanging(away: np.ndarray, front: np.ndarray, outwards: float) -> np.ndarray:
    """The direction `[T, 3]` of a limb that hangs down, swung forwards and raised sideways."""
    across, down = np.sin(away), np.cos(away)
    return np.stack([outwards * across, -down * np.cos(front), down * np.sin(front)], axis=1)


def turn(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Points `[J, 3]` or `[T, J, 3]` under rotations `[T, 3, 3]`: `[T, J, 3]`."""
    return points @ rotation.swapaxes(1, 2)


def _about_x(angle: np.ndarray) -> np.ndarray:
    """Forwards: up turns towards the front."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([i, o, o, o, c, -s, o, s, c], axis=1).reshape(-1, 3, 3)


def _about_y(angle: np.ndarray) -> np.ndarray:
    """Around: the front turns to the picture's right."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([c, o, s, o, i, o, -s, o, c], axis=1).reshape(-1, 3, 3)


def _about_z(angle: np.ndarray) -> np.ndarray:
    """Sideways: up turns to the picture's right."""
    c, s, o, i = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    return np.stack([c, s, o, -s, c, o, o, o, i], axis=1).reshape(-1, 3, 3)


def _vector(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float, like: np.ndarray) -> np.ndarray:
    return np.stack([np.broadcast_to(value, like.shape) for value in (x, y, z)], axis=1).astype(float)
