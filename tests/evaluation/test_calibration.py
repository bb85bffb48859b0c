"""Tests of the expected best of n futures, and of calibration for futures of different width."""

import itertools

import numpy as np
import pytest

from posecast.evaluation.calibration import Calibration, expected_best


def test_expected_best_is_the_mean_of_the_best_over_all_subsets() -> None:
    values = np.random.default_rng(0).normal(size=6)
    for n, expected in enumerate(expected_best(values), start=1):
        subsets = itertools.combinations(values, n)
        assert expected == pytest.approx(np.mean([max(subset) for subset in subsets]))


def random_frames(rng: np.random.Generator, deviation: float, count: int) -> np.ndarray:
    return np.clip(np.rint(rng.normal(128, deviation, (count, 8, 8, 3))), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("deviation", "low", "high"), [(20.0, -0.04, 0.04), (5.0, -1.0, -0.2), (60.0, 0.08, 1.0)])
def test_coverage_equals_the_level_only_if_futures_are_distributed_like_the_truth(
    deviation: float, low: float, high: float
) -> None:
    """The truth has deviation 20; the futures have the same, a smaller or a larger one."""
    rng, calibration = np.random.default_rng(0), Calibration(0.0)
    for _ in range(200):
        calibration.add(random_frames(rng, deviation, 40), random_frames(rng, 20.0, 1)[0])
    for level in (0.5, 0.9):
        assert low < calibration.coverage(level) - level < high


def test_variance_of_the_likelihood_widens_every_future() -> None:
    """A single future at the mean, with the variance of the truth, is calibrated."""
    rng, calibration = np.random.default_rng(0), Calibration((20 / 255) ** 2)
    for _ in range(200):
        calibration.add(np.full((1, 8, 8, 3), 128, np.uint8), random_frames(rng, 20.0, 1)[0])
    assert calibration.coverage(0.5) == pytest.approx(0.5, abs=0.02)
    assert calibration.coverage(0.9) == pytest.approx(0.9, abs=0.02)
