"""What is measured over the footage fits the weights: statistics, and a z that is what the prior draws."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter, pose_windows
from posecast.data.recordings import Footage
from posecast.model.anchored import AnchoredNetworks
from posecast.model.checkpoint import load_run
from posecast.model.elbo import Gaussian
from posecast.model.predictor import Predictor
from posecast.model.priors import StationaryPrior
from posecast.training.checkpoints import load_state
from posecast.training.posthoc import (
    fit_prior,
    frames_remembered,
    pairs_of,
    read,
    recompute_batchnorm,
    settled,
    slow_directions,
)
from posecast.training.step import TrainStep
from posecast.training.train import train
from posecast.training.validation import validated

from ..conftest import TINY, TINY_LAB4, moving_square


def trained(config: Config, recordings: list, num_updates: int = 4) -> TrainStep:
    learner = TrainStep(Fabric(accelerator="cpu", devices=1), config)
    cutter = ClipCutter(recordings, config.training.clip_length, config.networks.pose_window)
    for step, plan in enumerate(cutter.epoch(2 * num_updates, 2, seed=0, epoch=0)):
        learner.update(learner.batches.prepare(cutter, plan, step=step, epoch=0), rate=config.training.learning_rate)
    return learner


def test_statistics_are_those_of_the_weights_as_they_are() -> None:
    recordings = [moving_square(20, seed=1), moving_square(30, seed=2)]
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 4, "learning_rate": 0.05, "ema_decay": 0.5})
    predictor = trained(config, recordings).smoothed
    recompute_batchnorm(predictor, recordings)
    poses = torch.cat([pose_windows(one.poses, np.arange(len(one)), 0) for one in recordings])
    features = predictor.networks.label_transformation[:2](poses)  # pyright: ignore
    norm = predictor.networks.label_transformation[2]  # pyright: ignore
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)), rtol=1e-3, atol=1e-5)
    assert norm.momentum == pytest.approx(0.1)
    assert not predictor.training


def test_without_them_validation_would_be_another_network_s() -> None:
    """The running averages after a few fast updates are far from the features' own, and the rate shows it."""
    recordings = [moving_square(20, seed=1)]
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 4, "learning_rate": 0.05})
    learner = trained(config, recordings)
    footage = Footage(recordings, recordings)
    lagging = validated(learner, learner.smoothed, footage, 0)["validation_loss"]
    recompute_batchnorm(learner.smoothed, recordings)
    measured = validated(learner, learner.smoothed, footage, 0)["validation_loss"]
    assert math.isfinite(measured)
    assert measured != pytest.approx(lagging, rel=0.01)


def test_networks_without_batchnorm_are_left_alone(tiny: Config) -> None:
    recordings = [moving_square(20, seed=1)]
    predictor = trained(tiny, recordings).smoothed
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    recompute_batchnorm(predictor, recordings)
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())


def fading(memory: float, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A process of deviation 1 that is forgotten to 1/e after so many frames."""
    kept, values = math.exp(-1.0 / memory), [rng.normal()]
    for noise in rng.normal(size=num_frames - 1):
        values.append(kept * values[-1] + math.sqrt(1.0 - kept**2) * noise)
    return np.array(values)


def test_directions_are_those_that_were_mixed() -> None:
    """Two processes, the quick one the stronger, in five channels that repeat them: found again, slow and quick."""
    rng = np.random.default_rng(0)
    hidden = [np.stack([fading(60.0, 4000, rng), 3.0 * fading(6.0, 4000, rng)], 1) for _ in range(4)]
    mixing = rng.normal(size=(2, 5))
    series = [one @ mixing + 1e-3 * rng.normal(size=(4000, 5)) for one in hidden]
    found = [one @ slow_directions(series).T for one in series]
    together = np.concatenate(found)
    assert np.abs(np.corrcoef(together[:, -2:].T) - np.eye(2)).max() < 0.02
    assert together.std(0)[-2:] == pytest.approx([1.0, 1.0], rel=0.05)
    for channel, source, memory in ((-1, 0, 60.0), (-2, 1, 6.0)):
        truth = np.concatenate([one[:, source] for one in hidden])
        assert abs(np.corrcoef(together[:, channel], truth)[0, 1]) > 0.98
        assert frames_remembered([one[:, channel] for one in found]) == pytest.approx(memory, rel=0.35)


def test_what_is_never_forgotten_and_what_never_was() -> None:
    rng = np.random.default_rng(0)
    assert frames_remembered([rng.normal(size=500)]) == 1.0
    assert frames_remembered([np.linspace(-1, 1, 40), np.linspace(-1, 1, 40)]) > 5
    assert frames_remembered([np.zeros(40)]) == 1.0
    assert frames_remembered([np.ones(40)]) == 1000.0


def test_what_z_is_made_of_leads() -> None:
    leaders, followers = pairs_of(np.array([5.0, 90.0, 100.0, 40.0]), np.array([3.0, 0.1, 0.2, 2.0]))
    assert leaders.tolist() == [3, 0]
    assert followers.tolist() == [2, 1]


def stationary() -> tuple[Predictor, AnchoredNetworks]:
    """A predictor whose layers all say something."""
    torch.manual_seed(0)
    predictor = Predictor(build_config("stationary", flags={**TINY, "latent_channels": 4, "steps": 4})).eval()
    for parameter in predictor.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    assert isinstance(predictor.networks, AnchoredNetworks)
    return predictor, predictor.networks


@torch.no_grad()
def test_z_is_what_the_prior_draws_and_paints_what_it_painted() -> None:
    recordings = [moving_square(60, seed=1), moving_square(40, seed=2)]
    predictor, networks = stationary()
    last = networks.posterior_head.layers[-1]
    assert isinstance(last, torch.nn.Conv2d)
    last.weight[:4] *= 100.0  # a range far from 1
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    found = settled(predictor, recordings)
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), settled(predictor, recordings).parameters(), strict=True)
    )
    assert isinstance(found.networks, AnchoredNetworks)
    readings = [read(found, found.networks, one, 1) for one in recordings]
    means = np.concatenate([mean for mean, _ in readings])
    assert means.mean(0) == pytest.approx(np.zeros(4), abs=1e-2)
    covariance = np.cov(means.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.05
    assert covariance.max() < 1.1
    assert covariance[0, 0] > 0.5
    prior = found.networks.prior_of_z
    assert isinstance(prior, StationaryPrior)
    assert (prior.memories().diff() <= 0).all()
    assert not prior.angle.any()

    def painted(by: AnchoredNetworks, reader: Predictor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        frames, windows = (torch.rand(2, channels, 16, 16, generator=generator) for channels in (3, 9))
        current = by.encode_frame(frames)
        condition = by.encode_condition(windows, by.encode_anchor(frames, windows[:, :3]))
        reading = by.read(current, condition)
        assert isinstance(reading, Gaussian)
        return by.decode(current, condition, reading.mean)

    torch.testing.assert_close(painted(found.networks, found), painted(networks, predictor), atol=2e-4, rtol=1e-3)


def test_what_a_training_keeps_has_measured_its_footage(tmp_path: Path) -> None:
    recordings = [moving_square(40, seed=1)]
    config = build_config("stationary", flags={**TINY, "latent_channels": 4, "steps": 6})
    train(config, Footage(recordings, recordings), tmp_path / "run")
    kept = load_run(tmp_path / "run")
    assert isinstance(kept.networks, AnchoredNetworks)
    with torch.no_grad():
        means, _ = read(kept, kept.networks, recordings[0], 1)
    assert means.mean(0) == pytest.approx(np.zeros(4), abs=0.02)
    state = load_state(tmp_path / "run")
    assert state is not None
    training = {name.removeprefix("module."): value for name, value in state["averaged"].items()}
    name = "networks.posterior_head.layers.3.weight"
    assert not torch.equal(training[name], kept.state_dict()[name])  # which goes on from its own


@torch.no_grad()
def test_a_reading_is_as_certain_in_new_coordinates() -> None:
    """At the average reading exactly: the variance of basis z is the sum of squares of its entries times z's."""
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


def test_other_priors_and_numbers_that_are_none_are_left_alone(tiny: Config) -> None:
    recordings = [moving_square(20, seed=1)]
    predictor, _ = stationary()
    with torch.no_grad():
        next(predictor.parameters())[0] = math.nan
    for one in (predictor, trained(tiny, recordings).smoothed):
        before = {name: value.clone() for name, value in one.state_dict().items()}
        fit_prior(one, recordings)
        assert all(
            torch.equal(value, before[name]) for name, value in one.state_dict().items() if not value.isnan().any()
        )
