"""Tests of the bounds on log p with a model whose evidence is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.evaluation.bounds import bound_passes, estimate_bounds, stored_variance, systematic
from posecast.model.elbo import Gaussian
from posecast.model.networks import Networks
from posecast.model.predictor import Predictor
from posecast.model.priors import Features, FixedPrior

VARIANCE = 0.02


class Shade(Networks):
    """Networks whose frames have one shade of grey, with evidence in closed form.

    x_t = (x_(t-1) + z) / 2 + noise of VARIANCE, z ~ N(0, 1).
    """

    def __init__(self, posterior_variance: float) -> None:
        super().__init__()
        self.latent_shape, self.pose_window, self.feedback = (1, 1, 1), 0, True
        self.prior_of_z = FixedPrior(self.latent_shape)
        self.posterior_variance = posterior_variance
        self.unused = nn.Parameter(torch.zeros(()))

    def encode_frame(self, frames: Tensor) -> Features:
        return (frames.mean((1, 2, 3), keepdim=True),)

    def encode_condition(self, poses: Tensor, anchor: Features) -> Features:
        return (poses.mean((1, 2, 3), keepdim=True),)

    def encode_anchor(self, frames: Tensor, poses: Tensor) -> Features:
        return self.encode_frame(frames)

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        exact = 2 * current[0] - previous[0]
        return Gaussian(0.8 * exact, torch.full_like(exact, math.log(self.posterior_variance)))

    def decode(self, previous: Features, condition: Features, z: Tensor) -> Tensor:
        return (0.5 * (previous[0] + z)).expand(-1, 3, 16, 16)


def shade_predictor(tiny: Config, posterior_variance: float) -> Predictor:
    predictor = Predictor(tiny).eval()
    predictor.networks = Shade(posterior_variance)
    return predictor


def evidence(shades: np.ndarray) -> float:
    """Return log p(x_2..T | x_1) in nats per frame: a Gaussian whose D values share one path, plus white noise."""
    count, values = len(shades) - 1, 3 * 16 * 16
    step = np.tril(0.5 ** (1 + np.arange(count)[:, None] - np.arange(count)))
    mean = shades[0] * 0.5 ** np.arange(1, count + 1)
    shared = step @ step.T  # covariance of the path; each of the D values has independent noise
    covariance = np.kron(shared, np.ones((values, values))) + VARIANCE * np.eye(count * values)
    residual = np.repeat(shades[1:] - mean, values)
    _, log_determinant = np.linalg.slogdet(covariance)
    quadratic = residual @ np.linalg.solve(covariance, residual)
    return -0.5 * (quadratic + log_determinant + len(residual) * math.log(2 * math.pi)) / count


def test_weighted_bound_is_tighter_and_approaches_the_evidence(tiny: Config) -> None:
    shades = np.array([120, 90, 100, 70], np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (4, 16, 16, 3)).copy()
    recording = Recording("shades", frames, np.full_like(frames, 255))
    exact = evidence(shades / 255.0)

    def both_bounds(particles: int) -> tuple[float, float]:
        predictor = shade_predictor(tiny, 0.01)
        estimates = [
            estimate_bounds(predictor, recording, VARIANCE, particles=particles, seed=seed) for seed in range(8)
        ]
        return float(np.mean([b.plain for b in estimates])), float(np.mean([b.weighted for b in estimates]))

    (few_plain, few_weighted), (many_plain, many_weighted) = both_bounds(2), both_bounds(400)
    assert few_plain < few_weighted < exact + 0.1
    assert few_weighted < many_weighted
    assert many_weighted == pytest.approx(exact, abs=0.1)
    assert many_plain < exact - 0.5  # more particles do not tighten the plain bound


def test_bounds_at_the_training_variance_are_those_estimated_with_it(tiny: Config) -> None:
    shades = np.array([120, 90, 100, 70], np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (4, 16, 16, 3)).copy()
    recording, predictor = Recording("shades", frames, np.full_like(frames, 255)), shade_predictor(tiny, 0.01)
    calls: list[int] = []
    both = estimate_bounds(predictor, recording, VARIANCE, training_variance=0.05, advance=calls.append)
    assert sum(calls) == bound_passes(0.05) * 16 * (len(recording) - 1)
    alone = estimate_bounds(predictor, recording, 0.05)
    assert both.with_training_variance is not None
    assert both.with_training_variance.plain == pytest.approx(alone.plain, abs=1e-9)
    assert both.with_training_variance.weighted == alone.weighted
    assert both.plain > both.with_training_variance.plain  # this variance is the true one


@pytest.mark.parametrize("value", [None, True, "0.1", 0, -1.0, math.inf, math.nan])
def test_only_a_positive_number_is_a_stored_variance(value: object) -> None:
    assert stored_variance({"training_variance": value}) is None
    assert stored_variance({"training_variance": 0.01}) == 0.01


def test_particles_survive_in_proportion_to_their_shares() -> None:
    share = torch.tensor([0.5, 0.25, 0.0, 0.25], dtype=torch.float64)
    counts = torch.bincount(systematic(share, torch.Generator().manual_seed(0)), minlength=4)
    assert counts.tolist() == [2, 1, 0, 1]
