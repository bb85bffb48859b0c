"""The preview: the frame with the skeleton where the joints are, beside it the pose map."""

import numpy as np

from posecast.data.dancer.dance import dance
from posecast.video.export import HEIGHT, preview_picture


def test_the_skeleton_lies_on_the_frame_and_the_map_beside_it() -> None:
    shown = dance(4, seed=1, size=(96, 192))
    keypoints = np.concatenate([shown.keypoints[2, :, :2], np.ones((25, 1))], axis=1).astype(np.float32)
    window = np.array([0.0, 0.0, 192.0, 96.0])
    dark = np.zeros((96, 192, 3), np.uint8)
    picture = preview_picture(dark, keypoints, window, (32, 64), "")
    assert picture.shape == (HEIGHT, 2 * HEIGHT + 2 * HEIGHT, 3)
    left, right = picture[:, : 2 * HEIGHT], picture[:, 2 * HEIGHT :]
    on_frame = (left[8:-8, 8:-8] > 60).any(-1)
    on_map = (right[8:-8, 8:-8] < 200).any(-1)
    rows = [np.flatnonzero(mask.any(1))[[0, -1]] for mask in (on_frame, on_map)]
    np.testing.assert_allclose(rows[0], rows[1], atol=6)


def test_what_is_left_out_is_not_drawn() -> None:
    keypoints = np.zeros((25, 3), np.float32)
    picture = preview_picture(np.zeros((90, 90, 3), np.uint8), keypoints, np.array([0, 0, 90, 90.0]), (32, 32), "")
    assert (picture[4:-4, 4 : HEIGHT - 4] == 0).all()
    assert (picture[:, HEIGHT:] == 255).all()
