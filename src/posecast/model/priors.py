"""Priors: what z may be before its frame is seen.

In: features of the previous frame and of the condition (pose and anchor); a memory of the instants before. Out: a
Gaussian, and the memory. All priors have one form, so that `anchored.py` holds any of them; an empty memory is all
zeros. Knows no picture and no clip. Next: `elbo.py` has the Gaussians, docs/latent.md the reasons.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.model.elbo import Gaussian, bounded_log_variance, standard_normal_like

Features = tuple[Tensor, ...]
"""One tensor a scale, finest first."""
Latent = Float[Tensor, "N Z h w"]
Memory = Float[Tensor, "N M _ _"]

SHORTEST_MEMORY, LONGEST_MEMORY, MOST_MEMORY = 50.0, 500.0, 2000.0
"""In frames: of the first and the last pair of a new stationary prior; and what no pair can exceed. A pair that forgets
too slowly at first learns to forget; one that is too quick is soon used for a light, which flickers from then on."""
MEMORY_PACE = 10.0
"""How many times faster than a weight the logarithm of a memory is learned: it has factors of ten to go, not tenths."""


class FixedPrior(nn.Module):
    """N(0, I), whatever came before: the course's."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.memory_shape = (0, 1, 1)

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        empty = torch.zeros(len(memory), *self.latent_shape, device=memory.device)
        return standard_normal_like(Gaussian(empty, empty)), memory

    def remember(self, memory: Memory, z: Latent) -> Memory:
        return memory


class LearnedPrior(nn.Module):
    """A Gaussian read off what a rollout has, each instant for itself."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.memory_shape = (0, 1, 1)

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        return self.head(torch.cat((*previous[-1:], condition[-1]), 1)), memory

    def remember(self, memory: Memory, z: Latent) -> Memory:
        return memory


class RecurrentPrior(nn.Module):
    """A Gaussian read off a recurrent state that has seen every frame so far (SVG-LP: Denton and Fergus 2018).

    Theirs is an LSTM over a frame's features; this is a GRU over those of frame, pose and anchor, averaged over the
    picture. Every cell of z has the same Gaussian.
    """

    def __init__(self, seen: int, width: int, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.memory_shape = (width, 1, 1)
        self.cell = nn.GRUCell(seen, width)
        self.out = nn.Linear(width, 2 * latent_shape[0])

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        seen = torch.cat([scale.mean((2, 3)) for scale in (*previous[-1:], condition[-1])], 1)
        state = self.cell(seen.to(memory.dtype), memory.flatten(1))
        flat = self.out(state).float()[:, :, None, None].expand(-1, -1, *self.latent_shape[1:])
        mean, raw = flat.chunk(2, 1)
        return Gaussian(mean, bounded_log_variance(raw)), state.float()[:, :, None, None]

    def remember(self, memory: Memory, z: Latent) -> Memory:
        return memory


class StationaryPrior(nn.Module):
    """Every pair of channels of z is a damped rotation driven by noise, and N(0, I) at every instant.

    p(z_t | z_(t-1)) = N(a R z_(t-1), (1 - a^2) I), with a = exp(-1 / memory) and R a rotation by 2 pi / period: two
    channels of a linear recurrence with complex eigenvalues (Orvieto et al. 2023, section 3.2), scaled so that a z
    drawn from N(0, I) is followed by one drawn from N(0, I). So a future can neither die out nor run away, however
    long it is, and the memories and periods are what one step teaches: clips need not be as long as they are.
    Where nothing is remembered, z_t is N(0, I).
    """

    first_log_memory: Tensor

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.memory_shape = (channels + 1, height, width)
        pairs = channels // 2
        memories = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), pairs)
        self.register_buffer("first_log_memory", memories.log(), persistent=False)
        self.log_memory_moved = nn.Parameter(torch.zeros(pairs))
        self.angle = nn.Parameter(torch.zeros(pairs))  # nothing swings until it is seen to

    def memories(self) -> Float[Tensor, " pairs"]:
        """After so many frames a pair has forgotten all but 1/e."""
        log_memory = self.first_log_memory + MEMORY_PACE * self.log_memory_moved.float()
        return 1.0 / (1.0 / MOST_MEMORY + torch.exp(-log_memory))

    @torch.no_grad()
    def remember_for(self, memories: Float[Tensor, " pairs"]) -> None:
        """Set each pair's memory in frames, to half of what no pair can exceed at the most; nothing swings."""
        log_memory = -torch.log(1.0 / memories.clamp(1.0, MOST_MEMORY / 2) - 1.0 / MOST_MEMORY).to(
            self.first_log_memory
        )
        self.log_memory_moved.copy_((log_memory - self.first_log_memory) / MEMORY_PACE)
        self.angle.zero_()

    def forward(self, previous: Features, condition: Features, memory: Memory) -> tuple[Gaussian, Memory]:
        z, known = memory[:, :-1], memory[:, -1:]
        forgetting = (1.0 / self.memories()).repeat_interleave(2)[:, None, None]
        one, other = z.unflatten(1, (-1, 2)).unbind(2)
        cosine, sine = (f(self.angle.float())[:, None, None] for f in (torch.cos, torch.sin))
        turned = torch.stack((cosine * one - sine * other, sine * one + cosine * other), 2).flatten(1, 2)
        variance = torch.where(known > 0, -torch.expm1(-2.0 * forgetting), 1.0)
        return Gaussian(torch.exp(-forgetting) * turned, variance.log()), memory

    def remember(self, memory: Memory, z: Latent) -> Memory:
        return torch.cat((z, torch.ones_like(z[:, :1])), 1)
