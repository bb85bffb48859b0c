"""Measured backgrounds: exact where the background is visible, plausible where it never is."""

import numpy as np
import torch

from posecast.data.background import measure_backgrounds
from posecast.data.recordings import Recording

from ..conftest import moving_square, still_in


def test_visible_pixels_are_measured_exactly() -> None:
    background = measure_backgrounds([moving_square(24, side=32)])
    assert (background * 255).round().unique().tolist() == [60.0]


def test_pixels_that_are_always_covered_are_interpolated() -> None:
    """What is behind a person who never leaves the middle is taken from the other pixels of the row."""
    assert ((measure_backgrounds([still_in(90, slice(30, 34))]) * 255).round() == 90).all()


def test_recordings_complete_each_other_in_their_own_light() -> None:
    left, right = still_in(100, slice(10, 14)), still_in(110, slice(50, 54))
    backgrounds = (measure_backgrounds([left, right]) * 255).round()
    assert backgrounds[0, :, :, 30:].unique().tolist() == [100.0]
    assert backgrounds[1, :, :, :40].unique().tolist() == [110.0]
    assert (backgrounds[0] - 100).abs().max() <= 5  # also behind the person, without a patch of the other light
    stripes = right.frames.copy()
    stripes[:, :, 11] += 50  # visible only in the right recording: behind the left person
    backgrounds = (measure_backgrounds([left, Recording("striped", stripes, right.poses)]) * 255).round()
    assert backgrounds[0, 0, 15, 11] - backgrounds[0, 0, 15, 10] == 50


def test_different_backgrounds_are_not_mixed() -> None:
    backgrounds = (measure_backgrounds([still_in(60, slice(10, 14)), still_in(200, slice(50, 54))]) * 255).round()
    assert [background.unique().tolist() for background in backgrounds] == [[60.0], [200.0]]


def test_a_background_that_is_never_visible_is_finite() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    covered = Recording("near", frames, np.zeros_like(frames))
    blank = Recording("blank", frames, np.full_like(frames, 255))
    assert torch.isfinite(measure_backgrounds([covered])).all()
    assert torch.isfinite(measure_backgrounds([covered, blank])).all()


def test_a_wide_shadow_is_not_part_of_the_background() -> None:
    """A person in the middle darkens it; another recording, in another light, shows it without the person."""
    darkened, visible = still_in(100, slice(30, 34)), still_in(120, slice(2, 6))
    shadowed = darkened.frames.copy()
    shadowed[:, :, 22:42] -= (shadowed[:, :, 22:42] // 5).astype(np.uint8)  # eight pixels to each side of the limbs
    backgrounds = (measure_backgrounds([Recording("darkened", shadowed, darkened.poses), visible]) * 255).round()
    assert backgrounds[0].unique().tolist() == [100.0]
    assert backgrounds[1].unique().tolist() == [120.0]
