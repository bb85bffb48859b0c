"""Pose maps: drawn and missing joints, colours, and scaling."""

from __future__ import annotations

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX, LIMBS, SKELETON, draw_pose_map, draw_pose_maps
from posecast.errors import InputError

SIZE = (128, 256)


def standing_person() -> np.ndarray:
    """Return keypoints of a person who faces the camera with arms stretched sideways, on 128x256."""
    places = {
        "neck": (128, 40), "mid_hip": (128, 74), "nose": (128, 27),
        "right_shoulder": (116, 41), "right_elbow": (97, 43), "right_wrist": (80, 44), "right_hand": (72, 44),
        "right_hip": (121, 74), "right_knee": (120, 94), "right_ankle": (119, 112),
        "right_heel": (119, 116), "right_toe": (115, 119), "right_eye": (125, 24), "right_ear": (121, 25),
    }  # fmt: skip
    for name, (x, y) in list(places.items()):
        places[name.replace("right", "left")] = (256 - x if name.startswith("right") else x, y)
    return np.array([(*places[joint.name], 1.0) for joint in SKELETON], np.float32)


def test_the_skeleton_is_a_tree_with_unique_names() -> None:
    assert len(JOINT_INDEX) == len(SKELETON)
    assert len(LIMBS) == len(SKELETON) - 1
    for joint in SKELETON:
        assert joint.parent is None or JOINT_INDEX[joint.parent] < JOINT_INDEX[joint.name]


def test_left_and_right_joints_differ_in_colour() -> None:
    colours = {joint.name: np.array(joint.colour) for joint in SKELETON}
    pairs = [(name, name.replace("left", "right")) for name in colours if name.startswith("left")]
    assert len(pairs) == 11
    for left, right in pairs:
        assert np.abs(colours[left] - colours[right]).sum() > 80, left


@pytest.mark.parametrize("name", ["right_wrist", "left_knee", "nose"])
def test_a_joint_is_drawn_in_its_colour_on_white(name: str) -> None:
    pose_map = draw_pose_map(standing_person() * [4, 4, 1], size=(512, 1024))
    x, y, _ = standing_person()[JOINT_INDEX[name]].astype(int) * 4
    np.testing.assert_array_equal(pose_map[y, x], SKELETON[JOINT_INDEX[name]].colour)
    assert (pose_map[:80] == 255).all()


@pytest.mark.parametrize("missing", ["nan", "no confidence"])
def test_a_missing_joint_removes_only_its_limbs(missing: str) -> None:
    keypoints = standing_person()
    keypoints[JOINT_INDEX["right_elbow"], slice(0, 2) if missing == "nan" else 2] = np.nan if missing == "nan" else 0
    whole, partial = draw_pose_map(standing_person(), SIZE), draw_pose_map(keypoints, SIZE)
    assert (whole[38:48, 85:110] < 255).any()
    assert (partial[38:48, 85:110] == 255).all()
    np.testing.assert_array_equal(whole[:, 120:], partial[:, 120:])
    np.testing.assert_array_equal(whole[60:], partial[60:])
    assert (partial[38:48, 70:84] < 255).any()  # wrist and hand are still there


def test_a_map_without_joints_is_white() -> None:
    absent = standing_person() * [1, 1, 0]
    assert (draw_pose_map(absent, SIZE) == 255).all()


def test_confidence_is_optional() -> None:
    np.testing.assert_array_equal(draw_pose_map(standing_person()[:, :2], SIZE), draw_pose_map(standing_person(), SIZE))


@pytest.mark.parametrize("factor", [2, 4])
def test_a_large_map_reduced_matches_a_small_map(factor: int) -> None:
    large = draw_pose_map(standing_person() * [factor, factor, 1], (128 * factor, 256 * factor))
    shrunk = large.reshape(128, factor, 256, factor, 3).mean(axis=(1, 3))
    small = draw_pose_map(standing_person(), SIZE).astype(float)
    drawn = (small < 250).any(axis=2) | (shrunk < 250).any(axis=2)
    error = np.abs(shrunk - small)[drawn].mean()
    assert error < 0.15 * (255 - small)[drawn].mean()
    assert (255 - shrunk).sum() == pytest.approx((255 - small).sum(), rel=0.1)


def test_a_batch_equals_single_maps() -> None:
    rng = np.random.default_rng(0)
    batch = standing_person()[None] + rng.normal(0, 8, (300, len(SKELETON), 3)) * [1, 1, 0]
    maps = draw_pose_maps(batch, (32, 64))
    for t in (0, 150, 299):
        np.testing.assert_array_equal(maps[t], draw_pose_map(batch[t], (32, 64)))


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \[1, 17, 3\]; expected"):
        draw_pose_map(np.zeros((17, 3)))
