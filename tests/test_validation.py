"""Validation: statistics that fit the weights, and a bound that does not depend on how fast they moved."""

import math

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from posecast.config import Config
from posecast.data.clips import ClipCutter, pose_windows
from posecast.data.recordings import Footage
from posecast.learning import Learner
from posecast.settings import build_config
from posecast.validation import settle_statistics, validated

from .conftest import TINY_LAB4, moving_square


def trained(config: Config, recordings: list, num_updates: int = 4) -> Learner:
    learner = Learner(Fabric(accelerator="cpu", devices=1), config)
    cutter = ClipCutter(recordings, config.training.clip_length, config.networks.pose_window)
    for step, plan in enumerate(cutter.epoch(2 * num_updates, 2, seed=0, epoch=0)):
        learner.update(learner.prepare(cutter, plan, step=step, epoch=0), num_steps=100)
    return learner


def test_statistics_are_those_of_the_weights_as_they_are() -> None:
    recordings = [moving_square(20, seed=1), moving_square(30, seed=2)]
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 4, "learning_rate": 0.05, "ema_decay": 0.5})
    predictor = trained(config, recordings).smoothed
    settle_statistics(predictor, recordings)
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
    lagging = validated(learner, footage, 0)["validation_loss"]
    settle_statistics(learner.smoothed, recordings)
    settled = validated(learner, footage, 0)["validation_loss"]
    assert math.isfinite(settled)
    assert settled != pytest.approx(lagging, rel=0.01)


def test_networks_without_batchnorm_are_left_alone(tiny: Config) -> None:
    recordings = [moving_square(20, seed=1)]
    predictor = trained(tiny, recordings).smoothed
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    settle_statistics(predictor, recordings)
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())
