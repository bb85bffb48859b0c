"""Networks over time: one step, and a complete clip in one `forward`.

In: a clip, random draws. Out: predictions, squared errors, rates.
*Observe* takes z from the posterior, which sees the true frame; *imagine* takes z from the prior.
Next: `training/step.py` for an update, `rollout.py` for imagined frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.config.schema import Anchored, Config, parse_size
from posecast.data.clips import Images
from posecast.model.anchored import AnchoredNetworks
from posecast.model.draws import Draws
from posecast.model.elbo import Gaussian, kl_nats
from posecast.model.lab4 import Lab4Networks
from posecast.model.layout import batch_major, by_time_step, first_clips, slice_rows, time_major
from posecast.model.networks import Networks
from posecast.model.priors import Features, Memory
from posecast.model.threads import Workers

if TYPE_CHECKING:
    from posecast.model.onnx_rollout import OnnxRollout


class Observation(NamedTuple):
    """Predictions of frames 2..T of a clip, with their errors and rates."""

    predictions: Float[Tensor, "B T-1 3 H W"]
    mse: Float[Tensor, "B T-1"]
    """Mean squared error of each frame, its values in [0, 1]."""
    rate_nats: Float[Tensor, "B T-1"]
    """KL(posterior || prior) of each frame; the first entry includes the KL of z_1. 0 for clips not observed."""


class Predictor(nn.Module):
    """Networks applied over time.

    Training calls `forward` alone, because a wrapper for several processes intercepts nothing else.

    Args:
        config: Configuration of a run; its networks and size are used.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = parse_size(config.size)
        self.config = config
        self.in_bfloat16 = False
        """Whether rollouts multiply in bfloat16. True if the run was trained so and this machine is faster so."""
        self.workers = Workers(1)
        """Threads that share rollouts on a CPU."""
        self.engine: OnnxRollout | None = None
        """Rolls out instead of the networks, in float32, where it is set."""
        self.networks: Networks
        if isinstance(config.networks, Anchored):
            self.networks = AnchoredNetworks(config.networks, size)
        else:
            self.networks = Lab4Networks(config.networks, size)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Channels, height and width of the z of one frame."""
        return self.networks.latent_shape

    @property
    def pose_window(self) -> int:
        """Pose maps on each side of the current one."""
        return self.networks.pose_window

    @property
    def normalises_over_clips(self) -> bool:
        """True if the features of a clip's poses depend on the other clips of its batch, by BatchNorm."""
        return any(isinstance(module, nn.BatchNorm2d) for module in self.modules())

    @property
    def decodes_at_once(self) -> bool:
        """True if all frames can be decoded in one batch: none is fed back, and the prior of z reads no features."""
        return not self.networks.feedback and not self.networks.prior_of_z.reads_features

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
        """Predict frames 2..T of a clip, as one batch if no prediction depends on the one before.

        Args:
            frames: True frames, values in [0, 1].
            poses: Pose windows.
            anchor_frame: A real frame of each clip's recording.
            anchor_pose: Its pose map.
            draws: Noise, teacher forcing and hidden first frames.
            together: Whether all frames are teacher-forced. None reads it from `draws`, which waits for a GPU.
            condition: Features of `poses[:, 1:]`, time-major, if they are already encoded.
        """
        if together is None:
            together = bool(draws.teacher_forced.all())
        num_clips, networks = len(frames), self.networks
        true, noise = time_major(frames), time_major(draws.noise)
        anchor = networks.encode_anchor(anchor_frame, anchor_pose)
        if condition is None:
            condition = networks.encode_condition(time_major(poses[:, 1:]), anchor)
        at_once = not networks.memory_shape[0] and (together or not networks.feedback)
        all_frames, first, current = self._encode_frames(frames, true, len(draws.noise), at_once=at_once)
        memory, first_rate = self.begin(first, poses[:, 0], anchor, draws.first_noise)
        shown = draws.has_first_frame[:, None, None, None].to(true)
        memory = memory * shown
        previous = tuple(scale * shown.to(scale.dtype) for scale in first) if networks.feedback else ()
        if at_once:
            decoded, rates = self._observe_at_once(all_frames, current, previous, condition, memory, noise)
        else:
            decoded, rates = self._observe_in_turn(true, current, previous, condition, memory, noise, draws)
        first_rates = rates[:num_clips] + torch.where(draws.has_first_frame, first_rate, 0.0)  # with that of z_1
        rates = torch.cat((first_rates, rates[num_clips:]))
        mse = (decoded - true[num_clips:]).square().flatten(1).mean(1)
        return Observation(*(batch_major(rows, num_clips) for rows in (decoded, mse, rates)))

    def _encode_frames(
        self, frames: Tensor, true: Tensor, num_observed: int, *, at_once: bool
    ) -> tuple[Features, Features, Features]:
        """Return features of all frames, of first frames, and of the observed clips' later frames; () where unused."""
        num_clips, feedback = len(frames), self.networks.feedback
        # True frames of clips that are not observed are encoded only where they are fed back.
        if at_once and feedback:
            all_frames = self.networks.encode_frame(true)
            first = slice_rows(all_frames, slice(0, num_clips))
            return (
                all_frames,
                first,
                tuple(first_clips(scale[num_clips:], num_clips, num_observed) for scale in all_frames),
            )
        remembers = bool(self.networks.memory_shape[0])
        first = self.networks.encode_frame(true[:num_clips]) if feedback or remembers else ()
        current = self.networks.encode_frame(time_major(frames[:num_observed, 1:])) if num_observed else ()
        return (), first, current

    def _observe_at_once(
        self,
        all_frames: Features,
        current: Features,
        previous: Features,
        condition: Features,
        memory: Memory,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return predictions and rates, computed as one batch, from features and memory of the first frames."""
        num_clips = len(memory)
        between = slice_rows(all_frames, slice(num_clips, -num_clips))
        previous = tuple(torch.cat(scales) for scales in zip(previous, between, strict=True))
        memory = memory.repeat(len(condition[-1]) // num_clips, 1, 1, 1)
        decoded, rates, _ = self.observe_step(current, previous, condition, memory, noise, num_clips)
        return decoded, rates

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
        """Return predictions and rates, computed frame by frame; all tensors are time-major: `[(T-1) B, ...]`."""
        (num_clips, num_predictions), num_observed = draws.teacher_forced.shape, len(draws.noise)
        current_at = by_time_step(current, num_observed) if num_observed else [()] * num_predictions
        noise_at = noise.split(num_observed) if num_observed else [noise] * num_predictions
        condition_at, true_at = by_time_step(condition, num_clips), true.split(num_clips)
        predictions, rates = [], []
        for step in range(num_predictions):
            if step > 0 and self.networks.feedback:
                forced = draws.teacher_forced[:, step, None, None, None]
                previous = self.networks.encode_frame(torch.where(forced, true_at[step], predictions[-1]))
            decoded, rate, memory = self.observe_step(
                current_at[step], previous, condition_at[step], memory, noise_at[step], num_clips
            )
            predictions.append(decoded)
            rates.append(rate)
        return torch.cat(predictions), torch.cat(rates)

    def encode_previous(self, frame: Images) -> Features:
        """Return features of the previous frame; empty where networks have no feedback."""
        return self.networks.encode_frame(frame) if self.networks.feedback else ()

    def begin(
        self, first: Features, pose: Float[Tensor, "N P H W"], anchor: Features, noise: Tensor | None = None
    ) -> tuple[Memory, Float[Tensor, " N"]]:
        """Return the memory after the given first frame, and the KL of its z in nats.

        Args:
            first: Features of the first frame; empty where networks have neither feedback nor a memory.
            pose: Its pose window.
            anchor: Features of the anchor.
            noise: N(0, I) draws `[O, Z, h, w]` for the z of the first O rows; the other rows get the posterior's mean,
                at no KL. None: the mean for all rows.
        """
        if not self.networks.memory_shape[0]:  # saves the encoding of the pose
            return self.networks.empty_memory(len(pose), pose.device), torch.zeros(len(pose), device=pose.device)
        return self.networks.begin(first, self.networks.encode_condition(pose, anchor), noise)

    def observe_step(
        self,
        current: Features,
        previous: Features,
        condition: Features,
        memory: Memory,
        noise: Tensor,
        num_clips: int | None = None,
    ) -> tuple[Images, Float[Tensor, " N"], Memory]:
        """Decode with z from the posterior for observed clips, and with the prior's mean for the others.

        Args:
            current: Features of the true frames of the first O clips, the observed ones; time-major.
            previous: Features of the previous frames of all B clips; empty without feedback.
            condition: Features of poses and anchors of all B clips.
            memory: Memory of all B clips.
            noise: N(0, I) draws for the observed clips, `[T O, Z, h, w]`.
            num_clips: B; None if the rows are of a single time step.

        Returns:
            Images, KL(posterior || prior) in nats (0 for the prior's mean), and the memory with this z.
        """
        num_clips = num_clips or len(memory)
        p, memory = self.networks.prior(previous, condition, memory)
        num_time_steps = len(memory) // num_clips
        num_observed = len(noise) // num_time_steps
        if num_observed:
            observed = Gaussian(*(first_clips(x, num_clips, num_observed) for x in (p.mean, p.log_variance)))
            # A posterior reads the coarsest scale alone.
            own_previous, own_condition = (
                tuple(first_clips(scale, num_clips, num_observed) for scale in features[-1:])
                for features in (previous, condition)
            )
            q = self.networks.posterior(current, own_previous, own_condition, observed)
            z, rate = q.sample(noise), kl_nats(q, observed)
            if num_observed < num_clips:
                z, rate = join_prior_means(z, rate, p.mean, num_clips)
        else:
            z, rate = p.mean, torch.zeros(len(memory), device=memory.device)
        return self.networks.decode(previous, condition, z), rate, self.networks.remember(memory, z)

    def imagine_step(
        self, previous: Features, condition: Features, memory: Memory, noise: Tensor | None
    ) -> tuple[Images, Memory]:
        """Decode with z from the prior.

        Args:
            previous: Features of the previous frames; empty without feedback.
            condition: Features of poses and anchors.
            memory: Memory of z.
            noise: N(0, I) draws `[N, Z, h, w]`; None for the prior's mean.

        Returns:
            Images, and the memory with this z.
        """
        p, memory = self.networks.prior(previous, condition, memory)
        z = p.mean if noise is None else p.sample(noise)
        return self.networks.decode(previous, condition, z), self.networks.remember(memory, z)


def join_prior_means(z: Tensor, rate: Tensor, prior_mean: Tensor, num_clips: int) -> tuple[Tensor, Tensor]:
    """Return z and rate of all clips: those of the observed clips, then the prior's mean and 0; time-major."""
    by_step = (len(prior_mean) // num_clips, -1)
    z = z.unflatten(0, by_step)
    num_observed = z.shape[1]
    z = torch.cat((z, prior_mean.unflatten(0, by_step)[:, num_observed:]), 1).flatten(0, 1)
    return z, nn.functional.pad(rate.unflatten(0, by_step), (0, num_clips - num_observed)).flatten()
