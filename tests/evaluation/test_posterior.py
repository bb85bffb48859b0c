"""Tests of reconstruction by the posterior mean, and of traversals of z."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.evaluation import posterior
from posecast.evaluation.posterior import STOPS, fit_variance, observe, reconstruct, traversal
from posecast.model.predictor import Predictor

from ..conftest import moving_square, small


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


def test_a_draw_from_the_posterior_depends_on_its_key_only(predictor: Predictor) -> None:
    square = moving_square(10)
    first, again, other = (observe(predictor, square, key=(seed, 1)) for seed in (3, 3, 4))
    assert np.array_equal(first.drawn_mse, again.drawn_mse)
    assert not np.array_equal(first.drawn_mse, other.drawn_mse)
    shorter = observe(predictor, square.first(6), key=(3, 1))
    assert shorter.drawn_mse == pytest.approx(first.drawn_mse[:5], rel=1e-3)


def test_a_draw_does_not_change_what_the_posterior_mean_gives(predictor: Predictor) -> None:
    square = moving_square(10)
    alone, drawn = observe(predictor, square), observe(predictor, square, key=(0, 0))
    assert alone.drawn_mse.size == 0
    assert drawn.drawn_mse.shape == drawn.mse.shape
    assert torch.allclose(alone.means, drawn.means, atol=1e-5)
    assert alone.rate_nats == pytest.approx(drawn.rate_nats, rel=1e-4)
    assert alone.mse == pytest.approx(drawn.mse, rel=1e-4)


@pytest.mark.parametrize("kind", ["no feedback", "no feedback, stationary"])
@pytest.mark.parametrize("key", [None, (3, 0)])
def test_frames_observed_at_once_equal_those_of_a_loop(
    kind: str, key: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    predictor = Predictor(small(kind)).eval().requires_grad_(False)
    for weight in predictor.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    square = moving_square(150)  # more than one batch
    at_once = observe(predictor, square, key=key)
    monkeypatch.setattr(Predictor, "decodes_at_once", False)
    in_turn = observe(predictor, square, key=key)
    torch.testing.assert_close(at_once.means, in_turn.means, atol=1e-5, rtol=0)
    assert at_once.rate_nats == pytest.approx(in_turn.rate_nats, abs=1e-4)
    assert at_once.mse == pytest.approx(in_turn.mse, abs=1e-6)
    assert at_once.drawn_mse == pytest.approx(in_turn.drawn_mse, abs=1e-5)
    assert len(at_once.drawn_mse) == (149 if key else 0)


def test_variance_is_fitted_to_the_first_frames_of_each_recording(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posterior, "FIT_FRAMES", 24)
    monkeypatch.setattr(posterior, "MIN_FIT_FRAMES", 8)
    recordings = [moving_square(10, seed=1), moving_square(30, seed=2), moving_square(30, seed=3)]
    for used, length in ((recordings[:2], 12), (recordings, 8), ([*recordings, moving_square(30, seed=4)], 8)):
        parts = [recording.first(length) for recording in used[:3]]
        expected = np.mean([observe(predictor, part).mse.mean() for part in parts])
        assert fit_variance(predictor, used) == pytest.approx(expected)


def test_traversal_lists_the_strongest_direction_first(predictor: Predictor) -> None:
    strips = traversal(predictor, moving_square(12), observe(predictor, moving_square(12)))
    assert all(strip.shape == (STOPS, 16, 16, 3) for strip in strips)
    assert 1 <= len(strips) <= 3
    changes = [np.square(strip[-1].astype(float) - strip[0]).mean() for strip in strips]
    assert changes == pytest.approx(sorted(changes, reverse=True), abs=0.5)  # frames are rounded after sorting
