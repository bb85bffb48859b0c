"""Our networks: a strided encoder-decoder that sees a real frame, the anchor, at every step.

In: float pictures in [0, 1], pose windows, a latent. Out: features at every scale, Gaussians, the next frame.
Knows no time; `predictor.py` does. The anchor is what keeps long rollouts from drifting: whatever the fed-back
frame has lost, a true picture of the person and the room is at hand.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.config.schema import Anchored
from posecast.data.clips import Pictures, PoseWindows
from posecast.model.attention import MOST_CELLS, AnchorAttention, Copied, changed
from posecast.model.elbo import Gaussian, bounded_log_variance, corrected, kl_nats, unbounded_log_variance
from posecast.model.priors import Features, FixedPrior, LearnedPrior, Memory, RecurrentPrior, StationaryPrior


class AnchoredNetworks(nn.Module):
    """A frame's encoder, and one of what is known beforehand (pose and anchor); a decoder that joins them."""

    def __init__(self, config: Anchored, size: tuple[int, int]) -> None:
        super().__init__()
        widths = config.widths
        bottom = widths[-1]
        self.pose_window = config.pose_window
        cells = [side // config.stride for side in size]
        self.whole = config.latent_scope == "global"
        self.latent_shape = (config.latent_channels, *([1, 1] if self.whole else cells))
        self.feedback = config.feedback == "frame"
        self.frame_encoder = Encoder(3, widths, config.patch, 1, config.finest_blocks)
        self.pose_encoder = Encoder(
            3 * (2 * config.pose_window + 1), widths, config.patch, config.pose_blocks, config.pose_blocks
        )
        self.anchor_encoder = Encoder(6, widths, config.patch, 1, config.finest_blocks)
        self.conditions = nn.ModuleList(
            Condition(width, attend=scale >= len(widths) - config.attention) for scale, width in enumerate(widths)
        )
        # The finest scale whose cells are not too many.
        self.copying = next(
            (scale for scale in range(len(widths)) if math.prod(size) // (config.patch * 2**scale) ** 2 <= MOST_CELLS),
            len(widths) - 1,
        )
        self.copied = (
            Copied(widths[self.copying], config.patch * 2**self.copying, size) if config.decoder == "copy" else None
        )
        self.prior_of_z = self._build_prior(config)
        self.stationary = isinstance(self.prior_of_z, StationaryPrior)
        read_off = 3 if self.feedback and not self.stationary else 2
        self.posterior_head = GaussianHead(read_off * bottom, bottom, config.latent_channels, whole=self.whole)
        self.decoder = Decoder(config, whole=self.whole)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode_frame(self, frames: Pictures) -> Features:
        """A previous or current frame."""
        return self.frame_encoder(frames)

    def encode_anchor(self, frames: Pictures, poses: Pictures) -> Features:
        """A real frame with its own pose map; its pixels come first."""
        return (frames, *self.anchor_encoder(torch.cat((frames, poses), 1)))

    def encode_condition(self, poses: PoseWindows, anchor: Features) -> Features:
        """What is known of frames before any is painted: for every row of the anchor T rows of pose maps, time-major.

        So a whole clip, or many instants of a rollout, is one batch, and the time loop has that much less to do. Where
        colours are copied, the copies come first.
        """
        pose = self.pose_encoder(poses)
        photo, *anchor_features = anchor
        known = [know(p, a) for know, p, a in zip(self.conditions, pose, anchor_features, strict=True)]
        if self.copied is None:
            return tuple(known)
        return (self.copied(pose[self.copying], anchor_features[self.copying], photo), *known)

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Of what is remembered from one instant to the next, beside the painted frame."""
        return self.prior_of_z.memory_shape

    def begin(self, first: Features, condition: Features, noise: Tensor | None) -> tuple[Memory, Float[Tensor, " N"]]:
        """The memory after the given first frame, what it shows of z as the posterior reads it; and the KL of that.

        A rollout pays nothing for z_1, since its frame is given. Training does: only then is z_1 on average what
        a future is later drawn from, N(0, I), and not any Gaussian that moves as slowly.
        """
        empty = torch.zeros(len(first[-1]), *self.memory_shape, device=first[-1].device)
        if not self.stationary:
            return empty, empty.new_zeros(len(empty))
        p, _ = self.prior((), condition, empty)
        q = self.posterior(first, (), condition, p)
        drawn = 0 if noise is None else len(noise)
        z = q.mean
        if noise is not None:
            z = torch.cat((Gaussian(q.mean[:drawn], q.log_variance[:drawn]).sample(noise), q.mean[drawn:]))
        rate = torch.where(torch.arange(len(z), device=z.device) < drawn, kl_nats(q, p), 0.0)
        return self.remember(empty, z), rate

    def prior(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        """p(z | what a rollout has), and the memory with this instant in it."""
        return self.prior_of_z(previous, condition, memory)

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        """q(z | x_t, and all that the prior sees): only so can z code what is new in x_t.

        Under a stationary prior z is what lasts, such as the light, so it is read off the frame and not off its
        difference to the last one: that would make it the steps of the light, which nothing remembers.
        """
        if self.stationary:
            return corrected(prior, self.read(current, condition))
        if not self.feedback:
            return self.read(current, condition)
        return self.posterior_head(torch.cat((current[-1], previous[-1], condition[-1]), 1))

    def read(self, current: Features, condition: Features) -> Gaussian:
        """What a frame alone tells of a z that lasts."""
        return self.posterior_head(torch.cat((current[-1], condition[-1]), 1))

    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"], variance: Float[Tensor, " Z"]) -> None:
        """Put basis (z - centre) in the place of a z of the whole picture; what is read is painted as before.

        `variance` is a reading's on average; what it becomes is exact there. All in float64, on the CPU.
        """
        self.posterior_head.rebase(basis, centre, variance)
        for modulation in self.decoder.modulate:
            modulation.rebase(basis, centre)  # pyright: ignore

    def remember(self, memory: Memory, z: Float[Tensor, "N Z h w"]) -> Memory:
        """The memory with this instant's z in it."""
        return self.prior_of_z.remember(memory, z)

    def decode(self, previous: Features, condition: Features, z: Float[Tensor, "N Z h w"]) -> Pictures:
        """The next frame, in (0, 1)."""
        return self.decoder(previous, condition, z)

    def _build_prior(self, config: Anchored) -> FixedPrior | LearnedPrior | RecurrentPrior | StationaryPrior:
        width, channels = config.widths[-1], config.latent_channels
        seen = (2 if self.feedback else 1) * width
        if config.prior == "learned":
            return LearnedPrior(GaussianHead(seen, width, channels, whole=self.whole))
        if config.prior == "recurrent":
            return RecurrentPrior(seen, width, self.latent_shape)
        return StationaryPrior(self.latent_shape) if config.prior == "stationary" else FixedPrior(self.latent_shape)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input flows unchanged; the second starts at zero."""

    def __init__(self, width: int, *, normalise: bool) -> None:
        super().__init__()
        # At the finest scale a norm costs more than a convolution, and training is stable without.
        self.norm = nn.GroupNorm(8, width) if normalise else nn.Identity()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(self.norm(x)))))


def _blocks(width: int, num_blocks: int, scale: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width, normalise=scale > 0) for _ in range(num_blocks)))


class Encoder(nn.Module):
    """Pixels to features at every scale, each half the one before."""

    def __init__(self, channels: int, widths: tuple[int, ...], patch: int, num_blocks: int, finest_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, widths[0], 3, padding=1))
        self.down = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(
            _blocks(width, num_blocks if scale else finest_blocks, scale) for scale, width in enumerate(widths)
        )

    def forward(self, pictures: Tensor) -> Features:
        x = self.blocks[0](self.stem(pictures))
        features = [x]
        for down, blocks in zip(self.down, self.blocks[1:], strict=True):  # pyright: ignore[reportArgumentType]
            x = blocks(down(x))
            features.append(x)
        return tuple(features)


class GaussianHead(nn.Module):
    """Joined features of the coarsest scale to a Gaussian over z: one in each cell, or one for the `whole` picture."""

    def __init__(self, channels: int, width: int, latent_channels: int, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            ResidualBlock(width, normalise=True),
            nn.SiLU(),
            nn.Conv2d(width, 2 * latent_channels, 1),
        )

    def forward(self, joined: Tensor) -> Gaussian:
        read = self.layers(joined).float()
        mean, raw = (read.mean((2, 3), keepdim=True) if self.whole else read).chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw))

    @torch.no_grad()
    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"], variance: Float[Tensor, " Z"]) -> None:
        """As `AnchoredNetworks.rebase` says."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        means, raws = last.weight.cpu().double().flatten(1).chunk(2)
        mean_bias, raw_bias = last.bias.cpu().double().chunk(2)
        # log sum_j basis_ij^2 variance_j, and its slopes: what is not exact is second order in a reading's certainty.
        parts = basis.square() * variance
        slopes = parts / parts.sum(1, keepdim=True)
        wanted, usual = (unbounded_log_variance(one.log()) for one in (parts.sum(1), variance))
        last.weight.copy_(torch.cat((basis @ means, slopes @ raws)).view_as(last.weight))
        last.bias.copy_(torch.cat((basis @ (mean_bias - centre), wanted + slopes @ (raw_bias - usual))))


class Condition(nn.Module):
    """Pose and anchor of one scale as one: what each cell's pose is and what the anchor shows there, linearly.

    Where they `attend`, the pose asks the anchor, too, wherever in the picture the answer is (`attention.py`).
    """

    def __init__(self, width: int, *, attend: bool) -> None:
        super().__init__()
        self.pose = nn.Conv2d(width, width, 1)
        self.anchor = nn.Conv2d(width, width, 1)
        self.attention = AnchorAttention(width) if attend else None

    def forward(self, pose: Float[Tensor, "TN C h w"], anchor: Float[Tensor, "N C h w"]) -> Tensor:
        num_instants = len(pose) // len(anchor)
        known = self.pose(pose) + torch.cat([self.anchor(anchor)] * num_instants)
        return known if self.attention is None else known + self.attention(pose, anchor)


class Decoder(nn.Module):
    """Features of the previous frame, the condition and z to a picture, coarse to fine.

    A z for each cell is joined to the coarsest features. A z for the `whole` picture, such as its light, scales and
    shifts the features of every scale (FiLM: Perez et al. 2018).
    """

    def __init__(self, config: Anchored, *, whole: bool) -> None:
        super().__init__()
        widths, patch, num_blocks, latent_channels = config.widths, config.patch, config.blocks, config.latent_channels
        coarse_to_fine = list(reversed(widths))
        below = [0 if whole else latent_channels, *coarse_to_fine[1:]]  # z, then what was painted at the scale before
        self.feedback = config.feedback == "frame"
        self.join = nn.ModuleList(
            nn.Conv2d(width * self.feedback + joined, width, 1) if self.feedback or joined else nn.Identity()
            for width, joined in zip(coarse_to_fine, below, strict=True)
        )
        self.modulate = nn.ModuleList(
            Modulation(latent_channels, width) if whole else nn.Identity() for width in coarse_to_fine
        )
        self.blocks = nn.ModuleList(
            _blocks(width, num_blocks, len(widths) - 1 - scale) for scale, width in enumerate(coarse_to_fine)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
            for coarse, fine in itertools.pairwise(coarse_to_fine)
        )
        self.copies = config.decoder == "copy"
        channels = 4 if self.copies else 3
        self.out = nn.Sequential(
            nn.SiLU(), nn.Conv2d(widths[0], channels * patch**2, 3, padding=1), nn.PixelShuffle(patch)
        )
        self.whole = whole

    def forward(self, previous: Features, condition: Features, z: Tensor) -> Tensor:
        x = condition[-1][:, :0] if self.whole else z.to(condition[-1].dtype)
        for scale, (join, modulate, blocks) in enumerate(zip(self.join, self.modulate, self.blocks, strict=True)):
            joined = torch.cat((previous[-1 - scale], x), 1) if self.feedback else x
            known = condition[-1 - scale]
            x = join(joined) + known if joined.shape[1] else known
            x = blocks(modulate(x, z) if self.whole else x)
            if scale < len(self.up):
                x = self.up[scale](x)
        painted = self.out(x)
        return changed(condition[0], painted) if self.copies else torch.sigmoid(painted.float())


class Modulation(nn.Module):
    """Features scaled and shifted by a z that is the same all over the picture."""

    def __init__(self, latent_channels: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(latent_channels, width, 1)
        self.shift = nn.Conv2d(latent_channels, width, 1)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"]) -> None:
        """As `AnchoredNetworks.rebase` says: z is centre + basis^-1 z'."""
        for layer in (self.scale, self.shift):
            assert layer.bias is not None
            weight = layer.weight.cpu().double().flatten(1)
            layer.bias.add_((weight @ centre).to(layer.bias))
            layer.weight.copy_((weight @ torch.linalg.inv(basis)).view_as(layer.weight))

    def forward(self, x: Tensor, z: Float[Tensor, "N Z 1 1"]) -> Tensor:
        return x * (1.0 + self.scale(z)).to(x.dtype) + self.shift(z).to(x.dtype)
