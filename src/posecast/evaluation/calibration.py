"""Calibration of N futures against the truth, and the expected best of n futures.

In: scores of the futures; frames of the futures and the true frame at each time step. Out: a curve over n; for each
level, the share of the values inside the futures' central interval of that level. Next: `future_scores.py`.
"""

from __future__ import annotations

import math

import numpy as np
import torch

BINS = 400
LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Levels of the central intervals, 0.1 to 0.9."""
CALIBRATION_DEFINITION = (
    "share of the values (pixel and colour, frames 2 and on) inside the central interval of each level; 'spread': "
    "interval of the futures, each widened by the rounding to 8 bits only; 'predictive': each widened by 'variance', "
    "the mean squared error of these recordings decoded with z from the posterior"
)
ROUNDING_VARIANCE = 2.0 / (12.0 * 255.0**2)
"""Variance of the difference of two values rounded to 8 bits: a future and the truth."""


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


class Calibration:
    """Histogram of the probability integral transform of the truth under the futures (Dawid 1984).

    The futures represent the density (1 / N) sum_n N(x; future_n, variance). Its distribution function at the true
    value is uniform on [0, 1] if the futures are calibrated.

    Args:
        variance: Variance around each future, of values in [0, 1]; at least that of rounding is used.
    """

    def __init__(self, variance: float) -> None:
        self.deviation = max(variance, ROUNDING_VARIANCE) ** 0.5
        self.counts = np.zeros(BINS, np.int64)

    def add(self, futures: np.ndarray, truth: np.ndarray) -> None:
        """Count the values of one time step: futures uint8 `[N, H, W, 3]`, truth uint8 `[H, W, 3]`."""
        difference = (truth.astype(np.float32) - futures.astype(np.float32)) / 255.0
        transform = torch.special.ndtr(torch.from_numpy(difference) / self.deviation).mean(0)
        bins = (transform * BINS).long().clamp_(0, BINS - 1)
        self.counts += np.bincount(bins.flatten().numpy(), minlength=BINS)

    def coverage(self, level: float) -> float:
        """Return the share of the values inside the central interval of a level such as 0.9."""
        edge = round(0.5 * (1.0 - level) * BINS)
        return float(self.counts[edge : BINS - edge].sum() / max(1, self.counts.sum()))

    def coverages(self) -> list[float]:
        """Return the coverage at each level of `LEVELS`."""
        return [self.coverage(level) for level in LEVELS]
