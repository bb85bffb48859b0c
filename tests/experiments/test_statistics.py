"""Intervals, pairing by seed, and measures of runs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from posecast.config.recipes import RECIPES
from posecast.evaluation.results import Run
from posecast.experiments.statistics import (
    T_975,
    T_975_BEYOND,
    Outcome,
    best_of,
    ending,
    estimate,
    fall_db,
    frames_db,
    mean_of,
    paired,
    psnr_db,
    rectangle,
    stretch_db,
    swing,
    wobble_db,
)


def make_run(psnr: float = 20.0, **columns: Sequence[float | None]) -> Run:
    """Return a run with these columns of the log and this PSNR."""
    length = max((len(values) for values in columns.values()), default=0)
    log: list[dict[str, Any]] = [{"epoch": k} for k in range(length)]
    for name, values in columns.items():
        for entry, value in zip(log, values, strict=False):
            entry[name] = value
    frames = (psnr + np.array([0.5, -0.5] * 50)).tolist()
    scores = {
        "summary": {"psnr_db": {"mean": psnr}},
        "sequences": [{"name": "a", "psnr_db": {"mean": frames}}],
        "drift": {"difference_db": 0.1},
        "latent": {"rate_nats": 2.0, "active_units": 3, "units": 8},
    }
    return Run("made-up", {}, log, scores, [])


def outcome(name: str, *runs: Run) -> Outcome:
    return Outcome(name, RECIPES["lab4"], dict(enumerate(runs)), {})


def test_the_table_has_the_quantiles_of_students_t() -> None:
    for k, value in enumerate(T_975):
        assert value == pytest.approx(stats.t.ppf(0.975, k + 1), abs=1e-3)
    assert pytest.approx(stats.t.ppf(0.975, len(T_975) + 1), abs=1e-3) == T_975_BEYOND


def test_95_per_cent_of_the_intervals_contain_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    covered = [abs(e.mean - 5.0) <= e.half_width for e in (estimate(rng.normal(5, 2, 3).tolist()) for _ in range(4000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    single = estimate([3.0])
    assert (single.mean, single.half_width, single.sign, str(single)) == (3.0, math.inf, 0, "3.00")
    assert str(estimate([])) == "–"
    assert estimate([1.0, math.nan, 1.0]).num_seeds == 2


def test_pairing_removes_the_variation_between_seeds() -> None:
    low = outcome("low", make_run(20.0), make_run(25.0), make_run(30.0))
    high = outcome("high", make_run(20.5), make_run(25.6), make_run(30.4))
    assert paired(high, low, psnr_db).sign == 1
    assert estimate([20.5, 25.6, 30.4]).half_width > 10  # unpaired, the interval is far larger than the difference
    assert best_of([low, high], psnr_db) is high
    noisy = outcome("noisy", make_run(21.5), make_run(24.0), make_run(30.6))
    assert best_of([low, noisy], psnr_db) is None
    assert best_of([low, high, noisy], psnr_db) is None  # above one of two
    assert best_of([high], psnr_db) is None


def test_swing_is_the_mean_relative_change_of_neighbours() -> None:
    run = make_run(loss=[1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    assert swing("loss")(run) == pytest.approx(100 * 2 * math.log(2) / 5)
    assert swing("loss", 0.5, 1.0)(run) == 0.0
    assert math.isnan(swing("loss")(make_run(loss=[1.0])))
    gaps = make_run(loss=[1.0, None, 2.0])  # only some epochs were validated
    assert swing("loss")(gaps) == pytest.approx(100 * math.log(2))


def test_ending_and_fall_average_over_three_epochs() -> None:
    run = make_run(loss=[9.0, 3.0, 2.0, 1.0], validation_psnr_db=[10.0, 20.0, 20.0, 20.0, 18.0, 18.0, 18.0])
    assert ending("loss")(run) == pytest.approx(2.0)
    assert fall_db(run) == pytest.approx(2.0)
    assert fall_db(make_run(validation_psnr_db=[1.0, 2.0, 3.0, 4.0])) == 0.0


def test_stretch_and_wobble_of_an_alternating_psnr() -> None:
    run = make_run(20.0)
    assert stretch_db(0, 10)(run) == pytest.approx(20.0)
    assert wobble_db(0, None)(run) == pytest.approx(1.0)
    assert math.isnan(wobble_db(100, None)(run))


def test_each_frame_is_averaged_over_the_sequences_that_reach_it() -> None:
    run = make_run()
    run.scores["sequences"] = [{"psnr_db": {"mean": [1.0, 2.0, 3.0]}}, {"psnr_db": {"mean": [3.0]}}]
    assert frames_db(run).tolist() == [2.0, 2.0, 3.0]
    assert np.isnan(mean_of(rectangle([[math.nan, 1.0]]))).tolist() == [True, False]


def test_curves_have_a_row_per_seed() -> None:
    setting = outcome("one", make_run(loss=[1.0, 2.0]), make_run(loss=[3.0]))
    assert setting.curves("loss").shape == (2, 2)
    assert np.isnan(setting.curves("loss")[1, 1])
