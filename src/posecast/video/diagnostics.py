"""Measurements of extracted footage, and remarks on what limits training with it.

In: a `Track` and its scenes. Out: numbers for extract.json, and remarks in sentences, each with advice.
Next: `extract.py`, which prints and writes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SURE
from posecast.errors import Finding, counted
from posecast.video.cropping import person_boxes
from posecast.video.tracks import SHORT_GAP_S, Scene, Track, only_sure

CAMERA_MOVES = 0.03
"""Camera motion, as a share of the frame's width or height, from which there is a remark."""
IN_PROFILE = 0.35
"""Width of the shoulders, as a share of the trunk's length, below which a person is seen from the side."""
MANY_FRAMES = 0.1
"""Share of the frames without legs, or in profile, from which there is a remark."""
NEARLY_ALL = 0.995
SMALL_PERSON = 0.35
"""Share of the frame's height below which a person is small."""
SHORT_S = 60.0
"""Length of footage, in seconds, below which there is a remark."""

FAULTS = {
    "damaged": "parts of the file are damaged or incomplete, {when}: {count} could not be decoded and were left out",
    "resized": "the frame size changes {times}, {when}; all frames were scaled to the size of the first",
    "jumped": "the time stamps jump {times}, {when}, as in joined recordings; each part is a separate shot",
    "unordered": "{frames} left out, {when}, whose time stamp is not after the one before",
}
"""Sentences on the faults of `reader.Faults`."""

Remark = tuple[str, str]
"""Kind and sentence."""


def measure(track: Track, segments: Sequence[Scene]) -> dict[str, Any]:
    """Count frames and measure shares of one video, as recorded in extract.json.

    Args:
        track: Finished track of the video.
        segments: Parts of its scenes that are used.
    """
    tracked = np.isfinite(np.array(track.keypoints)[:, :, 0]).any(1) if len(track) else np.zeros(0, bool)
    keypoints = np.concatenate([s.keypoints for s in segments]) if segments else np.zeros((0, len(JOINT_INDEX), 3))
    found = np.concatenate([segment.found for segment in segments]) if segments else np.zeros(0, bool)
    sure = np.nan_to_num(keypoints[:, :, 2]) >= SURE
    visible = sure.any(1)
    height, _ = track.facts["size"]
    boxes = person_boxes(keypoints)
    memory = track.facts["follower"]
    return {
        "frames": len(track),
        "seconds": len(track) / track.fps,
        "found": int(tracked.sum()),
        "used": len(keypoints),
        "interpolated": int((visible & ~found).sum()),
        "blank": int((~visible).sum()),
        "recordings": len(segments),
        "cuts": len(track.cuts),
        "people": memory["num_people"],
        "times_lost": memory["times_lost"],
        "camera_moved": camera_range(track),
        "without_legs": _fraction(~_any_sure(sure, "knee", "ankle") & visible, visible),
        "in_profile": _fraction(_in_profile(keypoints, sure), visible),
        "person_height": float(np.median((boxes[visible, 3] - boxes[visible, 1]) / height)) if visible.any() else 0.0,
    }


def _fraction(selected: np.ndarray, total: np.ndarray) -> float:
    """Return the number of selected frames divided by the total, in [0, 1]; both are bool `[T]`."""
    return float(selected.sum() / max(1, total.sum()))


def camera_range(track: Track) -> float:
    """Return the largest camera shift from the start of a scene, as a share of the frame's width or height."""
    largest, edges = 0.0, [0, *track.cuts, len(track)]
    for start, stop in itertools.pairwise(edges):
        steps = [(right, down) for frame, right, down in track.shifts if start < frame < stop]
        if steps:
            path = np.cumsum(steps, axis=0)
            largest = max(largest, float(np.abs(path).max()))
    return largest


def _any_sure(sure: np.ndarray, *parts: str) -> np.ndarray:
    """Return where any of these parts, on either side, is sure, bool `[T]`."""
    return sure[:, [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in parts]].any(1)


def _in_profile(keypoints: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Return where the person is seen from the side, bool `[T]`."""
    joints = [JOINT_INDEX[name] for name in ("left_shoulder", "right_shoulder", "neck", "mid_hip")]
    left, right, neck, hip = (keypoints[:, joint, :2] for joint in joints)
    width, trunk = np.linalg.norm(left - right, axis=1), np.linalg.norm(neck - hip, axis=1)
    return sure[:, joints].all(1) & (width < IN_PROFILE * trunk)


def remarks(name: str, counts: dict[str, Any], track: Track, crop: str) -> list[Finding]:
    """Describe what limits training with one video, the most important first.

    Args:
        name: Name of the video's file.
        counts: Result of `measure`.
        track: Finished track of the video.
        crop: Kind of window that was used.
    """
    sentences = (
        *file_remarks(track),
        *(("keypoints", f"in the keypoints, {sentence}") for sentence in track.facts.get("keypoint_remarks", ())),
        *_tracking_remarks(counts, track),
        *_camera_remarks(counts, crop),
        *_view_remarks(counts),
        *_rate_remarks(track),
        *_amount_remarks(counts, track.fps),
    )
    return [Finding(kind, f"{name}: {sentence}") for kind, sentence in sentences]


def file_remarks(track: Track) -> Iterator[Remark]:
    """Describe what is wrong with the file of a finished track."""
    if track.facts.get("broken"):
        yield "broken", f"the file breaks off ({track.facts['broken']}); the frames before were used."
    for fault, found in track.facts.get("faults", {}).items():
        count = found["count"]
        when = f"{'first ' * (count > 1)}after {found['first_s']:.1f} s"
        words = {"count": count, "times": counted(count, "time"), "frames": counted(count, "frame"), "when": when}
        yield fault, FAULTS[fault].format(**words) + "."


def _tracking_remarks(counts: dict[str, Any], track: Track) -> Iterator[Remark]:
    lost = counts["frames"] - counts["found"]
    if lost:
        yield (
            "nobody",
            f"the person was not found in {lost} of {counted(counts['frames'], 'frame')}: {counts['interpolated']} "
            f"interpolated (gaps up to {SHORT_GAP_S:g} s), {counts['blank']} kept with a blank pose map, the others "
            "(start and end of a scene) left out. Fewer people, more light and the whole person in view help.",
        )
    if counts["times_lost"]:
        times = counted(counts["times_lost"], "time")
        yield "lost", f"the person went out of sight and was found again {times}; see --preview."
    if counts["people"] > 1:
        yield (
            "several people",
            f"{counts['people']} people were found when one was selected; the largest is number 1, and --person "
            "selects another. Check --preview: people who cross can be confused.",
        )


def _camera_remarks(counts: dict[str, Any], crop: str) -> Iterator[Remark]:
    if counts["cuts"]:
        yield "cuts", f"the scene changes {counted(counts['cuts'], 'time')}; each part became a separate recording."
    if counts["camera_moved"] > CAMERA_MOVES:
        advice = ", or try --crop follow." if crop == "steady" else "."
        yield (
            "moving camera",
            f"the camera moved, by up to {100 * counts['camera_moved']:.0f} % of the frame. Training assumes "
            f"a background that does not move: use a tripod{advice}",
        )


def _view_remarks(counts: dict[str, Any]) -> Iterator[Remark]:
    without_legs, in_profile = counts["without_legs"], counts["in_profile"]
    if without_legs > MANY_FRAMES:
        share = "all" if without_legs > NEARLY_ALL else f"{100 * without_legs:.0f} % of the"
        yield "no legs", f"no knee or ankle is visible in {share} frames; poses that need legs cannot be followed."
    if in_profile > MANY_FRAMES:
        yield (
            "side views",
            f"the person is seen from the side in {100 * in_profile:.0f} % of the frames, where left and right arm "
            "and leg cannot be distinguished reliably.",
        )


def _rate_remarks(track: Track) -> Iterator[Remark]:
    gaps = track.facts["gaps"]
    if gaps and gaps["irregular"]:
        yield (
            "variable rate",
            f"the frames are not evenly spaced: {counted(gaps['irregular'], 'gap')} of another length than the usual "
            f"{1000 * gaps['usual_s']:.0f} ms ({1000 * gaps['least_s']:.0f} to {1000 * gaps['most_s']:.0f} ms). Frames "
            f"were selected by their time stamps, {track.fps:.4g} per second.",
        )


def _amount_remarks(counts: dict[str, Any], fps: float) -> Iterator[Remark]:
    height, used_s = counts["person_height"], counts["used"] / fps
    if height < SMALL_PERSON and counts["used"] and counts["without_legs"] < 0.5:
        share = f"{100 * height:.0f} %" if height >= 0.01 else "less than 1 %"
        yield "small person", f"the person fills {share} of the frame's height; move the camera closer."
    if 0 < used_s < SHORT_S:
        yield (
            "short",
            f"{used_s:.0f} s {'is' if round(used_s) == 1 else 'are'} usable. Only poses similar to those in "
            "training are predicted well: two minutes or more of varied motion are a good start.",
        )


def frame_states(scene: Scene) -> list[tuple[str, int]]:
    """Return the states of a scene's frames as runs: `[("seen", 120), ("interpolated", 4), ("blank", 30), ...]`."""
    visible = (only_sure(scene.keypoints)[:, :, 2] > 0).any(1)
    runs: list[tuple[str, int]] = []
    for is_visible, is_found in zip(visible, scene.found, strict=True):
        state = ("seen" if is_found else "interpolated") if is_visible else "blank"
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1] + 1)
        else:
            runs.append((state, 1))
    return runs
