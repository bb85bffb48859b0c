"""Best-of-n against simulation; calibration of futures that are right, too sure and too wide."""

import itertools

import numpy as np
import pytest

from posecast.evaluation.calibration import Calibration, expected_best


def test_expected_best_is_the_mean_over_all_choices() -> None:
    values = np.random.default_rng(0).normal(size=6)
    for n, found in enumerate(expected_best(values), start=1):
        choices = itertools.combinations(values, n)
        assert found == pytest.approx(np.mean([max(chosen) for chosen in choices]))


def pictures(rng: np.random.Generator, deviation: float, count: int) -> np.ndarray:
    return np.clip(np.rint(rng.normal(128, deviation, (count, 8, 8, 3))), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("deviation", "low", "high"), [(20.0, -0.04, 0.04), (5.0, -1.0, -0.2), (60.0, 0.08, 1.0)])
def test_coverage_is_the_level_where_futures_are_drawn_as_the_truth_is(
    deviation: float, low: float, high: float
) -> None:
    """Truth of deviation 20; futures as wide, too sure, too wide."""
    rng, calibration = np.random.default_rng(0), Calibration(0.0)
    for _ in range(200):
        calibration.add(pictures(rng, deviation, 40), pictures(rng, 20.0, 1)[0])
    for level in (0.5, 0.9):
        assert low < calibration.coverage(level) - level < high


def test_the_variance_of_the_likelihood_widens_every_future() -> None:
    """One future that is always the mean, and the truth's own variance: as good as many futures."""
    rng, calibration = np.random.default_rng(0), Calibration((20 / 255) ** 2)
    for _ in range(200):
        calibration.add(np.full((1, 8, 8, 3), 128, np.uint8), pictures(rng, 20.0, 1)[0])
    assert calibration.coverage(0.5) == pytest.approx(0.5, abs=0.02)
    assert calibration.coverage(0.9) == pytest.approx(0.9, abs=0.02)
