"""What came of an experiment, as numbers: per setting and seed, with intervals over seeds.

In: a plan whose runs are finished or not. Out: an `Outcome` for each setting; differences paired by seed.
An interval is Student's at 95 %: mean +/- t(n - 1) x standard deviation / sqrt(n) over n seeds; one seed has none.
Knows no torch and no page. Next: `findings.py`, which says what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from posecast.config.schema import Config
from posecast.evaluation.results import Run, number, read_run
from posecast.experiments.plan import Plan
from posecast.files import read_json

# Student's t at 0.975 for 1, 2, ... degrees of freedom; the normal distribution's value beyond.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
T_975_BEYOND = 2.120
"""For 16 degrees of freedom; wider than need be for more."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % interval; infinite where one seed gives none."""

    mean: float
    half_width: float
    num_seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of 0, else 0."""
        if self.mean - self.half_width > 0:
            return 1
        return -1 if self.mean + self.half_width < 0 else 0

    def shown(self, places: int) -> str:
        """Mean and half width as text; a dash where nothing is known."""
        if not math.isfinite(self.mean):
            return "–"
        half = f" ± {self.half_width:.{places}f}" if math.isfinite(self.half_width) else ""
        return f"{round(self.mean, places) + 0.0:.{places}f}{half}"  # + 0.0: no minus before a nought

    def __str__(self) -> str:
        return self.shown(2)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval over seeds; values that are not finite are left out.

    >>> str(estimate([1.0, 2.0, 3.0]))
    '2.00 ± 2.48'
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Estimate(math.nan, math.inf, 0)
    if len(known) == 1:
        return Estimate(known[0], math.inf, 1)
    t = T_975[len(known) - 2] if len(known) - 2 < len(T_975) else T_975_BEYOND
    return Estimate(float(np.mean(known)), t * float(np.std(known, ddof=1)) / math.sqrt(len(known)), len(known))


@dataclass(frozen=True)
class Outcome:
    """One setting: its finished runs by seed, and why others failed."""

    name: str
    config: Config
    runs: dict[int, Run]
    failures: dict[int, str]

    def estimate(self, measure: Callable[[Run], float]) -> Estimate:
        """A measure of a run, over the seeds."""
        return estimate([measure(run) for run in self.runs.values()])

    def curves(self, key: str) -> np.ndarray:
        """One key of the logs: `[seeds, epochs]`, NaN where a run has no value."""
        return rectangle([run.column(key) for run in self.runs.values()])

    def frames_db(self) -> np.ndarray:
        """PSNR by the prior's mean of frame 2, 3, ...: `[seeds, frames]`, a mean over the sequences so long."""
        return rectangle([frames_db(run) for run in self.runs.values()])


def outcomes(plan: Plan) -> list[Outcome]:
    """What is there of each setting so far, in the plan's order."""
    found = {name: Outcome(name, config, {}, {}) for name, config in plan.configs.items()}
    for run in plan.runs:
        if run.failure.exists():
            found[run.setting].failures[run.config.seed] = read_json(run.failure, "why a run failed").get("failed", "")
        elif run.finished:
            found[run.setting].runs[run.config.seed] = read_run(run.folder, run.name)
    return list(found.values())


def paired(one: Outcome, other: Outcome, measure: Callable[[Run], float]) -> Estimate:
    """`one` less `other` under the same seeds: the same weights to begin with, clips and noise."""
    return estimate([measure(one.runs[seed]) - measure(other.runs[seed]) for seed in one.runs if seed in other.runs])


def best_of(found: Sequence[Outcome], measure: Callable[[Run], float]) -> Outcome | None:
    """The setting that is higher than each other one beyond the noise over seeds; None where there is none."""
    for one in found:
        others = [other for other in found if other is not one]
        if others and all(paired(one, other, measure).sign > 0 for other in others):
            return one
    return None


def psnr_db(run: Run) -> float:
    """The score: PSNR of rollouts by the prior's mean."""
    return run.score("summary", "psnr_db", "mean")


def swing(key: str, first: float = 0.0, last: float = 1.0) -> Callable[[Run], float]:
    """How much a logged quantity swings: the mean change from one epoch to the next, in per cent of itself.

    Measured as |log(b / a)|, between the shares `first` and `last` of the epochs.
    """

    def measure(run: Run) -> float:
        values = np.array([v for v in run.column(key) if math.isfinite(v) and v > 0])
        part = values[round(first * len(values)) : round(last * len(values))]
        return 100.0 * float(np.abs(np.diff(np.log(part))).mean()) if len(part) > 1 else math.nan

    return measure


def ending(key: str, num_epochs: int = 3) -> Callable[[Run], float]:
    """A logged quantity at the end: its mean over the last epochs."""

    def measure(run: Run) -> float:
        known = [value for value in run.column(key) if math.isfinite(value)]
        return float(np.mean(known[-num_epochs:])) if known else math.nan

    return measure


def fall_db(run: Run) -> float:
    """By how much validation PSNR ends under its best: both as means over three epochs in a row, so never below 0."""
    known = np.array([value for value in run.column("validation_psnr_db") if math.isfinite(value)])
    if len(known) < 3:
        return math.nan
    smooth = np.convolve(known, np.full(3, 1 / 3), mode="valid")
    return float(smooth.max() - smooth[-1])


def stretch_db(first: int, last: int | None) -> Callable[[Run], float]:
    """Mean PSNR over some predicted frames, counted from 0."""

    def measure(run: Run) -> float:
        part = frames_db(run)[first:last]
        return float(np.mean(part)) if len(part) else math.nan

    return measure


def wobble_db(first: int, last: int | None) -> Callable[[Run], float]:
    """Mean change of PSNR from one predicted frame to the next, over some of them."""

    def measure(run: Run) -> float:
        part = frames_db(run)[first:last]
        return float(np.abs(np.diff(part)).mean()) if len(part) > 1 else math.nan

    return measure


def frames_db(run: Run) -> np.ndarray:
    """PSNR by the prior's mean of each predicted frame, a mean over the sequences that are so long."""
    sequences = run.scores.get("sequences")
    rows = [[number(v) for v in one["psnr_db"]["mean"]] for one in sequences] if isinstance(sequences, list) else []
    return mean_of(rectangle(rows))


def mean_of(rows: np.ndarray) -> np.ndarray:
    """Column means of `[N, T]` over what is finite; NaN where nothing is."""
    known = np.isfinite(rows)
    return np.where(known, rows, 0.0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def rectangle(rows: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Rows of several lengths as one array, NaN where a row has ended."""
    longest = max((len(row) for row in rows), default=0)
    full = np.full((len(rows), longest), np.nan)
    for k, row in enumerate(rows):
        full[k, : len(row)] = row
    return full
