"""Rasterization of capsules: areas, order and edges."""

from __future__ import annotations

import numpy as np
import pytest

from posecast.data.rasterizer import Capsules, paint_capsules

SIZE = (40, 60)


def capsule(start: tuple[float, float], end: tuple[float, float], radius: float, grey: float = 1.0) -> Capsules:
    shape = np.array([radius, radius, 0.0, 1.0], np.float32)
    paint = np.array([grey, grey, grey, 1.0, 0.0], np.float32)
    points = (np.array(point, np.float32) for point in (start, end))
    return Capsules(*(values[None, None] for values in (*points, shape, paint)))


def painted(capsules: Capsules) -> np.ndarray:
    canvas = np.zeros((1, *SIZE, 3), np.float32)
    paint_capsules(canvas, capsules)
    return canvas[0, :, :, 0]


@pytest.mark.parametrize("end", [(30.0, 20.0), (45.0, 20.0), (45.3, 28.6)])
def test_a_capsule_covers_its_area(end: tuple[float, float]) -> None:
    radius, length = 5.0, np.hypot(end[0] - 30, end[1] - 20)
    area = 2 * radius * length + np.pi * radius**2
    assert painted(capsule((30.0, 20.0), end, radius)).sum() == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize("y", [20.0, 20.3, 20.5])
def test_coverage_of_a_thin_line_does_not_depend_on_its_position(y: float) -> None:
    column = painted(capsule((-10.0, y), (80.0, y), 0.2))[:, 30]
    assert column.sum() == pytest.approx(0.4, rel=1e-3)


def test_capsules_are_clipped_at_the_edges() -> None:
    assert painted(capsule((-50.0, -50.0), (-20.0, -20.0), 6.0)).sum() == 0
    half = painted(capsule((0.0, 20.0), (0.0, 20.0), 8.0))
    assert half.sum() == pytest.approx(np.pi * 64 / 2, rel=0.02)
    assert half[:, 12:].sum() == 0


def test_the_nearest_capsule_is_painted_last() -> None:
    far, near = capsule((30, 20), (30, 20), 6, grey=0.25), capsule((30, 20), (30, 20), 6, grey=0.75)
    both = Capsules(
        *(np.concatenate(pair, axis=1) for pair in zip(vars(near).values(), vars(far).values(), strict=True))
    )
    assert painted(both.ordered(np.array([[1.0, 0.0]])))[20, 30] == pytest.approx(0.75)
    assert painted(both.ordered(np.array([[0.0, 1.0]])))[20, 30] == pytest.approx(0.25)


def test_frames_of_a_batch_are_independent() -> None:
    first, second = capsule((5, 5), (9, 9), 2), capsule((30, 20), (55, 38), 7)
    both = Capsules(*(np.concatenate(pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True)))
    canvas = np.zeros((2, *SIZE, 3), np.float32)
    paint_capsules(canvas, both)
    np.testing.assert_array_equal(canvas[:, :, :, 0], [painted(first), painted(second)])
