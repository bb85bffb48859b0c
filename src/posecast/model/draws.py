"""Random draws: generators by key, and the noise and coins of clips and rollouts.

In: integer keys such as (seed, update). Out: generators; `Draws`, the random inputs of a batch of clips.
No generator is kept between calls, so that an interrupted run repeats its draws. Next: `predictor.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def seeded(*key: int) -> torch.Generator:
    """Return a generator that depends on the complete key, such as (seed, sequence, future), and on nothing else.

    Args:
        key: Non-negative integers; keys of different lengths give different generators.
    """
    # SeedSequence treats (1,) and (1, 0) alike, so the length comes first.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def future_generators(seed: int, sequence: int, futures: Sequence[int]) -> list[torch.Generator]:
    """Return one generator per future; each depends only on the seed, the sequence's number and the future's number."""
    return [seeded(seed, sequence, future) for future in futures]


def step_noise(generators: Sequence[torch.Generator], latent_shape: tuple[int, ...]) -> Float[Tensor, "N Z h w"]:
    """Draw the noise of one time step: N(0, I), one row per generator."""
    return torch.stack([torch.randn(latent_shape, generator=generator) for generator in generators])


class Draws(NamedTuple):
    """Random inputs of a batch of clips.

    The first O clips are observed: their z is drawn from the posterior. The z of the other clips is the prior's mean,
    as in a rollout, and has no rate.
    """

    noise: Float[Tensor, "O T-1 Z h w"]
    """Noise of the posterior."""
    first_noise: Float[Tensor, "O Z h w"]
    """Noise of the posterior at the first frame; used by networks with a memory of z."""
    teacher_forced: Bool[Tensor, "B T-1"]
    """True where a frame is predicted from the true previous frame. Frame 2 always is, if there is a first frame."""
    has_first_frame: Bool[Tensor, " B"]
    """False where the first frame is hidden: frame 2 is then predicted from features that are zero."""

    def observed(self) -> Bool[Tensor, "_ _"]:
        """Return True where z is from the posterior, one row per clip, one column per predicted frame."""
        rows = torch.arange(len(self.teacher_forced), device=self.teacher_forced.device) < len(self.noise)
        return rows[:, None].expand_as(self.teacher_forced)


def free_running(noise: Tensor) -> Draws:
    """Return the draws of the bound itself: no teacher forcing, all first frames given, all clips observed.

    Args:
        noise: Noise of the posterior, `[B, T-1, Z, h, w]`; the z of the first frame is the posterior's mean.
    """
    num_clips, num_predictions = noise.shape[:2]
    off = torch.zeros(num_clips, dtype=torch.bool)
    return Draws(noise, torch.zeros_like(noise[:, 0]), off[:, None].expand(-1, num_predictions), ~off)
