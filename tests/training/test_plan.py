"""Plans: progress across changes, sizes of epochs, and stages of growing clips."""

import dataclasses

import pytest

from posecast.config.schema import Config, Training
from posecast.data.clips import ClipCutter
from posecast.training.plan import Plan, new_plan, stage_index, stages, steps_per_epoch

from ..conftest import moving_square


def cutter(pose_window: int = 0) -> ClipCutter:
    return ClipCutter([moving_square(40)], 4, pose_window)


def test_progress_rises_to_one_however_often_a_plan_changes() -> None:
    plan = Plan(((0, 100),))
    assert [plan.progress(step) for step in (0, 25, 100, 200)] == [0.0, 0.25, 1.0, 1.0]
    slower = plan.replanned(50, 60)  # half is done; ten updates are left for the rest
    assert [slower.progress(step) for step in (0, 25, 50, 55, 60)] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    faster = slower.replanned(55, 155)
    progress = [faster.progress(step) for step in range(156)]
    assert progress == sorted(progress)
    assert progress[:56] == [slower.progress(step) for step in range(56)]  # completed updates keep their progress
    assert progress[-1] == pytest.approx(1.0)
    assert faster.at(54) == slower
    assert faster.replanned(60, 30).num_steps == 60  # completed updates stay in the plan


def test_small_changes_of_a_plan_are_ignored() -> None:
    plan = Plan(((0, 1000),))
    assert new_plan(plan, 500, 1009) is plan
    assert new_plan(plan, 500, 1100).entries == ((0, 1000), (500, 1100))


def test_epochs_have_only_complete_batches(tiny: Config) -> None:
    assert steps_per_epoch(tiny, cutter(), 0) == 2
    many = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, clips_per_epoch=40))
    assert steps_per_epoch(many, cutter(), 0) == 10


def test_clips_grow_and_updates_keep_their_number_of_predictions() -> None:
    training = Training(clip_length=8, batch_size=8, clip_length_curriculum=(0.01, 0.5, 1.0))
    assert stages(training) == [(2, 56), (4, 18), (8, 8)]
    assert stages(training, num_processes=4) == [(2, 56), (4, 16), (8, 8)]
    assert stages(Training(clip_length=16, batch_size=2)) == [(16, 2)]


def test_stages_come_in_order_and_have_equally_many_updates(tiny: Config) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, clip_length_curriculum=(0.5, 1.0)))
    plan = Plan(((0, 10 * steps_per_epoch(config, cutter(), 0)),))
    assert [stage_index(config, cutter(), epoch, plan) for epoch in range(10)] == [0] * 5 + [1] * 5
    assert stage_index(config, cutter(), 99, plan) == 1  # an incomplete epoch after the last complete one
