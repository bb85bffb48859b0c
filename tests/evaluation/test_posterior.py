"""Tests of reconstruction by the posterior mean, and of traversals of z."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.evaluation.posterior import STOPS, observe, reconstruct, traversal
from posecast.model.predictor import Predictor

from ..conftest import moving_square


@pytest.fixture
def predictor(either: Config) -> Predictor:
    torch.manual_seed(0)
    return Predictor(either).eval().requires_grad_(False)


def test_psnr_and_error_of_a_reconstruction_agree(predictor: Predictor) -> None:
    square = moving_square(10)
    reconstruction = reconstruct([observe(predictor, square)], [square])
    assert reconstruction.psnr_db == pytest.approx(-10 * math.log10(reconstruction.mse), abs=0.5)
    assert reconstruction.num_units == math.prod(predictor.latent_shape)
    assert 0 <= reconstruction.active_units <= reconstruction.num_units
    assert reconstruction.rate_nats >= 0


def test_traversal_lists_the_strongest_direction_first(predictor: Predictor) -> None:
    strips = traversal(predictor, moving_square(12), observe(predictor, moving_square(12)))
    assert all(strip.shape == (STOPS, 16, 16, 3) for strip in strips)
    assert 1 <= len(strips) <= 3
    changes = [np.square(strip[-1].astype(float) - strip[0]).mean() for strip in strips]
    assert changes == pytest.approx(sorted(changes, reverse=True), abs=0.5)  # frames are rounded after sorting
