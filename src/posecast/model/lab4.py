"""The course's five networks, weight for weight and name for name, all at full resolution.

In: float pictures, pose maps, z. Out: features, Gaussians, the next frame. A checkpoint's `state_dict` loads as it is:
`frame_transformation`, `label_transformation`, `Gaussian_Predictor`, `Decoder_Fusion`, `Generator`.
What makes them trainable, and leaves no trace in the weights: a bounded log variance, a bounded output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from posecast.config.schema import Lab4
from posecast.data.clips import Pictures
from posecast.model.elbo import Gaussian, bounded_log_variance
from posecast.model.priors import Features, FixedPrior, Memory


class Lab4Networks(nn.Module):
    """The networks of the course's Lab 4 (conditional VAE, N(0, I) prior, no anchor)."""

    def __init__(self, config: Lab4, size: tuple[int, int]) -> None:
        super().__init__()
        frame, pose, latent = config.frame_channels, config.pose_channels, config.latent_channels
        self.latent_shape = (latent, *size)
        self.prior_of_z = FixedPrior(self.latent_shape)
        self.memory_shape = self.prior_of_z.memory_shape
        self.pose_window, self.feedback = 0, True
        self.posterior_sees = config.posterior_sees
        self.output = config.output
        self.frame_transformation = frame_encoder(frame)
        self.label_transformation = pose_encoder(pose)
        self.Gaussian_Predictor = gaussian_predictor(frame + pose, latent)
        self.Decoder_Fusion = decoder_fusion(frame + pose + latent, config.fusion_channels)
        self.Generator = generator(config.fusion_channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode_frame(self, frames: Pictures) -> Features:
        return (self.frame_transformation(frames),)

    def encode_anchor(self, frames: Pictures, poses: Pictures) -> Features:
        """The course's networks have no anchor."""
        return ()

    def encode_condition(self, poses: Pictures, anchor: Features) -> Features:
        return (self.label_transformation(poses),)

    def begin(self, first: Features, condition: Features, noise: Tensor | None) -> tuple[Memory, Tensor]:
        """Nothing is remembered."""
        empty = torch.zeros(len(first[0]), *self.memory_shape, device=first[0].device)
        return empty, empty.new_zeros(len(empty))

    def prior(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        """N(0, I)."""
        return self.prior_of_z(previous, condition, memory)

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        """q(z | x_t, p_t), as the assignment says; or of the previous frame, as the report's code does."""
        seen = current if self.posterior_sees == "current" else previous
        mean, raw = self.Gaussian_Predictor(torch.cat((*seen, *condition), 1)).float().chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw))

    def remember(self, memory: Memory, z: Tensor) -> Memory:
        return self.prior_of_z.remember(memory, z)

    def decode(self, previous: Features, condition: Features, z: Tensor) -> Pictures:
        """The next frame; `output` says how it is kept in [0, 1], or that it is not."""
        fused = self.Decoder_Fusion(torch.cat((*previous, *condition, z.to(previous[0].dtype)), 1))
        raw = self.Generator(fused).float()
        if self.output == "sigmoid":
            return torch.sigmoid(raw)
        if self.output == "clamp":
            return raw.clamp(0.0, 1.0)
        return raw


class Residual(nn.Module):
    """Two 3x3 convolutions; the skip is added after the second activation."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, narrow, 3, padding=1)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.skip = nn.Identity() if wide == narrow else nn.Conv2d(wide, narrow, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.leaky_relu(self.conv1(x), 0.01, inplace=True)
        return nn.functional.leaky_relu(self.conv2(inner), 0.01) + self.skip(x)


class DepthConv(nn.Module):
    """1x1, depthwise 3x3, 1x1, plus identity."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(wide, wide, 1), nn.LeakyReLU(0.01, inplace=True))
        self.depth_conv = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv2 = nn.Conv2d(wide, narrow, 1)
        self.adaptor = nn.Identity() if wide == narrow else nn.Conv2d(wide, narrow, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.depth_conv(self.conv1(x))).add_(self.adaptor(x))


class GatedFeedForward(nn.Module):
    """One half gates the other: a x LeakyReLU(b), plus identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 1)
        self.conv_out = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, 1)
        return self.conv_out(a * nn.functional.leaky_relu(b, 0.1)).add_(x)


class DepthConvBlock(nn.Module):
    """A depthwise convolution, then a gated feed-forward layer."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.block = nn.Sequential(DepthConv(wide, narrow), GatedFeedForward(narrow))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def frame_encoder(width: int) -> nn.Sequential:
    """`frame_transformation`: `[N, 3, H, W]` to `[N, width, H, W]`."""
    eighth, quarter, half = width // 8, width // 4, width // 2
    return nn.Sequential(
        Residual(3, eighth),
        DepthConvBlock(eighth, eighth),
        Residual(eighth, quarter),
        DepthConvBlock(quarter, quarter),
        Residual(quarter, half),
        DepthConvBlock(half, half),
        nn.Conv2d(half, width, 3, padding=1),
    )


def pose_encoder(width: int) -> nn.Sequential:
    """`label_transformation`; its activation has slope 1 in the course's code, so it is left an identity."""
    half = width // 2
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, half, 7),
        nn.BatchNorm2d(half),
        nn.Identity(),
        Residual(half, width),
    )


def gaussian_predictor(channels: int, latent: int) -> nn.Sequential:
    """`Gaussian_Predictor`: mean and log variance, `[N, 2 latent, H, W]`; layer 5 is an identity too."""
    quarter, half = latent // 4, latent // 2
    return nn.Sequential(
        Residual(channels, quarter),
        DepthConvBlock(quarter, quarter),
        Residual(quarter, half),
        DepthConvBlock(half, half),
        Residual(half, latent),
        nn.Identity(),
        nn.Conv2d(latent, 2 * latent, 1),
    )


def decoder_fusion(channels: int, width: int) -> nn.Sequential:
    """`Decoder_Fusion`: frame, pose and z joined, to `[N, width, H, W]`."""
    quarter, half = channels // 4, width // 2
    doubled = 2 * quarter
    return nn.Sequential(
        DepthConvBlock(channels, channels),
        Residual(channels, quarter),
        DepthConvBlock(quarter, doubled),
        Residual(doubled, doubled),
        DepthConvBlock(doubled, half),
        nn.Conv2d(half, width, 1),
    )


def generator(width: int) -> nn.Sequential:
    """`Generator`: `[N, width, H, W]` to an unbounded picture."""
    half, quarter, eighth = width // 2, width // 4, width // 8
    return nn.Sequential(
        DepthConvBlock(width, width),
        Residual(width, half),
        DepthConvBlock(half, half),
        Residual(half, quarter),
        DepthConvBlock(quarter, quarter),
        Residual(quarter, eighth),
        DepthConvBlock(eighth, eighth),
        nn.Conv2d(eighth, 3, 1),
    )
