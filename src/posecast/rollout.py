"""Anchor, poses and a seed to a stream of frames, of any length, in flat memory.

In: a predictor, a real first frame with its pose map, pose maps. Out: a generator of predicted frames.
Sees nothing of any target. Next: `evaluation.py`, which judges the frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from posecast.data.clips import as_pictures, as_pixels, pose_windows
from posecast.errors import InputError
from posecast.model.predictor import Predictor, at, seeded

Latent = Literal["sample", "mean"]
POSES_AHEAD = 64
"""Pose maps encoded at once: a batch fills the cores, and memory stays flat."""


def future_generators(seed: int, sequence: int, futures: Sequence[int]) -> list[torch.Generator]:
    """The noise of each future depends on (seed, sequence, future) and on nothing else."""
    return [seeded(seed, sequence, future) for future in futures]


@torch.inference_mode()
def rollout(
    predictor: Predictor,
    first_frame: UInt8[np.ndarray, "H W 3"],
    poses: UInt8[np.ndarray, "T H W 3"],
    *,
    generators: Sequence[torch.Generator] | None = None,
    anchor: tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]] | None = None,
) -> Iterator[Float[Tensor, "N 3 H W"]]:
    """Imagine frames 2..T: one batch of N futures an instant, floats that are never rounded in between.

    `poses[0]` is the first frame's own. One generator a future; without generators z is the prior's mean and
    N is 1. The anchor, a frame and its pose map, is the first frame unless given.
    """
    device = next(predictor.parameters()).device
    networks = predictor.networks
    anchor_frame, anchor_pose = anchor or (first_frame, poses[0])
    num_futures = len(generators) if generators else 1
    anchored = networks.encode_anchor(
        as_pictures(anchor_frame[None]).to(device), as_pictures(np.asarray(anchor_pose)[None]).to(device)
    )
    anchored = repeat(anchored, num_futures)
    frame = as_pictures(first_frame[None]).to(device).expand(num_futures, -1, -1, -1)
    frame = frame.contiguous(memory_format=torch.channels_last)
    window = pose_windows(poses, np.zeros(1, int), predictor.pose_window).to(device)
    memory, _ = predictor.begin(networks.encode_frame(frame[:1]), window, at(anchored, slice(0, 1)))
    memory = memory.expand(num_futures, -1, -1, -1)
    for start in range(1, len(poses), POSES_AHEAD):
        instants = np.arange(start, min(start + POSES_AHEAD, len(poses)))
        encoded = networks.encode_pose(pose_windows(poses, instants, predictor.pose_window).to(device))
        for step in range(len(instants)):
            noise = draw(generators, predictor.latent_shape, device)
            pose = repeat(at(encoded, slice(step, step + 1)), num_futures)
            frame, memory = predictor.imagine_step(networks.encode_frame(frame), pose, anchored, memory, noise)
            yield frame


def repeat(features: tuple[Tensor, ...], times: int) -> tuple[Tensor, ...]:
    """One row of features for each future."""
    return tuple(scale.expand(times, -1, -1, -1) for scale in features)


def draw(generators: Sequence[torch.Generator] | None, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
    """Noise for one instant, `[N, Z, h, w]`, one generator a row; None asks for the mean."""
    if not generators:
        return None
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)


def predict(
    predictor: Predictor,
    first_frame: UInt8[np.ndarray, "_ _ 3"],
    poses: UInt8[np.ndarray, "T H W 3"],
    *,
    latent: Latent = "sample",
    seed: int = 0,
    sequence: int = 0,
    futures: int = 1,
) -> Iterator[UInt8[np.ndarray, "N H W 3"]]:
    """The frames of a rollout as pixels, the given first frame included: T items, `[N, H, W, 3]` each.

    Raises InputError if sizes do not fit, and if a frame is not finite.
    """
    if first_frame.shape != poses.shape[1:]:
        raise InputError(
            f"The first frame is {first_frame.shape[0]}x{first_frame.shape[1]} but the pose maps are "
            f"{poses.shape[1]}x{poses.shape[2]}; both must have the size the model was trained at."
        )
    sampled = latent == "sample"
    generators = future_generators(seed, sequence, range(futures)) if sampled else None
    yield np.repeat(first_frame[None], futures if sampled else 1, axis=0)
    for number, frame in enumerate(rollout(predictor, first_frame, poses, generators=generators), start=2):
        if not torch.isfinite(frame).all():
            raise InputError(f"Frame {number} of the rollout is not finite; this model cannot be used.")
        yield as_pixels(frame)
