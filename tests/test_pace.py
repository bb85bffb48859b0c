"""How many updates a budget buys: stages of growing clips, whole batches, and speeds measured without a trace."""

import dataclasses

import torch
from lightning_fabric import Fabric

from posecast.config import Config, Training
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.learning import Learner
from posecast.pace import plan_steps, stage_of, stages, steps_per_epoch

from .conftest import moving_square


def footage() -> Footage:
    return Footage([moving_square(40)], [moving_square(12, seed=1)])


def test_clips_grow_and_an_update_keeps_its_predictions() -> None:
    training = Training(clip_length=8, batch_size=8, growth=(0.01, 0.5, 1.0))
    assert stages(training) == [(2, 56), (4, 18), (8, 8)]
    assert stages(training, num_processes=4) == [(2, 56), (4, 16), (8, 8)]
    assert stages(Training(clip_length=16, batch_size=2)) == [(16, 2)]


def test_stages_come_in_order_and_have_as_many_updates(tiny: Config) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, growth=(0.5, 1.0)))
    cutter = ClipCutter(footage().train, 4, 1)
    per_epoch = steps_per_epoch(config, cutter, 0)
    num_steps = 10 * per_epoch
    lengths = [stage_of(config, cutter, epoch, num_steps, 1)[0] for epoch in range(10)]
    assert lengths == [2] * 5 + [4] * 5
    assert stage_of(config, cutter, 99, num_steps, 1) == (4, 4)  # a partial epoch after the last whole one


def test_measuring_the_speed_changes_nothing(either: Config) -> None:
    learner = Learner(Fabric(accelerator="cpu", devices=1, precision="32-true"), either)
    cutter = ClipCutter(footage().train, either.training.clip_length, either.networks.pose_window)
    minutes = dataclasses.replace(either.budget, steps=None, epochs=None, minutes=0.2)
    learner.config = dataclasses.replace(either, budget=minutes)
    before = {name: value.clone() for name, value in learner.predictor.state_dict().items()}
    averaged = {name: value.clone() for name, value in learner.averaged.state_dict().items()}
    random_state = torch.get_rng_state()
    assert plan_steps(learner, cutter, footage(), began=0.0) >= 1
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
