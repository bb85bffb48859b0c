"""Time: one step, and a whole clip in one `forward`.

In: a clip, noise, and where the true previous frame is forced. Out: predictions, squared errors, rates.
Two verbs: *observe* takes z from the posterior, which sees the truth; *imagine* takes z from the prior.
Knows no optimiser, device or path. Next: `training.py` to learn, `rollout.py` to imagine.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from posecast.config import Anchored, Config, parse_size
from posecast.data.clips import Pictures, PoseWindows
from posecast.model.anchored import AnchoredNetworks, Features
from posecast.model.elbo import Gaussian, kl_nats
from posecast.model.lab4 import Lab4Networks


class Networks(Protocol):
    """What a set of networks can do; nothing in them knows time."""

    @property
    def latent_shape(self) -> tuple[int, ...]: ...
    @property
    def pose_window(self) -> int: ...
    def encode_frame(self, frames: Pictures) -> Features: ...
    def encode_pose(self, poses: PoseWindows) -> Features: ...
    def encode_anchor(self, frames: Pictures, poses: Pictures) -> Features: ...
    def posterior(self, current: Features, previous: Features, pose: Features, anchor: Features) -> Gaussian: ...
    def prior(self, previous: Features, pose: Features, anchor: Features) -> Gaussian: ...
    def paint(self, previous: Features, pose: Features, anchor: Features, z: Tensor) -> Pictures: ...


class Observation(NamedTuple):
    """A clip seen through the posterior: frames 2..T predicted, and what each cost."""

    predictions: Float[Tensor, "B T-1 3 H W"]
    mse: Float[Tensor, "B T-1"]
    rate_nats: Float[Tensor, "B T-1"]


class Predictor(nn.Module):
    """A set of networks carried through time.

    `forward` is the only entry in training, because a wrapped (distributed) module sees nothing else.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = parse_size(config.size)
        self.config = config
        self.networks: Networks
        if isinstance(config.networks, Anchored):
            self.networks = AnchoredNetworks(config.networks, size)
        else:
            self.networks = Lab4Networks(config.networks, size)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Channels and grid of the z of one frame."""
        return self.networks.latent_shape

    @property
    def pose_window(self) -> int:
        """Pose maps seen on each side of the current one."""
        return self.networks.pose_window

    def forward(
        self,
        frames: Float[Tensor, "B T 3 H W"],
        poses: Float[Tensor, "B T P H W"],
        anchor_frame: Float[Tensor, "B 3 H W"],
        anchor_pose: Float[Tensor, "B 3 H W"],
        forced: Bool[Tensor, "B T-1"],
        noise: Float[Tensor, "B T-1 Z h w"],
    ) -> Observation:
        """Observe a clip: z from the posterior; where `forced`, the previous frame is the true one.

        All forced, the instants do not depend on each other and the whole clip is one batch.
        """
        num_clips, num_instants = frames.shape[:2]
        true = time_major(frames)
        current = self.networks.encode_frame(true)
        pose = self.networks.encode_pose(time_major(poses[:, 1:]))
        anchor = self.networks.encode_anchor(anchor_frame, anchor_pose)
        noise = time_major(noise)
        if bool(forced.all()):
            repeated = tuple(torch.cat([scale] * (num_instants - 1)) for scale in anchor)
            previous = at(current, slice(0, -num_clips))
            now = at(current, slice(num_clips, None))
            painted, rates = self.observe_step(now, previous, pose, repeated, noise)
        else:
            painted, rates = self._observe_in_turn(true, current, pose, anchor, forced, noise)
        mse = (painted - true[num_clips:]).square().flatten(1).mean(1)
        return Observation(*(batch_major(part, num_clips) for part in (painted, mse, rates)))

    def _observe_in_turn(
        self, true: Tensor, current: Features, pose: Features, anchor: Features, forced: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The feedback path, frame by frame; everything is time-major: `[(T-1) B, ...]`."""
        num_clips = len(forced)
        previous = at(current, slice(0, num_clips))  # frame 1 is given
        predictions, rates = [], []
        for step in range(forced.shape[1]):
            here = slice(step * num_clips, (step + 1) * num_clips)
            there = slice((step + 1) * num_clips, (step + 2) * num_clips)
            if step > 0:
                true_previous = forced[:, step, None, None, None]
                previous = self.networks.encode_frame(torch.where(true_previous, true[here], predictions[-1]))
            painted, rate = self.observe_step(at(current, there), previous, at(pose, here), anchor, noise[here])
            predictions.append(painted)
            rates.append(rate)
        return torch.cat(predictions), torch.cat(rates)

    def observe_step(
        self, current: Features, previous: Features, pose: Features, anchor: Features, noise: Tensor
    ) -> tuple[Pictures, Float[Tensor, " N"]]:
        """Paint with z from the posterior: the picture and KL(posterior || prior) in nats."""
        q = self.networks.posterior(current, previous, pose, anchor)
        p = self.networks.prior(previous, pose, anchor)
        return self.networks.paint(previous, pose, anchor, q.sample(noise)), kl_nats(q, p)

    def imagine_step(self, previous: Features, pose: Features, anchor: Features, noise: Tensor | None) -> Pictures:
        """Paint with z from the prior: sampled with `noise`, or the prior's mean without."""
        p = self.networks.prior(previous, pose, anchor)
        z = p.mean if noise is None else p.sample(noise)
        return self.networks.paint(previous, pose, anchor, z)


def seeded(*key: int) -> torch.Generator:
    """A generator that depends on the whole key (such as seed, sequence, future) and on nothing else."""
    # The length comes first, since SeedSequence itself takes (1,) and (1, 0) for the same.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def time_major(x: Tensor) -> Tensor:
    """`[B, T, ...]` to `[T B, ...]`: an instant is then a slice of the first axis, which keeps `channels_last`."""
    flat = x.transpose(0, 1).flatten(0, 1)
    return flat.contiguous(memory_format=torch.channels_last) if flat.ndim == 4 else flat.contiguous()


def batch_major(x: Tensor, num_clips: int) -> Tensor:
    """`[T B, ...]` back to `[B, T, ...]`."""
    return x.unflatten(0, (-1, num_clips)).transpose(0, 1)


def at(features: Features, rows: slice) -> Features:
    """Some rows of features of every scale."""
    return tuple(scale[rows] for scale in features)
