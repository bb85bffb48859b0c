"""Results of an experiment as numbers, with intervals over seeds.

In: a plan, whose runs need not be finished. Out: an `Outcome` for each setting; differences paired by seed.
An interval is Student's at 95 %: mean +/- t(n - 1) * standard deviation / sqrt(n) over n seeds; one seed has none.
Imports no torch. Next: `findings.py`, which states what the numbers show.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from posecast.config.schema import Config
from posecast.evaluation.results import Run, number, read_run
from posecast.experiments.plan import Plan
from posecast.experiments.significance import holm, p_value
from posecast.files import read_json

# Student's t at 0.975 for 1, 2, ... degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
T_975_BEYOND = 2.120
"""Value for 16 degrees of freedom; also used for more, for which it is slightly too large."""


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds and the half width of its 95 % interval, which is infinite for a single seed."""

    mean: float
    half_width: float
    num_seeds: int

    @property
    def sign(self) -> int:
        """Sign of the interval if it does not contain 0, else 0."""
        if self.mean - self.half_width > 0:
            return 1
        return -1 if self.mean + self.half_width < 0 else 0

    def shown(self, places: int) -> str:
        """Return mean and half width as text; a dash if there is no mean."""
        if not math.isfinite(self.mean):
            return "–"
        half = f" ± {self.half_width:.{places}f}" if math.isfinite(self.half_width) else ""
        return f"{round(self.mean, places) + 0.0:.{places}f}{half}"  # + 0.0 avoids "-0.00"

    def __str__(self) -> str:
        return self.shown(2)


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and interval of values over seeds; values that are not finite are left out.

    >>> str(estimate([1.0, 2.0, 3.0]))
    '2.00 ± 2.48'
    """
    finite = [value for value in values if math.isfinite(value)]
    num_seeds = len(finite)
    if num_seeds == 0:
        return Estimate(math.nan, math.inf, 0)
    if num_seeds == 1:
        return Estimate(finite[0], math.inf, 1)
    t = T_975[num_seeds - 2] if num_seeds - 2 < len(T_975) else T_975_BEYOND
    return Estimate(float(np.mean(finite)), t * float(np.std(finite, ddof=1)) / math.sqrt(num_seeds), num_seeds)


@dataclass(frozen=True)
class Outcome:
    """Result of one setting.

    Attributes:
        name: Name of the setting.
        config: Its configuration.
        runs: Finished runs by seed.
        failures: Reasons of failed runs by seed.
    """

    name: str
    config: Config
    runs: dict[int, Run]
    failures: dict[int, str]

    def estimate(self, measure: Callable[[Run], float]) -> Estimate:
        """Return the estimate of a measure of the runs."""
        return estimate([measure(run) for run in self.runs.values()])

    def curves(self, key: str) -> np.ndarray:
        """Return a key of the logs: `[seeds, epochs]`, NaN where a run has no value."""
        return rectangle([run.column(key) for run in self.runs.values()])

    def frames_db(self) -> np.ndarray:
        """Return `frames_db` of the runs: `[seeds, frames]`, NaN where a run has no such frame."""
        return rectangle([frames_db(run) for run in self.runs.values()])


def outcomes(plan: Plan) -> list[Outcome]:
    """Return the present result of each setting, in the plan's order."""
    by_name = {name: Outcome(name, config, {}, {}) for name, config in plan.configs.items()}
    for run in plan.runs:
        outcome = by_name[run.setting]
        if run.failure.exists():
            outcome.failures[run.config.seed] = str(read_json(run.failure, "why a run failed").get("failed", ""))
        elif run.finished:
            outcome.runs[run.config.seed] = read_run(run.folder, run.name)
    return list(by_name.values())


def paired(outcome: Outcome, other: Outcome, measure: Callable[[Run], float]) -> Estimate:
    """Return the difference of a measure, paired by seed; equal seeds share initial weights, clips and noise."""
    return estimate(differences(outcome, other, measure))


def differences(outcome: Outcome, other: Outcome, measure: Callable[[Run], float]) -> list[float]:
    """Return the differences of a measure, one for each seed that both settings have."""
    seeds = [seed for seed in outcome.runs if seed in other.runs]
    return [measure(outcome.runs[seed]) - measure(other.runs[seed]) for seed in seeds]


def beyond_noise(candidates: Sequence[Outcome], measure: Callable[[Run], float]) -> set[tuple[str, str]]:
    """Return the pairs of names, the higher one first, whose measures differ by more than the noise over seeds.

    All pairs are judged together (`significance.holm`).
    """
    pairs = list(itertools.combinations(candidates, 2))
    by_pair = [differences(*pair, measure) for pair in pairs]
    found = set()
    for pair, values, differs in zip(pairs, by_pair, holm([p_value(values) for values in by_pair]), strict=True):
        if differs:
            first, second = pair if estimate(values).mean > 0 else reversed(pair)
            found.add((first.name, second.name))
    return found


def best_of(candidates: Sequence[Outcome], measure: Callable[[Run], float]) -> Outcome | None:
    """Return the setting whose measure is higher than every other's beyond the noise over seeds; None without one."""
    found = beyond_noise(candidates, measure)
    for candidate in candidates:
        others = [other for other in candidates if other is not candidate]
        if others and all((candidate.name, other.name) in found for other in others):
            return candidate
    return None


def psnr_db(run: Run) -> float:
    """Return the PSNR of rollouts by the prior mean, in dB."""
    return run.score("summary", "psnr_db", "mean")


def swing(key: str, first: float = 0.0, last: float = 1.0) -> Callable[[Run], float]:
    """Return a measure of a logged quantity: its mean relative change between epochs, in per cent.

    A change from a to b is |log(b / a)|.

    Args:
        key: Key of the log.
        first: Share of the epochs at which the measured range starts.
        last: Share of the epochs at which it ends.
    """

    def measure(run: Run) -> float:
        values = np.array([value for value in run.column(key) if math.isfinite(value) and value > 0])
        selected = values[round(first * len(values)) : round(last * len(values))]
        return 100.0 * float(np.abs(np.diff(np.log(selected))).mean()) if len(selected) > 1 else math.nan

    return measure


def ending(key: str, num_epochs: int = 3) -> Callable[[Run], float]:
    """Return a measure of a logged quantity: its mean over the last epochs that have a value."""

    def measure(run: Run) -> float:
        finite = [value for value in run.column(key) if math.isfinite(value)]
        return float(np.mean(finite[-num_epochs:])) if finite else math.nan

    return measure


def fall_db(run: Run) -> float:
    """Return how far validation PSNR ends below its best, both as means over three epochs; at least 0."""
    finite = np.array([value for value in run.column("validation_psnr_db") if math.isfinite(value)])
    if len(finite) < 3:
        return math.nan
    smooth = np.convolve(finite, np.full(3, 1 / 3), mode="valid")
    return float(smooth.max() - smooth[-1])


def stretch_db(first: int, last: int | None) -> Callable[[Run], float]:
    """Return a measure: the mean PSNR over a slice of the predicted frames, counted from 0."""

    def measure(run: Run) -> float:
        selected = frames_db(run)[first:last]
        return float(np.mean(selected)) if len(selected) else math.nan

    return measure


def wobble_db(first: int, last: int | None) -> Callable[[Run], float]:
    """Return a measure: the mean change of PSNR from frame to frame, over a slice of the predicted frames."""

    def measure(run: Run) -> float:
        selected = frames_db(run)[first:last]
        return float(np.abs(np.diff(selected)).mean()) if len(selected) > 1 else math.nan

    return measure


def frames_db(run: Run) -> np.ndarray:
    """Return the PSNR by the prior mean of each predicted frame, averaged over the sequences that reach it."""
    sequences = run.scores.get("sequences")
    if not isinstance(sequences, list):
        sequences = []
    return mean_of(rectangle([[number(value) for value in sequence["psnr_db"]["mean"]] for sequence in sequences]))


def mean_of(rows: np.ndarray) -> np.ndarray:
    """Return the column means of `[N, T]` over finite values; NaN for a column without any."""
    is_finite = np.isfinite(rows)
    return np.where(is_finite, rows, 0.0).sum(0) / np.where(is_finite.any(0), is_finite.sum(0), np.nan)


def rectangle(rows: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Return rows of different lengths as one array, filled up with NaN."""
    longest = max((len(row) for row in rows), default=0)
    array = np.full((len(rows), longest), np.nan)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array
