"""Shot changes and camera motion; a moving person is neither."""

import itertools

import numpy as np
import pytest

from posecast.data.dancer.dance import dance
from posecast.data.shot_changes import camera_shift, is_cut, thumbnail, thumbnail_difference


def cluttered_image(seed: int, height: int = 240, width: int = 600) -> np.ndarray:
    """Return an image of rectangles of many sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(120):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        h, w = rng.integers(6, 60, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return image


@pytest.mark.parametrize(("right", "down"), [(0, 0), (12, 0), (-30, 6), (5, -17)])
def test_camera_shift_is_measured(right: int, down: int) -> None:
    large = cluttered_image(0)
    before = thumbnail(large[40:200, 100:420])
    after = thumbnail(large[40 - down : 200 - down, 100 - right : 420 - right])
    np.testing.assert_allclose(camera_shift(before, after) * [320, 160], [right, down], atol=1.3)


def test_a_moving_person_is_not_a_camera_shift() -> None:
    frames = dance(40, seed=2, size=(128, 256), hidden=0.0).recording.frames
    shift = camera_shift(thumbnail(frames[5]), thumbnail(frames[35]))
    assert np.abs(shift).max() < 0.004


def test_another_scene_is_a_cut_and_motion_is_not() -> None:
    frames = dance(60, seed=2, size=(128, 256)).recording.frames
    small = [thumbnail(frame) for frame in frames]
    changes = [thumbnail_difference(*pair) for pair in itertools.pairwise(small)]
    assert not any(is_cut(changes[:k], changes[k]) for k in range(len(changes)))
    assert is_cut(changes, thumbnail_difference(small[-1], thumbnail(cluttered_image(3))))


def test_a_cut_differs_by_more_than_the_usual_difference() -> None:
    assert not is_cut([0.1] * 30, 0.2)
    assert is_cut([0.01] * 30, 0.2)
    assert not is_cut([], 0.02)
