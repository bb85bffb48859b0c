"""Interface of a set of networks, implemented by `anchored.py` and `lab4.py`.

In: float images in [0, 1], pose windows, z. Out: features, Gaussians, the next frame.
Networks process single time steps; `predictor.py` applies them over time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.data.clips import Images, PoseWindows
from posecast.model.elbo import Gaussian
from posecast.model.priors import Features, LatentGrid, Memory, Prior


class Networks(nn.Module, ABC):
    """Encoders, prior, posterior and decoder of a frame."""

    latent_shape: tuple[int, ...]
    """Channels, height and width of the z of one frame."""
    pose_window: int
    """Pose maps on each side of the current one."""
    feedback: bool
    """Whether a frame is decoded from features of the previous one. Otherwise `previous` is empty."""
    prior_of_z: Prior

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Shape of one row of the memory of z; no channels where nothing is remembered."""
        return self.prior_of_z.memory_shape

    def empty_memory(self, num_rows: int | torch.SymInt, device: torch.device) -> Memory:
        """Return the memory before any time step: zeros, one row per clip or future."""
        return torch.zeros(num_rows, *self.memory_shape, device=device)

    @abstractmethod
    def encode_frame(self, frames: Images) -> Features:
        """Encode previous or current frames."""

    @abstractmethod
    def encode_anchor(self, frames: Images, poses: Images) -> Features:
        """Encode anchors: real frames with their own pose maps. Empty where networks have no anchor."""

    @abstractmethod
    def encode_condition(self, poses: PoseWindows, anchor: Features) -> Features:
        """Encode the inputs that are known before a frame is decoded.

        All time steps of a clip are one batch here, which leaves less work to the loop over time.

        Args:
            poses: T rows of pose windows for each row of the anchor, time-major.
            anchor: Result of `encode_anchor`, N rows.

        Returns:
            Features of pose and anchor, T N rows, time-major.
        """

    def begin(
        self, first: Features, condition: Features, noise: Float[Tensor, "O Z h w"] | None
    ) -> tuple[Memory, Float[Tensor, " N"]]:
        """Return the memory after the given first frame, and the KL of its z in nats.

        Args:
            first: Features of the first frame, N rows.
            condition: Features of its pose and anchor.
            noise: N(0, I) draws for the z of the first O rows; the other rows get the posterior's mean, at no KL.
                None: the mean for all rows.
        """
        empty = self.empty_memory(first[-1].shape[0], first[-1].device)
        return empty, empty.new_zeros(empty.shape[0])

    def prior(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        """Return p(z | previous frame, condition, memory), and the memory with the features of this time step."""
        return self.prior_of_z(previous, condition, memory)

    @abstractmethod
    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        """Return q(z | current frame, and the inputs of the prior); of features only the coarsest scale is read."""

    def remember(self, memory: Memory, z: LatentGrid) -> Memory:
        """Return the memory with the z of this time step."""
        return self.prior_of_z.remember(memory, z)

    @abstractmethod
    def decode(self, previous: Features, condition: Features, z: LatentGrid) -> Images:
        """Return the next frames."""
