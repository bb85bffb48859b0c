"""Calibration of N futures against the truth, and the expected best of n futures.

In: scores of the futures; frames of the futures and the true frame at each time step. Out: a curve over n; for each
level, the share of the values inside the futures' central interval of that level. Next: `future_scores.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Levels of the central intervals, 0.1 to 0.9."""
CALIBRATION_DEFINITION = (
    "share of the values (pixel and colour, frames 2 and on) inside the central interval of each level, by randomised "
    "ranks: p = (rank of the truth among the N futures + U) / (N + 1) lies within level / 2 of 0.5, with the truth and "
    "the futures dithered by half a grey level; 'spread': rank among the futures; 'predictive': among the futures with "
    "noise of 'variance', the mean squared error of these recordings decoded with z from the posterior; standard "
    "errors over sequences, null for one sequence; null for one future"
)
DITHER = 1
"""Last entry of the key (seed, sequence, time step, DITHER) of the noise of ranks; unlike any other key."""


def expected_best(values: np.ndarray) -> np.ndarray:
    """Return the expected best of n values drawn without replacement from N, for n = 1..N.

    The k-th best value (k from 1) is the best of n with probability C(N - k, n - 1) / C(N, n).

    Args:
        values: Scores `[N]`; larger is better.

    Returns:
        Expectations `[N]`: the mean for n = 1, the maximum for n = N.

    >>> expected_best(np.array([1.0, 3.0])).tolist()
    [2.0, 3.0]
    """
    ordered, total = np.sort(values)[::-1], len(values)
    return np.array(
        [
            sum(v * math.comb(total - k, n - 1) for k, v in enumerate(ordered.tolist(), start=1)) / math.comb(total, n)
            for n in range(1, total + 1)
        ]
    )


@dataclass(frozen=True)
class Coverage:
    """Share of the true values inside the futures' central interval, for each level of `LEVELS`."""

    share: Sequence[float] | None
    """Mean over sequences; None for a single future, whose rank says nothing about its distance from the truth."""
    standard_error: Sequence[float] | None
    """Standard error of the mean over sequences; None for a single sequence."""

    def at(self, level: float) -> tuple[float, float | None] | None:
        """Return share and standard error at a level of `LEVELS`, or None if there is no share."""
        if self.share is None:
            return None
        index = LEVELS.index(level)
        return self.share[index], self.standard_error[index] if self.standard_error else None


class Calibration:
    """Histograms of the randomised rank of the truth among the futures of one recording.

    If the futures are calibrated, a true value and its N futures are exchangeable. Its rank is then uniform on 0..N,
    and p = (rank + U) / (N + 1), with U uniform on [0, 1), is uniform on [0, 1) for every N. Dithering breaks the ties
    of values that are rounded to 8 bits without changing their order otherwise. Rank histograms are those of Hamill
    2001; the randomised probability integral transform is that of Czado, Gneiting and Held 2009.

    Args:
        variance: Variance of the likelihood, of values in [0, 1], for `predictive`.
    """

    def __init__(self, variance: float) -> None:
        self.deviation = 255.0 * max(0.0, variance) ** 0.5
        self._spread = np.zeros(len(LEVELS) + 1, np.int64)
        self._predictive = np.zeros_like(self._spread)
        self._num_futures = 0

    def add(self, futures: np.ndarray, truth: np.ndarray, generator: torch.Generator) -> None:
        """Count the values of one time step.

        Args:
            futures: Frames of N futures, uint8 `[N, H, W, 3]`.
            truth: The true frame, uint8 `[H, W, 3]`.
            generator: Source of the noise; its own for each time step.
        """
        self._num_futures = len(futures)
        # In NumPy, since threads cost more than they save on arrays of this size.
        values = np.concatenate((truth[None], futures)).astype(np.float32)
        values += torch.rand(values.shape, generator=generator).numpy()  # the shift of half a level is common to all
        uniform = torch.rand(truth.shape, generator=generator).numpy()
        self._spread += _histogram(values, uniform)
        values[1:] += self.deviation * torch.randn(futures.shape, generator=generator).numpy()
        self._predictive += _histogram(values, uniform)

    def spread(self) -> np.ndarray | None:
        """Return the coverage by the futures at each level of `LEVELS`; None for a single future."""
        return self._coverage(self._spread)

    def predictive(self) -> np.ndarray | None:
        """Return the coverage by the futures with the noise of the likelihood, as `spread` does."""
        return self._coverage(self._predictive)

    def _coverage(self, counts: np.ndarray) -> np.ndarray | None:
        return np.cumsum(counts)[:-1] / max(1, counts.sum()) if self._num_futures > 1 else None


def _histogram(values: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Count |2 p - 1| of the first of the values `[1 + N, ...]` among the others, in steps of the levels."""
    rank = (values[1:] < values[0]).sum(0)
    distance = np.abs(2.0 * (rank + uniform) / len(values) - 1.0)
    bins = np.minimum((distance * (len(LEVELS) + 1)).astype(np.int64), len(LEVELS))
    return np.bincount(bins.ravel(), minlength=len(LEVELS) + 1)


def mean_coverage(by_sequence: Sequence[np.ndarray | None]) -> Coverage:
    """Return the mean coverage over sequences, with its standard error.

    Args:
        by_sequence: Result of `Calibration.spread` or `Calibration.predictive` for each sequence.
    """
    rows = [row for row in by_sequence if row is not None]
    if not rows:
        return Coverage(None, None)
    errors = np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else None
    return Coverage(np.mean(rows, axis=0).tolist(), None if errors is None else errors.tolist())
