"""Tests of labelled images of several frames."""

import numpy as np

from posecast.evaluation.contact_sheet import contact_sheet, side_by_side

from ..videos import wave


def contains(image: np.ndarray, part: np.ndarray) -> bool:
    """Return whether `part` occurs in `image`, pixel for pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((image == part[0, 0]).all(axis=-1))
    return any(np.array_equal(image[y : y + height, x : x + width], part) for y, x in corners)


def test_side_by_side_shows_the_frames_and_has_a_constant_size() -> None:
    columns = {"pose": wave(0), "truth": wave(3), "prediction": wave(6)}
    first, late = (side_by_side(columns, number, scale=4) for number in (1, 628))
    assert first.shape == late.shape
    assert not np.array_equal(first, late)
    for frame in columns.values():
        assert contains(late, frame.repeat(4, 0).repeat(4, 1))


def test_contact_sheet_shows_every_second_frame_and_accepts_short_rows() -> None:
    truth = [wave(instant, 8, 16) for instant in range(7)]
    sheet = contact_sheet({"truth": truth, "prediction": truth[3:5]}, every=2, scale=2)
    for instant in (0, 2, 4, 6, 3):
        assert contains(sheet, truth[instant].repeat(2, 0).repeat(2, 1))
    for instant in (1, 5):
        assert not contains(sheet, truth[instant].repeat(2, 0).repeat(2, 1))
