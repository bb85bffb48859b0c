"""Networks of the course's Lab 4, with its names of layers and weights; all work at full resolution.

In: float images in [0, 1], pose maps, z. Out: features, Gaussians, the next frame. A checkpoint's `state_dict` loads
unchanged: `frame_transformation`, `label_transformation`, `Gaussian_Predictor`, `Decoder_Fusion`, `Generator`.
The log variance and the output are bounded, which makes training stable and changes no weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from posecast.config.schema import Lab4
from posecast.data.clips import Images
from posecast.model.elbo import Gaussian, bounded_log_variance
from posecast.model.networks import Networks
from posecast.model.priors import Features, FixedPrior, LatentGrid


class Lab4Networks(Networks):
    """Conditional VAE of the course's Lab 4: prior N(0, I), no anchor.

    Args:
        config: Widths and options of the networks.
        size: Height and width of the images in pixels.
    """

    def __init__(self, config: Lab4, size: tuple[int, int]) -> None:
        super().__init__()
        frame, pose, latent = config.frame_channels, config.pose_channels, config.latent_channels
        self.latent_shape = (latent, *size)
        self.prior_of_z = FixedPrior(self.latent_shape)
        self.pose_window, self.feedback = 0, True
        self.posterior_sees = config.posterior_sees
        self.output = config.output
        self.frame_transformation = frame_encoder(frame)
        self.label_transformation = pose_encoder(pose, FrameNorm if config.batchnorm == "batch" else nn.BatchNorm2d)
        self.Gaussian_Predictor = gaussian_predictor(frame + pose, latent)
        self.Decoder_Fusion = decoder_fusion(frame + pose + latent, config.fusion_channels)
        self.Generator = generator(config.fusion_channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode_frame(self, frames: Images) -> Features:
        return (self.frame_transformation(frames),)

    def encode_anchor(self, frames: Images, poses: Images) -> Features:
        """Return no features: the course's networks have no anchor."""
        return ()

    def encode_condition(self, poses: Images, anchor: Features) -> Features:
        return (self.label_transformation(poses),)

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        """Return q(z | x_t, p_t), as in the assignment, or q(z | x_(t-1), p_t), as in the report's code."""
        frame = current if self.posterior_sees == "current" else previous
        mean, raw = self.Gaussian_Predictor(torch.cat((*frame, *condition), 1)).float().chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw))

    def decode(self, previous: Features, condition: Features, z: LatentGrid) -> Images:
        """Return the next frames, in [0, 1] unless `output` is none."""
        fused = self.Decoder_Fusion(torch.cat((*previous, *condition, z.to(previous[0].dtype)), 1))
        raw = self.Generator(fused).float()
        if self.output == "sigmoid":
            return torch.sigmoid(raw)
        if self.output == "clamp":
            return raw.clamp(0.0, 1.0)
        return raw


class Residual(nn.Module):
    """Two 3x3 convolutions; the skip connection is added after the second activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.leaky_relu(self.conv1(x), 0.01, inplace=True)
        return nn.functional.leaky_relu(self.conv2(inner), 0.01) + self.skip(x)


class DepthConv(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions, with a skip connection."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(inputs, inputs, 1), nn.LeakyReLU(0.01, inplace=True))
        self.depth_conv = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1)
        self.adaptor = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.depth_conv(self.conv1(x))).add_(self.adaptor(x))


class GatedFeedForward(nn.Module):
    """Gate a x LeakyReLU(b) of two halves a and b of the channels, with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 1)
        self.conv_out = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, 1)
        return self.conv_out(a * nn.functional.leaky_relu(b, 0.1)).add_(x)


class DepthConvBlock(nn.Module):
    """Depthwise convolution, then a gated feed-forward layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(DepthConv(inputs, outputs), GatedFeedForward(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def frame_encoder(width: int) -> nn.Sequential:
    """Build `frame_transformation`: `[N, 3, H, W]` to `[N, width, H, W]`."""
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


class FrameNorm(nn.BatchNorm2d):
    """BatchNorm with the statistics of every single frame in evaluation mode.

    This is the arithmetic of the course's code, which never leaves training mode and tests with batches of one frame.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        return nn.functional.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


def pose_encoder(width: int, norm: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> nn.Sequential:
    """Build `label_transformation`: `[N, 3, H, W]` to `[N, width, H, W]`."""
    half = width // 2
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, half, 7),
        norm(half),
        nn.Identity(),  # an activation of slope 1 in the course's code
        Residual(half, width),
    )


def gaussian_predictor(channels: int, latent: int) -> nn.Sequential:
    """Build `Gaussian_Predictor`: `[N, channels, H, W]` to mean and log variance, `[N, 2 latent, H, W]`."""
    quarter, half = latent // 4, latent // 2
    return nn.Sequential(
        Residual(channels, quarter),
        DepthConvBlock(quarter, quarter),
        Residual(quarter, half),
        DepthConvBlock(half, half),
        Residual(half, latent),
        nn.Identity(),  # an activation of slope 1 in the course's code
        nn.Conv2d(latent, 2 * latent, 1),
    )


def decoder_fusion(channels: int, width: int) -> nn.Sequential:
    """Build `Decoder_Fusion`: concatenated frame, pose and z, `[N, channels, H, W]`, to `[N, width, H, W]`."""
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
    """Build `Generator`: `[N, width, H, W]` to an unbounded image, `[N, 3, H, W]`."""
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
