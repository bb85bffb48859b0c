"""Tests of the baselines against their definitions."""

import numpy as np
import pytest

from posecast.data.recordings import Recording
from posecast.evaluation.baselines import (
    FROM_TRAINING,
    baselines,
    mean_of_frames,
    mean_training_frame,
    missing_note,
    nearest_poses,
)
from posecast.evaluation.metrics import psnr_db

from ..conftest import moving_square


def test_baselines_equal_their_definitions() -> None:
    recording, training = moving_square(12, seed=1), [moving_square(30)]
    scores = baselines([recording], training)
    copied = np.broadcast_to(recording.frames[0], recording.frames[1:].shape)
    assert scores["copy_first_frame"] == pytest.approx(psnr_db(copied, recording.frames[1:]).mean())
    assert baselines([recording], None)["nearest_pose"] is None
    nearest = nearest_poses(recording.poses[1:], training, 8)
    for name, count in (("nearest_pose", 1), ("mean_of_8_nearest_poses", 8)):
        predicted = np.floor(training[0].frames[nearest[:, :count]].mean(1) + 0.5).astype(np.uint8)
        assert scores[name] == pytest.approx(psnr_db(predicted, recording.frames[1:]).mean())


@pytest.mark.parametrize("length", [40, 25])
def test_a_recording_is_not_predicted_from_itself(length: int) -> None:
    """The run may have been trained on the first part of the recording only, and the recording may have been copied."""
    scored, other = moving_square(40, seed=1, name="a"), moving_square(40, seed=2, name="b")
    copy = Recording("another name", scored.frames[:length].copy(), scored.poses[:length].copy())
    assert baselines([scored], [other, copy]) == baselines([scored], [other])
    alone = baselines([scored], [copy])
    assert [name for name, value in alone.items() if value is None] == list(FROM_TRAINING)
    assert missing_note(alone, [copy]) is not None
    both = baselines([scored, other], [scored, other])
    expected = np.mean([baselines([a], [b])["nearest_pose"] or 0 for a, b in ((scored, other), (other, scored))])
    assert both["nearest_pose"] == pytest.approx(expected)


def test_nearest_poses_have_the_smallest_distances_of_all() -> None:
    training = [moving_square(30, seed=3), moving_square(600, seed=4)]
    wanted = moving_square(9, seed=5).poses
    poses = np.concatenate([recording.poses for recording in training]).reshape(630, -1).astype(float)
    frames = np.concatenate([recording.frames for recording in training])
    single = mean_of_frames(nearest_poses(wanted, training, 1), training)
    for pose, frame, numbers in zip(wanted, single, nearest_poses(wanted, training, 8), strict=True):
        distances = np.square(poses - pose.reshape(-1)).sum(1)
        assert np.array_equal(numbers, np.argsort(distances, kind="stable")[:8])
        assert np.array_equal(frame, frames[numbers[0]])


def test_few_training_frames_are_all_averaged() -> None:
    training = [moving_square(3, seed=3)]
    numbers = nearest_poses(moving_square(5).poses, training, 8)
    assert numbers.shape == (5, 3)
    assert np.abs(mean_of_frames(numbers, training) - training[0].frames.mean(0)).max() <= 0.5


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
    assert nearest_poses(pose[None], [Recording("a", frames, stored)], 3).tolist() == [[1, 0, 2]]
