"""Tests of filling gaps, dividing a track into scenes, and saving it."""

from pathlib import Path

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.video.tracks import Track, fill_gaps, only_sure, scenes

ELBOW = JOINT_INDEX["left_elbow"]


def walking(num: int) -> np.ndarray:
    """Return keypoints of a person who moves right by one pixel per frame."""
    keypoints = np.ones((num, len(SKELETON), 3), np.float32)
    keypoints[:, :, 0] = np.arange(num)[:, None]
    return keypoints


def track_of(keypoints: np.ndarray, fps: float = 10.0) -> Track:
    track = Track(fps)
    for joints in keypoints:
        track.add(None if np.isnan(joints).all() else joints, 0.0)
    return track


def test_short_gap_is_interpolated_and_marked() -> None:
    keypoints = walking(12)
    keypoints[4:7, ELBOW] = (500, 500, 0.1)
    filled, marked = fill_gaps(keypoints, fps=10.0)
    np.testing.assert_allclose(filled[:, ELBOW], walking(12)[:, ELBOW], atol=1e-6)
    assert np.argwhere(marked).tolist() == [[k, ELBOW] for k in (4, 5, 6)]


@pytest.mark.parametrize("gap", [slice(4, 8), slice(0, 3), slice(10, 12)])
def test_long_gaps_and_ends_stay_unchanged(gap: slice) -> None:
    keypoints = walking(12)
    keypoints[gap, ELBOW] = (500, 500, 0.1)
    filled, marked = fill_gaps(keypoints, fps=10.0)
    assert not marked.any()
    np.testing.assert_array_equal(filled, keypoints)
    assert (only_sure(filled)[gap, ELBOW] == 0).all()


def test_scenes_start_and_end_with_a_person_and_do_not_cross_a_cut() -> None:
    keypoints = walking(40)
    keypoints[[0, 1, 12, 13, 14, 15, 16, 17, 38, 39]] = np.nan
    track = track_of(keypoints)
    track.cuts = [20]
    before, after = scenes(track)
    assert (before.first, len(before.keypoints)) == (2, 18)
    assert (after.first, len(after.keypoints)) == (20, 18)
    assert np.flatnonzero(~before.found).tolist() == list(range(10, 16))
    assert not before.filled.any()
    assert (before.drawn[10:16] == 0).all()
    part = before.part(3, 9)
    assert (part.first, len(part.found)) == (5, 6)


def test_completely_interpolated_frame_does_not_count_as_found() -> None:
    keypoints = walking(12)
    keypoints[5] = np.nan
    (scene,) = scenes(track_of(keypoints))
    assert scene.filled[5].all()
    assert not scene.found[5]
    assert np.isfinite(scene.keypoints).all()


def test_track_without_a_person_has_no_scene() -> None:
    assert scenes(track_of(np.full((5, len(SKELETON), 3), np.nan))) == []


def test_saved_track_is_read_back(tmp_path: Path) -> None:
    keypoints = walking(6)
    keypoints[2] = np.nan
    track = track_of(keypoints, fps=23.976)
    track.cuts, track.shifts, track.facts = [3], [(2, 0.25, -0.5)], {"size": [10, 20], "follower": {"last": None}}
    track.save(tmp_path / "t.npz")
    loaded = Track.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(np.array(loaded.keypoints), np.array(track.keypoints))
    assert (loaded.fps, loaded.changes, loaded.cuts, loaded.shifts, loaded.facts) == (
        track.fps,
        track.changes,
        track.cuts,
        track.shifts,
        track.facts,
    )
