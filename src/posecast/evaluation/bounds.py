"""Lower bounds on the log likelihood of a recording, by particles drawn from the posterior.

In: a predictor, a recording, the likelihood's variance. Out: `Bounds` in nats per frame.
docs/explanation/theory.md derives them. Next: `evaluate.py`, which calls this on request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecast.data.clips import as_images, pose_windows
from posecast.data.recordings import Recording
from posecast.evaluation.posterior import Advance, encode_first_frame
from posecast.model.draws import seeded
from posecast.model.elbo import distortion_nats, kl_nats, log_density
from posecast.model.predictor import Predictor

PARTICLES = 16
BOUND_DEFINITION = (
    "lower bounds on log p(x_2..T | x_1, poses) in nats per frame, larger is better, for 'variance': 'plain' with "
    "samples from the posterior; 'weighted' with 'particles' particles, resampled where few of them have most of the "
    "weight; 'variance' is fitted to the scored recordings, that of 'with_training_variance' to training footage, null "
    "if the run has not stored one"
)
TRAINING_VARIANCE = "training_variance"
"""Key of config.json with the likelihood's variance fitted to training footage, of values in [0, 1]."""


@dataclass(frozen=True)
class BoundsAtVariance:
    """Both bounds at another variance, in nats per frame."""

    plain: float
    weighted: float
    variance: float


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on log p(x_2..T | x_1, poses), in nats per frame."""

    plain: float
    """E_q[log p(x, z) - log q(z)], averaged over the particles."""
    weighted: float
    """log of the particles' mean weight (Burda et al. 2016, eq. 8, applied sequentially)."""
    particles: int
    variance: float
    with_training_variance: BoundsAtVariance | None = None
    """The bounds at a variance that was fitted to training footage; None where there is none."""


def stored_variance(facts: Mapping[str, Any]) -> float | None:
    """Return the variance fitted to training footage from the content of config.json; None where there is none."""
    value = facts.get(TRAINING_VARIANCE)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0.0 < value < math.inf else None


def bound_passes(training_variance: float | None) -> int:
    """Return the number of times that the particles are decoded for both bounds at each variance."""
    return 2 if training_variance is None else 3


@dataclass(frozen=True)
class _Particles:
    """Means over time steps."""

    mse: float
    rate_nats: float
    weighted: float
    """log of the particles' mean weight, in nats per frame."""


@torch.inference_mode()
def estimate_bounds(
    predictor: Predictor,
    recording: Recording,
    variance: float,
    *,
    training_variance: float | None = None,
    particles: int = PARTICLES,
    seed: int = 0,
    advance: Advance | None = None,
) -> Bounds:
    """Estimate both bounds, with z sampled from the posterior and predictions fed back.

    As in a rollout the first frame is given, and each particle samples its own z_1 given that frame.

    The weighted bound is that of a particle filter (Maddison et al. 2017, "Filtering variational objectives"): the
    mean weight at each time step estimates p(x_t | x_<t), and the particles are resampled by weight when their
    effective number falls below half. The product of the mean weights is unbiased for p(x), so that its log is, in
    expectation, a lower bound. Without resampling the particles do not depend on the variance, so the plain bound at
    any variance follows from their mean squared error and rate.

    Args:
        predictor: Predictor in evaluation mode.
        recording: Recording of the predictor's size.
        variance: Variance of the likelihood, of values in [0, 1].
        training_variance: Another variance, fitted to training footage, to estimate the bounds with as well.
        particles: Number of particles.
        seed: Seed of the particles' noise.
        advance: Called with the number of decoded frames, `particles` per time step of each pass.
    """
    independent = _filter(predictor, recording, variance, particles, seed, resample=False, advance=advance)

    def bounds_at(variance: float) -> tuple[float, float]:
        num_values = recording.frames[0].size
        distortion = distortion_nats(torch.tensor(independent.mse, dtype=torch.float64), num_values, variance)
        filtered = _filter(predictor, recording, variance, particles, seed, resample=True, advance=advance)
        return -float(distortion) - independent.rate_nats, filtered.weighted

    at_training = None
    if training_variance is not None:
        at_training = BoundsAtVariance(*bounds_at(training_variance), training_variance)
    return Bounds(*bounds_at(variance), particles, variance, at_training)


def _filter(
    predictor: Predictor,
    recording: Recording,
    variance: float,
    particles: int,
    seed: int,
    *,
    resample: bool,
    advance: Advance | None,
) -> _Particles:
    """Return the particles' squared error and rate (the KL in closed form), and the log of their mean weight."""
    device = next(predictor.parameters()).device
    networks, generator = predictor.networks, seeded(seed, particles)
    frames = as_images(recording.frames).to(device)
    windows = pose_windows(recording.poses, np.arange(len(recording)), predictor.pose_window).to(device)

    def repeated(features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(scale.expand(particles, -1, -1, -1) for scale in features)

    def noise() -> Tensor:
        return torch.randn(particles, *predictor.latent_shape, generator=generator).to(device)

    anchor = encode_first_frame(predictor, recording)
    frame, pose = repeated((frames[:1], windows[:1]))
    memory, _ = predictor.begin(networks.encode_frame(frame), pose, repeated(anchor), noise())
    log_weights = torch.zeros(particles)
    squared_error = rate = weighted = 0.0
    for t in range(1, len(recording)):
        if advance:
            advance(particles)
        previous = predictor.encode_previous(frame)
        condition = repeated(networks.encode_condition(windows[t : t + 1], anchor))
        current = repeated(networks.encode_frame(frames[t : t + 1]))
        p, memory = networks.prior(previous, condition, memory)
        q = networks.posterior(current, previous, condition, p)
        z = q.sample(noise())
        frame, memory = networks.decode(previous, condition, z), networks.remember(memory, z)
        mse = (frame - frames[t : t + 1]).square().flatten(1).mean(1)
        distortion = distortion_nats(mse.double(), frame[0].numel(), variance)
        squared_error += float(mse.double().mean())
        rate += float(kl_nats(q, p).double().mean())
        increment = (log_density(p, z) - log_density(q, z)).double() - distortion
        before, log_weights = torch.logsumexp(log_weights, 0), log_weights + increment.cpu()
        weighted += float(torch.logsumexp(log_weights, 0) - before)
        shares = torch.softmax(log_weights, 0)
        if resample and float(1.0 / shares.square().sum()) < particles / 2:
            survivors = systematic(shares, generator)
            frame, memory = frame[survivors.to(device)], memory[survivors.to(device)]
            log_weights = torch.zeros(particles, dtype=torch.float64)
    count = len(recording) - 1
    return _Particles(squared_error / count, rate / count, weighted / count)


def systematic(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Resample particles systematically (Kitagawa 1996).

    Args:
        shares: Normalised weights `[N]`.
        generator: Generator of the one random offset.

    Returns:
        Indices `[N]` of the survivors; particle n occurs N * shares[n] times, rounded up or down.
    """
    positions = (torch.arange(len(shares)) + torch.rand((), generator=generator)) / len(shares)
    return torch.searchsorted(shares.cumsum(0), positions.double()).clamp_max(len(shares) - 1)
