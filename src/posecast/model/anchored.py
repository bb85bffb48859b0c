"""Our networks: a strided encoder-decoder that sees a real frame, the anchor, at every step.

In: float pictures in [0, 1], pose windows, a latent. Out: features at every scale, Gaussians, the next frame.
Knows no time; `predictor.py` does. The anchor is what keeps long rollouts from drifting: whatever the fed-back
frame has lost, a true picture of the person and the room is at hand.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.config import Anchored
from posecast.data.clips import Pictures, PoseWindows
from posecast.model.elbo import Gaussian, bounded_log_variance, standard_normal_like

Features = tuple[Tensor, ...]
"""One tensor a scale, finest first."""


class AnchoredNetworks(nn.Module):
    """Encoders of previous frame, pose window and anchor, joined at every scale of one decoder."""

    def __init__(self, config: Anchored, size: tuple[int, int]) -> None:
        super().__init__()
        widths, blocks = config.widths, config.blocks
        bottom = widths[-1]
        self.pose_window = config.pose_window
        self.learned_prior = config.prior == "learned"
        self.latent_shape = (config.latent_channels, *(side // config.stride for side in size))
        self.frame_encoder = Encoder(3 + config.noise_level, widths, config.patch, 1)
        self.pose_encoder = Encoder(3 * (2 * config.pose_window + 1) + 2 * config.coordinates, widths, config.patch, blocks)
        self.anchor_encoder = Encoder(6, widths, config.patch, 1)
        self.posterior_head = GaussianHead(4 * bottom, bottom, config.latent_channels)
        if self.learned_prior:
            self.prior_head = GaussianHead(3 * bottom, bottom, config.latent_channels)
        self.decoder = Decoder(widths, config.patch, blocks, config.latent_channels, config.flow)
        self.coordinates, self.noise_level, self.flow = config.coordinates, config.noise_level, config.flow
        self.pictures = None
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode_frame(self, frames: Pictures, level=None) -> Features:
        """A previous or current frame."""
        if self.noise_level:
            level = frames.new_zeros(len(frames)) if level is None else level
            plane = level[:, None, None, None].expand(-1, 1, *frames.shape[2:])
            frames = torch.cat((frames, plane), 1).contiguous(memory_format=torch.channels_last)
        return self.frame_encoder(frames)

    def encode_pose(self, poses: PoseWindows) -> Features:
        """The pose maps around the instant to paint."""
        if self.coordinates:
            h, w = poses.shape[2:]
            y = torch.linspace(-1, 1, h)[:, None].expand(h, w)
            x = torch.linspace(-1, 1, w)[None].expand(h, w)
            place = torch.stack((y, x)).to(poses)[None].expand(len(poses), -1, -1, -1)
            poses = torch.cat((poses, place), 1).contiguous(memory_format=torch.channels_last)
        return self.pose_encoder(poses)

    def encode_anchor(self, frames: Pictures, poses: Pictures) -> Features:
        """A real frame with its own pose map."""
        return self.anchor_encoder(torch.cat((frames, poses), 1))

    def posterior(self, current: Features, previous: Features, pose: Features, anchor: Features) -> Gaussian:
        """q(z | x_t, and all that the prior sees): only so can z code what is new in x_t."""
        return self.posterior_head(torch.cat((current[-1], previous[-1], pose[-1], anchor[-1]), 1))

    def prior(self, previous: Features, pose: Features, anchor: Features) -> Gaussian:
        """p(z | what a rollout has): N(0, I), or learned."""
        if self.learned_prior:
            return self.prior_head(torch.cat((previous[-1], pose[-1], anchor[-1]), 1))
        empty = previous[-1].new_zeros(len(previous[-1]), *self.latent_shape)
        return standard_normal_like(Gaussian(empty, empty))

    def paint(self, previous: Features, pose: Features, anchor: Features, z: Float[Tensor, "N Z h w"]) -> Pictures:
        """The next frame, in (0, 1)."""
        return self.decoder(previous, pose, anchor, z, self.pictures)


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

    def __init__(self, channels: int, widths: tuple[int, ...], patch: int, num_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, widths[0], 3, padding=1))
        self.down = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(_blocks(width, num_blocks, scale) for scale, width in enumerate(widths))

    def forward(self, pictures: Tensor) -> Features:
        x = self.blocks[0](self.stem(pictures))
        features = [x]
        for down, blocks in zip(self.down, self.blocks[1:], strict=True):  # pyright: ignore[reportArgumentType]
            x = blocks(down(x))
            features.append(x)
        return tuple(features)


class GaussianHead(nn.Module):
    """Joined features of the coarsest scale to a Gaussian over z."""

    def __init__(self, channels: int, width: int, latent_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            ResidualBlock(width, normalise=True),
            nn.SiLU(),
            nn.Conv2d(width, 2 * latent_channels, 1),
        )

    def forward(self, joined: Tensor) -> Gaussian:
        mean, raw = self.layers(joined).float().chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw))


class Decoder(nn.Module):
    """Joined features and z to a picture, coarse to fine."""

    def __init__(self, widths: tuple[int, ...], patch: int, num_blocks: int, latent_channels: int, flow: bool) -> None:
        super().__init__()
        coarse_to_fine = list(reversed(widths))
        above = [latent_channels, *coarse_to_fine[:-1]]
        self.join = nn.ModuleList(
            nn.Conv2d(3 * width + (extra if scale == 0 else width), width, 1)
            for scale, (width, extra) in enumerate(zip(coarse_to_fine, above, strict=True))
        )
        self.blocks = nn.ModuleList(
            _blocks(width, num_blocks, len(widths) - 1 - scale) for scale, width in enumerate(coarse_to_fine)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
            for coarse, fine in itertools.pairwise(coarse_to_fine)
        )
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(widths[0], 3 * patch**2, 3, padding=1), nn.PixelShuffle(patch))
        self.flow = None
        if flow:
            last = nn.Conv2d(widths[0], 6 * patch**2, 3, padding=1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.flow = nn.Sequential(nn.SiLU(), last, nn.PixelShuffle(patch))

    def forward(self, previous: Features, pose: Features, anchor: Features, z: Tensor, pictures=None) -> Tensor:
        x = z
        for scale, (join, blocks) in enumerate(zip(self.join, self.blocks, strict=True)):
            skip = (previous[-1 - scale], pose[-1 - scale], anchor[-1 - scale])
            x = blocks(join(torch.cat((*skip, x.to(skip[0].dtype)), 1)))
            if scale < len(self.up):
                x = self.up[scale](x)
        new = torch.sigmoid(self.out(x).float())
        if self.flow is None:
            return new
        moves = self.flow(x).float()
        n, _, h, w = moves.shape
        y = (torch.arange(h, device=x.device) + 0.5) * 2 / h - 1
        xx = (torch.arange(w, device=x.device) + 0.5) * 2 / w - 1
        grid = torch.stack((xx[None].expand(h, w), y[:, None].expand(h, w)), -1)[None]
        layers = [new]
        for k, picture in enumerate(pictures):
            shift = torch.tanh(moves[:, 2 * k : 2 * k + 2]).permute(0, 2, 3, 1)
            layers.append(nn.functional.grid_sample(picture.float(), grid + shift, padding_mode="border", align_corners=False))
        weights = torch.softmax(torch.cat((moves.new_full((n, 1, h, w), 3.0), moves[:, 4:]), 1), 1)
        return sum(weights[:, k : k + 1] * layer for k, layer in enumerate(layers))
