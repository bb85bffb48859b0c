"""Windows: right proportions, all of the person in them, nothing enlarged or shifted by mistake."""

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.video.cropping import crop_windows, cut_out, keypoints_in, smoothed

FRAME = (480, 640)


def somebody(x: np.ndarray, top: float = 150.0, height: float = 200.0) -> np.ndarray:
    """Keypoints `[T, J, 3]` of somebody 80 pixels wide who stands at x."""
    down, across = np.linspace(0, 1, len(SKELETON)), np.linspace(-40, 40, len(SKELETON))
    rows = [np.stack([one + across, top + height * down, np.ones(len(SKELETON))], axis=1) for one in x]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 64), (32, 64), (96, 48)])
@pytest.mark.parametrize("crop", ["steady", "follow", "whole"])
def test_windows_have_the_pictures_proportions_and_hold_the_person(size: tuple[int, int], crop: str) -> None:
    keypoints = somebody(np.linspace(200, 420, 60))
    windows = crop_windows(keypoints, FRAME, size, crop, 25.0)  # pyright: ignore
    np.testing.assert_allclose(windows[:, 2] / windows[:, 3], size[1] / size[0])
    inside = keypoints_in(keypoints, windows, size)[:, :, :2]
    assert (inside >= 0).all()
    assert (inside <= np.array(size[::-1])).all()
    if crop != "follow":
        assert (windows == windows[0]).all()


def test_a_window_that_follows_is_smaller_and_slow() -> None:
    keypoints = somebody(np.linspace(220, 420, 200))
    steady, follow = (crop_windows(keypoints, FRAME, (64, 64), crop, 25.0) for crop in ("steady", "follow"))
    assert follow[0, 3] < steady[0, 3]
    assert np.ptp(follow[:, 2:], axis=0).max() < 1e-9
    assert np.abs(np.diff(follow[:, 0], n=2)).max() < 0.1
    assert np.ptp(follow[:, 0]) > 150


def test_a_wild_guess_does_not_widen_a_steady_window() -> None:
    keypoints = somebody(np.full(400, 300.0))
    wild = keypoints.copy()
    wild[7, :, 0] += 250
    for crop in (keypoints, wild):
        window = crop_windows(crop, FRAME, (64, 64), "steady", 25.0)[0]
        np.testing.assert_allclose(window, crop_windows(keypoints, FRAME, (64, 64), "steady", 25.0)[0])


def test_unsure_joints_do_not_count_and_nobody_gives_the_whole_frame() -> None:
    nobody = somebody(np.full(5, 300.0))
    nobody[:, :, 2] = 0.3
    window = crop_windows(nobody, FRAME, (64, 64), "steady", 25.0)[0]
    np.testing.assert_allclose(window, [0, -80, 640, 640])


def test_a_picture_is_the_mean_of_what_it_covers() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:, 100:] = 200
    picture = cut_out(frame, np.array([50.0, 0, 100, 100]), (10, 10))
    assert (picture[:, :4] == 0).all()
    np.testing.assert_allclose(picture[:, 6:], 200, atol=4)


def test_beyond_the_frame_is_black() -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    picture = cut_out(frame, np.array([-50.0, 0, 200, 100]), (20, 40))
    assert (picture[:, :10] == 0).all()
    np.testing.assert_allclose(picture[:, 10:30], 200, atol=4)
    assert (picture[:, 30:] == 0).all()
    assert (cut_out(frame, np.array([500.0, 500, 20, 20]), (8, 8)) == 0).all()


def test_smoothing_keeps_a_straight_line_and_the_length() -> None:
    line = np.linspace(3, 9, 50)
    np.testing.assert_allclose(smoothed(line, 3.0)[15:-15], line[15:-15], atol=1e-9)
    assert len(smoothed(np.ones(4), 25.0)) == 4
