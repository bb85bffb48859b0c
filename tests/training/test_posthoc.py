"""Fits after training: BatchNorm's statistics at a validation, and a prior that fits z."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import mean_rollout
from posecast.model.anchored import AnchoredNetworks
from posecast.model.batchnorm import recompute_batchnorm
from posecast.model.checkpoint import load_run
from posecast.model.elbo import Gaussian
from posecast.model.predictor import Predictor
from posecast.model.priors import StationaryPrior
from posecast.training.checkpoints import load_state
from posecast.training.distributed import single_process
from posecast.training.posthoc import (
    channel_pairs,
    correlation_time,
    fit_posthoc,
    fit_prior,
    frame_readings,
    slow_directions,
)
from posecast.training.step import TrainStep
from posecast.training.train import train
from posecast.training.validation import validate

from ..conftest import TINY, TINY_LAB4, moving_square


def trained(config: Config, recordings: Sequence[Recording], num_updates: int = 4) -> TrainStep:
    train_step = TrainStep(single_process("cpu", "32-true"), config)
    cutter = ClipCutter(recordings, config.training.clip_length, config.networks.pose_window)
    for step, plan in enumerate(cutter.epoch(2 * num_updates, 2, seed=0, epoch=0)):
        train_step.update(
            train_step.batches.prepare(cutter, plan, step=step, epoch=0), rate=config.training.learning_rate
        )
    return train_step


def test_statistics_of_training_change_the_validation() -> None:
    """After a few fast updates the running averages are far from the statistics of the features."""
    recordings = [moving_square(20, seed=1)]
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 4, "learning_rate": 0.05})
    train_step = trained(config, recordings)
    footage = Footage(recordings, recordings)
    lagging = validate(train_step, train_step.smoothed, footage, 0)["validation_loss"]
    recompute_batchnorm(train_step.smoothed, recordings)
    recomputed = validate(train_step, train_step.smoothed, footage, 0)["validation_loss"]
    assert math.isfinite(recomputed)
    assert recomputed != pytest.approx(lagging, rel=0.01)


def autoregressive(time: float, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a first-order autoregressive process of variance 1 with a given correlation time in frames."""
    kept, values = math.exp(-1.0 / time), [rng.normal()]
    for noise in rng.normal(size=num_frames - 1):
        values.append(kept * values[-1] + math.sqrt(1.0 - kept**2) * noise)
    return np.array(values)


def test_mixed_processes_are_separated() -> None:
    """Two processes, the quick one stronger, are mixed in five channels and separated by their correlation time."""
    rng = np.random.default_rng(0)
    hidden = [np.stack([autoregressive(60.0, 4000, rng), 3.0 * autoregressive(6.0, 4000, rng)], 1) for _ in range(4)]
    mixing = rng.normal(size=(2, 5))
    series = [processes @ mixing + 1e-3 * rng.normal(size=(4000, 5)) for processes in hidden]
    separated = [values @ slow_directions(series).T for values in series]
    joined = np.concatenate(separated)
    assert np.abs(np.corrcoef(joined[:, -2:].T) - np.eye(2)).max() < 0.02
    assert joined.std(0)[-2:] == pytest.approx([1.0, 1.0], rel=0.05)
    for channel, source, time in ((-1, 0, 60.0), (-2, 1, 6.0)):
        truth = np.concatenate([processes[:, source] for processes in hidden])
        assert abs(np.corrcoef(joined[:, channel], truth)[0, 1]) > 0.98
        assert correlation_time([values[:, channel] for values in separated]) == pytest.approx(time, rel=0.35)


def test_correlation_times_of_noise_trends_and_constants() -> None:
    rng = np.random.default_rng(0)
    assert correlation_time([rng.normal(size=500)]) == 1.0
    assert correlation_time([np.linspace(-1, 1, 40), np.linspace(-1, 1, 40)]) > 5
    assert correlation_time([np.zeros(40)]) == 1.0
    assert correlation_time([np.ones(40)]) == 1000.0


def test_channels_with_large_shares_lead() -> None:
    leaders, followers = channel_pairs(np.array([5.0, 90.0, 100.0, 40.0]), np.array([3.0, 0.1, 0.2, 2.0]))
    assert leaders.tolist() == [3, 0]
    assert followers.tolist() == [2, 1]


def stationary() -> tuple[Predictor, AnchoredNetworks]:
    """Build a predictor without layers of zeros, which would hide what lies before them."""
    torch.manual_seed(0)
    predictor = Predictor(build_config("stationary", flags={**TINY, "latent_channels": 4, "steps": 4})).eval()
    for parameter in predictor.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    assert isinstance(predictor.networks, AnchoredNetworks)
    return predictor, predictor.networks


@torch.no_grad()
def test_z_is_standardised_and_decoded_frames_stay_the_same() -> None:
    recordings = [moving_square(60, seed=1), moving_square(40, seed=2)]
    predictor, networks = stationary()
    last = networks.posterior_head.layers[-1]
    assert isinstance(last, torch.nn.Conv2d)
    last.weight[:4] *= 100.0  # a range far from 1
    last.bias[4:] = -8.0  # precise readings
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    fitted = fit_posthoc(predictor, recordings)
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())
    pairs = zip(fitted.parameters(), fit_posthoc(predictor, recordings).parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)
    assert isinstance(fitted.networks, AnchoredNetworks)
    posteriors = [frame_readings(fitted, fitted.networks, recording, 1) for recording in recordings]
    means = np.concatenate([mean for mean, _ in posteriors])
    assert means.mean(0) == pytest.approx(np.zeros(4), abs=1e-2)
    covariance = np.cov(means.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.05
    assert covariance.max() < 1.1
    assert covariance[0, 0] > 0.5
    prior = fitted.networks.prior_of_z
    assert isinstance(prior, StationaryPrior)
    assert (prior.memories().diff() <= 0).all()
    assert not prior.angle.any()

    def decoded(networks: AnchoredNetworks) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        frames, windows = (torch.rand(2, channels, 16, 16, generator=generator) for channels in (3, 9))
        current = networks.encode_frame(frames)
        condition = networks.encode_condition(windows, networks.encode_anchor(frames, windows[:, :3]))
        posterior = networks.read(current, condition)
        assert isinstance(posterior, Gaussian)
        return networks.decode(current, condition, posterior.mean)

    torch.testing.assert_close(decoded(fitted.networks), decoded(networks), atol=2e-3, rtol=1e-2)


def test_the_kept_weights_of_a_run_have_a_fitted_prior(tmp_path: Path) -> None:
    recordings = [moving_square(40, seed=1)]
    config = build_config("stationary", flags={**TINY, "latent_channels": 4, "steps": 6})
    train(config, Footage(recordings, recordings), tmp_path / "run")
    kept = load_run(tmp_path / "run")
    assert isinstance(kept.networks, AnchoredNetworks)
    with torch.no_grad():
        means, _ = frame_readings(kept, kept.networks, recordings[0], 1)
    assert means.mean(0) == pytest.approx(np.zeros(4), abs=0.02)
    state = load_state(tmp_path / "run")
    assert state is not None
    averaged = {name.removeprefix("module."): value for name, value in state["averaged"].items()}
    name = "networks.posterior_head.layers.3.weight"
    assert not torch.equal(averaged[name], kept.state_dict()[name])  # training continues without the fit


@torch.no_grad()
def test_a_channel_that_frames_tell_nothing_about_does_not_move_the_mean() -> None:
    recordings = [moving_square(60, seed=1), moving_square(40, seed=2)]
    predictor, networks = stationary()
    last = networks.posterior_head.layers[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    last.bias[0], last.bias[4] = 30.0, 40.0  # a mean of 30, and a variance of 3,000
    last.weight[4].zero_()

    def at_the_prior_mean(predictor: Predictor) -> np.ndarray:
        return mean_rollout(predictor, recordings[0])[-1]

    before = at_the_prior_mean(predictor).astype(int)
    fitted = fit_posthoc(predictor, recordings)
    assert np.abs(at_the_prior_mean(fitted) - before).max() <= 3


@torch.no_grad()
def test_a_change_of_coordinates_transforms_the_variance() -> None:
    """At the average posterior, the variance of basis z is exactly the squared basis times the variance of z."""
    _, networks = stationary()
    head = networks.posterior_head
    joined = torch.rand(1, 2 * networks.frame_encoder.blocks[-1][0].conv1.weight.shape[0], 4, 4)  # pyright: ignore
    before = head(joined)
    basis = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    centre = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    variance = before.log_variance.flatten().double().exp()
    head.rebase(basis, centre, variance)
    after = head(joined)
    torch.testing.assert_close(
        after.mean.flatten().double(), basis @ (before.mean.flatten().double() - centre), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        after.log_variance.flatten().double().exp(), basis.square() @ variance, rtol=1e-3, atol=1e-5
    )


def test_other_priors_and_values_that_are_not_finite_do_not_change(tiny: Config) -> None:
    recordings = [moving_square(20, seed=1)]
    predictor, _ = stationary()
    with torch.no_grad():
        next(predictor.parameters())[0] = math.nan
    for unfitted in (predictor, trained(tiny, recordings).smoothed):
        before = {name: value.clone() for name, value in unfitted.state_dict().items()}
        fit_prior(unfitted, recordings)
        for name, value in unfitted.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
