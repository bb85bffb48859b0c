"""Evidence about the hidden factors in true frames and in generated ones.

In: a fitted `FactorProbe` and its readings. Out: accuracy, deviation and time constant of every factor's paths.
Next: `evaluate.py`, which collects the readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from posecast.evaluation.factor_probe import FactorProbe


@dataclass(frozen=True)
class Motion:
    """Motion of a factor's paths about its mean."""

    deviation: float
    """Root mean square, in the factor's unit."""
    time_constant: float
    """Frames until the autocorrelation falls below 1/e."""


@dataclass(frozen=True)
class FactorEvidence:
    """One hidden factor as the probe reads it off true and generated frames."""

    name: str
    reader_r2: float
    """R² on the true frames, the limit for any frames."""
    posterior_r2: float
    """R² on frames decoded with z from the posterior."""
    truth: Motion
    prior: Motion
    """Motion in futures, with z from the prior; includes the effect of the poses on the readings, which is the same in
    all futures."""
    apart: float
    """Standard deviation between futures at a time step, root mean square over time steps. Only z contributes to it.
    Futures that are independent of their first frame differ as much as the truth deviates."""
    recorded: np.ndarray = field(repr=False)
    """True path of the first recording, frames 2..T: `[T-1]`."""
    futures: np.ndarray = field(repr=False)
    """Paths in the futures of the first recording: `[N, T-1]`."""


def factor_evidence(
    probe: FactorProbe,
    recorded: Sequence[dict[str, np.ndarray]],
    true: Sequence[np.ndarray],
    posterior: Sequence[np.ndarray],
    futures: Sequence[np.ndarray],
) -> list[FactorEvidence]:
    """Compare the readings of every factor with the recorded paths.

    Motion is measured on readings, also of the true frames, so that the probe's errors are on both sides.

    Args:
        probe: Probe that made the readings of F factors.
        recorded: True factors `[T]` of each recording, by name.
        true: Readings of each recording's true frames 2..T, `[T-1, F]`.
        posterior: Readings of frames decoded with z from the posterior, `[T-1, F]`.
        futures: Readings of N futures, `[N, T-1, F]`.
    """
    factors = []
    for index, name in enumerate(probe.names):
        paths = [values[name][1:] for values in recorded]
        mean = float(probe.means[index])
        truth_motions = [_motion(readings[None, :, index], mean) for readings in true]
        prior_motions = [_motion(readings[:, :, index], mean) for readings in futures]
        factors.append(
            FactorEvidence(
                name,
                r_squared(np.concatenate([readings[:, index] for readings in true]), np.concatenate(paths)),
                r_squared(np.concatenate([readings[:, index] for readings in posterior]), np.concatenate(paths)),
                _mean_motion(truth_motions),
                _mean_motion(prior_motions),
                float(np.sqrt(np.mean([spread_between(readings[:, :, index]) ** 2 for readings in futures]))),
                paths[0],
                futures[0][:, :, index],
            )
        )
    return factors


def r_squared(readings: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of the truth's variance that the readings explain, ignoring NaN.

    Args:
        readings: Values `[T]`.
        truth: Values `[T]`.

    Returns:
        At most 1, negative for readings worse than the mean; NaN if the truth is constant or nothing was read.
    """
    valid = np.isfinite(readings) & np.isfinite(truth)
    if not valid.any() or not np.ptp(truth[valid]):
        return float("nan")
    error = np.square(readings[valid] - truth[valid]).mean()
    return float(1.0 - error / np.square(truth[valid] - truth[valid].mean()).mean())


def deviation(paths: np.ndarray, mean: float) -> float:
    """Return the root mean square of paths `[N, T]` about a known mean, ignoring NaN.

    The mean of a short path would hide slow motion.
    """
    values = paths[np.isfinite(paths)]
    return float(np.sqrt(np.square(values - mean).mean())) if values.size else float("nan")


def time_constant(paths: np.ndarray, mean: float) -> float:
    """Return the lag in frames at which the autocorrelation of paths `[N, T]` about a known mean falls below 1/e.

    The lag is interpolated linearly, and at most T / 2.
    """
    centred = np.where(np.isfinite(paths), paths - mean, 0.0)
    variance = np.square(centred).mean()
    previous = 1.0
    for lag in range(1, paths.shape[1] // 2):
        current = float((centred[:, lag:] * centred[:, :-lag]).mean() / variance) if variance > 0 else 0.0
        if current < 1.0 / np.e:
            return lag - 1 + (previous - 1.0 / np.e) / (previous - current)
        previous = current
    return paths.shape[1] / 2


def spread_between(paths: np.ndarray) -> float:
    """Return the standard deviation between paths `[N, T]` at a time step, as the root mean square over time steps.

    Time steps with NaN are left out; the result is NaN for a single path.
    """
    complete = paths[:, np.isfinite(paths).all(0)]
    return float(np.sqrt(complete.var(0, ddof=1).mean())) if complete.size and len(complete) > 1 else float("nan")


def _motion(paths: np.ndarray, mean: float) -> Motion:
    return Motion(deviation(paths, mean), time_constant(paths, mean))


def _mean_motion(motions: Sequence[Motion]) -> Motion:
    """Return the root mean square of the deviations and the mean of the time constants."""
    return Motion(
        float(np.sqrt(np.mean([motion.deviation**2 for motion in motions]))),
        float(np.mean([motion.time_constant for motion in motions])),
    )
