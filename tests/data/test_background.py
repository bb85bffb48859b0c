"""Rooms measured from recordings: exact where the room was seen, sensible where it never was."""

import numpy as np
import torch

from posecast.data.background import measure_rooms
from posecast.data.recordings import Recording

from ..conftest import moving_square, still_in


def test_where_nobody_stands_the_room_is_measured() -> None:
    room = measure_rooms([moving_square(24, side=32)])
    assert (room * 255).round().unique().tolist() == [60.0]


def test_a_room_always_covered_is_filled_from_beside() -> None:
    """A person who never leaves the middle: what is behind them is taken from the row's other pixels."""
    assert ((measure_rooms([still_in(90, slice(30, 34))]) * 255).round() == 90).all()


def test_each_recording_has_its_own_light_and_one_helps_the_other_out() -> None:
    left, right = still_in(100, slice(10, 14)), still_in(110, slice(50, 54))
    rooms = (measure_rooms([left, right]) * 255).round()
    assert rooms[0, :, :, 30:].unique().tolist() == [100.0]
    assert rooms[1, :, :, :40].unique().tolist() == [110.0]
    assert (rooms[0] - 100).abs().max() <= 5  # behind the person too: no patch of the other light
    stripes = right.frames.copy()
    stripes[:, :, 11] += 50  # seen by the right recording alone: behind the left person
    rooms = (measure_rooms([left, Recording("striped", stripes, right.poses)]) * 255).round()
    assert rooms[0, 0, 15, 11] - rooms[0, 0, 15, 10] == 50


def test_different_rooms_do_not_mix() -> None:
    rooms = (measure_rooms([still_in(60, slice(10, 14)), still_in(200, slice(50, 54))]) * 255).round()
    assert [room.unique().tolist() for room in rooms] == [[60.0], [200.0]]


def test_nothing_is_known_of_a_room_never_seen() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    covered = Recording("near", frames, np.zeros_like(frames))
    blank = Recording("blank", frames, np.full_like(frames, 255))
    assert torch.isfinite(measure_rooms([covered])).all()
    assert torch.isfinite(measure_rooms([covered, blank])).all()


def test_a_wide_shadow_does_not_stay_in_the_room() -> None:
    """Somebody who never leaves the middle darkens it; another recording, in another light, shows it without them."""
    darkened, seen = still_in(100, slice(30, 34)), still_in(120, slice(2, 6))
    shadowed = darkened.frames.copy()
    shadowed[:, :, 22:42] -= (shadowed[:, :, 22:42] // 5).astype(np.uint8)  # eight pixels to each side of the limbs
    rooms = (measure_rooms([Recording("darkened", shadowed, darkened.poses), seen]) * 255).round()
    assert rooms[0].unique().tolist() == [100.0]
    assert rooms[1].unique().tolist() == [120.0]
