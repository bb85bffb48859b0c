"""What is measured over the training footage once weights are averaged: BatchNorm's statistics, and what z is there.

In: a predictor with averaged weights, recordings. Out: a copy of it to validate and to keep.
Next: `validation.py` scores it; docs/latent.md says why z is measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch

from posecast.data.clips import as_pictures, pose_windows
from posecast.data.recordings import Recording
from posecast.model.anchored import AnchoredNetworks
from posecast.model.predictor import Predictor
from posecast.model.priors import MOST_MEMORY, StationaryPrior

SETTLING_PIXELS = 256 * 32 * 64
"""Pixels of pose maps that statistics are measured on: so many frames of the course's size, fewer of larger ones."""
READ_PIXELS = 2048 * 32 * 64
"""Pixels of frames that z is read off."""
READ_AT_ONCE = 64
FAINTEST = 1e-3
"""Added to the variances of z: a direction that varies less is not stretched to vary by 1."""
SLOWNESS_LAG = 4
"""Directions of z are told apart by how alike they are after so many of the frames read."""


def settled(predictor: Predictor, recordings: Sequence[Recording]) -> Predictor:
    """A copy that has measured the recordings, with the weights as they are."""
    found = copy.deepcopy(predictor)
    recompute_batchnorm(found, recordings)
    fit_prior(found, recordings)
    return found


@torch.no_grad()
def recompute_batchnorm(predictor: Predictor, recordings: Sequence[Recording]) -> None:
    """Measure BatchNorm's mean and variance anew, with the weights as they are, over pose maps of all recordings.

    The running averages lag behind weights that still move, and belong to none that are averaged. Most of a pose map
    is blank, so features vary little around a mean that drifts: the lag can be many standard deviations. (Precise
    BatchNorm: Wu and Johnson 2021, section 3.) Networks without BatchNorm are left as they are.
    """
    norms = [module for module in predictor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    height, width = recordings[0].size
    num_frames = max(16, SETTLING_PIXELS // (height * width))
    share = max(1, -(-sum(len(one) for one in recordings) // num_frames))
    windows = [pose_windows(one.poses, np.arange(0, len(one), share), predictor.pose_window) for one in recordings]
    poses = torch.cat(windows).to(next(predictor.parameters()).device, memory_format=torch.channels_last)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over what is seen: here one batch
    predictor.train()
    predictor.networks.encode_condition(poses, ())  # networks with BatchNorm have no anchor
    predictor.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def fit_prior(predictor: Predictor, recordings: Sequence[Recording]) -> None:
    """Put z into coordinates in which it is N(0, I) over the recordings, slowest first, as a stationary prior draws it.

    Training leaves the range of z and its directions nearly to chance: many channels say the same, which costs little,
    and the prior draws them apart, so that they cancel out and futures differ too little. Here the prior is fitted to
    what the posterior makes of the footage (ex-post density estimation: Ghosh et al. 2020, section 4), by a linear
    change of coordinates which the networks' linear ends undo: z is read and painted as before. The coordinates are
    white, and uncorrelated some frames later as well (Molgedey and Schuster 1994), so that each has a memory of its
    own, measured as the time until it is forgotten to 1/e. Other priors are left as they are.
    """
    networks = predictor.networks
    if not isinstance(networks, AnchoredNetworks) or not networks.whole:
        return
    prior = networks.prior_of_z
    if not isinstance(prior, StationaryPrior):
        return
    every = max(1, sum(one.frames[..., 0].size for one in recordings) // READ_PIXELS)
    readings = [read(predictor, networks, one, every) for one in recordings]
    means, variances = [mean for mean, _ in readings], np.concatenate([variance for _, variance in readings])
    if not all(np.isfinite(part).all() for part in (*means, variances)):
        return  # whoever validates it says so
    centre = np.concatenate(means).mean(0)
    basis = slow_directions([mean - centre for mean in means])
    memories = np.array(
        [every * frames_remembered([(mean - centre) @ direction for mean in means]) for direction in basis]
    )
    leaders, followers = pairs_of(memories, np.linalg.norm(np.linalg.inv(basis), axis=0))
    order = np.stack((leaders, followers), 1).ravel()
    networks.rebase(*(torch.from_numpy(part) for part in (basis[order], centre, variances.mean(0))))
    prior.remember_for(torch.from_numpy(memories[leaders]))


def pairs_of(memories: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two channels share a memory: who leads each pair, slowest first, and who follows, `[Z / 2]` each.

    Those that make up most of z lead; the others hardly matter, and go where they are least out of place.
    """
    by_share = np.argsort(-shares)
    leaders, followers = np.split(by_share, 2)
    return leaders[np.argsort(-memories[leaders])], followers[np.argsort(-memories[followers])]


def read(
    predictor: Predictor, networks: AnchoredNetworks, recording: Recording, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """What single frames of a recording tell of z: means and variances, float64 `[N, Z]`."""
    device = next(predictor.parameters()).device
    anchor = networks.encode_anchor(
        as_pictures(recording.frames[:1]).to(device), as_pictures(recording.poses[:1]).to(device)
    )
    means, variances = [], []
    instants = np.arange(0, len(recording), every)
    for first in range(0, len(instants), READ_AT_ONCE):
        chosen = instants[first : first + READ_AT_ONCE]
        windows = pose_windows(recording.poses, chosen, predictor.pose_window).to(device)
        current = networks.encode_frame(as_pictures(recording.frames[chosen]).to(device))
        reading = networks.read(current, networks.encode_condition(windows, anchor))
        means.append(reading.mean.flatten(1).cpu().double().numpy())
        variances.append(reading.log_variance.flatten(1).cpu().double().exp().numpy())
    return np.concatenate(means), np.concatenate(variances)


def slow_directions(series: Sequence[np.ndarray]) -> np.ndarray:
    """Rows that whiten series `[T, Z]` and are uncorrelated some instants later, too: float64 `[Z, Z]`."""
    together = np.concatenate(series)
    variances, directions = np.linalg.eigh(together.T @ together / len(together))
    whitening = (directions / np.sqrt(np.maximum(variances, 0.0) + FAINTEST)).T
    white = [one @ whitening.T for one in series]
    pairs = [(one[:-SLOWNESS_LAG], one[SLOWNESS_LAG:]) for one in white if len(one) > SLOWNESS_LAG]
    later = sum((early.T @ late + late.T @ early for early, late in pairs), np.zeros_like(whitening))
    _, turned = np.linalg.eigh(later)
    return turned.T @ whitening


def frames_remembered(series: Sequence[np.ndarray]) -> float:
    """The lag after which series `[T]` of mean 0 are forgotten to 1/e; at least 1.

    Where that is longer than half the longest series, the lag that fits what is left by then.
    """
    longest = max(len(one) for one in series) // 2
    power = np.mean(np.concatenate(series) ** 2)
    before, left = 1.0, math.exp(-1.0)
    for lag in range(1, longest + 1):
        products = [one[:-lag] * one[lag:] for one in series if len(one) > lag]
        now = float(np.mean(np.concatenate(products)) / power) if power > 0 else 0.0
        if now < left:
            return max(1.0, lag - 1 + (before - left) / (before - now))
        before = now
    return min(MOST_MEMORY / 2, max(1.0, longest / -math.log(before))) if before < 1.0 else MOST_MEMORY / 2
