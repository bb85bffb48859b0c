"""Bounds against a model whose evidence is known; what z carries; z moved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.evaluation.posterior import STOPS, bounds, observe, reconstruct, systematic, traversal
from posecast.model.elbo import Gaussian
from posecast.model.predictor import Predictor

from ..conftest import moving_square

VARIANCE = 0.02


class Shade(nn.Module):
    """A picture is one shade, x_t = (x_(t-1) + z) / 2 + noise of VARIANCE, z ~ N(0, 1): a walk with known evidence."""

    latent_shape, memory_shape, pose_window, feedback = (1, 1, 1), (0, 1, 1), 0, True

    def __init__(self, posterior_variance: float) -> None:
        super().__init__()
        self.posterior_variance = posterior_variance
        self.unused = nn.Parameter(torch.zeros(()))

    def encode_frame(self, frames: Tensor) -> tuple[Tensor]:
        return (frames.mean((1, 2, 3), keepdim=True),)

    def encode_condition(self, poses: Tensor, anchor: tuple) -> tuple[Tensor]:
        return (poses.mean((1, 2, 3), keepdim=True),)

    def encode_anchor(self, frames: Tensor, poses: Tensor) -> tuple[Tensor]:
        return self.encode_frame(frames)

    def begin(self, first: tuple, condition: tuple, noise: None) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(first[0]), *self.memory_shape), torch.zeros(len(first[0]))

    def prior(self, previous: tuple, condition: tuple, memory: Tensor) -> tuple[Gaussian, Tensor]:
        return Gaussian(torch.zeros_like(previous[0]), torch.zeros_like(previous[0])), memory

    def posterior(self, current: tuple, previous: tuple, condition: tuple, prior: Gaussian) -> Gaussian:
        wanted = 2 * current[0] - previous[0]
        return Gaussian(0.8 * wanted, torch.full_like(wanted, math.log(self.posterior_variance)))

    def remember(self, memory: Tensor, z: Tensor) -> Tensor:
        return memory

    def decode(self, previous: tuple, condition: tuple, z: Tensor) -> Tensor:
        return (0.5 * (previous[0] + z)).expand(-1, 3, 16, 16)


def shaded(tiny: Config, posterior_variance: float) -> Predictor:
    predictor = Predictor(tiny).eval()
    predictor.networks = Shade(posterior_variance)
    return predictor


def evidence(shades: np.ndarray) -> float:
    """log p(x_2..T | x_1) in nats per frame: Gaussian, its D values all one path of shades plus white noise."""
    count, values = len(shades) - 1, 3 * 16 * 16
    step = np.tril(0.5 ** (1 + np.arange(count)[:, None] - np.arange(count)))
    mean = shades[0] * 0.5 ** np.arange(1, count + 1)
    shared = step @ step.T  # of the painted path; each of the D values adds noise of its own
    whole = np.kron(shared, np.ones((values, values))) + VARIANCE * np.eye(count * values)
    away = np.repeat(shades[1:] - mean, values)
    _, log_determinant = np.linalg.slogdet(whole)
    quadratic = away @ np.linalg.solve(whole, away)
    return -0.5 * (quadratic + log_determinant + len(away) * math.log(2 * math.pi)) / count


def test_the_weighted_bound_is_tighter_and_closes_on_the_evidence(tiny: Config) -> None:
    shades = np.array([120, 90, 100, 70], np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (4, 16, 16, 3)).copy()
    recording = Recording("shades", frames, np.full_like(frames, 255))
    known = evidence(shades / 255.0)

    def both(particles: int) -> tuple[float, float]:
        found = [bounds(shaded(tiny, 0.01), recording, VARIANCE, particles=particles, seed=seed) for seed in range(8)]
        return float(np.mean([one.plain for one in found])), float(np.mean([one.weighted for one in found]))

    found = {particles: both(particles) for particles in (2, 400)}
    assert found[2][0] < found[2][1] < known + 0.1
    assert found[2][1] < found[400][1]
    assert found[400][1] == pytest.approx(known, abs=0.1)
    assert found[400][0] < known - 0.5  # the plain bound stays below, however many are averaged


def test_survivors_are_as_many_as_their_share_says() -> None:
    share = torch.tensor([0.5, 0.25, 0.0, 0.25], dtype=torch.float64)
    counts = torch.bincount(systematic(share, torch.Generator().manual_seed(0)), minlength=4)
    assert counts.tolist() == [2, 1, 0, 1]


@pytest.fixture
def predictor(either: Config) -> Predictor:
    torch.manual_seed(0)
    return Predictor(either).eval().requires_grad_(False)


def test_reconstruction_and_its_error_are_of_the_same_frames(predictor: Predictor) -> None:
    square = moving_square(10)
    found = reconstruct([observe(predictor, square)], [square])
    assert found.psnr_db == pytest.approx(-10 * math.log10(found.mse), abs=0.5)
    assert found.num_units == math.prod(predictor.latent_shape)
    assert 0 <= found.active_units <= found.num_units
    assert found.rate_nats >= 0


def test_a_traversal_shows_one_pose_and_moves_with_z_only(predictor: Predictor) -> None:
    strips = traversal(predictor, moving_square(12), observe(predictor, moving_square(12)))
    assert all(strip.shape == (STOPS, 16, 16, 3) for strip in strips)
    assert 1 <= len(strips) <= 3
    changes = [np.square(strip[-1].astype(float) - strip[0]).mean() for strip in strips]
    assert changes == pytest.approx(sorted(changes, reverse=True), abs=0.5)  # frames are rounded, their order is not
