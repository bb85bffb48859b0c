"""The stationary prior against simulation and algebra; inputs that the other priors depend on."""

import itertools
import math

import pytest
import torch

from posecast.model.elbo import Gaussian
from posecast.model.priors import MEMORY_PACE, MOST_MEMORY, FixedPrior, LearnedPrior, RecurrentPrior, StationaryPrior

SHAPE = (4, 1, 1)


def features(seed: int = 0, rows: int = 2) -> tuple[tuple[torch.Tensor], ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple((torch.rand(rows, 8, 4, 8, generator=generator),) for _ in range(2))


def stationary(memories: list[float], periods: list[float]) -> StationaryPrior:
    prior = StationaryPrior((2 * len(memories), 1, 1))
    with torch.no_grad():
        # 1 / memory is 1 / MOST_MEMORY more than exp(-log_memory)
        log_memory = -torch.log(1.0 / torch.tensor(memories) - 1.0 / MOST_MEMORY)
        prior.log_memory_moved.copy_((log_memory - prior.first_log_memory) / MEMORY_PACE)
        prior.angle.copy_(2.0 * math.pi / torch.tensor(periods))
    return prior


class IdentityHead(torch.nn.Module):
    """Head that returns its input as mean and as log variance."""

    def forward(self, joined: torch.Tensor) -> Gaussian:
        return Gaussian(joined, joined)


def step(prior: StationaryPrior, memory: torch.Tensor, noise: torch.Tensor | None) -> tuple[Gaussian, torch.Tensor]:
    p, memory = prior((), (), memory)
    return p, prior.remember(memory, p.mean if noise is None else p.sample(noise))


def test_fixed_is_standard_normal_for_all_inputs() -> None:
    p, memory = FixedPrior(SHAPE)(*features(), memory=torch.zeros(2, 0, 1, 1))
    assert p.mean.shape == (2, *SHAPE)
    assert not p.mean.any()
    assert not p.log_variance.any()
    assert not memory.numel()


def test_learned_depends_on_each_of_its_inputs() -> None:
    torch.manual_seed(0)
    prior = LearnedPrior(IdentityHead())
    inputs, other = features(), features(seed=1)
    memory = torch.zeros(2, 0, 1, 1)
    for changed in ((other[0], inputs[1]), (inputs[0], other[1])):
        assert not torch.equal(prior(*inputs, memory)[0].mean, prior(*changed, memory)[0].mean)


def test_recurrent_depends_on_frames_before_the_last() -> None:
    torch.manual_seed(0)
    prior = RecurrentPrior(16, 8, SHAPE).eval()

    def after(first: int) -> torch.Tensor:
        memory = torch.zeros(2, *prior.memory_shape)
        for seed in (first, 7, 8):
            p, memory = prior(*features(seed), memory=memory)
            memory = prior.remember(memory, p.mean)
        return p.mean

    assert not torch.equal(after(1), after(2))
    torch.testing.assert_close(after(1), after(1))


@torch.no_grad()
def test_stationary_keeps_its_variance_and_decays_with_its_memory() -> None:
    """Over 4,000 paths the variance is 1, the autocorrelation exp(-lag / memory) cos(2 pi lag / period)."""
    prior, generator = stationary([40.0, 15.0], [1e9, 20.0]), torch.Generator().manual_seed(0)
    memory, path = torch.zeros(4000, *prior.memory_shape), []
    for _ in range(120):
        _, memory = step(prior, memory, torch.randn(4000, *SHAPE, generator=generator))
        path.append(memory[:, :4, 0, 0])
    z = torch.stack(path, 1)  # paths, steps, channels
    torch.testing.assert_close(z.var(0), torch.ones(120, 4), atol=0.15, rtol=0)
    for lag in (1, 7, 20):
        correlation = (z[:, lag:] * z[:, :-lag]).mean((0, 1))
        slow, swinging = math.exp(-lag / 40), math.exp(-lag / 15) * math.cos(2 * math.pi * lag / 20)
        torch.testing.assert_close(correlation, torch.tensor([slow, slow, swinging, swinging]), atol=0.04, rtol=0)


@torch.no_grad()
def test_stationary_mean_rotates_and_decays() -> None:
    """From a known z_1 the prior's mean follows the powers of a damped rotation."""
    prior = stationary([10.0], [8.0])
    memory = prior.remember(torch.zeros(1, *prior.memory_shape), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
    for t in range(1, 40):
        p, memory = step(prior, memory, None)
        expected = math.exp(-t / 10) * torch.tensor([math.cos(math.pi * t / 4), math.sin(math.pi * t / 4)])
        torch.testing.assert_close(p.mean.flatten(), expected, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(p.log_variance.exp().mean().item(), 1 - math.exp(-2 / 10), atol=1e-4, rtol=0)


def test_memories_can_be_set_up_to_half_of_their_limit() -> None:
    prior = StationaryPrior(SHAPE)
    prior.remember_for(torch.tensor([123.0, 11_000.0], dtype=torch.float64))
    torch.testing.assert_close(prior.memories().detach(), torch.tensor([123.0, MOST_MEMORY / 2]), rtol=1e-4, atol=0.0)


def test_stationary_is_standard_normal_without_a_memory() -> None:
    prior = StationaryPrior(SHAPE)
    p, _ = prior((), (), torch.zeros(3, *prior.memory_shape))
    assert not p.mean.any()
    torch.testing.assert_close(p.log_variance, torch.zeros(3, *SHAPE))


def test_stationary_learns_memory_and_period_of_a_process() -> None:
    """Paths of eight steps suffice for a memory of 30 and a period of 25."""
    truth, generator = stationary([30.0], [25.0]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        memory = torch.zeros(512, *truth.memory_shape)
        path = []
        for _ in range(8):
            _, memory = step(truth, memory, torch.randn(512, 2, 1, 1, generator=generator))
            path.append(memory)
    learned = stationary([8.0], [60.0])
    optimizer = torch.optim.Adam(learned.parameters(), 0.005)
    for _ in range(200):
        loss = torch.zeros(())
        for before, after in itertools.pairwise(path):
            p, _ = learned((), (), before)
            error = (after[:, :2] - p.mean).square() * torch.exp(-p.log_variance)
            loss = loss + (error + p.log_variance).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert learned.memories().item() == pytest.approx(30.0, rel=0.2)
    assert 2 * math.pi / learned.angle.item() == pytest.approx(25.0, rel=0.1)
