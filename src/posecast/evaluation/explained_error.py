"""Share of the error that z explains: with z from the posterior, and with z from the prior.

In: squared errors of futures and of frames decoded with z from the posterior. Out: `ExplainedError`, whose ratio is 1
for a right model. docs/explanation/evaluation.md derives it. Next: `future_scores.py`, which measures the futures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posecast.evaluation.metrics import Pixels

GENERATIVE_DEFINITION = (
    "'mean_mse': mean squared error of the mean of all possible futures, estimated without bias from N of them; "
    "'explained': the share of it by which frames decoded with z drawn from the posterior err less; 'supplied': the "
    "variance of the futures as a share of it; 'ratio': supplied / explained, 1 in expectation for a right model, 0 "
    "for a z that carries information in the posterior only; null for one future, or if the posterior explains nothing"
)


@dataclass(frozen=True)
class FutureMoments:
    """Moments of N futures of one recording, of values in [0, 1]; means over pixels, colours and frames."""

    mean_mse: float
    """Mean squared error of the mean of all possible futures, an unbiased estimate."""
    variance: float
    """Variance of the futures about their mean, an unbiased estimate."""


def future_moments(futures: Pixels, truth: np.ndarray) -> FutureMoments:
    """Return the moments of N futures, uint8 `[N, H, W, 3]`, at one time step; NaN for a single future.

    The mean of N futures errs by the variance of the futures / N more than the mean of all; that part is subtracted.

    Args:
        futures: Frames of the futures.
        truth: The true frame, uint8 `[H, W, 3]`.
    """
    count = len(futures)
    if count < 2:
        return FutureMoments(float("nan"), float("nan"))
    differences = (futures.astype(np.float32) - truth.astype(np.float32)) / 255.0
    mean = differences.mean(0)
    error = float(np.square(mean).mean(dtype=np.float64))
    variance = float(np.square(differences - mean).mean(dtype=np.float64)) * count / (count - 1)
    return FutureMoments(error - variance / count, variance)


@dataclass(frozen=True)
class ExplainedError:
    """Squared error that z explains, by sequence; of values in [0, 1], means over pixels, colours and frames."""

    moments: Sequence[FutureMoments]
    posterior_mse: Sequence[float]
    """Mean squared error of frames decoded with z drawn from the posterior."""

    @property
    def mean_mse(self) -> float:
        """Mean squared error of the mean of all possible futures; NaN for a single future."""
        return float(np.mean([moments.mean_mse for moments in self.moments]))

    @property
    def explained(self) -> float:
        """Share of `mean_mse` that z from the posterior explains."""
        return float(np.mean(self._explained_mse()) / self.mean_mse)

    @property
    def supplied(self) -> float:
        """Variance that z from the prior supplies, as a share of `mean_mse`."""
        return float(np.mean(self._supplied_mse()) / self.mean_mse)

    @property
    def ratio(self) -> float:
        """Supplied by explained error; NaN for a single future, or if the posterior explains nothing."""
        return self.supplied / self.explained if self.explained > 0.0 else float("nan")

    @property
    def ratio_standard_error(self) -> float:
        """Standard error of the ratio over sequences, linearised (Cochran 1977, section 6.4); NaN for one sequence."""
        if len(self.moments) < 2:
            return float("nan")
        explained = self._explained_mse()
        residuals = self._supplied_mse() - self.ratio * explained
        return float(residuals.std(ddof=1) / len(residuals) ** 0.5 / abs(explained.mean()))

    def _explained_mse(self) -> np.ndarray:
        pairs = zip(self.moments, self.posterior_mse, strict=True)
        return np.array([moments.mean_mse - mse for moments, mse in pairs])

    def _supplied_mse(self) -> np.ndarray:
        return np.array([moments.variance for moments in self.moments])
