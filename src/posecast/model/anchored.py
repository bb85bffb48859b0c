"""Networks of posecast: a strided encoder-decoder that reads a real frame, the anchor, at every time step.

In: float images in [0, 1], pose windows, z. Out: features at every scale, Gaussians, the next frame.
The anchor prevents drift over long rollouts: what fed-back frames lose is still in this true image of the person and
the background. Next: `layers.py` defines the layers, `predictor.py` applies the networks over time.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.config.schema import Anchored
from posecast.data.clips import Images, PoseWindows
from posecast.model.attention import MOST_CELLS, AnchorCopy
from posecast.model.elbo import Gaussian, corrected, kl_nats
from posecast.model.layers import Condition, Decoder, Encoder, GaussianHead
from posecast.model.networks import Networks
from posecast.model.priors import (
    Features,
    FixedPrior,
    LatentGrid,
    LearnedPrior,
    Memory,
    Prior,
    RecurrentPrior,
    StationaryPrior,
)


class AnchoredNetworks(Networks):
    """Encoders of frames, pose windows and anchors; a decoder that joins their features at every scale.

    Args:
        config: Widths, blocks and options of the networks.
        size: Height and width of the images in pixels, multiples of `config.stride`.
    """

    def __init__(self, config: Anchored, size: tuple[int, int]) -> None:
        super().__init__()
        widths = config.widths
        coarsest = widths[-1]
        self.pose_window = config.pose_window
        self.feedback = config.feedback == "frame"
        self.global_latent = config.latent_scope == "global"
        grid = [1, 1] if self.global_latent else [side // config.stride for side in size]
        self.latent_shape = (config.latent_channels, *grid)
        self.frame_encoder = Encoder(3, widths, config.patch, 1, config.finest_blocks)
        self.pose_encoder = Encoder(
            3 * (2 * config.pose_window + 1), widths, config.patch, config.pose_blocks, config.pose_blocks
        )
        self.anchor_encoder = Encoder(6, widths, config.patch, 1, config.finest_blocks)
        self.conditions = nn.ModuleList(
            Condition(width, attend=scale >= len(widths) - config.attention) for scale, width in enumerate(widths)
        )
        self.copy_scale = finest_copy_scale(config, size)
        self.copied = (
            AnchorCopy(widths[self.copy_scale], config.patch * 2**self.copy_scale, size)
            if config.decoder == "copy"
            else None
        )
        self.prior_of_z = self._build_prior(config)
        self.stationary = isinstance(self.prior_of_z, StationaryPrior)
        self.recurrent = isinstance(self.prior_of_z, RecurrentPrior)
        num_inputs = (3 if self.feedback and not self.stationary else 2) * coarsest
        if self.recurrent:
            num_inputs += 2 * config.latent_channels
        self.posterior_head = GaussianHead(
            num_inputs, coarsest, config.latent_channels, global_latent=self.global_latent
        )
        self.decoder = Decoder(config, global_latent=self.global_latent)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode_frame(self, frames: Images) -> Features:
        return self.frame_encoder(frames)

    def encode_anchor(self, frames: Images, poses: Images) -> Features:
        """Encode anchors; the first entry is the anchor itself, the others are features."""
        return (frames, *self.anchor_encoder(torch.cat((frames, poses), 1)))

    def encode_condition(self, poses: PoseWindows, anchor: Features) -> Features:
        """Encode pose windows and anchors; where the decoder copies colours, the first entry is the copies."""
        pose = self.pose_encoder(poses)
        anchor_frame, *anchor_features = anchor
        conditions = tuple(
            join(pose_scale, anchor_scale)
            for join, pose_scale, anchor_scale in zip(self.conditions, pose, anchor_features, strict=True)
        )
        if self.copied is None:
            return conditions
        return (self.copied(pose[self.copy_scale], anchor_features[self.copy_scale], anchor_frame), *conditions)

    def begin(self, first: Features, condition: Features, noise: Tensor | None) -> tuple[Memory, Float[Tensor, " N"]]:
        """Return the memory after the first frame, and the KL of its z in nats.

        A rollout has no KL for z_1, because its first frame is given. Training has: only then does z_1 have on average
        the distribution from which futures are drawn later, N(0, I), and not that of any other slow process.
        """
        if not self.stationary:
            return super().begin(first, condition, noise)
        empty = self.empty_memory(first[-1].shape[0], first[-1].device)
        p, _ = self.prior((), condition, empty)
        q = self.posterior(first, (), condition, p)
        num_drawn = 0 if noise is None else noise.shape[0]
        z = q.mean
        if noise is not None:
            drawn = Gaussian(q.mean[:num_drawn], q.log_variance[:num_drawn]).sample(noise)
            z = torch.cat((drawn, q.mean[num_drawn:]))
        rate = torch.where(torch.arange(z.shape[0], device=z.device) < num_drawn, kl_nats(q, p), 0.0)
        return self.remember(empty, z), rate

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        """Return q(z | x_t, inputs of the prior), which only so can code what is new in x_t.

        Under a stationary prior z describes lasting factors such as light. It is then read from the frame and not from
        its difference to the last one, which would make z the change of the light. Of a recurrent prior's memory it
        sees what the prior makes of it.
        """
        if self.stationary:
            return corrected(prior, self.read(current, condition))
        of_memory = self._as_features(prior, condition[-1]) if self.recurrent else ()
        return self.posterior_head(torch.cat((current[-1], *previous[-1:], condition[-1], *of_memory), 1))

    def read(self, current: Features, condition: Features) -> Gaussian:
        """Return the Gaussian of z from a frame and its condition alone, without the prior."""
        return self.posterior_head(torch.cat((current[-1], condition[-1]), 1))

    @staticmethod
    def _as_features(z: Gaussian, like: Tensor) -> Features:
        """Return mean and log variance in the size and precision of other features; a global z is repeated."""
        return tuple(part.to(like.dtype).expand(-1, -1, *like.shape[2:]) for part in (z.mean, z.log_variance))

    def rebase(
        self,
        basis: Float[Tensor, "Z Z"],
        centre: Float[Tensor, " Z"],
        read_mean: Float[Tensor, " Z"],
        read_variance: Float[Tensor, " Z"],
    ) -> None:
        """Replace a global z by basis (z - centre); where readings are precise, decoded frames stay the same.

        Args:
            basis: Invertible matrix; like the other arguments float64 on the CPU.
            centre: Value of z that becomes zero.
            read_mean: Average of the readings, which becomes zero too. It differs from `centre` where readings are
                not precise: z then depends on the prior as well.
            read_variance: Average variance of the readings. At this variance the new variances are exact; elsewhere
                they are linear approximations in the logarithm.
        """
        self.posterior_head.rebase(basis, read_mean, read_variance)
        self.decoder.rebase(basis, centre)

    def decode(self, previous: Features, condition: Features, z: LatentGrid) -> Images:
        """Return the next frames, in (0, 1)."""
        return self.decoder(previous, condition, z)

    def _build_prior(self, config: Anchored) -> Prior:
        width = config.widths[-1]
        channels = (2 if self.feedback else 1) * width
        if config.prior == "learned":
            return LearnedPrior(GaussianHead(channels, width, config.latent_channels, global_latent=self.global_latent))
        if config.prior == "recurrent":
            return RecurrentPrior(channels, width, self.latent_shape)
        return StationaryPrior(self.latent_shape) if config.prior == "stationary" else FixedPrior(self.latent_shape)


def finest_copy_scale(config: Anchored, size: tuple[int, int]) -> int:
    """Return the finest scale that has at most `MOST_CELLS` cells, or the coarsest."""
    last = len(config.widths) - 1
    num_cells = [math.prod(size) // (config.patch * 2**scale) ** 2 for scale in range(last)]
    return next((scale for scale, count in enumerate(num_cells) if count <= MOST_CELLS), last)
