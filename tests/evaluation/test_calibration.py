"""Tests of the expected best of n futures, and of calibration for futures of different number and width."""

import itertools

import numpy as np
import pytest

from posecast.evaluation.calibration import LEVELS, Calibration, expected_best, mean_coverage
from posecast.model.draws import seeded


def test_expected_best_is_the_mean_of_the_best_over_all_subsets() -> None:
    values = np.random.default_rng(0).normal(size=6)
    for n, expected in enumerate(expected_best(values), start=1):
        subsets = itertools.combinations(values, n)
        assert expected == pytest.approx(np.mean([max(subset) for subset in subsets]))


def frames_around(rng: np.random.Generator, mean: np.ndarray, deviation: float, count: int) -> np.ndarray:
    """Draw frames of normal values, rounded to 8 bits and clamped as predictions are."""
    return np.clip(np.rint(rng.normal(mean, deviation, (count, *mean.shape))), 0, 255).astype(np.uint8)


def coverages(
    num_futures: int, *, deviation: float, of_truth: float, noise: float = 0.0, frames: int = 30
) -> tuple[dict[float, float], dict[float, float]]:
    """Return spread and predictive coverage by level; `noise` is the deviation of the likelihood, in grey levels."""
    rng, calibration = np.random.default_rng(num_futures), Calibration((noise / 255) ** 2)
    for frame in range(frames):
        mean = rng.uniform(0, 255, (32, 64, 3))
        truth = frames_around(rng, mean, of_truth, 1)[0]
        calibration.add(frames_around(rng, mean, deviation, num_futures), truth, seeded(0, 0, frame, num_futures))
    spread, predictive = calibration.spread(), calibration.predictive()
    assert spread is not None
    assert predictive is not None
    return dict(zip(LEVELS, spread, strict=True)), dict(zip(LEVELS, predictive, strict=True))


@pytest.mark.parametrize("deviation", [0.0, 0.3, 20.0])
@pytest.mark.parametrize("num_futures", [2, 3, 5, 10, 20])
def test_calibrated_futures_have_the_coverage_of_the_level_for_any_number(num_futures: int, deviation: float) -> None:
    """Futures that differ by less than a grey level, or not at all, are tied with the truth."""
    spread, _ = coverages(num_futures, deviation=deviation, of_truth=deviation)
    assert spread[0.5] == pytest.approx(0.5, abs=0.005)
    assert spread[0.9] == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize(("deviation", "low", "high"), [(5.0, -1.0, -0.2), (60.0, 0.07, 1.0)])
def test_too_narrow_and_too_wide_futures_miss_the_level(deviation: float, low: float, high: float) -> None:
    spread, _ = coverages(40, deviation=deviation, of_truth=20.0, frames=5)
    for level in (0.5, 0.9):
        assert low < spread[level] - level < high


@pytest.mark.parametrize("num_futures", [2, 10])
def test_noise_of_the_likelihood_counts_in_predictive_only(num_futures: int) -> None:
    """Futures that are all equal to the mean are calibrated with the variance of the truth."""
    spread, predictive = coverages(num_futures, deviation=0.0, of_truth=20.0, noise=20.0)
    assert spread[0.5] < 0.3
    assert predictive[0.5] == pytest.approx(0.5, abs=0.02)  # values near 0 and 255 are clamped
    assert predictive[0.9] == pytest.approx(0.9, abs=0.02)


def test_a_single_future_has_no_coverage() -> None:
    """The truth lies above or below a single future whatever its distance."""
    calibration = Calibration(0.1)
    calibration.add(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), seeded(0))
    assert calibration.spread() is None
    assert calibration.predictive() is None
    assert mean_coverage([None, None]).at(0.5) is None


def test_standard_error_is_that_of_the_mean_over_sequences() -> None:
    rows = [np.full(len(LEVELS), value) for value in (0.4, 0.5, 0.9)]
    share, error = mean_coverage(rows).at(0.5) or (None, None)
    assert share == pytest.approx(0.6)
    assert error == pytest.approx(np.std([0.4, 0.5, 0.9], ddof=1) / 3**0.5)
    assert mean_coverage(rows[:1]).standard_error is None
