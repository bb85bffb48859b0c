"""Schedules against the values in the papers and in the course's report."""

from typing import Any

import pytest

from posecast.config.schema import Bound, Training
from posecast.training.plan import Plan
from posecast.training.schedules import average_decay, cycle_start, kl_weight, learning_rate, teacher_forcing_rate


def weights(num_epochs: int, **settings: Any) -> list[float]:
    bound = Bound(**{"kl_schedule": "cyclical", "kl_period": 4.0, **settings})
    return [kl_weight(epoch, bound) for epoch in range(num_epochs)]


def test_cyclical_equals_fu_et_al() -> None:
    assert weights(16, kl_period=4, kl_ramp=0.5) == pytest.approx([0, 0.5, 1, 1] * 4)
    assert weights(10, kl_period=10 / 3, kl_ramp=0.5) == pytest.approx([0, 0.6, 1, 0, 0.6, 1, 0, 0.6, 1, 1])
    assert weights(12, kl_period=12) == pytest.approx([k / 12 for k in range(12)])


def test_ramps_of_the_report() -> None:
    assert weights(8, kl_period=4) == pytest.approx([0, 0.25, 0.5, 0.75] * 2)
    assert weights(7, kl_period=4, kl_schedule="monotonic") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_constant_is_the_peak_and_a_floor_raises_the_start() -> None:
    assert weights(3, kl_schedule="constant", kl_peak=0.3) == [0.3, 0.3, 0.3]
    assert weights(3, kl_period=4, kl_floor=0.2) == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize("period", [1, 2.5, 10 / 3, 7])
def test_cycles_start_at_multiples_of_the_period_rounded_down(period: float) -> None:
    starts = sorted({cycle_start(epoch, period) for epoch in range(50)})
    assert starts == [start for start in (int(cycle * period + 1e-9) for cycle in range(60)) if start < 50]


def test_teacher_forcing_falls_by_a_step_per_epoch() -> None:
    training = Training(teacher_forcing=0.5, teacher_forcing_step=0.1, teacher_forcing_decay_from=5)
    rates = [teacher_forcing_rate(epoch, training) for epoch in range(11)]
    assert rates == pytest.approx([0.5] * 5 + [0.4, 0.3, 0.2, 0.1, 0, 0])


def rate(step: int, **settings: Any) -> float:
    """Return the learning rate at a step of 110, the first ten of which are the warm-up."""
    training = Training(**{"learning_rate": 2.0, "warmup_steps": 10, "milestone_factor": 0.1, **settings})
    return learning_rate(step, Plan(((0, 110),)), training)


def test_learning_rate_warms_up_then_falls() -> None:
    assert [rate(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate(60) == pytest.approx(1.0)
    assert rate(110) == pytest.approx(0.0)
    milestones = [rate(step, learning_rate_schedule="milestones") for step in (20, 55, 88)]
    assert milestones == pytest.approx([2.0, 0.2, 0.02])
    assert rate(100, learning_rate_schedule="constant") == 2.0


def test_later_plans_do_not_change_earlier_learning_rates() -> None:
    training = Training(learning_rate=2.0, warmup_steps=0)
    plan = Plan(((0, 100),))
    assert learning_rate(40, plan.replanned(50, 60), training) == learning_rate(40, plan, training)


def test_the_average_starts_at_the_weights_and_slows_down() -> None:
    assert average_decay(0.999, 0) == 0.0
    assert average_decay(0.999, 1) == pytest.approx(2 / 11)
    assert average_decay(0.999, 10**6) == 0.999
