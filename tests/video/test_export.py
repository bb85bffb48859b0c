"""Tests of the preview: the skeleton on the frame, and the pose map beside it."""

import numpy as np

from posecast.data.dancer.dance import dance
from posecast.video.export import PREVIEW_HEIGHT, preview_image


def test_skeleton_on_the_frame_has_the_position_of_the_pose_map() -> None:
    danced = dance(4, seed=1, size=(96, 192))
    keypoints = np.concatenate([danced.keypoints[2, :, :2], np.ones((25, 1))], axis=1).astype(np.float32)
    window = np.array([0.0, 0.0, 192.0, 96.0])
    black = np.zeros((96, 192, 3), np.uint8)
    image = preview_image(black, keypoints, window, (32, 64), "")
    assert image.shape == (PREVIEW_HEIGHT, 2 * PREVIEW_HEIGHT + 2 * PREVIEW_HEIGHT, 3)
    left, right = image[:, : 2 * PREVIEW_HEIGHT], image[:, 2 * PREVIEW_HEIGHT :]
    on_frame = (left[8:-8, 8:-8] > 60).any(-1)
    on_map = (right[8:-8, 8:-8] < 200).any(-1)
    rows = [np.flatnonzero(mask.any(1))[[0, -1]] for mask in (on_frame, on_map)]
    np.testing.assert_allclose(rows[0], rows[1], atol=6)


def test_joints_of_confidence_zero_are_not_drawn() -> None:
    keypoints = np.zeros((25, 3), np.float32)
    image = preview_image(np.zeros((90, 90, 3), np.uint8), keypoints, np.array([0, 0, 90, 90.0]), (32, 32), "")
    assert (image[4:-4, 4 : PREVIEW_HEIGHT - 4] == 0).all()
    assert (image[:, PREVIEW_HEIGHT:] == 255).all()
