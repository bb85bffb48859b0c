"""Gaps: short ones bridged and marked, long ones left; scenes begin and end with somebody."""

from pathlib import Path

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.video.tracks import Track, fill_gaps, only_sure, scenes

ELBOW = JOINT_INDEX["left_elbow"]


def walking(num: int) -> np.ndarray:
    """Keypoints of somebody who goes right by one pixel a frame."""
    keypoints = np.ones((num, len(SKELETON), 3), np.float32)
    keypoints[:, :, 0] = np.arange(num)[:, None]
    return keypoints


def track_of(keypoints: np.ndarray, fps: float = 10.0) -> Track:
    track = Track(fps)
    for one in keypoints:
        track.add(None if np.isnan(one).all() else one, 0.0)
    return track


def test_a_short_gap_is_bridged_and_marked() -> None:
    keypoints = walking(12)
    keypoints[4:7, ELBOW] = (500, 500, 0.1)
    filled, marked = fill_gaps(keypoints, fps=10.0)
    np.testing.assert_allclose(filled[:, ELBOW], walking(12)[:, ELBOW], atol=1e-6)
    assert np.argwhere(marked).tolist() == [[k, ELBOW] for k in (4, 5, 6)]


@pytest.mark.parametrize("gap", [slice(4, 8), slice(0, 3), slice(10, 12)])
def test_a_long_gap_and_the_ends_are_left(gap: slice) -> None:
    keypoints = walking(12)
    keypoints[gap, ELBOW] = (500, 500, 0.1)
    filled, marked = fill_gaps(keypoints, fps=10.0)
    assert not marked.any()
    np.testing.assert_array_equal(filled, keypoints)
    assert (only_sure(filled)[gap, ELBOW] == 0).all()


def test_scenes_begin_and_end_with_somebody_and_do_not_cross_a_cut() -> None:
    keypoints = walking(40)
    keypoints[[0, 1, 12, 13, 14, 15, 16, 17, 38, 39]] = np.nan
    track = track_of(keypoints)
    track.cuts = [20]
    one, two = scenes(track)
    assert (one.first, len(one.keypoints)) == (2, 18)
    assert (two.first, len(two.keypoints)) == (20, 18)
    assert np.flatnonzero(~one.found).tolist() == list(range(10, 16))
    assert not one.filled.any()
    assert (one.drawn[10:16] == 0).all()
    part = one.part(3, 9)
    assert (part.first, len(part.found)) == (5, 6)


def test_a_frame_bridged_whole_was_not_found() -> None:
    keypoints = walking(12)
    keypoints[5] = np.nan
    (scene,) = scenes(track_of(keypoints))
    assert scene.filled[5].all()
    assert not scene.found[5]
    assert np.isfinite(scene.keypoints).all()


def test_nobody_gives_no_scene() -> None:
    assert scenes(track_of(np.full((5, len(SKELETON), 3), np.nan))) == []


def test_a_track_on_disk_is_the_same_track(tmp_path: Path) -> None:
    keypoints = walking(6)
    keypoints[2] = np.nan
    track = track_of(keypoints, fps=23.976)
    track.cuts, track.shifts, track.facts = [3], [(2, 0.25, -0.5)], {"size": [10, 20], "follower": {"last": None}}
    track.save(tmp_path / "t.npz")
    other = Track.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(np.array(other.keypoints), np.array(track.keypoints))
    assert (other.fps, other.changes, other.cuts, other.shifts, other.facts) == (
        track.fps,
        track.changes,
        track.cuts,
        track.shifts,
        track.facts,
    )
