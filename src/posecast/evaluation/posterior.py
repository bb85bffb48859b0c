"""Recordings decoded with z from the posterior, and what follows: information in z, traversals, explained error.

In: a predictor and recordings. Out: decoded frames, rates in nats, active units. The posterior sees the true frames,
so nothing here is a prediction. Next: `bounds.py` estimates log p, `evaluate.py` scores predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posecast.data.clips import Images, as_images, as_pixels, pose_windows
from posecast.data.recordings import Recording
from posecast.evaluation.metrics import Pixels, psnr_db
from posecast.model.draws import seeded, step_noise
from posecast.model.elbo import kl_nats
from posecast.model.layout import expand_rows, slice_rows
from posecast.model.networks import Networks
from posecast.model.predictor import Predictor
from posecast.model.priors import Features, Memory
from posecast.model.rollout import alone

RECONSTRUCTION_NOTE = "uses the posterior, which sees the target: not a prediction"
ACTIVE_UNITS_DEFINITION = "variance of the posterior's mean over frames above 0.01"
ACTIVE_VARIANCE = 0.01
FRAMES_PER_BATCH = 64
"""Frames observed in one batch if time steps do not depend on each other."""
NUM_DIRECTIONS = 3
"""Directions of a traversal."""
REACH, STOPS = 2.5, 7
"""Largest distance of a traversal from the mean, in standard deviations, and its number of values of z."""

POSTERIOR = 2
"""Last entry of the key (seed, sequence, time step, POSTERIOR) of the posterior's noise; unlike any other key."""
FIT_FRAMES, MIN_FIT_FRAMES = 128, 16
"""Frames that the likelihood's variance is fitted to: in all, and at least of each recording that is used."""

Advance = Callable[[int], None]
"""Callback that receives the number of frames done since its last call."""
Noise = Callable[[Sequence[int]], Tensor]
"""Returns the noise of z at some time steps, counted from 0; `[N, Z, h, w]`."""


@dataclass(frozen=True)
class Reconstruction:
    """Frames decoded with the posterior mean; a measure of the information in z, not of prediction."""

    psnr_db: float
    mse: float
    """Mean over frames, then over recordings; the maximum-likelihood variance of these frames."""
    rate_nats: float
    """KL(posterior || prior) per frame."""
    active_units: int
    num_units: int


@dataclass(frozen=True)
class Observed:
    """Frames 2..T of a recording, decoded with z from the posterior."""

    means: Float[Tensor, "N Z h w"]
    """Posterior means, on the CPU."""
    rate_nats: Float[np.ndarray, " N"]
    mse: Float[np.ndarray, " N"]
    decoded: Pixels
    """Frames decoded with the posterior mean."""
    drawn_mse: Float[np.ndarray, " M"]
    """Errors of frames decoded with z drawn from the posterior and rounded to 8 bits; empty without a draw."""


@torch.inference_mode()
def observe(
    predictor: Predictor,
    recording: Recording,
    advance: Advance | None = None,
    *,
    key: tuple[int, int] | None = None,
) -> Observed:
    """Decode frames 2..T of a recording with z at the posterior mean, and on request also with z drawn from it.

    Networks with feedback get their own previous prediction.

    Args:
        predictor: Predictor in evaluation mode.
        recording: Recording of the predictor's size.
        advance: Called as frames are done.
        key: Seed and number of the recording, which with a time step determine the noise of the draw of z, also of z_1
            where the prior has a memory. None for no draw.
    """
    noise = partial(_posterior_noise, predictor, key) if key else None
    if predictor.decodes_at_once:
        stream = _observe_at_once(predictor, recording, noise)
    else:
        stream = alone(_observe_in_turn(predictor, recording, noise), predictor)
    batches = []
    for batch in stream:
        batches.append(batch)
        if advance:
            advance(len(batch[0]))
    means, rates, frames, drawn = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    truth = as_images(recording.frames[1:])
    mse = (frames - truth).square().mean((1, 2, 3))
    drawn_mse = (as_images(as_pixels(drawn)) - truth[: len(drawn)]).square().mean((1, 2, 3))
    return Observed(means, rates.numpy(), mse.numpy(), as_pixels(frames), drawn_mse.numpy())


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Posterior means, rates, frames decoded with the mean, and frames decoded with a draw or none; on the CPU."""


def _posterior_noise(predictor: Predictor, key: tuple[int, int], instants: Sequence[int]) -> Tensor:
    """Return the noise of z at some time steps, counted from 0."""
    noise = step_noise([seeded(*key, instant, POSTERIOR) for instant in instants], predictor.latent_shape)
    return noise.to(next(predictor.parameters()).device)


@torch.inference_mode()
def _begin(predictor: Predictor, recording: Recording, anchor: Features, noise: Noise | None) -> tuple[Images, Memory]:
    """Return the first frame and the memory of z after it: a row with z_1 drawn if there is noise, and one without."""
    device, rows = next(predictor.parameters()).device, 2 if noise else 1
    frame = as_images(recording.frames[:1]).to(device)
    pose = pose_windows(recording.poses, np.zeros(1, int), predictor.pose_window).to(device)
    first, anchor, (frame, pose) = (
        expand_rows(x, rows) for x in (predictor.networks.encode_frame(frame), anchor, (frame, pose))
    )
    memory, _ = predictor.begin(first, pose, anchor, noise([0]) if noise else None)
    return frame, memory


def _observe_at_once(predictor: Predictor, recording: Recording, noise: Noise | None) -> Iterator[Batch]:
    """Observe many time steps per batch: encode them, infer z in turn, then decode. Workers share the batches."""
    networks, workers = predictor.networks, predictor.workers
    anchor = encode_first_frame(predictor, recording)
    _, memory = _begin(predictor, recording, anchor, noise)
    instants = np.array_split(np.arange(1, len(recording)), max(1, len(recording) // FRAMES_PER_BATCH))
    for start in range(0, len(instants), workers.count):
        group = instants[start : start + workers.count]
        inferred, latents = [], []
        encoded = workers.map(partial(_encode, predictor, recording, anchor), group)
        for (current, condition), own in zip(encoded, group, strict=True):
            means, rates, z, memory = _infer_in_turn(networks, memory, current, condition, noise, own)
            inferred.append((means, rates))
            latents.append((condition, z))
        for (means, rates), frames in zip(inferred, workers.map(partial(_decode, networks), latents), strict=True):
            yield means.cpu(), rates.cpu(), frames[:, -1], frames[:, :-1].flatten(0, 1)


@torch.inference_mode()
def _encode(
    predictor: Predictor, recording: Recording, anchor: Features, instants: np.ndarray
) -> tuple[Features, Features]:
    """Return the features of the true frames of some time steps, and the conditions."""
    device = next(predictor.parameters()).device
    windows = pose_windows(recording.poses, instants, predictor.pose_window).to(device)
    current = predictor.networks.encode_frame(as_images(recording.frames[instants]).to(device))
    return current, predictor.networks.encode_condition(windows, anchor)


@torch.inference_mode()
def _infer_in_turn(
    networks: Networks,
    memory: Memory,
    current: Features,
    condition: Features,
    noise: Noise | None,
    instants: np.ndarray,
) -> tuple[Tensor, Tensor, Tensor, Memory]:
    """Return posterior means, rates, z of every row as `[N, rows, ...]`, and the memory after these time steps."""
    means, rates, latents = [], [], []
    for row, instant in enumerate(instants.tolist()):
        p, memory = networks.prior((), (), memory)
        frame, pose = (expand_rows(slice_rows(x, slice(row, row + 1)), len(memory)) for x in (current, condition))
        q = networks.posterior(frame, (), pose, p)
        z = torch.cat((q.sample(noise([instant]))[:1], q.mean[1:])) if noise else q.mean
        memory = networks.remember(memory, z)
        means.append(q.mean[-1].float())
        rates.append(kl_nats(q, p)[-1])
        latents.append(z)
    return torch.stack(means), torch.stack(rates), torch.stack(latents), memory


@torch.inference_mode()
def _decode(networks: Networks, latents: tuple[Features, Tensor]) -> Float[Tensor, "N rows 3 H W"]:
    """Decode every row of z with the condition of its time step, one row after the other."""
    condition, z = latents
    return torch.stack([networks.decode((), condition, row).cpu() for row in z.unbind(1)], 1)


@torch.inference_mode()
def _observe_in_turn(predictor: Predictor, recording: Recording, noise: Noise | None) -> Iterator[Batch]:
    """Observe one time step after the other, each with the previous prediction.

    With noise there are two rows, since a batch of two takes hardly longer than one: the draw, then the mean.
    """
    device = next(predictor.parameters()).device
    networks, num_drawn = predictor.networks, 1 if noise else 0
    frames = as_images(recording.frames).to(device)
    poses = pose_windows(recording.poses, np.arange(len(recording)), predictor.pose_window).to(device)
    single_anchor = encode_first_frame(predictor, recording)
    frame, memory = _begin(predictor, recording, single_anchor, noise)
    for t in range(1, len(recording)):
        previous = predictor.encode_previous(frame)
        condition = expand_rows(networks.encode_condition(poses[t : t + 1], single_anchor), num_drawn + 1)
        current = expand_rows(networks.encode_frame(frames[t : t + 1]), num_drawn + 1)
        p, memory = networks.prior(previous, condition, memory)
        q = networks.posterior(current, previous, condition, p)
        z = torch.cat((q.sample(noise([t]))[:1], q.mean[1:])) if noise else q.mean
        memory = networks.remember(memory, z)
        frame = networks.decode(previous, condition, z)
        yield q.mean[-1:].float().cpu(), kl_nats(q, p)[-1:].cpu(), frame[-1:].cpu(), frame[:num_drawn].cpu()


def fit_variance(predictor: Predictor, recordings: Sequence[Recording]) -> float:
    """Return the likelihood's variance that fits recordings best, of values in [0, 1].

    It is the mean squared error of frames decoded with the posterior mean, as `Reconstruction.mse`. Training stores the
    variance that fits its own footage; bounds on other footage then use no variance that was fitted to it.

    Args:
        predictor: Predictor in evaluation mode, with the weights of the run.
        recordings: Training recordings; the first frames of each are used, of as many as `FIT_FRAMES` allow.
    """
    length = max(MIN_FIT_FRAMES, FIT_FRAMES // len(recordings))
    parts = [recording.first(length) for recording in recordings[: FIT_FRAMES // length]]
    return reconstruct([observe(predictor, part) for part in parts], parts).mse


def encode_first_frame(predictor: Predictor, recording: Recording) -> Features:
    """Encode the first frame and its pose map as the anchor, as in a rollout."""
    device = next(predictor.parameters()).device
    frame, pose = (as_images(pixels[:1]).to(device) for pixels in (recording.frames, recording.poses))
    return predictor.networks.encode_anchor(frame, pose)


def reconstruct(observed: Sequence[Observed], recordings: Sequence[Recording]) -> Reconstruction:
    """Summarise how well frames are decoded with the posterior mean, and how much information z has.

    A unit of z is active if the variance of its posterior mean over frames is above 0.01 (Burda et al. 2016, 4.4).

    Args:
        observed: Result of `observe` for each recording.
        recordings: Recordings in the same order.
    """
    pairs = zip(observed, recordings, strict=True)
    psnrs = [psnr_db(observation.decoded, recording.frames[1:]).mean() for observation, recording in pairs]
    means = torch.cat([observation.means.double() for observation in observed])
    active = int((means.var(0, correction=0) > ACTIVE_VARIANCE).sum())
    rate = float(np.mean(np.concatenate([observation.rate_nats for observation in observed])))
    mse = float(np.mean([observation.mse.mean() for observation in observed]))
    return Reconstruction(float(np.mean(psnrs)), mse, rate, active, means[0].numel())


@torch.inference_mode()
def traversal(predictor: Predictor, recording: Recording, observed: Observed) -> list[Pixels]:
    """Decode one pose with z moved along its principal directions.

    The directions are principal components of the posterior means over the recording. z moves from -REACH to REACH
    standard deviations about the mean. The pose, and the true previous frame, are those of the recording's middle.

    Args:
        predictor: Predictor in evaluation mode.
        recording: Recording that gives anchor, pose and previous frame.
        observed: Result of `observe` for the recording.

    Returns:
        Frames `[STOPS, H, W, 3]` for each of at most `NUM_DIRECTIONS` directions: those that change the frame most,
        the strongest first.
    """
    means = observed.means.flatten(1).to(next(predictor.parameters()).device)
    centre = means.mean(0)
    _, sizes, components = torch.linalg.svd(means - centre, full_matrices=False)
    deviations = sizes / max(1, len(means) - 1) ** 0.5
    networks, device, t = predictor.networks, means.device, len(recording) // 2
    anchor = encode_first_frame(predictor, recording)
    previous = predictor.encode_previous(as_images(recording.frames[[t - 1]]).to(device))
    window = pose_windows(recording.poses, np.array([t]), predictor.pose_window).to(device)
    condition = networks.encode_condition(window, anchor)
    previous, condition = (tuple(scale.expand(STOPS, -1, -1, -1) for scale in part) for part in (previous, condition))
    stops = torch.linspace(-REACH, REACH, STOPS, device=device)[:, None]

    def decoded(component: Tensor, deviation: Tensor) -> Tensor:
        z = (centre + stops * deviation * component).unflatten(1, predictor.latent_shape)
        return networks.decode(previous, condition, z)

    strips = [decoded(*pair) for pair in zip(components[: 4 * NUM_DIRECTIONS], deviations, strict=False)]
    strips.sort(key=lambda strip: -float((strip[-1] - strip[0]).square().mean()))
    return [as_pixels(strip) for strip in strips[:NUM_DIRECTIONS]]
