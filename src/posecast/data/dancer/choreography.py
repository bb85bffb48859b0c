"""Choreography of the dancer: a shuffled repertoire of motions, as joint positions over time.

In: a number of frames, a generator, a build. Out: joints `[T, J, 3]` in units of the dancer's stature: x right, y up
from the floor, z towards the camera. Next: `dance.py`, which projects and renders them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from posecast.data.dancer.kinematics import CHANNELS, Build, Track, pose_joints

STRIDE = 0.42
"""Length of one step of a walk, in statures."""


@dataclass
class _Draft:
    """Choreography under construction: segments of every channel, and the dancer's position after the last one."""

    rng: np.random.Generator
    half_width: float
    x: float = 0.0
    yaw: float = 0.0
    num_frames: int = 0
    segments: list[Track] = field(default_factory=list)

    def add(self, track: Track, num_frames: int) -> None:
        rest = {"x": np.float64(self.x), "yaw": np.float64(self.yaw)}
        segment = {c: np.broadcast_to(track.get(c, rest.get(c, 0.0)), num_frames) for c in CHANNELS}
        self.segments.append(segment)
        self.x, self.yaw = float(segment["x"][-1]), float(segment["yaw"][-1])
        self.num_frames += num_frames


def choreograph(num_frames: int, rng: np.random.Generator, half_width: float, build: Build) -> np.ndarray:
    """Choreograph a dance.

    A dance begins with a short stand that faces the camera, as for a photo. It then goes through the complete
    repertoire in random order before a motion is repeated, so that two dances differ in order, tempo and amplitude, but
    little in the poses they show.

    Args:
        num_frames: Length of the dance.
        rng: Generator of all choices.
        half_width: Distance from the centre of the image to its edges, in statures.
        build: Proportions of the dancer.

    Returns:
        Joints `[num_frames, J, 3]` in statures.
    """
    draft = _Draft(rng, half_width, x=rng.uniform(-0.6, 0.6) * half_width)
    draft.add(_stand(np.zeros(8), 1.0), 8)
    while draft.num_frames < num_frames + _SOFTNESS:
        for name in rng.permutation([*MOTIONS, "walk", "walk", "leave"]):
            _add_motion(draft, str(name))
    return pose_joints(_soften(draft.segments, num_frames), build)


def _add_motion(draft: _Draft, name: str) -> None:
    rng = draft.rng
    if name == "walk" or name == "leave":
        _add_walk(draft, leaving=name == "leave")
        return
    if abs(draft.x) > 0.8 * draft.half_width:
        _add_walk(draft, leaving=False)
    num_frames = int(rng.integers(28, 46))
    beat = 2 * np.pi * np.arange(num_frames) / rng.uniform(28, 38)
    track = MOTIONS[name](beat, rng.uniform(0.8, 1.1))
    if rng.random() < 0.5:
        track = _mirrored(track)
    facing = rng.choice([0.0, 0.0, 0.6, -0.6, np.pi / 2, -np.pi / 2, np.pi])
    turns = np.round((draft.yaw - facing) / (2 * np.pi))  # by the shorter way
    draft.add({"yaw": facing + 2 * np.pi * turns + np.zeros(num_frames)} | track, num_frames)


def _add_walk(draft: _Draft, leaving: bool) -> None:
    """Add a walk to another place in the image, or until about half the dancer is outside."""
    side = -np.sign(draft.x) if draft.x else draft.rng.choice([-1.0, 1.0])
    goal = side * draft.half_width * (1.0 if leaving else draft.rng.uniform(0.15, 0.7))
    distance = goal - draft.x
    num_frames = max(12, int(abs(distance) / draft.rng.uniform(0.024, 0.03)))
    x = draft.x + distance * np.arange(1, num_frames + 1) / num_frames
    yaw = np.sign(distance) * np.pi / 2
    yaw += 2 * np.pi * np.round((draft.yaw - yaw) / (2 * np.pi))
    phase = np.pi * np.abs(x - draft.x) / STRIDE
    draft.add(_walk(phase, 1.0) | {"x": x, "yaw": np.full(num_frames, yaw)}, num_frames)
    if leaving:
        draft.add(_stand(np.zeros(16), 1.0), 16)


def _mirrored(track: Track) -> Track:
    swap = {"_r": "_l", "_l": "_r"}
    flip = ("tilt", "twist", "head_turn")
    return {c[:-2] + swap.get(c[-2:], c[-2:]): -v if c in flip else v for c, v in track.items()}


_SOFTNESS = 21


def _soften(segments: list[Track], num_frames: int) -> Track:
    """Join the segments and smooth every channel with a Hann window: cuts become transitions of 21 frames."""
    window = np.hanning(_SOFTNESS + 2)[1:-1]
    window /= window.sum()
    tracks = {}
    for channel in CHANNELS:
        joined = np.concatenate([segment[channel] for segment in segments])
        joined = np.pad(joined, (_SOFTNESS // 2, 0), mode="edge")
        tracks[channel] = np.convolve(joined, window, mode="valid")[:num_frames]
    return tracks


# The repertoire: each motion maps the beat in radians and an amplitude to the channels it uses.


def _stand(beat: np.ndarray, size: float) -> Track:
    return {
        "arm_side_r": 0.16 + 0.02 * np.sin(beat),
        "arm_side_l": 0.16 + 0.02 * np.sin(beat),
        "elbow_front_r": 0.15 + 0 * beat,
        "elbow_front_l": 0.15 + 0 * beat,
        "tilt": 0.03 * size * np.sin(beat / 2),
        "leg_side_r": 0.06 + 0 * beat,
        "leg_side_l": 0.06 + 0 * beat,
    }


def _walk(phase: np.ndarray, size: float) -> Track:
    swing = size * np.sin(phase)
    return {
        "leg_front_r": 0.45 * swing + 0.08,
        "leg_front_l": -0.45 * swing + 0.08,
        "knee_r": 0.12 + 0.75 * np.clip(np.cos(phase), 0, 1),
        "knee_l": 0.12 + 0.75 * np.clip(-np.cos(phase), 0, 1),
        "arm_front_r": -0.5 * swing,
        "arm_front_l": 0.5 * swing,
        "elbow_front_r": 0.3 - 0.15 * swing,
        "elbow_front_l": 0.3 + 0.15 * swing,
        "arm_side_r": np.full_like(phase, 0.08),
        "arm_side_l": np.full_like(phase, 0.08),
        "lean": np.full_like(phase, 0.05),
        "twist": 0.12 * swing,
    }


def _raise_arms(beat: np.ndarray, size: float) -> Track:
    height = 1.5 * size * (1 - np.cos(beat))
    return _stand(beat, size) | {f"arm_side_{s}": 0.15 + 0.93 * height for s in "rl"}


def _wave(beat: np.ndarray, size: float) -> Track:
    arm = {"arm_side_r": 1.75 + 0 * beat, "elbow_side_r": 0.85 + 0.45 * size * np.sin(1.5 * beat)}
    return _stand(beat, size) | arm | {"tilt": -0.06 + 0 * beat, "head_turn": 0.25 + 0 * beat}


def _crouch(beat: np.ndarray, size: float) -> Track:
    depth = 0.5 * size * (1 - np.cos(beat))
    legs = {f"leg_front_{s}": 1.5 * depth for s in "rl"} | {f"knee_{s}": 2.3 * depth for s in "rl"}
    arms = {f"arm_front_{s}": 1.3 * depth for s in "rl"}
    return _stand(beat, size) | legs | arms | {"lean": 0.55 * depth}


def _jacks(beat: np.ndarray, size: float) -> Track:
    spread = 0.5 * size * (1 - np.cos(beat))
    arms = {f"arm_side_{s}": 0.15 + 2.3 * spread for s in "rl"}
    return arms | {f"leg_side_{s}": 0.05 + 0.45 * spread for s in "rl"} | {"hop": 0.05 * np.sin(beat) ** 2}


def _groove(beat: np.ndarray, size: float) -> Track:
    swing = size * np.sin(beat)
    arms = {f"elbow_front_{s}": 1.5 + 0.25 * swing for s in "rl"} | {f"arm_side_{s}": 0.3 + 0 * beat for s in "rl"}
    knees = {"knee_r": 0.35 + 0.3 * swing, "knee_l": 0.35 - 0.3 * swing}
    legs = {"leg_front_r": 0.17 + 0.15 * swing, "leg_front_l": 0.17 - 0.15 * swing}
    swings = {"arm_front_r": 0.35 * swing, "arm_front_l": -0.35 * swing, "tilt": 0.16 * swing, "twist": 0.3 * swing}
    return _stand(beat, size) | arms | knees | legs | swings


def _twist(beat: np.ndarray, size: float) -> Track:
    arms = {f"arm_side_{s}": 1.35 + 0 * beat for s in "rl"} | {f"elbow_front_{s}": 0.2 + 0 * beat for s in "rl"}
    return _stand(beat, size) | arms | {"twist": 0.6 * size * np.sin(beat), "head_turn": 0.2 * np.sin(beat)}


def _ripple(beat: np.ndarray, size: float) -> Track:
    """Return a wave that runs through both arms from hand to hand."""
    arms = {"arm_side_r": 1.5 + 0.35 * size * np.sin(beat), "elbow_side_r": 0.5 * size * np.sin(beat + 1.2)}
    other = {"arm_side_l": 1.5 - 0.35 * size * np.sin(beat), "elbow_side_l": -0.5 * size * np.sin(beat - 1.2)}
    return _stand(beat, size) | arms | other | {"tilt": 0.1 * size * np.sin(beat)}


def _march(beat: np.ndarray, size: float) -> Track:
    track = _walk(beat, 0.9)
    lift_r, lift_l = size * np.clip(np.sin(beat), 0, 1), size * np.clip(-np.sin(beat), 0, 1)
    legs = {"leg_front_r": 1.2 * lift_r, "leg_front_l": 1.2 * lift_l}
    return track | legs | {"knee_r": 1.5 * lift_r, "knee_l": 1.5 * lift_l, "lean": 0 * beat}


def _lunge(beat: np.ndarray, size: float) -> Track:
    depth = 0.5 * size * (1 - np.cos(beat))
    front = {"leg_front_r": 0.95 * depth, "knee_r": 1.05 * depth, "arm_front_l": 1.0 * depth}
    back = {"leg_front_l": -0.45 * depth, "knee_l": 0.55 * depth, "arm_front_r": -0.6 * depth}
    return _stand(beat, size) | front | back | {"lean": 0.25 * depth}


def _side_step(beat: np.ndarray, size: float) -> Track:
    swing = size * np.sin(beat)
    legs = {"leg_side_r": 0.1 + 0.35 * np.clip(swing, 0, 2), "leg_side_l": 0.1 + 0.35 * np.clip(-swing, 0, 2)}
    arms = {"arm_side_r": 0.7 + 0.6 * swing, "arm_side_l": 0.7 - 0.6 * swing}
    return _stand(beat, size) | legs | arms | {"tilt": 0.15 * swing, "elbow_side_r": 0.4 + 0 * beat}


def _hands_on_hips(beat: np.ndarray, size: float) -> Track:
    arms = {f"arm_side_{s}": 0.75 + 0 * beat for s in "rl"} | {f"elbow_side_{s}": -1.5 + 0 * beat for s in "rl"}
    return _stand(beat, size) | arms | {"tilt": 0.14 * size * np.sin(beat), "head_turn": 0.4 * np.sin(beat / 2)}


MOTIONS: dict[str, Callable[[np.ndarray, float], Track]] = {
    "stand": _stand,
    "raise arms": _raise_arms,
    "wave": _wave,
    "crouch": _crouch,
    "jacks": _jacks,
    "groove": _groove,
    "twist": _twist,
    "ripple": _ripple,
    "march": _march,
    "lunge": _lunge,
    "side step": _side_step,
    "hands on hips": _hands_on_hips,
}
