"""BatchNorm's statistics: those of the footage, or of every frame."""

import numpy as np
import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import pose_windows
from posecast.model.batchnorm import recompute_batchnorm
from posecast.model.lab4 import FrameNorm, Lab4Networks
from posecast.model.predictor import Predictor

from ..conftest import TINY_LAB4, moving_square


def test_statistics_are_those_of_all_pose_maps() -> None:
    recordings = [moving_square(20, seed=1), moving_square(30, seed=2)]
    predictor = Predictor(build_config("lab4", flags=TINY_LAB4)).eval()
    recompute_batchnorm(predictor, recordings)
    poses = torch.cat([pose_windows(recording.poses, np.arange(len(recording)), 0) for recording in recordings])
    assert isinstance(predictor.networks, Lab4Networks)
    features = predictor.networks.label_transformation[:2](poses)
    norm = predictor.networks.label_transformation[2]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)), rtol=1e-3, atol=1e-5)
    assert norm.momentum == pytest.approx(0.1)
    assert not predictor.training


def test_networks_without_batchnorm_do_not_change(tiny: Config) -> None:
    predictor = Predictor(tiny).eval()
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    recompute_batchnorm(predictor, [moving_square(20, seed=1)])
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())


def test_a_frame_is_normalised_as_by_batchnorm_in_training_mode() -> None:
    """The course's code tests in training mode with one frame at a time; other frames must not change the result."""
    torch.manual_seed(0)
    norm, reference = FrameNorm(4).eval(), torch.nn.BatchNorm2d(4).train()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    reference.load_state_dict(norm.state_dict())
    frames = 3.0 + 2.0 * torch.randn(5, 4, 8, 8)
    expected = torch.cat([reference(frame[None]) for frame in frames])
    torch.testing.assert_close(norm(frames), expected)
    torch.testing.assert_close(norm.train()(frames), reference(frames))
