"""Tests of the baselines against their definitions."""

import numpy as np
import pytest

from posecast.data.recordings import Recording
from posecast.evaluation.baselines import baselines, mean_training_frame, nearest_pose_frames
from posecast.evaluation.metrics import psnr_db

from ..conftest import moving_square


def test_baselines_equal_their_definitions() -> None:
    recording, training = moving_square(12, seed=1), [moving_square(30)]
    scores = baselines([recording], training)
    copied = np.broadcast_to(recording.frames[0], recording.frames[1:].shape)
    assert scores["copy_first_frame"] == pytest.approx(psnr_db(copied, recording.frames[1:]).mean())
    assert baselines([recording], None)["nearest_pose"] is None
    assert baselines([training[0]], training)["nearest_pose"] == pytest.approx(10 * np.log10(12 * 255**2))


def test_nearest_pose_has_the_smallest_distance_of_all() -> None:
    training = [moving_square(30, seed=3), moving_square(600, seed=4)]
    wanted = moving_square(9, seed=5).poses
    poses = np.concatenate([recording.poses for recording in training]).reshape(630, -1).astype(float)
    frames = np.concatenate([recording.frames for recording in training])
    for pose, frame in zip(wanted, nearest_pose_frames(wanted, training), strict=True):
        distances = np.square(poses - pose.reshape(-1)).sum(1)
        nearest = np.flatnonzero(distances == distances.min())
        assert any(np.array_equal(frame, frames[k]) for k in nearest)


def test_mean_training_frame_weights_frames_equally() -> None:
    training = [moving_square(10, seed=1), moving_square(40, seed=2)]
    together = np.concatenate([recording.frames for recording in training]).astype(float).mean(0)
    assert np.abs(mean_training_frame(training) - together).max() <= 0.5


def test_nearest_pose_is_exact() -> None:
    """Distances of pose maps that differ by one step of one pixel could not be distinguished in float32."""
    pose = np.random.default_rng(0).integers(100, 250, (64, 64, 3)).astype(np.uint8)
    stored = np.stack([pose] * 3)
    stored[0, 0, 0, 0] += 2
    stored[2, 5, 5, 1] += 3
    stored[1, 9, 9, 2] += 1
    frames = np.stack([np.full_like(pose, value) for value in (10, 20, 30)])
    assert (nearest_pose_frames(pose[None], [Recording("a", frames, stored)]) == 20).all()
