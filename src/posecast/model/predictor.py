"""Time: one step, and a whole clip in one `forward`.

In: a clip, noise, and where the true previous frame is forced. Out: predictions, squared errors, rates.
Two verbs: *observe* takes z from the posterior, which sees the truth; *imagine* takes z from the prior.
Knows no optimiser, device or path. Next: `train.py` to learn, `rollout.py` to imagine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from posecast.config.schema import Anchored, Config, parse_size
from posecast.data.clips import Pictures, PoseWindows
from posecast.model.anchored import AnchoredNetworks
from posecast.model.elbo import Gaussian, kl_nats
from posecast.model.lab4 import Lab4Networks
from posecast.model.priors import Features, Memory
from posecast.model.threads import Workers


class Networks(Protocol):
    """What a set of networks can do; nothing in them knows time."""

    @property
    def latent_shape(self) -> tuple[int, ...]: ...
    @property
    def pose_window(self) -> int: ...
    @property
    def feedback(self) -> bool: ...
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
    def decode(self, previous: Features, condition: Features, z: Tensor) -> Pictures: ...


class Draws(NamedTuple):
    """What chance decides about a batch of clips.

    The first O clips are observed: their z is from the posterior. The others are imagined: their z is the prior's
    mean, as in a rollout, and costs nothing.
    """

    noise: Float[Tensor, "O T-1 Z h w"]
    """The posterior's."""
    first_noise: Float[Tensor, "O Z h w"]
    """The posterior's of the first frame, where z is remembered."""
    forced: Bool[Tensor, "B T-1"]
    """Teacher forcing: the previous frame is the true one. Frame 1 always is."""
    given: Bool[Tensor, " B"]
    """The first frame is shown; where not, frame 2 is painted without a previous frame (its features are zero)."""

    def observed(self) -> Bool[Tensor, "_ _"]:
        """Return where z is from the posterior, one row a clip, one column a predicted frame."""
        rows = torch.arange(len(self.forced), device=self.forced.device) < len(self.noise)
        return rows[:, None].expand_as(self.forced)


def free_running(noise: Tensor) -> Draws:
    """The bound itself: all predictions fed back, first frames given, every z from the posterior (z_1 its mean)."""
    num_clips, num_predictions = noise.shape[:2]
    off = torch.zeros(num_clips, dtype=torch.bool)
    return Draws(noise, torch.zeros_like(noise[:, 0]), off[:, None].expand(-1, num_predictions), ~off)


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
        """Whether rollouts multiply in bfloat16: so the run was trained, and this machine is faster so."""
        self.workers = Workers(1)
        """Threads that share out rollouts on a CPU."""
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
        condition: Features | None = None,
    ) -> Observation:
        """Predict a clip: z from the posterior or the prior, predictions fed back, as `draws` say.

        Where no prediction depends on the one before (all forced, or networks without feedback; and no memory), the
        whole clip is one batch. Whether all are forced is `together`; a GPU is waited for where that is not given.
        `condition` has the features of the poses, time-major, where they are known already.
        """
        if together is None:
            together = bool(draws.forced.all())
        num_clips, num_observed = len(frames), len(draws.noise)
        true, noise = time_major(frames), time_major(draws.noise)
        anchor = self.networks.encode_anchor(anchor_frame, anchor_pose)
        if condition is None:
            condition = self.networks.encode_condition(time_major(poses[:, 1:]), anchor)
        given = draws.given[:, None, None, None].to(true)
        # Frames that nothing sees are not encoded: true ones of imagined clips, unless they are forced.
        feedback, remembers = self.networks.feedback, bool(self.networks.memory_shape[0])
        at_once = not remembers and (together or not feedback)
        every_frame = self.networks.encode_frame(true) if feedback and at_once else ()
        if every_frame:
            shown = at(every_frame, slice(0, num_clips))
            current = tuple(of_first(scale[num_clips:], num_clips, num_observed) for scale in every_frame)
        else:
            shown = self.networks.encode_frame(true[:num_clips]) if feedback or remembers else ()
            current = self.networks.encode_frame(time_major(frames[:num_observed, 1:])) if num_observed else ()
        memory, first_rate = self.begin(shown, poses[:, 0], anchor, draws.first_noise)
        memory = memory * given
        first = tuple(scale * given.to(scale.dtype) for scale in shown) if feedback else ()
        if at_once:
            between = at(every_frame, slice(num_clips, -num_clips))
            previous = tuple(torch.cat(scales) for scales in zip(first, between, strict=True))
            memory = memory.repeat(draws.forced.shape[1], 1, 1, 1)
            decoded, rates, _ = self.observe_step(current, previous, condition, memory, noise, num_clips)
        else:
            decoded, rates = self._observe_in_turn(true, current, first, condition, memory, noise, draws)
        # Paid for with the first prediction, where there is a z_1.
        rates = torch.cat((rates[:num_clips] + torch.where(draws.given, first_rate, 0.0), rates[num_clips:]))
        mse = (decoded - true[num_clips:]).square().flatten(1).mean(1)
        return Observation(*(batch_major(part, num_clips) for part in (decoded, mse, rates)))

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
        (num_clips, num_predictions), num_observed = draws.forced.shape, len(draws.noise)
        current_at = by_instant(current, num_observed) if num_observed else [()] * num_predictions
        noise_at = noise.split(num_observed) if num_observed else [noise] * num_predictions
        condition_at, true_at = by_instant(condition, num_clips), true.split(num_clips)
        predictions, rates = [], []
        for step in range(num_predictions):
            if step > 0 and self.networks.feedback:
                forced = draws.forced[:, step, None, None, None]
                previous = self.networks.encode_frame(torch.where(forced, true_at[step], predictions[-1]))
            decoded, rate, memory = self.observe_step(
                current_at[step], previous, condition_at[step], memory, noise_at[step], num_clips
            )
            predictions.append(decoded)
            rates.append(rate)
        return torch.cat(predictions), torch.cat(rates)

    def encode_previous(self, frame: Pictures) -> Features:
        """Features of the frame before, nothing where networks do not see it."""
        return self.networks.encode_frame(frame) if self.networks.feedback else ()

    @property
    def normalises_over_clips(self) -> bool:
        """Whether the features of a clip's poses depend on the other clips of its batch, by BatchNorm."""
        return any(isinstance(module, nn.BatchNorm2d) for module in self.networks.modules())  # pyright: ignore

    @property
    def instants_are_independent(self) -> bool:
        """Whether no frame depends on the one before, by feedback or by a memory of z."""
        return not self.networks.feedback and not self.networks.memory_shape[0]

    def begin(
        self, first: Features, pose: Float[Tensor, "N P H W"], anchor: Features, noise: Tensor | None = None
    ) -> tuple[Memory, Float[Tensor, " N"]]:
        """What is remembered after the given first frame, and the KL of its z in nats.

        `pose` is its window of pose maps. z of the first rows is drawn with `noise`, one row each; of the others it is
        the posterior's mean, and costs nothing.
        """
        if not self.networks.memory_shape[0]:  # nothing to encode a pose for
            empty = torch.zeros(len(pose), *self.networks.memory_shape, device=pose.device)
            return empty, empty.new_zeros(len(pose))
        return self.networks.begin(first, self.networks.encode_condition(pose, anchor), noise)

    def observe_step(
        self,
        current: Features,
        previous: Features,
        condition: Features,
        memory: Memory,
        noise: Tensor,
        num_clips: int | None = None,
    ) -> tuple[Pictures, Float[Tensor, " N"], Memory]:
        """Decode with z from the posterior where `current` has a row, and from the prior's mean elsewhere.

        Rows are instants of `num_clips` clips, time-major; `current` and `noise` have the first clips of each instant.
        Returns pictures, KL(posterior || prior) in nats (0 for the prior's mean) and the memory.
        """
        num_clips = num_clips or len(memory)
        p, memory = self.networks.prior(previous, condition, memory)
        instants = len(memory) // num_clips
        observed = len(noise) // instants
        if not observed:
            rate = torch.zeros(len(memory), device=memory.device)
            return self.networks.decode(previous, condition, p.mean), rate, self.networks.remember(memory, p.mean)

        def observed_rows(features: Features) -> Features:
            return tuple(of_first(scale, num_clips, observed) for scale in features[-1:])  # a posterior sees no more

        own = Gaussian(*(of_first(part, num_clips, observed) for part in (p.mean, p.log_variance)))
        q = self.networks.posterior(current, observed_rows(previous), observed_rows(condition), own)
        z, rate = q.sample(noise), kl_nats(q, own)
        if observed < num_clips:
            z = torch.cat((z.unflatten(0, (instants, -1)), p.mean.unflatten(0, (instants, -1))[:, observed:]), 1)
            z = z.flatten(0, 1)
            rate = nn.functional.pad(rate.unflatten(0, (instants, -1)), (0, num_clips - observed)).flatten()
        return self.networks.decode(previous, condition, z), rate, self.networks.remember(memory, z)

    def imagine_step(
        self, previous: Features, condition: Features, memory: Memory, noise: Tensor | None
    ) -> tuple[Pictures, Memory]:
        """Decode with z from the prior: sampled with `noise`, or the prior's mean without."""
        p, memory = self.networks.prior(previous, condition, memory)
        z = p.mean if noise is None else p.sample(noise)
        return self.networks.decode(previous, condition, z), self.networks.remember(memory, z)


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


def of_first(x: Tensor, num_clips: int, count: int) -> Tensor:
    """The first `count` clips of every instant of time-major rows, in the memory order that `x` has."""
    if count == num_clips:
        return x
    if x.ndim != 4:
        return x.unflatten(0, (-1, num_clips))[:, :count].flatten(0, 1)
    if len(x) == num_clips:
        return x[:count]
    return x.permute(0, 2, 3, 1).unflatten(0, (-1, num_clips))[:, :count].flatten(0, 1).permute(0, 3, 1, 2)


def rows_of_clips(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Time-major rows `[T B, C, H, W]` shared out by clips, as many as `sizes` say, in the memory order of `x`."""
    parts = x.permute(0, 2, 3, 1).unflatten(0, (-1, sum(sizes))).split(list(sizes), 1)
    return [part.flatten(0, 1).permute(0, 3, 1, 2) for part in parts]


def by_instant(features: Features, num_clips: int) -> list[Features]:
    """Time-major features, instant by instant. (One split: many slices would each give a gradient of full size.)"""
    return list(zip(*(scale.split(num_clips) for scale in features), strict=True))


def at(features: Features, rows: slice) -> Features:
    """Some rows of features of every scale."""
    return tuple(scale[rows] for scale in features)
