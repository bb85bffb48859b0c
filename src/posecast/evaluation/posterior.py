"""Recordings seen through the posterior: what z carries, and bounds on log p.

In: a predictor, recordings. Out: reconstructions, rates, active units, nats per frame. The posterior sees the truth,
so nothing here is a prediction. Next: `evaluate.py` scores predictions; docs/theory.md derives the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posecast.data.clips import as_pictures, as_pixels, pose_windows
from posecast.data.recordings import Recording
from posecast.evaluation.metrics import Pixels, psnr_db
from posecast.model.elbo import distortion_nats, kl_nats, log_density
from posecast.model.predictor import Predictor, seeded
from posecast.model.rollout import alone

RECONSTRUCTION_NOTE = "uses the posterior, which sees the target: not a prediction"
ACTIVE_UNITS_DEFINITION = "variance of the posterior's mean over frames above 0.01"
ACTIVE_VARIANCE = 0.01
PARTICLES = 16
BOUND_DEFINITION = (
    "lower bounds on log p(x_2..T | x_1, poses) in nats per frame, larger is better, at the variance given: 'plain' by "
    "draws from the posterior; 'weighted' by so many particles, resampled where few of them carry the weight"
)


@dataclass(frozen=True)
class Reconstruction:
    """Frames painted with the posterior's mean, which sees them: how much z carries, not how good predictions are."""

    psnr_db: float
    mse: float
    """Mean over frames, then over recordings: the optimal variance of the likelihood on them."""
    rate_nats: float
    """KL(posterior || prior) per frame."""
    active_units: int
    num_units: int


@dataclass(frozen=True)
class Observed:
    """Frames 2..T of a recording, each decoded with the posterior's mean."""

    means: Float[Tensor, "N Z h w"]
    """Of the posterior, on the CPU."""
    rate_nats: Float[np.ndarray, " N"]
    mse: Float[np.ndarray, " N"]
    decoded: Pixels


@torch.inference_mode()
def observe(predictor: Predictor, recording: Recording, tick: Callable[[int], None] | None = None) -> Observed:
    """See a recording through the posterior: z is its mean, own predictions fed back where the networks see them.

    `tick` is told how many more frames are done.
    """
    if predictor.instants_are_independent:
        instants = np.array_split(np.arange(1, len(recording)), max(1, len(recording) // AT_ONCE))
        parts = predictor.workers.map(partial(_observe_instants, predictor, recording), instants)
        if tick:
            tick(len(recording) - 1)
    else:
        parts = []
        for part in alone(_observe_in_turn(predictor, recording), predictor):
            parts.append(part)
            if tick:
                tick(1)
    means, rates, frames = (torch.cat(part) for part in zip(*parts, strict=True))
    true = as_pictures(recording.frames[1:])
    mse = (frames - true).square().mean((1, 2, 3))
    return Observed(means, rates.numpy(), mse.numpy(), as_pixels(frames))


AT_ONCE = 64
"""Frames observed in one batch where instants do not depend on each other."""
Part = tuple[Tensor, Tensor, Tensor]
"""Posterior means, rates and decoded frames of some instants, on the CPU."""


@torch.inference_mode()
def _observe_instants(predictor: Predictor, recording: Recording, instants: np.ndarray) -> Part:
    networks, device = predictor.networks, next(predictor.parameters()).device
    anchor = networks.encode_anchor(
        as_pictures(recording.frames[:1]).to(device), as_pictures(recording.poses[:1]).to(device)
    )
    condition = networks.encode_condition(
        pose_windows(recording.poses, instants, predictor.pose_window).to(device), anchor
    )
    memory = torch.zeros(len(instants), *networks.memory_shape, device=device)
    p, _ = networks.prior((), condition, memory)
    current = networks.encode_frame(as_pictures(recording.frames[instants]).to(device))
    q = networks.posterior(current, (), condition, p)
    frames = networks.decode((), condition, q.mean)
    return q.mean.float().cpu(), kl_nats(q, p).cpu(), frames.cpu()


def _observe_in_turn(predictor: Predictor, recording: Recording) -> Iterator[Part]:
    device = next(predictor.parameters()).device
    networks = predictor.networks
    frames = as_pictures(recording.frames).to(device)
    poses = pose_windows(recording.poses, np.arange(len(recording)), predictor.pose_window).to(device)
    anchor = networks.encode_anchor(frames[:1], as_pictures(recording.poses[:1]).to(device))
    frame = frames[:1]
    memory, _ = predictor.begin(networks.encode_frame(frame), poses[:1], anchor)
    for t in range(1, len(recording)):
        previous = predictor.encode_previous(frame)
        condition = networks.encode_condition(poses[t : t + 1], anchor)
        p, memory = networks.prior(previous, condition, memory)
        q = networks.posterior(networks.encode_frame(frames[t : t + 1]), previous, condition, p)
        memory = networks.remember(memory, q.mean)
        frame = networks.decode(previous, condition, q.mean)
        yield q.mean.float().cpu(), kl_nats(q, p).cpu(), frame.cpu()


def reconstruct(observed: Sequence[Observed], recordings: Sequence[Recording]) -> Reconstruction:
    """Return what z carries: how well frames are decoded from a posterior that sees them.

    A unit of z is active if the variance of its posterior mean over frames is above 0.01 (Burda et al. 2016, 4.4).
    """
    pairs = zip(observed, recordings, strict=True)
    psnrs = [psnr_db(one.decoded, recording.frames[1:]).mean() for one, recording in pairs]
    means = torch.cat([one.means.double() for one in observed])
    active = int((means.var(0, correction=0) > ACTIVE_VARIANCE).sum())
    rate = float(np.mean(np.concatenate([one.rate_nats for one in observed])))
    mse = float(np.mean([one.mse.mean() for one in observed]))
    return Reconstruction(float(np.mean(psnrs)), mse, rate, active, means[0].numel())


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on log p(x_2..T | x_1, poses), in nats per frame."""

    plain: float
    """E_q[log p(x, z) - log q(z)]: the average over the particles, each on its own."""
    weighted: float
    """log of the particles' average weight (Burda et al. 2016, eq. 8, made sequential)."""
    particles: int
    variance: float


@torch.inference_mode()
def bounds(
    predictor: Predictor,
    recording: Recording,
    variance: float,
    *,
    particles: int = PARTICLES,
    seed: int = 0,
    tick: Callable[[int], None] | None = None,
) -> Bounds:
    """Both bounds, with z drawn from the posterior and predictions fed back.

    As in a rollout the first frame is given, and with it z_1: every particle draws its own from what that frame tells.

    The weighted one is a filter's (Maddison et al. 2017, "Filtering variational objectives"): the average of the
    weights at each instant estimates p(x_t | x_<t), and where the effective number of particles falls under a half they
    are drawn anew by their weights. The product of the averages is unbiased for p(x), so its log is on average a bound.
    """
    plain, _ = filtered(predictor, recording, variance, particles, seed, resample=False, tick=tick)
    _, weighted = filtered(predictor, recording, variance, particles, seed, resample=True, tick=tick)
    return Bounds(plain, weighted, particles, variance)


def filtered(
    predictor: Predictor,
    recording: Recording,
    variance: float,
    particles: int,
    seed: int,
    *,
    resample: bool,
    tick: Callable[[int], None] | None = None,
) -> tuple[float, float]:
    """The particles' mean log weight (with the KL in closed form) and the log of their mean weight, nats per frame."""
    device = next(predictor.parameters()).device
    networks, generator = predictor.networks, seeded(seed, particles)
    frames = as_pictures(recording.frames).to(device)
    windows = pose_windows(recording.poses, np.arange(len(recording)), predictor.pose_window).to(device)

    def repeated(features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(scale.expand(particles, -1, -1, -1) for scale in features)

    anchor = networks.encode_anchor(frames[:1], as_pictures(recording.poses[:1]).to(device))
    (frame,), pose = repeated((frames[:1],)), windows[:1].expand(particles, -1, -1, -1)
    noise = torch.randn(particles, *predictor.latent_shape, generator=generator).to(device)
    memory, _ = predictor.begin(networks.encode_frame(frame), pose, repeated(anchor), noise)
    log_weights = torch.zeros(particles)
    plain = weighted = 0.0
    for t in range(1, len(recording)):
        if tick:
            tick(particles)
        previous = predictor.encode_previous(frame)
        condition = repeated(networks.encode_condition(windows[t : t + 1], anchor))
        current = repeated(networks.encode_frame(frames[t : t + 1]))
        p, memory = networks.prior(previous, condition, memory)
        q = networks.posterior(current, previous, condition, p)
        z = q.sample(torch.randn(particles, *predictor.latent_shape, generator=generator).to(device))
        frame, memory = networks.decode(previous, condition, z), networks.remember(memory, z)
        mse = (frame - frames[t : t + 1]).square().flatten(1).mean(1)
        distortion = distortion_nats(mse.double(), frame[0].numel(), variance)
        plain -= float((distortion + kl_nats(q, p)).mean())
        step = (log_density(p, z) - log_density(q, z)).double() - distortion
        before, log_weights = torch.logsumexp(log_weights, 0), log_weights + step.cpu()
        weighted += float(torch.logsumexp(log_weights, 0) - before)
        share = torch.softmax(log_weights, 0)
        if resample and float(1.0 / share.square().sum()) < particles / 2:
            survivors = systematic(share, generator)
            frame, memory = frame[survivors.to(device)], memory[survivors.to(device)]
            log_weights = torch.zeros(particles, dtype=torch.float64)
    count = len(recording) - 1
    return plain / count, weighted / count


def systematic(share: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of the particles drawn anew: each survives as often as its share says, up to one (Kitagawa 1996)."""
    places = (torch.arange(len(share)) + torch.rand((), generator=generator)) / len(share)
    return torch.searchsorted(share.cumsum(0), places.double()).clamp_max(len(share) - 1)


TRAVERSED, REACH, STOPS = 3, 2.5, 7


@torch.inference_mode()
def traversal(predictor: Predictor, recording: Recording, observed: Observed) -> list[Pixels]:
    """One pose, z moved along its strongest directions: for each direction `[STOPS, H, W, 3]`, strongest first.

    Directions are principal components of the posterior's means over the recording, z goes from -REACH to REACH
    standard deviations about their mean, and the strongest are those that change the picture most. All else, the true
    frame before among it, stays as it is in the middle of the recording.
    """
    means = observed.means.flatten(1).to(next(predictor.parameters()).device)
    centre = means.mean(0)
    _, sizes, components = torch.linalg.svd(means - centre, full_matrices=False)
    deviations = sizes / max(1, len(means) - 1) ** 0.5
    networks, device, t = predictor.networks, means.device, len(recording) // 2
    frames = as_pictures(recording.frames[[0, t - 1]]).to(device)
    anchor = networks.encode_anchor(frames[:1], as_pictures(recording.poses[:1]).to(device))
    previous = predictor.encode_previous(frames[1:])
    window = pose_windows(recording.poses, np.array([t]), predictor.pose_window).to(device)
    condition = networks.encode_condition(window, anchor)

    def painted(component: Tensor, deviation: Tensor) -> Tensor:
        stops = torch.linspace(-REACH, REACH, STOPS, device=device)[:, None]
        z = (centre + stops * deviation * component).unflatten(1, predictor.latent_shape)
        before, known = (tuple(scale.expand(STOPS, -1, -1, -1) for scale in part) for part in (previous, condition))
        return networks.decode(before, known, z)

    strips = [painted(*pair) for pair in zip(components[: 4 * TRAVERSED], deviations, strict=False)]
    strips.sort(key=lambda strip: -float((strip[-1] - strip[0]).square().mean()))
    return [as_pixels(strip) for strip in strips[:TRAVERSED]]
