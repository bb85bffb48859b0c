"""Tests of windows and of what is cut out: aspect ratio, position of the person, averages, black borders."""

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.video.cropping import Crop, crop_windows, cut_out, keypoints_in, smoothed

FRAME = (480, 640)


def person_at(x: np.ndarray, top: float = 150.0, height: float = 200.0) -> np.ndarray:
    """Return keypoints `[T, J, 3]` of a person 80 pixels wide at x `[T]`."""
    down, across = np.linspace(0, 1, len(SKELETON)), np.linspace(-40, 40, len(SKELETON))
    rows = [np.stack([centre + across, top + height * down, np.ones(len(SKELETON))], axis=1) for centre in x]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 64), (32, 64), (96, 48)])
@pytest.mark.parametrize("crop", ["steady", "follow", "whole"])
def test_windows_have_the_right_aspect_ratio_and_contain_the_person(size: tuple[int, int], crop: Crop) -> None:
    keypoints = person_at(np.linspace(200, 420, 60))
    windows = crop_windows(keypoints, FRAME, size, crop, 25.0)
    np.testing.assert_allclose(windows[:, 2] / windows[:, 3], size[1] / size[0])
    inside = keypoints_in(keypoints, windows, size)[:, :, :2]
    assert (inside >= 0).all()
    assert (inside <= np.array(size[::-1])).all()
    if crop != "follow":
        assert (windows == windows[0]).all()


def test_following_window_is_smaller_and_moves_slowly() -> None:
    keypoints = person_at(np.linspace(220, 420, 200))
    steady, follow = (crop_windows(keypoints, FRAME, (64, 64), crop, 25.0) for crop in ("steady", "follow"))
    assert follow[0, 3] < steady[0, 3]
    assert np.ptp(follow[:, 2:], axis=0).max() < 1e-9
    assert np.abs(np.diff(follow[:, 0], n=2)).max() < 0.1
    assert np.ptp(follow[:, 0]) > 150


def test_outlier_does_not_widen_a_steady_window() -> None:
    keypoints = person_at(np.full(400, 300.0))
    expected = crop_windows(keypoints, FRAME, (64, 64), "steady", 25.0)
    keypoints[7, :, 0] += 250
    np.testing.assert_allclose(crop_windows(keypoints, FRAME, (64, 64), "steady", 25.0), expected)


def test_unsure_joints_are_ignored_and_without_others_the_frame_is_whole() -> None:
    unsure = person_at(np.full(5, 300.0))
    unsure[:, :, 2] = 0.3
    window = crop_windows(unsure, FRAME, (64, 64), "steady", 25.0)[0]
    np.testing.assert_allclose(window, [0, -80, 640, 640])


def test_pixel_is_the_mean_of_the_area_it_covers() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:, 100:] = 200
    image = cut_out(frame, np.array([50.0, 0, 100, 100]), (10, 10))
    assert (image[:, :4] == 0).all()
    np.testing.assert_allclose(image[:, 6:], 200, atol=4)


def test_area_beyond_the_frame_is_black() -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    image = cut_out(frame, np.array([-50.0, 0, 200, 100]), (20, 40))
    assert (image[:, :10] == 0).all()
    np.testing.assert_allclose(image[:, 10:30], 200, atol=4)
    assert (image[:, 30:] == 0).all()
    assert (cut_out(frame, np.array([500.0, 500, 20, 20]), (8, 8)) == 0).all()


def test_smoothing_preserves_a_straight_line_and_the_length() -> None:
    line = np.linspace(3, 9, 50)
    np.testing.assert_allclose(smoothed(line, 3.0)[15:-15], line[15:-15], atol=1e-9)
    assert len(smoothed(np.ones(4), 25.0)) == 4
