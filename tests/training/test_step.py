"""One update: learnability, exactness, clipping, averaging, skipping."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.evaluation.evaluate import mean_rollout, psnr_db
from posecast.model.draws import free_running
from posecast.training.plan import Plan
from posecast.training.schedules import learning_rate
from posecast.training.step import StepMetrics, TrainStep

from ..conftest import TINY, moving_square


def cutter_for(config: Config, num_frames: int = 24) -> ClipCutter:
    return ClipCutter([moving_square(num_frames)], config.training.clip_length, config.networks.pose_window)


def updates(train_step: TrainStep, cutter: ClipCutter, num_steps: int) -> list[StepMetrics]:
    """Train for a multiple of four updates, at least `num_steps`."""
    metrics: list[StepMetrics] = []
    epoch = 0
    while len(metrics) < num_steps:
        for plan in cutter.epoch(4 * 4, 4, train_step.config.seed, epoch):
            step = len(metrics)
            batch = train_step.batches.prepare(cutter, plan, step=step, epoch=epoch)
            rate = learning_rate(step, Plan(((0, num_steps),)), train_step.config.training)
            metrics.append(train_step.update(batch, rate=rate))
        epoch += 1
    return metrics


def test_a_recording_is_learned_better_than_by_copying(fabric: Fabric) -> None:
    """A small model with feedback of predictions, and a square that moves as its pose map says."""
    flags = {**TINY, "widths": [16, 32], "steps": 150, "learning_rate": 4e-3, "warmup_steps": 10, "ema_decay": 0.9}
    config = build_config(flags=flags)
    train_step = TrainStep(fabric, config)
    recording = moving_square(24)
    updates(train_step, ClipCutter([recording], 4, 1), 150)
    learned = psnr_db(mean_rollout(train_step.smoothed, recording), recording.frames[1:]).mean()
    copied = psnr_db(np.broadcast_to(recording.frames[0], recording.frames[1:].shape), recording.frames[1:]).mean()
    assert learned > copied + 6.0


def test_the_same_seed_gives_the_same_losses(fabric: Fabric, either: Config) -> None:
    first = updates(TrainStep(fabric, either), cutter_for(either), 4)
    second = updates(TrainStep(fabric, either), cutter_for(either), 4)
    other = updates(TrainStep(fabric, dataclasses.replace(either, seed=1)), cutter_for(either), 4)
    assert [update.loss for update in first] == [update.loss for update in second]
    assert [update.loss for update in first] != [update.loss for update in other]


def test_a_state_has_everything_that_an_update_changes(fabric: Fabric, tiny: Config, tmp_path: Path) -> None:
    cutter = cutter_for(tiny)
    plans = list(cutter.epoch(24, 4, 0, 0))
    original = TrainStep(fabric, tiny)
    for step in range(3):
        original.update(original.batches.prepare(cutter, plans[step], step=step, epoch=0), rate=1e-3)
    torch.save(original.state(), tmp_path / "state.pt")
    resumed = TrainStep(fabric, tiny)
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for train_step in (original, resumed):
        for step in range(3, 6):
            train_step.update(train_step.batches.prepare(cutter, plans[step], step=step, epoch=0), rate=1e-3)
    pairs = zip(original.smoothed.state_dict().values(), resumed.smoothed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(fabric: Fabric, tiny: Config, factor: float) -> None:
    cutter = cutter_for(tiny)
    train_step = TrainStep(fabric, tiny)
    (plan, *_) = cutter.epoch(4, 4, 0, 0)
    train_step.update(train_step.batches.prepare(cutter, plan, step=0, epoch=0), rate=1e-3)
    before = {name: value.clone() for name, value in train_step.averaged.state_dict().items()}
    weight = next(train_step.predictor.parameters())
    hook = weight.register_hook(lambda gradient: gradient * factor)
    update = train_step.update(train_step.batches.prepare(cutter, plan, step=1, epoch=0), rate=1e-3)
    hook.remove()
    assert update.skipped
    assert all(torch.equal(value, before[name]) for name, value in train_step.averaged.state_dict().items())
    assert not train_step.update(train_step.batches.prepare(cutter, plan, step=2, epoch=0), rate=1e-3).skipped


def test_the_average_does_not_contain_the_initial_weights(fabric: Fabric, tiny: Config) -> None:
    """After one update it equals the weights; later it lags behind them, unless the decay is 0."""
    for decay in (0.999, 0.0):
        config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, ema_decay=decay))
        train_step, cutter = TrainStep(fabric, config), cutter_for(config)
        initial = [parameter.detach().clone() for parameter in train_step.predictor.parameters()]
        updates(train_step, cutter, 1)
        pairs = list(zip(train_step.smoothed.parameters(), train_step.predictor.parameters(), strict=True))
        assert all(torch.equal(average, weight) for average, weight in pairs)
        assert not all(torch.equal(average, start) for (average, _), start in zip(pairs, initial, strict=True))
        updates(train_step, cutter, 4)
        assert all(torch.equal(average, weight) for average, weight in pairs) == (decay == 0.0)


def test_a_state_of_another_device_is_adapted_to_this_one(fabric: Fabric, tiny: Config) -> None:
    train_step, cutter = TrainStep(fabric, tiny), cutter_for(tiny)
    updates(train_step, cutter, 2)
    state = train_step.state()
    for optimizer in state["optimizers"]:
        for group in optimizer["param_groups"]:
            group |= {"capturable": True, "lr": torch.tensor(0.1)} if "capturable" in group else {}
    train_step.load_state(state)
    assert not any(group.get("capturable") for optimizer in train_step.optimizers for group in optimizer.param_groups)
    updates(train_step, cutter, 1)
    assert all(
        isinstance(group["lr"], float) for optimizer in train_step.optimizers for group in optimizer.param_groups
    )


def test_clipping_bounds_the_gradient(fabric: Fabric, tiny: Config) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, max_grad_norm=1e-3))
    train_step, cutter = TrainStep(fabric, config), cutter_for(config)
    updates(train_step, cutter, 1)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in train_step.predictor.parameters() if p.grad is not None))
    assert norm <= 1.001e-3


def test_the_reported_rate_is_that_of_observed_clips(fabric: Fabric, tiny: Config) -> None:
    """Half of the clips use the prior's mean: the loss has half of the rate, the report that of observed clips."""
    train_step, cutter = TrainStep(fabric, tiny), cutter_for(tiny)
    clip = cutter.cut(next(cutter.epoch(4, 4, 0, 0)))
    draws = free_running(torch.zeros(4, cutter.clip_length - 1, *train_step.predictor.latent_shape))
    draws = draws._replace(noise=draws.noise[:2], first_noise=draws.first_noise[:2])
    observation, terms = train_step.observe(clip, draws, kl_weight=1.0, predictor=train_step.predictor)
    assert terms.rate_nats.item() == pytest.approx(observation.rate_nats[:2].mean().item(), rel=1e-5)
    variance = observation.mse[:2].mean().item()  # the optimal one, over observed clips
    expected = observation.mse.mean().item() + 2 * variance / 768 * observation.rate_nats.mean().item()
    assert terms.loss.item() == pytest.approx(expected, rel=1e-5)
    num_values = 3 * 16 * 16
    distortion = 0.5 * num_values * (1 + math.log(2 * math.pi * variance))
    assert terms.distortion_nats.item() == pytest.approx(distortion, rel=1e-5)
