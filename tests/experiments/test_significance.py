"""Differences beyond the noise: p-values, and the share of grids of identical settings that show any."""

import itertools

import numpy as np
import pytest
from scipy import stats

from posecast.experiments.significance import LEVEL, holm, p_value, student_p
from posecast.experiments.statistics import beyond_noise, psnr_db

from .test_statistics import make_run, outcome


def test_p_values_are_those_of_students_t() -> None:
    for degrees, t in itertools.product(range(1, 20), (-3.0, 0.0, 0.1, 2.0, 30.0)):
        assert student_p(t, degrees) == pytest.approx(2.0 * stats.t.sf(abs(t), degrees), abs=1e-9)


def test_nothing_is_decided_without_two_seeds() -> None:
    assert p_value([]) == p_value([3.0]) == p_value([3.0, float("nan")]) == 1.0
    assert p_value([0.0, 0.0]) == 1.0
    assert p_value([2.0, 2.0]) == 0.0


@pytest.mark.parametrize("num_settings", [2, 3, 5, 9])
def test_identical_settings_differ_in_at_most_one_grid_of_twenty(num_settings: int) -> None:
    rng, num_grids = np.random.default_rng(num_settings), 600
    pairs = list(itertools.combinations(range(num_settings), 2))
    found = 0
    for scores in rng.normal(size=(num_grids, num_settings, 3)):
        found += any(holm([p_value(list(scores[a] - scores[b])) for a, b in pairs]))
    assert found / num_grids <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / num_grids) ** 0.5


def test_a_clear_difference_is_found_among_many_settings() -> None:
    rng = np.random.default_rng(0)
    same = [outcome(name, *map(make_run, 20.0 + 0.1 * rng.normal(size=5))) for name in "abcd"]
    better = outcome("better", *map(make_run, 25.0 + 0.1 * rng.normal(size=5)))
    found = beyond_noise([*same, better], psnr_db)
    assert {pair for pair in found if "better" in pair} == {("better", name) for name in "abcd"}
