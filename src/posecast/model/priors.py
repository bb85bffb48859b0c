"""Priors of z: fixed, learned, recurrent, stationary.

In: features of the previous frame and of the condition (pose and anchor), and a memory of earlier time steps; an empty
memory is all zeros. Out: a Gaussian of z, and the memory. All priors share one interface, so that the networks can hold
any of them. Next: `elbo.py` defines the Gaussians, docs/explanation/latent.md gives the reasons.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.model.elbo import Gaussian, bounded_log_variance, standard_normal_like

Features = tuple[Tensor, ...]
"""One tensor `[N, C, h, w]` per scale, finest first; empty where networks have none."""
LatentGrid = Float[Tensor, "N Z h w"]
Memory = Float[Tensor, "N M _ _"]

SHORTEST_MEMORY, LONGEST_MEMORY, MOST_MEMORY = 50.0, 500.0, 2000.0
"""In frames: of the first and the last pair of a new stationary prior, and the upper limit of any pair. Memories start
long, because one that is too long shortens in training, while a pair whose memory is too short is soon used for a slow
factor such as light, which then flickers."""
MEMORY_PACE = 10.0
"""Factor by which the logarithm of a memory is learned faster than a weight: it changes by factors of ten."""


class Prior(nn.Module, ABC):
    """Interface of the priors."""

    memory_shape: tuple[int, ...] = (0, 1, 1)
    """Shape of one row of the memory; no channels where nothing is remembered."""
    reads_features = True
    """Whether z depends on the features, and not on the memory alone. `previous` and `condition` are else unused."""

    @abstractmethod
    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        """Return the Gaussian of z at this time step, and the memory with the features of this time step."""

    def remember(self, memory: Memory, z: LatentGrid) -> Memory:
        """Return the memory with the z of this time step; unchanged by priors that do not depend on earlier z."""
        return memory


class FixedPrior(Prior):
    """N(0, I) at every time step, as in the course's Lab 4."""

    reads_features = False

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_shape = latent_shape

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        empty = torch.zeros(memory.shape[0], *self.latent_shape, device=memory.device)
        return standard_normal_like(Gaussian(empty, empty)), memory


class LearnedPrior(Prior):
    """Gaussian predicted from the previous frame and the condition, without a memory."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        return self.head(torch.cat((*previous[-1:], condition[-1]), 1)), memory


class RecurrentPrior(Prior):
    """Gaussian predicted from a recurrent state over all earlier frames (SVG-LP: Denton and Fergus 2018).

    SVG-LP has an LSTM over the features of a frame; this prior has a GRU over the features of frame, pose and anchor,
    averaged over the image. Every cell of z has the same Gaussian.
    """

    def __init__(self, channels: int, width: int, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.memory_shape = (width, 1, 1)
        self.cell = nn.GRUCell(channels, width)
        self.out = nn.Linear(width, 2 * latent_shape[0])

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        averages = torch.cat([scale.mean((2, 3)) for scale in (*previous[-1:], condition[-1])], 1)
        state = self.cell(averages.to(memory.dtype), memory.flatten(1))
        flat = self.out(state).float()[:, :, None, None].expand(-1, -1, *self.latent_shape[1:])
        mean, raw = flat.chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw)), state.float()[:, :, None, None]


class StationaryPrior(Prior):
    """Damped rotations of pairs of channels, driven by noise, with the marginal N(0, I) at every time step.

    p(z_t | z_(t-1)) = N(a R z_(t-1), (1 - a^2) I), with a = exp(-1 / memory) and R a rotation by 2 pi / period: two
    channels of a linear recurrence with complex eigenvalues (Orvieto et al. 2023, section 3.2), scaled so that N(0, I)
    is its stationary distribution. A future can therefore neither decay nor diverge, however long it is. Memories and
    periods are learned from single steps, so clips may be shorter than they are. Without a memory, z_t is N(0, I).
    """

    first_log_memory: Tensor
    reads_features = False

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.memory_shape = (channels + 1, height, width)
        pairs = channels // 2
        memories = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), pairs)
        self.register_buffer("first_log_memory", memories.log(), persistent=False)
        self.log_memory_moved = nn.Parameter(torch.zeros(pairs))
        self.angle = nn.Parameter(torch.zeros(pairs))

    def memories(self) -> Float[Tensor, " pairs"]:
        """Return the memory of each pair: the number of frames after which a factor 1/e is left, at most 2000."""
        log_memory = self.first_log_memory + MEMORY_PACE * self.log_memory_moved.float()
        return 1.0 / (1.0 / MOST_MEMORY + torch.exp(-log_memory))

    @torch.no_grad()
    def remember_for(self, memories: Float[Tensor, " pairs"]) -> None:
        """Set the memory of each pair, and all rotations to zero.

        Args:
            memories: In frames; clamped to at least 1 and at most `MOST_MEMORY` / 2.
        """
        log_memory = -torch.log(1.0 / memories.clamp(1.0, MOST_MEMORY / 2) - 1.0 / MOST_MEMORY).to(
            self.first_log_memory
        )
        self.log_memory_moved.copy_((log_memory - self.first_log_memory) / MEMORY_PACE)
        self.angle.zero_()

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        z, is_known = memory[:, :-1], memory[:, -1:]
        decay = (1.0 / self.memories()).repeat_interleave(2)[:, None, None]
        x, y = z.unflatten(1, (-1, 2)).unbind(2)
        cosine, sine = (f(self.angle.float())[:, None, None] for f in (torch.cos, torch.sin))
        rotated = torch.stack((cosine * x - sine * y, sine * x + cosine * y), 2).flatten(1, 2)
        variance = torch.where(is_known > 0, -torch.expm1(-2.0 * decay), 1.0)
        return Gaussian(torch.exp(-decay) * rotated, variance.log()), memory

    def remember(self, memory: Memory, z: LatentGrid) -> Memory:
        """Return z with a channel of ones, which tells it from an empty memory."""
        return torch.cat((z, torch.ones_like(z[:, :1])), 1)
