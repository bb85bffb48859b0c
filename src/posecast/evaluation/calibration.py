"""How N futures stand to the truth: the best of n of them, and whether they spread as widely as they should.

In: the futures' scores; their frames and the true frame, instant by instant. Out: a curve over n; for each level the
share of the values that lie within the futures' central interval of that level. Next: `evaluate.py`.
"""

from __future__ import annotations

import math

import numpy as np
import torch

BINS = 400
LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
CALIBRATION_DEFINITION = (
    "share of the values (pixel and colour, frames 2 and on) that lie in the central interval of each level; 'spread': "
    "of the futures, each widened by the rounding of 8 bits only; 'predictive': each widened by a variance, "
    "one number: the mean squared error of these recordings painted with z from the posterior"
)
ROUNDING_VARIANCE = 2.0 / (12.0 * 255.0**2)
"""Both the future and the truth are rounded."""


def expected_best(values: np.ndarray) -> np.ndarray:
    """Of N values, the expected best of n drawn without repetition, for n = 1..N: `[N]`.

    The k-th best (k from 1) is the best of n of them with probability C(N - k, n - 1) / C(N, n).

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
    """Counts where among the futures the truth lies: the probability integral transform (Dawid 1984).

    The futures stand for the density (1 / N) sum_n N(x; future_n, variance). Its distribution function, taken at the
    truth, is uniform on [0, 1] if the futures are calibrated.
    """

    def __init__(self, variance: float) -> None:
        self.deviation = max(variance, ROUNDING_VARIANCE) ** 0.5
        self.counts = np.zeros(BINS, np.int64)

    def add(self, futures: np.ndarray, truth: np.ndarray) -> None:
        """One instant: uint8 `[N, H, W, 3]` and `[H, W, 3]`."""
        away = (truth.astype(np.float32) - futures.astype(np.float32)) / 255.0
        place = torch.special.ndtr(torch.from_numpy(away) / self.deviation).mean(0)
        bins = (place * BINS).long().clamp_(0, BINS - 1)
        self.counts += np.bincount(bins.flatten().numpy(), minlength=BINS)

    def coverage(self, level: float) -> float:
        """The share of the values within the central interval of a level, such as 0.9."""
        edge = round(0.5 * (1.0 - level) * BINS)
        return float(self.counts[edge : BINS - edge].sum() / max(1, self.counts.sum()))

    def coverages(self) -> list[float]:
        """At every level of `LEVELS`."""
        return [self.coverage(level) for level in LEVELS]
