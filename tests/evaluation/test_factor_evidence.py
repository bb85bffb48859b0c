"""Tests of the statistics of factor paths, on processes whose parameters are known."""

import numpy as np
import pytest

from posecast.evaluation.factor_evidence import deviation, r_squared, spread_between, time_constant


def test_time_constant_and_deviation_of_a_known_process() -> None:
    """The process reverts to its mean 3 with time constant 20 and deviation 2."""
    rng, keep = np.random.default_rng(0), np.exp(-1 / 20)
    paths = [rng.normal(size=300)]
    for _ in range(499):
        paths.append(keep * paths[-1] + np.sqrt(1 - keep**2) * rng.normal(size=300))
    observed = 3.0 + 2.0 * np.stack(paths, 1)
    observed[:, 100] = np.nan
    assert deviation(observed, 3.0) == pytest.approx(2.0, rel=0.05)
    assert time_constant(observed, 3.0) == pytest.approx(20.0, rel=0.1)
    assert time_constant(np.full((2, 40), 5.0), 3.0) == 20.0  # a constant path: the largest lag


def test_r_squared_is_one_for_the_truth_and_zero_for_its_mean() -> None:
    truth = np.random.default_rng(0).normal(size=50)
    assert r_squared(truth, truth) == pytest.approx(1.0)
    assert r_squared(np.full(50, truth.mean()), truth) == pytest.approx(0.0)
    gap = truth.copy()
    gap[3] = np.nan
    assert r_squared(gap, truth) == pytest.approx(1.0)
    assert np.isnan(r_squared(truth, np.zeros(50)))  # the truth has no variance


def test_readings_without_a_number_have_no_deviation() -> None:
    assert np.isnan(deviation(np.full((2, 5), np.nan), 0.0))


def test_spread_between_futures_ignores_what_they_have_in_common() -> None:
    rng = np.random.default_rng(0)
    common, own = 5.0 * rng.normal(size=400), 0.3 * rng.normal(size=(20, 400))
    paths = common + own
    paths[:, 7] = np.nan
    assert spread_between(paths) == pytest.approx(0.3, rel=0.05)
    assert spread_between(np.repeat(common[None], 4, axis=0)) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(spread_between(paths[:1]))
