"""Fits after training: BatchNorm's statistics for averaged weights, and a stationary prior fitted to z.

In: a predictor with averaged weights, and recordings. Out: a copy of it to validate and to keep.
Next: `validation.py` scores it; docs/explanation/latent.md explains why the prior is fitted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch

from posecast.data.clips import as_images, pose_windows
from posecast.data.recordings import Recording
from posecast.model.anchored import AnchoredNetworks
from posecast.model.batchnorm import recompute_batchnorm
from posecast.model.predictor import Predictor
from posecast.model.priors import MOST_MEMORY, StationaryPrior

POSTERIOR_PIXELS = 2048 * 32 * 64
"""Pixels of frames whose posteriors the prior is fitted to."""
BATCH_FRAMES = 64
VARIANCE_FLOOR = 1e-3
"""Added to the variances of z, so that a direction with a smaller variance is not scaled up to variance 1."""
LAG = 4
"""Lag of the autocorrelation that distinguishes directions of z, in frames of the series."""


def fit_posthoc(predictor: Predictor, recordings: Sequence[Recording]) -> Predictor:
    """Return a copy of a predictor with BatchNorm's statistics recomputed and its prior fitted on recordings."""
    fitted = copy.deepcopy(predictor)
    recompute_batchnorm(fitted, recordings)
    fit_prior(fitted, recordings)
    return fitted


@torch.no_grad()
def fit_prior(predictor: Predictor, recordings: Sequence[Recording]) -> None:
    """Fit a stationary prior to the posteriors of the recordings; other priors do not change.

    This is ex-post density estimation (Ghosh et al. 2020, section 4). Training hardly determines the range of z and its
    directions: redundant channels cost little, but the prior draws them independently, so that they cancel out and
    futures differ too little. Here z is moved to coordinates in which it is N(0, I) over the recordings, slowest first.
    The change is linear, and the networks' linear layers next to z undo it, so decoded frames stay the same. The
    coordinates are also uncorrelated `LAG` frames later (Molgedey and Schuster 1994), so that each has its own
    correlation time, the lag at which the autocorrelation falls to 1/e.

    The values of z are means of the posterior under N(0, I). Where frames tell nothing about a channel, its reading is
    far from zero and very wide, while the posterior, by which training decoded, stays near zero.
    """
    networks = predictor.networks
    if not isinstance(networks, AnchoredNetworks) or not networks.global_latent:
        return
    prior = networks.prior_of_z
    if not isinstance(prior, StationaryPrior):
        return
    every = max(1, sum(recording.frames[..., 0].size for recording in recordings) // POSTERIOR_PIXELS)
    readings = [frame_readings(predictor, networks, recording, every) for recording in recordings]
    if not all(np.isfinite(values).all() for reading in readings for values in reading):
        return  # the validation reports it
    means = [mean / (1.0 + variance) for mean, variance in readings]
    read_mean, read_variance = (np.concatenate(values).mean(0) for values in zip(*readings, strict=True))
    centre = np.concatenate(means).mean(0)
    basis = slow_directions([mean - centre for mean in means])
    times = np.array([every * correlation_time([(mean - centre) @ direction for mean in means]) for direction in basis])
    leaders, followers = channel_pairs(times, np.linalg.norm(np.linalg.inv(basis), axis=0))
    order = np.stack((leaders, followers), 1).ravel()
    networks.rebase(*(torch.from_numpy(values) for values in (basis[order], centre, read_mean, read_variance)))
    prior.remember_for(torch.from_numpy(times[leaders]))


def channel_pairs(times: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair channels, since the prior has one correlation time for every two.

    Args:
        times: Correlation time `[Z]` of each channel.
        shares: Share `[Z]` of each channel in z.

    Returns:
        The channels that give each pair its correlation time, slowest first, and their partners, `[Z / 2]` each. The
        channels with the largest shares lead; partners are assigned in order of their correlation times.
    """
    by_share = np.argsort(-shares)
    leaders, followers = np.split(by_share, 2)
    return leaders[np.argsort(-times[leaders])], followers[np.argsort(-times[followers])]


def frame_readings(
    predictor: Predictor, networks: AnchoredNetworks, recording: Recording, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances read off every `every`-th frame of a recording, float64 `[N, Z]` each."""
    device = next(predictor.parameters()).device
    anchor = networks.encode_anchor(
        as_images(recording.frames[:1]).to(device), as_images(recording.poses[:1]).to(device)
    )
    means, variances = [], []
    instants = np.arange(0, len(recording), every)
    for first in range(0, len(instants), BATCH_FRAMES):
        chosen = instants[first : first + BATCH_FRAMES]
        windows = pose_windows(recording.poses, chosen, predictor.pose_window).to(device)
        current = networks.encode_frame(as_images(recording.frames[chosen]).to(device))
        reading = networks.read(current, networks.encode_condition(windows, anchor))
        means.append(reading.mean.flatten(1).cpu().double().numpy())
        variances.append(reading.log_variance.flatten(1).cpu().double().exp().numpy())
    return np.concatenate(means), np.concatenate(variances)


def slow_directions(series: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows `[Z, Z]` that whiten series `[T, Z]` and leave them uncorrelated at a lag, too; slowest last."""
    joined = np.concatenate(series)
    variances, directions = np.linalg.eigh(joined.T @ joined / len(joined))
    whitening = (directions / np.sqrt(np.maximum(variances, 0.0) + VARIANCE_FLOOR)).T
    white = [values @ whitening.T for values in series]
    pairs = [(values[:-LAG], values[LAG:]) for values in white if len(values) > LAG]
    lagged_covariance = sum((early.T @ late + late.T @ early for early, late in pairs), np.zeros_like(whitening))
    _, rotation = np.linalg.eigh(lagged_covariance)
    return rotation.T @ whitening


def correlation_time(series: Sequence[np.ndarray]) -> float:
    """Return the lag at which the autocorrelation of series `[T]` of mean 0 falls to 1/e; at least 1.

    If that is more than half of the longest series, it is extrapolated from the autocorrelation at that lag.
    """
    max_lag = max(len(values) for values in series) // 2
    power = np.mean(np.concatenate(series) ** 2)
    previous, threshold = 1.0, math.exp(-1.0)
    for lag in range(1, max_lag + 1):
        products = [values[:-lag] * values[lag:] for values in series if len(values) > lag]
        correlation = float(np.mean(np.concatenate(products)) / power) if power > 0 else 0.0
        if correlation < threshold:
            return max(1.0, lag - 1 + (previous - threshold) / (previous - correlation))
        previous = correlation
    return min(MOST_MEMORY / 2, max(1.0, max_lag / -math.log(previous))) if previous < 1.0 else MOST_MEMORY / 2
