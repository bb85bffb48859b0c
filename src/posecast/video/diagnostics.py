"""What is honest to say about footage before anybody trains on it.

In: a `Track` and its scenes. Out: numbers, and remarks in sentences, each with what to do about it.
Knows no files. Next: `extract.py`, which prints and writes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SURE
from posecast.errors import Finding
from posecast.video.cropping import person_boxes
from posecast.video.tracks import Scene, Track, only_sure

CAMERA_MOVES = 0.03
"""A camera that moved by more than this share of the picture's width or height was not on a tripod."""
IN_PROFILE = 0.35
"""Shoulders narrower than this share of the trunk's length are seen from the side."""
LITTLE_S = 60.0
"""Less footage than this teaches few poses."""


def measure(track: Track, parts: Sequence[Scene]) -> dict[str, Any]:
    """Counts and shares of one video, as they stand in extract.json."""
    seen = np.isfinite(np.array(track.keypoints)[:, :, 0]).any(1) if len(track) else np.zeros(0, bool)
    keypoints = np.concatenate([part.keypoints for part in parts]) if parts else np.zeros((0, len(JOINT_INDEX), 3))
    found = np.concatenate([part.found for part in parts]) if parts else np.zeros(0, bool)
    sure = np.nan_to_num(keypoints[:, :, 2]) >= SURE
    anybody = sure.any(1)
    height, _ = track.facts["size"]
    boxes = person_boxes(keypoints)
    memory = track.facts["follower"]
    return {
        "frames": len(track),
        "seconds": len(track) / track.fps,
        "found": int(seen.sum()),
        "used": len(keypoints),
        "interpolated": int((anybody & ~found).sum()),
        "blank": int((~anybody).sum()),
        "recordings": len(parts),
        "cuts": len(track.cuts),
        "people": memory["num_people"],
        "times_lost": memory["times_lost"],
        "camera_moved": camera_range(track),
        "without_legs": share(~_any(sure, "knee", "ankle") & anybody, anybody),
        "in_profile": share(_in_profile(keypoints, sure), anybody),
        "person_height": float(np.median((boxes[anybody, 3] - boxes[anybody, 1]) / height)) if anybody.any() else 0.0,
    }


def share(these: np.ndarray, of: np.ndarray) -> float:
    """How many of those there are these, in [0, 1]."""
    return float(these.sum() / max(1, of.sum()))


def camera_range(track: Track) -> float:
    """How far the picture went from where it was, in shares of its width or height: the largest of all scenes."""
    widest, edges = 0.0, [0, *track.cuts, len(track)]
    for start, stop in itertools.pairwise(edges):
        steps = [(right, down) for frame, right, down in track.shifts if start < frame < stop]
        if steps:
            path = np.cumsum(steps, axis=0)
            widest = max(widest, float(np.abs(path).max()))
    return widest


def _any(sure: np.ndarray, *parts: str) -> np.ndarray:
    """bool `[T]`: where any of these parts of either side is sure."""
    return sure[:, [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in parts]].any(1)


def _in_profile(keypoints: np.ndarray, sure: np.ndarray) -> np.ndarray:
    at = [JOINT_INDEX[name] for name in ("left_shoulder", "right_shoulder", "neck", "mid_hip")]
    left, right, neck, hip = (keypoints[:, joint, :2] for joint in at)
    width, trunk = np.linalg.norm(left - right, axis=1), np.linalg.norm(neck - hip, axis=1)
    return sure[:, at].all(1) & (width < IN_PROFILE * trunk)


def remarks(name: str, found: dict[str, Any], track: Track, crop: str) -> list[Finding]:
    """What is worth saying about one video, most important first."""
    said: list[Finding] = []

    def say(kind: str, sentence: str) -> None:
        said.append(Finding(kind, f"{name}: {sentence}"))

    lost, facts = found["frames"] - found["found"], track.facts
    if facts.get("broken"):
        say("broken", f"the file breaks off ({facts['broken']}); what came before was used.")
    if lost:
        say(
            "nobody",
            f"the person was not found in {lost} of {found['frames']} frames: {found['interpolated']} were "
            f"bridged (gaps up to 0.3 s), {found['blank']} kept with a blank pose map, the others (start and end of a "
            "scene) left out. Fewer people, more light and the whole body in view help.",
        )
    if found["times_lost"]:
        say("lost", f"the person went out of sight and was found again {found['times_lost']} times; see --preview.")
    if found["people"] > 1:
        say(
            "several people",
            f"{found['people']} people were found when one was chosen; the largest is number 1, and --person chooses "
            "another. Look at --preview: people who cross can be taken for each other.",
        )
    if found["cuts"]:
        say("cuts", f"the scene changes {found['cuts']} times; each part became a recording of its own.")
    if found["camera_moved"] > CAMERA_MOVES:
        say(
            "moving camera",
            f"the camera moved, by up to {100 * found['camera_moved']:.0f} % of the picture. Training assumes "
            "a room that stands still: use a tripod" + (", or try --crop follow." if crop == "steady" else "."),
        )
    if found["without_legs"] > 0.1:
        part = "all" if found["without_legs"] > 0.995 else f"{100 * found['without_legs']:.0f} % of the"
        say("no legs", f"no knee or ankle is seen in {part} frames; poses that need legs cannot be followed.")
    if found["in_profile"] > 0.1:
        say(
            "side views",
            f"the person is seen from the side in {100 * found['in_profile']:.0f} % of the frames: which arm and leg "
            "is left or right is a guess there.",
        )
    gaps = facts["gaps"]
    if gaps and gaps["irregular"]:
        say(
            "variable rate",
            f"the frames are not evenly spaced: {gaps['irregular']} gaps differ from the usual "
            f"{1000 * gaps['usual_s']:.0f} ms ({1000 * gaps['least_s']:.0f} to {1000 * gaps['most_s']:.0f} ms). Frames "
            f"were taken by their time stamps, {track.fps:.4g} a second.",
        )
    if found["person_height"] < 0.35 and found["used"] and found["without_legs"] < 0.5:
        say("small person", f"the person fills {100 * found['person_height']:.0f} % of the frame's height; go closer.")
    if 0 < found["used"] / track.fps < LITTLE_S:
        say(
            "short",
            f"{found['used'] / track.fps:.0f} s are usable. Every pose that is to be painted must have been "
            "seen: two minutes or more of varied moves are a good start.",
        )
    return said


def states(part: Scene) -> list[tuple[str, int]]:
    """What each frame is, in runs: `[("seen", 120), ("interpolated", 4), ("blank", 30), ...]`."""
    shown = (only_sure(part.keypoints)[:, :, 2] > 0).any(1)
    found = part.found
    runs: list[tuple[str, int]] = []
    for k in range(len(shown)):
        state = ("seen" if found[k] else "interpolated") if shown[k] else "blank"
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1] + 1)
        else:
            runs.append((state, 1))
    return runs
