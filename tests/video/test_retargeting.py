"""Tests of retargeting with known proportions: limb lengths, ground line, path, missing joints."""

import numpy as np
import pytest

from posecast.data.dancer.choreography import choreograph
from posecast.data.dancer.dance import dance
from posecast.data.dancer.kinematics import Build
from posecast.data.pose_maps import JOINT_INDEX
from posecast.errors import InputError
from posecast.video.retargeting import (
    FEET,
    NECK,
    PARENTS,
    BodyProportions,
    body_of_maps,
    fit,
    lowest_foot,
    measure_body,
)

ASPECT = 2.0


def dancing(height: float, x: float = 1.0, ground: float = 0.9, seed: int = 0) -> np.ndarray:
    """Return keypoints `[T, J, 3]` of a dance by a person of a height, position and ground line, in image heights."""
    joints = choreograph(240, np.random.default_rng(seed), 0.6, Build())
    flat = np.stack([x + height * joints[..., 0], ground - height * joints[..., 1]], axis=-1)
    return np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=2).astype(np.float32)


def lengths_of(keypoints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(keypoints[:, :, :2] - keypoints[:, PARENTS, :2], axis=2)


def test_fit_to_the_own_proportions_changes_nothing() -> None:
    keypoints = dancing(0.7)
    fitted = fit(keypoints, measure_body(keypoints), ASPECT, 25.0)
    np.testing.assert_allclose(lengths_of(fitted), lengths_of(keypoints), atol=1e-3)
    np.testing.assert_allclose(fitted[:, :, :2], keypoints[:, :, :2], atol=0.02)


@pytest.mark.parametrize("unit", [1.0, 720.0])
def test_tall_driver_gets_the_size_of_a_child(unit: float) -> None:
    child, tall = dancing(0.4, ground=0.8, seed=1), dancing(0.8, x=0.6, ground=0.95)
    body = measure_body(child)
    fitted = fit(tall * np.array([unit, unit, 1.0], np.float32), body, ASPECT, 25.0)
    np.testing.assert_allclose(lengths_of(fitted), 0.5 * lengths_of(tall), rtol=0.12, atol=2e-3)
    assert np.nanquantile(lowest_foot(fitted[:, :, :2]), 0.9) == pytest.approx(body.ground, abs=0.02)
    assert np.median(fitted[:, NECK, 0]) == pytest.approx(body.x, abs=0.05)


def test_each_limb_gets_the_other_persons_length() -> None:
    keypoints = dancing(0.7)
    body = measure_body(keypoints)
    arms = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "wrist")]
    longer = body.lengths.copy()
    longer[arms] *= 1.5
    fitted = fit(keypoints, BodyProportions(longer, body.ground, body.x, body.y), ASPECT, 25.0)
    ratios = lengths_of(fitted) / np.maximum(lengths_of(keypoints), 1e-6)
    np.testing.assert_allclose(np.median(ratios[:, arms], axis=0), 1.5, rtol=1e-3)
    legs = [JOINT_INDEX["left_knee"], JOINT_INDEX["right_ankle"]]
    np.testing.assert_allclose(np.median(ratios[:, legs], axis=0), 1.0, rtol=1e-3)


def test_person_without_legs_keeps_the_usual_height_of_the_neck() -> None:
    keypoints = dancing(0.7)
    body = measure_body(keypoints)
    below = [k for k, name in enumerate(JOINT_INDEX) if name.split("_")[-1] in ("knee", "ankle", "heel", "toe")]
    keypoints[:, below, 2] = 0.1
    fitted = fit(keypoints, body, ASPECT, 25.0)
    assert np.median(fitted[:, NECK, 1]) == pytest.approx(body.y, abs=0.02)
    assert (fitted[:, below, 2] < 0.5).all()


def test_wide_path_is_reduced_to_the_image() -> None:
    keypoints = dancing(0.6)
    body = measure_body(keypoints)
    keypoints[:, :, 0] += np.linspace(-3, 3, len(keypoints))[:, None]
    fitted = fit(keypoints, body, ASPECT, 25.0)
    inside = (fitted[:, :, 0] > -0.05) & (fitted[:, :, 0] < ASPECT + 0.05)
    assert inside.mean() > 0.97
    assert np.ptp(fitted[:, NECK, 0]) > 0.5


def test_missing_joints_stay_missing_and_affect_no_others() -> None:
    keypoints = dancing(0.7)
    body = measure_body(keypoints)
    complete = fit(keypoints, body, ASPECT, 25.0)
    keypoints[40:60, JOINT_INDEX["left_elbow"]] = (np.nan, np.nan, 0.0)
    fitted = fit(keypoints, body, ASPECT, 25.0)
    assert (fitted[40:60, JOINT_INDEX["left_elbow"], 2] == 0).all()
    assert np.isfinite(fitted).all()
    others = [
        k for k in range(len(JOINT_INDEX)) if k not in {JOINT_INDEX[f"left_{p}"] for p in ("elbow", "wrist", "hand")}
    ]
    np.testing.assert_allclose(fitted[:, others], complete[:, others], atol=0.01)


def test_fit_is_smooth() -> None:
    fitted = fit(dancing(0.9), measure_body(dancing(0.5, seed=1)), ASPECT, 25.0)
    original = dancing(0.9)
    jumps = np.abs(np.diff(fitted[:, NECK, :2], n=2, axis=0)).max()
    assert jumps < 1.5 * np.abs(np.diff(original[:, NECK, :2], n=2, axis=0)).max()


def test_keypoints_without_a_person_are_refused() -> None:
    keypoints = dancing(0.7)
    invisible = keypoints * np.array([1, 1, 0], np.float32)
    with pytest.raises(InputError, match="too little of a person"):
        fit(invisible, measure_body(keypoints), ASPECT, 25.0)


def test_proportions_from_pose_maps_approximate_those_from_keypoints() -> None:
    danced = dance(300, seed=4, size=(64, 128))
    by_maps = body_of_maps(danced.recording.poses)
    by_points = measure_body(np.concatenate([danced.keypoints[..., :2] / 64, np.ones((300, len(PARENTS), 1))], axis=2))
    assert by_maps.ground == pytest.approx(by_points.ground, abs=0.04)
    assert by_maps.y == pytest.approx(by_points.y, abs=0.06)
    for joint in ("mid_hip", "left_elbow", "left_knee", "right_ankle"):
        assert by_maps.lengths[JOINT_INDEX[joint]] == pytest.approx(by_points.lengths[JOINT_INDEX[joint]], rel=0.15)


def test_proportions_survive_json() -> None:
    body = measure_body(dancing(0.7))
    content = body.to_json()
    content["lengths"]["neck"] = None  # JSON has no NaN
    restored = BodyProportions.from_json(content)
    np.testing.assert_allclose(restored.lengths, body.lengths)
    assert (restored.ground, restored.x, restored.y) == (body.ground, body.x, body.y)
    with pytest.raises(InputError, match="train again"):
        BodyProportions.from_json({"lengths": {}})


def test_ground_is_unknown_if_feet_are_hardly_visible() -> None:
    keypoints = dancing(0.7)
    keypoints[20:, FEET, 2] = 0.0
    assert np.isnan(measure_body(keypoints).ground)
