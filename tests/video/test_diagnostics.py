"""Tests of remarks: none on good footage, and one for each kind of problem."""

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.video.diagnostics import camera_range, frame_states, measure, remarks
from posecast.video.tracks import Track, scenes

FPS = 10.0


def frontal_person(num: int, height: float = 300.0) -> np.ndarray:
    """Return keypoints `[num, J, 3]` of a person who faces the camera in a frame of 500 x 500."""
    places: dict[str, tuple[float, float]] = {"neck": (0, 0.18), "mid_hip": (0, 0.5), "nose": (0, 0.06)}
    for side, sign in (("left", 1), ("right", -1)):
        for part, (x, y) in {
            "shoulder": (0.12, 0.18), "elbow": (0.16, 0.34), "wrist": (0.18, 0.48), "hand": (0.18, 0.52),
            "hip": (0.06, 0.5), "knee": (0.06, 0.74), "ankle": (0.06, 0.95), "heel": (0.06, 1.0), "toe": (0.1, 1.0),
            "eye": (0.02, 0.04), "ear": (0.04, 0.05),
        }.items():  # fmt: skip
            places[f"{side}_{part}"] = (sign * x, y)
    points = np.array([(*places[joint.name], 1.0) for joint in SKELETON], np.float32)
    points[:, :2] = points[:, :2] * height + (250, 50)
    return np.repeat(points[None], num, 0)


def track_of(keypoints: np.ndarray, **facts: object) -> Track:
    track = Track(FPS)
    for joints in keypoints:
        track.add(None if np.isnan(joints).all() else joints, 0.0)
    gaps = {"usual_s": 0.1, "least_s": 0.1, "most_s": 0.1, "irregular": 0}
    follower = {"num_people": 1, "times_lost": 0}
    track.facts = {"size": [500, 500], "follower": follower, "gaps": gaps, "broken": ""} | facts
    return track


def remarks_on(track: Track, crop: str = "steady") -> dict[str, str]:
    parts = scenes(track)
    return {finding.kind: finding.message for finding in remarks("me.mp4", measure(track, parts), track, crop)}


def test_good_footage_has_no_remarks() -> None:
    assert remarks_on(track_of(frontal_person(700))) == {}


def test_short_footage() -> None:
    assert "50 s are usable" in remarks_on(track_of(frontal_person(500)))["short"]


def test_person_out_of_sight() -> None:
    keypoints = frontal_person(700)
    keypoints[100:102] = np.nan
    keypoints[300:320] = np.nan
    track = track_of(keypoints, follower={"num_people": 3, "times_lost": 2})
    messages = remarks_on(track)
    assert (
        "not found in 22 of 700 frames: 2 interpolated (gaps up to 0.3 s), 20 kept with a blank" in messages["nobody"]
    )
    assert "found again 2 times" in messages["lost"]
    assert "3 people" in messages["several people"]
    (part,) = scenes(track)
    runs = [("seen", 100), ("interpolated", 2), ("seen", 198), ("blank", 20), ("seen", 380)]
    assert frame_states(part) == runs


def test_invisible_legs_and_side_views() -> None:
    keypoints = frontal_person(700)
    legs = [k for name, k in JOINT_INDEX.items() if name.split("_")[-1] in ("knee", "ankle", "heel", "toe")]
    keypoints[:, legs, 2] = 0.1
    assert "in all frames" in remarks_on(track_of(keypoints))["no legs"]
    keypoints = frontal_person(700)
    keypoints[:350, :, 0] = 250 + 0.2 * (keypoints[:350, :, 0] - 250)
    assert "50 % of the frames" in remarks_on(track_of(keypoints))["side views"]


def test_small_person() -> None:
    assert "fills 19 % of the frame's height" in remarks_on(track_of(frontal_person(700, height=100)))["small person"]


def test_camera_motion_is_measured_within_scenes() -> None:
    track = track_of(frontal_person(700))
    track.shifts = [(5 * k, 0.01, 0.0) for k in range(1, 11)]
    assert camera_range(track) == pytest.approx(0.1)
    assert "--crop follow" in remarks_on(track)["moving camera"]
    assert "--crop" not in remarks_on(track, crop="follow")["moving camera"]
    track.cuts = [26]
    assert camera_range(track) == pytest.approx(0.05)
    assert "changes once" in remarks_on(track)["cuts"]


def test_variable_rate_and_incomplete_files() -> None:
    gaps = {"usual_s": 0.0333, "least_s": 0.0333, "most_s": 0.049, "irregular": 3}
    messages = remarks_on(track_of(frontal_person(700), gaps=gaps, broken="after 3.00 s: end of file"))
    assert "3 gaps of another length than the usual 33 ms (33 to 49 ms)" in messages["variable rate"]
    assert "breaks off (after 3.00 s" in messages["broken"]
