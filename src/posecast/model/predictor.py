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
from posecast.model.anchored import AnchoredNetworks
from posecast.model.elbo import Gaussian, kl_nats
from posecast.model.lab4 import Lab4Networks
from posecast.model.priors import Features, Memory


class Networks(Protocol):
    """What a set of networks can do; nothing in them knows time."""

    @property
    def latent_shape(self) -> tuple[int, ...]: ...
    @property
    def pose_window(self) -> int: ...
    def encode_frame(self, frames: Pictures) -> Features: ...
    def encode_anchor(self, frames: Pictures, poses: Pictures) -> Features: ...
    def encode_condition(self, poses: PoseWindows, anchor: Features) -> Features: ...
    @property
    def memory_shape(self) -> tuple[int, ...]: ...
    def begin(
        self, first: Features, condition: Features, noise: Tensor | None
    ) -> tuple[Memory, Float[Tensor, " N"]]: ...
    def prior(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]: ...
    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian: ...
    def remember(self, memory: Memory, z: Tensor) -> Memory: ...
    def paint(self, previous: Features, condition: Features, z: Tensor) -> Pictures: ...


class Draws(NamedTuple):
    """What chance decides about a batch of clips."""

    noise: Float[Tensor, "B T-1 Z h w"]
    """The posterior's."""
    first_noise: Float[Tensor, "B Z h w"]
    """The posterior's of the first frame, where z is remembered."""
    forced: Bool[Tensor, "B T-1"]
    """Teacher forcing: the previous frame is the true one. Frame 1 always is."""
    given: Bool[Tensor, " B"]
    """The first frame is shown; where not, frame 2 is painted without a previous frame (its features are zero)."""
    imagined: Bool[Tensor, " B"]
    """z is the prior's mean, as in a rollout, and costs nothing: the clip is imagined, not observed."""


def free_running(noise: Tensor) -> Draws:
    """The bound itself: all predictions fed back, first frames given, every z from the posterior (z_1 its mean)."""
    num_clips, num_predictions = noise.shape[:2]
    off = torch.zeros(num_clips, dtype=torch.bool)
    return Draws(noise, torch.zeros_like(noise[:, 0]), off[:, None].expand(-1, num_predictions), ~off, off)


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
        self.in_bfloat16 = False
        """Whether rollouts multiply in bfloat16: so the run was trained, and this machine does it natively."""
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
        draws: Draws,
        together: bool | None = None,
    ) -> Observation:
        """Observe a clip: z from the posterior, predictions fed back, but where `draws` say otherwise.

        All forced, and without a memory, the instants do not depend on each other and the whole clip is one batch.
        Whether all are forced is `together`; a GPU is waited for where that is not given.
        """
        if together is None:
            together = bool(draws.forced.all())
        num_clips, num_instants = frames.shape[:2]
        true = time_major(frames)
        current = self.networks.encode_frame(true)
        anchor = self.networks.encode_anchor(anchor_frame, anchor_pose)
        condition = self.networks.encode_condition(time_major(poses[:, 1:]), anchor)
        noise = time_major(draws.noise)
        given = draws.given[:, None, None, None].to(true)
        shown = at(current, slice(0, num_clips))
        first = tuple(scale * given.to(scale.dtype) for scale in shown)
        memory, first_rate = self.begin(shown, poses[:, 0], anchor, draws.first_noise)
        memory = memory * given
        if together and not memory.numel():
            between = at(current, slice(num_clips, -num_clips))
            previous = tuple(torch.cat(scales) for scales in zip(first, between, strict=True))
            now = at(current, slice(num_clips, None))
            imagined = draws.imagined.repeat(num_instants - 1)
            memory = memory.repeat(num_instants - 1, 1, 1, 1)
            painted, rates, _ = self.observe_step(now, previous, condition, memory, noise, imagined)
        else:
            painted, rates = self._observe_in_turn(true, current, first, condition, memory, noise, draws)
        # Paid for with the first prediction, where there is a z_1 and clips are observed.
        rates[:num_clips] += torch.where(draws.given & ~draws.imagined, first_rate, 0.0)
        mse = (painted - true[num_clips:]).square().flatten(1).mean(1)
        return Observation(*(batch_major(part, num_clips) for part in (painted, mse, rates)))

    def _observe_in_turn(
        self,
        true: Tensor,
        current: Features,
        previous: Features,
        condition: Features,
        memory: Memory,
        noise: Tensor,
        draws: Draws,
    ) -> tuple[Tensor, Tensor]:
        """The feedback path, frame by frame; everything is time-major: `[(T-1) B, ...]`."""
        num_clips = len(draws.forced)
        current_at, condition_at = by_instant(current, num_clips), by_instant(condition, num_clips)
        true_at, noise_at = true.split(num_clips), noise.split(num_clips)
        predictions, rates = [], []
        for step in range(draws.forced.shape[1]):
            if step > 0:
                forced = draws.forced[:, step, None, None, None]
                previous = self.networks.encode_frame(torch.where(forced, true_at[step], predictions[-1]))
            painted, rate, memory = self.observe_step(
                current_at[step + 1], previous, condition_at[step], memory, noise_at[step], draws.imagined
            )
            predictions.append(painted)
            rates.append(rate)
        return torch.cat(predictions), torch.cat(rates)

    def begin(
        self, first: Features, pose: Float[Tensor, "N P H W"], anchor: Features, noise: Tensor | None = None
    ) -> tuple[Memory, Float[Tensor, " N"]]:
        """What is remembered after the given first frame, and the KL of its z in nats.

        `pose` is its window of pose maps; z is drawn with `noise`, or the posterior's mean without.
        """
        if not self.networks.memory_shape[0]:  # nothing to encode a pose for
            return self.networks.begin(first, (), noise)
        return self.networks.begin(first, self.networks.encode_condition(pose, anchor), noise)

    def observe_step(
        self,
        current: Features,
        previous: Features,
        condition: Features,
        memory: Memory,
        noise: Tensor,
        imagined: Bool[Tensor, " N"] | None = None,
    ) -> tuple[Pictures, Float[Tensor, " N"], Memory]:
        """Paint with z from the posterior: the picture, KL(posterior || prior) in nats, and the memory.

        Where `imagined`, z is the prior's mean as in a rollout, and costs nothing.
        """
        p, memory = self.networks.prior(previous, condition, memory)
        q = self.networks.posterior(current, previous, condition, p)
        z, rate = q.sample(noise), kl_nats(q, p)
        if imagined is not None:
            z = torch.where(imagined[:, None, None, None], p.mean, z)
            rate = torch.where(imagined, 0.0, rate)
        return self.networks.paint(previous, condition, z), rate, self.networks.remember(memory, z)

    def imagine_step(
        self, previous: Features, condition: Features, memory: Memory, noise: Tensor | None
    ) -> tuple[Pictures, Memory]:
        """Paint with z from the prior: sampled with `noise`, or the prior's mean without."""
        p, memory = self.networks.prior(previous, condition, memory)
        z = p.mean if noise is None else p.sample(noise)
        return self.networks.paint(previous, condition, z), self.networks.remember(memory, z)


def seeded(*key: int) -> torch.Generator:
    """A generator that depends on the whole key (such as seed, sequence, future) and on nothing else."""
    # The length comes first, since SeedSequence itself takes (1,) and (1, 0) for the same.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def time_major(x: Tensor) -> Tensor:
    """`[B, T, ...]` to `[T B, ...]`: an instant is then a slice of the first axis, which keeps `channels_last`."""
    if x.ndim == 5:  # channels last while it is copied, so it is copied once
        return x.transpose(0, 1).movedim(2, -1).flatten(0, 1).contiguous().movedim(-1, 1)
    return x.transpose(0, 1).flatten(0, 1).contiguous()


def batch_major(x: Tensor, num_clips: int) -> Tensor:
    """`[T B, ...]` back to `[B, T, ...]`."""
    return x.unflatten(0, (-1, num_clips)).transpose(0, 1)


def by_instant(features: Features, num_clips: int) -> list[Features]:
    """Time-major features, instant by instant. (One split: many slices would each give a gradient of full size.)"""
    return list(zip(*(scale.split(num_clips) for scale in features), strict=True))


def at(features: Features, rows: slice) -> Features:
    """Some rows of features of every scale."""
    return tuple(scale[rows] for scale in features)
