"""Tests of the generative ratio with linear Gaussian models, whose posterior is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.evaluation.evaluate import evaluate
from posecast.evaluation.explained_error import ExplainedError, FutureMoments, future_moments
from posecast.model.elbo import Gaussian
from posecast.model.networks import Networks
from posecast.model.predictor import Predictor
from posecast.model.priors import Features, FixedPrior

LIGHT, NOISE = 0.1, 0.1
"""Deviations of the shade that z gives a frame, and of the noise of each value."""


class Light(Networks):
    """Networks of frames 0.5 + LIGHT z + noise, with z ~ N(0, 1), and their exact posterior.

    Args:
        prior_scale: Factor of z from the prior only; 1 for the right model.
    """

    def __init__(self, prior_scale: float) -> None:
        super().__init__()
        self.latent_shape, self.pose_window, self.feedback = (1, 1, 1), 0, False
        self.prior_of_z = FixedPrior(self.latent_shape)
        self.prior_scale = prior_scale
        self.unused = nn.Parameter(torch.zeros(()))

    def encode_frame(self, frames: Tensor) -> Features:
        return (frames.mean((1, 2, 3), keepdim=True),)

    def encode_condition(self, poses: Tensor, anchor: Features) -> Features:
        return (poses.mean((1, 2, 3), keepdim=True),)

    def encode_anchor(self, frames: Tensor, poses: Tensor) -> Features:
        return self.encode_frame(frames)

    def posterior(self, current: Features, previous: Features, condition: Features, prior: Gaussian) -> Gaussian:
        precision = 1.0 + LIGHT**2 * 3 * 16 * 16 / NOISE**2
        mean = (current[0] - 0.5) / LIGHT * (1.0 - 1.0 / precision)
        offset = 100.0 if self.prior_scale != 1.0 else 0.0  # marks z from the posterior
        return Gaussian(mean + offset, torch.full_like(mean, -math.log(precision)))

    def decode(self, previous: Features, condition: Features, z: Tensor) -> Tensor:
        is_marked = z > 50.0
        z = torch.where(is_marked, z - 100.0, self.prior_scale * z)
        return (0.5 + LIGHT * z).expand(-1, 3, 16, 16)


def recordings(count: int) -> list[Recording]:
    rng = np.random.default_rng(0)
    shades = 0.5 + LIGHT * rng.normal(size=(count, 60, 1, 1, 1))
    values = shades + NOISE * rng.normal(size=(count, 60, 16, 16, 3))
    frames = np.clip(np.rint(255 * values), 0, 255).astype(np.uint8)
    return [Recording(str(k), frames[k], np.full_like(frames[k], 255)) for k in range(count)]


@pytest.mark.parametrize(("prior_scale", "expected"), [(1.0, 1.0), (0.0, 0.0), (2**0.5, 2.0)])
@pytest.mark.parametrize("num_futures", [2, 8])
def test_ratio_is_one_for_the_right_model_and_zero_for_a_z_of_the_posterior_alone(
    tiny: Config, num_futures: int, prior_scale: float, expected: float
) -> None:
    predictor = Predictor(tiny).eval()
    predictor.networks = Light(prior_scale)
    explained = evaluate(predictor, recordings(6), futures=num_futures).explained
    assert explained.explained == pytest.approx(LIGHT**2 / (LIGHT**2 + NOISE**2), rel=0.15)
    assert explained.ratio == pytest.approx(expected, abs=max(0.02, 4 * explained.ratio_standard_error))
    assert explained.ratio_standard_error < 0.4


def test_moments_of_a_few_futures_are_unbiased() -> None:
    """The mean of all futures is 128 and the truth 138, so that the mean errs by 10 and the futures vary by 20."""
    rng = np.random.default_rng(0)
    futures = np.rint(rng.normal(128, 20, (3, 64, 64, 3))).astype(np.uint8)
    moments = future_moments(futures, np.full((64, 64, 3), 138, np.uint8))
    assert 255**2 * moments.variance == pytest.approx(20**2, rel=0.03)
    assert 255**2 * moments.mean_mse == pytest.approx(10**2, rel=0.1)


def test_ratio_does_not_exist_for_one_future_or_a_posterior_that_explains_nothing() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    assert math.isnan(ExplainedError([future_moments(frame[None], frame)], [0.1]).ratio)
    assert math.isnan(ExplainedError([FutureMoments(0.1, 0.0)], [0.1]).ratio)


def test_standard_error_of_the_ratio_is_its_deviation_over_repetitions() -> None:
    rng = np.random.default_rng(0)

    def explained_of(count: int) -> ExplainedError:
        supplied, explained = rng.uniform(0.5, 1.5, count), rng.uniform(1.0, 3.0, count)
        return ExplainedError([FutureMoments(4.0, value) for value in supplied], (4.0 - explained).tolist())

    repeated = [explained_of(40) for _ in range(300)]
    deviation = np.std([explained.ratio for explained in repeated])
    assert np.mean([explained.ratio_standard_error for explained in repeated]) == pytest.approx(deviation, rel=0.1)
