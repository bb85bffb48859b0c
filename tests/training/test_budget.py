"""Budgets of minutes: measurements without side effects, and plans that keep the time."""

import dataclasses
import math
import time

import pytest
import torch

from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.training.budget import Pacer, measured_pacer
from posecast.training.distributed import single_process
from posecast.training.plan import new_plan
from posecast.training.step import TrainStep

from ..conftest import moving_square


def footage() -> Footage:
    return Footage([moving_square(40)], [moving_square(12, seed=1)])


def test_measuring_the_speed_changes_nothing(either: Config) -> None:
    train_step = TrainStep(single_process("cpu", "32-true"), either)
    cutter = ClipCutter(footage().train, either.training.clip_length, either.networks.pose_window)
    minutes = dataclasses.replace(either.budget, steps=None, epochs=None, minutes=0.2)
    train_step.config = dataclasses.replace(either, budget=minutes)
    before = {name: value.clone() for name, value in train_step.predictor.state_dict().items()}
    averaged = {name: value.clone() for name, value in train_step.averaged.state_dict().items()}
    random_state = torch.get_rng_state()
    pacer = measured_pacer(train_step, cutter, footage(), ends=time.monotonic() + 1e6)
    assert pacer.first_plan().num_steps > 1
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in train_step.predictor.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in train_step.averaged.state_dict().items():
        assert torch.equal(value, averaged[name]), name
    assert not any(optimizer.state for optimizer in train_step.optimizers)


class Clock:
    """Stand-in for the module `time`, whose clock a test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0])
@pytest.mark.parametrize("changes_at", [0.1, 0.5, 0.8])
def test_a_budget_is_kept_when_the_speed_changes(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, factor: float, changes_at: float
) -> None:
    """Ten minutes, updates of 0.2 and 0.1 s in two stages, a validation of 5 s every five epochs."""
    clock = Clock()
    monkeypatch.setattr("posecast.training.budget.time", clock)
    training = dataclasses.replace(
        tiny.training, clip_length_curriculum=(0.5, 1.0), validate_every=5, clips_per_epoch=240
    )
    config = dataclasses.replace(tiny, training=training)
    cutter = ClipCutter(footage().train, 4, 0)
    costs, validation_s, began_at, budget = (0.2, 0.1), 5.0, clock.now, 600.0
    pacer = Pacer(config, cutter, began_at + budget, costs, validation_s)
    plan, step, planned_at = pacer.first_plan(), 0, clock.now
    while step < plan.num_steps:
        speed = factor if clock.now - began_at > changes_at * budget else 1.0
        stage = min(1, int(2 * plan.progress(step)))
        clock.now += speed * costs[stage]
        pacer.note_update(stage, speed * costs[stage])
        step += 1
        epoch_ended = step % 60 == 0
        if epoch_ended and step % 300 == 0:
            clock.now += speed * validation_s
            pacer.note_validation(speed * validation_s)
        if pacer.is_due(epoch_ended=epoch_ended):
            assert clock.now - planned_at < 40.0
            planned_at = clock.now
            plan = new_plan(plan, step, pacer.num_steps(plan, step))
    clock.now += validation_s * factor
    assert math.isclose(clock.now - began_at, budget, rel_tol=0.06)
    assert plan.progress(step) > 0.99
