"""Layers of the anchored networks: residual block, encoder, Gaussian head, condition, decoder, modulation.

In: float images, or features at every scale, finest first. Out: features, a Gaussian of z, an image.
Attribute names are the names of weights on disk. Next: `anchored.py` assembles the networks.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.config.schema import Anchored
from posecast.data.clips import Images
from posecast.model.attention import AnchorAttention, apply_change
from posecast.model.elbo import Gaussian, bounded_log_variance, unbounded_log_variance
from posecast.model.layout import repeat_over_time
from posecast.model.priors import Features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection; a new block is the identity."""

    def __init__(self, width: int, *, normalise: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width) if normalise else nn.Identity()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(self.norm(x)))))


def residual_blocks(width: int, num_blocks: int, scale: int) -> nn.Sequential:
    """Return the residual blocks of a scale, counted from the finest."""
    # At the finest scale a norm costs more than a convolution, and training is stable without.
    return nn.Sequential(*(ResidualBlock(width, normalise=scale > 0) for _ in range(num_blocks)))


class Encoder(nn.Module):
    """Images to features at every scale, each half the size of the one before."""

    def __init__(self, channels: int, widths: tuple[int, ...], patch: int, num_blocks: int, finest_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, widths[0], 3, padding=1))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(
            residual_blocks(width, num_blocks if scale else finest_blocks, scale) for scale, width in enumerate(widths)
        )

    def forward(self, images: Float[Tensor, "N C H W"]) -> Features:
        x = self.blocks[0](self.stem(images))
        features = [x]
        for down, blocks in zip(self.down, self.blocks[1:], strict=True):  # pyright: ignore[reportArgumentType]
            x = blocks(down(x))
            features.append(x)
        return tuple(features)


class GaussianHead(nn.Module):
    """Concatenated features of the coarsest scale to a Gaussian of z: one per cell, or one global for the image."""

    def __init__(self, channels: int, width: int, latent_channels: int, *, global_latent: bool) -> None:
        super().__init__()
        self.global_latent = global_latent
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            ResidualBlock(width, normalise=True),
            nn.SiLU(),
            nn.Conv2d(width, 2 * latent_channels, 1),
        )

    def forward(self, features: Float[Tensor, "N C h w"]) -> Gaussian:
        outputs = self.layers(features).float()
        mean, raw = (outputs.mean((2, 3), keepdim=True) if self.global_latent else outputs).chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw))

    @torch.no_grad()
    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"], variance: Float[Tensor, " Z"]) -> None:
        """Change the coordinates of z as `AnchoredNetworks.rebase` does."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        mean_rows, raw_rows = last.weight.cpu().double().flatten(1).chunk(2)
        mean_bias, raw_bias = last.bias.cpu().double().chunk(2)
        # log sum_j basis_ij^2 variance_j, linearised at the average log variances: the error is of second order.
        parts = basis.square() * variance
        slopes = parts / parts.sum(1, keepdim=True)
        raw_after, raw_before = (unbounded_log_variance(average.log()) for average in (parts.sum(1), variance))
        last.weight.copy_(torch.cat((basis @ mean_rows, slopes @ raw_rows)).view_as(last.weight))
        last.bias.copy_(torch.cat((basis @ (mean_bias - centre), raw_after + slopes @ (raw_bias - raw_before))))


class Condition(nn.Module):
    """Sum of linear maps of the pose's and the anchor's features at one scale, cell by cell.

    With `attend`, attention from the pose to all cells of the anchor is added (`attention.py`).
    """

    def __init__(self, width: int, *, attend: bool) -> None:
        super().__init__()
        self.pose = nn.Conv2d(width, width, 1)
        self.anchor = nn.Conv2d(width, width, 1)
        self.attention = AnchorAttention(width) if attend else None

    def forward(self, pose: Float[Tensor, "TN C h w"], anchor: Float[Tensor, "N C h w"]) -> Tensor:
        condition = self.pose(pose) + repeat_over_time(self.anchor(anchor), pose)
        return condition if self.attention is None else condition + self.attention(pose, anchor)


class Decoder(nn.Module):
    """Features of the previous frame, the condition and z to an image, coarse to fine.

    A z per cell is concatenated to the coarsest features. A global z, which describes for example the light, scales and
    shifts the features of every scale (FiLM: Perez et al. 2018).
    """

    def __init__(self, config: Anchored, *, global_latent: bool) -> None:
        super().__init__()
        widths, patch, latent_channels = config.widths, config.patch, config.latent_channels
        coarse_to_fine = list(reversed(widths))
        # Channels that come from below: z, then the features of the next coarser scale.
        below = [0 if global_latent else latent_channels, *coarse_to_fine[1:]]
        self.feedback = config.feedback == "frame"
        self.join = nn.ModuleList(
            nn.Conv2d(width * self.feedback + channels, width, 1) if self.feedback or channels else nn.Identity()
            for width, channels in zip(coarse_to_fine, below, strict=True)
        )
        self.modulate = nn.ModuleList(
            Modulation(latent_channels, width) if global_latent else nn.Identity() for width in coarse_to_fine
        )
        self.blocks = nn.ModuleList(
            residual_blocks(width, config.blocks, len(widths) - 1 - scale) for scale, width in enumerate(coarse_to_fine)
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
        self.global_latent = global_latent

    def forward(self, previous: Features, condition: Features, z: Float[Tensor, "N Z h w"]) -> Images:
        x = condition[-1][:, :0] if self.global_latent else z.to(condition[-1].dtype)
        for scale, (join, modulate, blocks) in enumerate(zip(self.join, self.modulate, self.blocks, strict=True)):
            joined = torch.cat((previous[-1 - scale], x), 1) if self.feedback else x
            x = join(joined) + condition[-1 - scale] if joined.shape[1] else condition[-1 - scale]
            x = blocks(modulate(x, z) if self.global_latent else x)
            if scale < len(self.up):
                x = self.up[scale](x)
        decoded = self.out(x)
        return apply_change(condition[0], decoded) if self.copies else torch.sigmoid(decoded.float())

    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"]) -> None:
        """Change the coordinates of a global z as `AnchoredNetworks.rebase` does."""
        for modulation in self.modulate:
            assert isinstance(modulation, Modulation)
            modulation.rebase(basis, centre)


class Modulation(nn.Module):
    """Features scaled and shifted by a global z."""

    def __init__(self, latent_channels: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(latent_channels, width, 1)
        self.shift = nn.Conv2d(latent_channels, width, 1)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def rebase(self, basis: Float[Tensor, "Z Z"], centre: Float[Tensor, " Z"]) -> None:
        """Substitute centre + basis^-1 z' for z."""
        for layer in (self.scale, self.shift):
            assert layer.bias is not None
            weight = layer.weight.cpu().double().flatten(1)
            layer.bias.add_((weight @ centre).to(layer.bias))
            layer.weight.copy_((weight @ torch.linalg.inv(basis)).view_as(layer.weight))

    def forward(self, x: Float[Tensor, "N C h w"], z: Float[Tensor, "N Z 1 1"]) -> Tensor:
        return x * (1.0 + self.scale(z)).to(x.dtype) + self.shift(z).to(x.dtype)
