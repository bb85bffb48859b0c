"""How many updates a budget buys: stages of growing clips, whole batches, and speeds measured without a trace."""

import dataclasses
import math
import time

import pytest
import torch
from lightning_fabric import Fabric

from posecast.config.schema import Config, Training
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.training.budget import Pacer, Plan, measured_pacer, new_plan, stage_of, stages, steps_per_epoch
from posecast.training.step import TrainStep

from ..conftest import moving_square


def footage() -> Footage:
    return Footage([moving_square(40)], [moving_square(12, seed=1)])


def test_clips_grow_and_an_update_keeps_its_predictions() -> None:
    training = Training(clip_length=8, batch_size=8, clip_length_curriculum=(0.01, 0.5, 1.0))
    assert stages(training) == [(2, 56), (4, 18), (8, 8)]
    assert stages(training, num_processes=4) == [(2, 56), (4, 16), (8, 8)]
    assert stages(Training(clip_length=16, batch_size=2)) == [(16, 2)]


def test_stages_come_in_order_and_have_as_many_updates(tiny: Config) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, clip_length_curriculum=(0.5, 1.0)))
    cutter = ClipCutter(footage().train, 4, 1)
    per_epoch = steps_per_epoch(config, cutter, 0)
    num_steps = 10 * per_epoch
    plan = Plan(((0, num_steps),))
    lengths = [stage_of(config, cutter, epoch, plan, 1)[0] for epoch in range(10)]
    assert lengths == [2] * 5 + [4] * 5
    assert stage_of(config, cutter, 99, plan, 1) == (4, 4)  # a partial epoch after the last whole one


def test_measuring_the_speed_changes_nothing(either: Config) -> None:
    learner = TrainStep(Fabric(accelerator="cpu", devices=1, precision="32-true"), either)
    cutter = ClipCutter(footage().train, either.training.clip_length, either.networks.pose_window)
    minutes = dataclasses.replace(either.budget, steps=None, epochs=None, minutes=0.2)
    learner.config = dataclasses.replace(either, budget=minutes)
    before = {name: value.clone() for name, value in learner.predictor.state_dict().items()}
    averaged = {name: value.clone() for name, value in learner.averaged.state_dict().items()}
    random_state = torch.get_rng_state()
    pacer = measured_pacer(learner, cutter, footage(), ends=time.monotonic() + 1e6)
    assert pacer.first_plan().num_steps > 1
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in learner.predictor.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in learner.averaged.state_dict().items():
        assert torch.equal(value, averaged[name]), name
    assert not any(optimizer.state for optimizer in learner.optimizers)


def test_epochs_are_whole_batches(tiny: Config) -> None:
    cutter = ClipCutter(footage().train, 4, 0)
    assert steps_per_epoch(tiny, cutter, 0) == 2
    many = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, clips_per_epoch=40))
    assert steps_per_epoch(many, cutter, 0) == 10


def test_a_plan_rises_to_one_however_often_it_is_changed() -> None:
    plan = Plan(((0, 100),))
    assert [plan.progress(step) for step in (0, 25, 100, 200)] == [0.0, 0.25, 1.0, 1.0]
    slower = plan.replanned(50, 60)  # half is done; ten updates do the rest
    assert [slower.progress(step) for step in (0, 25, 50, 55, 60)] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    faster = slower.replanned(55, 155)
    steps = [faster.progress(step) for step in range(156)]
    assert steps == sorted(steps)
    assert steps[:56] == [slower.progress(step) for step in range(56)]  # what came before stays
    assert steps[-1] == pytest.approx(1.0)
    assert faster.at(54) == slower
    assert faster.replanned(60, 30).num_steps == 60  # what is done is done


def test_a_plan_is_left_alone_where_little_would_change() -> None:
    plan = Plan(((0, 1000),))
    assert new_plan(plan, 500, 1009) is plan
    assert new_plan(plan, 500, 1100).entries == ((0, 1000), (500, 1100))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0])
@pytest.mark.parametrize("changes_at", [0.1, 0.5, 0.8])
def test_a_budget_is_kept_by_a_machine_that_becomes_slower_or_faster(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, factor: float, changes_at: float
) -> None:
    """Ten minutes, updates of 0.2 and 0.1 s in two stages, a validation of 5 s every five epochs."""
    clock = Clock()
    monkeypatch.setattr("posecast.training.budget.time", clock)
    config = dataclasses.replace(
        tiny, training=dataclasses.replace(tiny.training, clip_length_curriculum=(0.5, 1.0), validate_every=5)
    )
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, clips_per_epoch=240))
    cutter = ClipCutter(footage().train, 4, 0)
    costs, validation_s, began, budget = (0.2, 0.1), 5.0, clock.now, 600.0
    pacer = Pacer(config, cutter, began + budget, costs, validation_s)
    plan, step, last_plan = pacer.first_plan(), 0, clock.now
    while step < plan.num_steps:
        speed = factor if clock.now - began > changes_at * budget else 1.0
        stage = min(1, int(2 * plan.progress(step)))
        clock.now += speed * costs[stage]
        pacer.note_update(stage, speed * costs[stage])
        step += 1
        ended = step % 60 == 0
        if ended and step % 300 == 0:
            clock.now += speed * validation_s
            pacer.note_validation(speed * validation_s)
        if pacer.is_due(epoch_ended=ended):
            assert clock.now - last_plan < 40.0
            last_plan = clock.now
            plan = new_plan(plan, step, pacer.num_steps(plan, step))
    clock.now += validation_s * (factor if changes_at < 1 else 1.0)
    assert math.isclose(clock.now - began, budget, rel_tol=0.06)
    assert plan.progress(step) > 0.99
