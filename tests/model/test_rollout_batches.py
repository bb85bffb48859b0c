"""Batches of a rollout: arithmetic, the first z, and pose maps encoded ahead."""

import math

import numpy as np
import pytest
import torch

from posecast.config.overrides import build_config
from posecast.data.clips import as_images, pose_windows
from posecast.data.recordings import Recording
from posecast.model.anchored import AnchoredNetworks
from posecast.model.draws import future_generators
from posecast.model.layout import by_time_step
from posecast.model.predictor import Predictor
from posecast.model.priors import Features, StationaryPrior
from posecast.model.rollout import rollout, rollout_together
from posecast.model.rollout_batches import frames_at_once, frames_in_turn, prepare_arithmetic
from posecast.model.rollout_input import RolloutInput

from ..conftest import TINY, moving_square, small
from .conftest import predicted


def test_bfloat16_equals_autocast_and_ends_with_each_frame(predictor: Predictor, square: Recording) -> None:
    """Kernels rounded once are those that autocast rounds at every step; the predictor's weights do not change."""
    predictor.in_bfloat16 = True
    before = {name: weight.clone() for name, weight in predictor.state_dict().items()}
    rounded = []
    for frame in rollout(predictor, square.frames[0], square.poses):
        assert not torch.is_autocast_enabled("cpu")
        rounded.append(frame)
    assert all(torch.equal(weight, before[name]) for name, weight in predictor.state_dict().items())
    networks = predictor.networks
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        frame, pose = (as_images(images[:1]) for images in (square.frames, square.poses))
        windows = pose_windows(square.poses, np.arange(len(square)), predictor.pose_window)
        anchor = networks.encode_anchor(frame, pose)
        memory, _ = predictor.begin(networks.encode_frame(frame), windows[:1], anchor)
        conditions = by_time_step(networks.encode_condition(windows[1:], anchor), 1)
        for condition, expected in zip(conditions, rounded, strict=True):
            frame, memory = predictor.imagine_step(networks.encode_frame(frame), condition, memory, None)
            assert torch.equal(frame, expected)
    predictor.in_bfloat16 = False
    exact = list(rollout(predictor, square.frames[0], square.poses))
    difference = torch.stack(rounded) - torch.stack(exact)
    assert 0 < float(difference.abs().max()) < 0.05


def test_every_future_draws_its_first_z_from_the_posterior(square: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """z_2 is a step of the prior from z_1, a draw from the posterior, or its mean in a rollout of the mean."""
    torch.manual_seed(3)
    predictor = Predictor(build_config("stationary", flags={**TINY, "latent_channels": 4})).eval().requires_grad_(False)
    networks = predictor.networks
    assert isinstance(networks, AnchoredNetworks)
    assert isinstance(networks.prior_of_z, StationaryPrior)
    networks.prior_of_z.remember_for(torch.full((2,), 50.0))
    latents: list[torch.Tensor] = []
    decode = networks.decode

    def recorded(previous: Features, condition: Features, z: torch.Tensor) -> torch.Tensor:
        latents.append(z.flatten(1))
        return decode(previous, condition, z)

    monkeypatch.setattr(networks, "decode", recorded)
    inputs = [RolloutInput(square.frames[0], square.poses[:2])]
    next(rollout_together(predictor, inputs, generators=future_generators(5, 0, range(2000))))
    next(rollout_together(predictor, inputs))
    futures, (mean,) = latents
    with torch.inference_mode():
        frame, pose = (as_images(images[:1]) for images in (square.frames, square.poses))
        window = pose_windows(square.poses[:2], np.zeros(1, int), predictor.pose_window)
        condition = networks.encode_condition(window, networks.encode_anchor(frame, pose))
        reading = networks.read(networks.encode_frame(frame), condition)
    precision = 1 + torch.exp(-reading.log_variance.flatten())  # of N(0, I) and the reading together
    decay = math.exp(-1 / 50)
    expected = decay * reading.mean.flatten() * (1 - 1 / precision)
    variance = decay**2 / precision + 1 - decay**2
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4)
    assert ((futures.mean(0) - expected).abs() < 5 * (variance / len(futures)).sqrt()).all()
    assert ((futures.var(0) / variance).log().abs() < 5 * (2 / len(futures)) ** 0.5).all()


def test_frames_do_not_depend_on_how_many_poses_are_encoded_ahead(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = moving_square(20)
    frames = predicted(predictor, recording, latent="mean")
    monkeypatch.setattr("posecast.model.rollout_batches.POSES_AHEAD", 3)
    others = predicted(predictor, recording, latent="mean")
    assert np.abs(frames.astype(int) - others).max() <= 1


@pytest.mark.parametrize("kind", ["no feedback", "no feedback, stationary"])
@pytest.mark.parametrize("futures", [0, 3])
def test_z_drawn_before_decoding_gives_the_frames_of_a_loop(kind: str, futures: int) -> None:
    torch.manual_seed(1)
    predictor = Predictor(small(kind)).eval().requires_grad_(False)
    for weight in predictor.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    assert predictor.decodes_at_once
    recording = moving_square(40)
    inputs = [RolloutInput(recording.frames[0], recording.poses)]
    _, arithmetic = prepare_arithmetic(predictor)
    generators = [future_generators(1, 0, range(futures)) if futures else None for _ in range(2)]
    in_turn = torch.stack(list(frames_in_turn(predictor, inputs, generators[0], arithmetic, 40)))
    at_once = torch.stack(list(frames_at_once(predictor, inputs, generators[1], arithmetic)))
    assert in_turn.std(0).mean() > 1e-3
    torch.testing.assert_close(at_once, in_turn, atol=1e-5, rtol=0)
