"""The schedules against the arrays of the papers and of the course's report."""

import pytest

from posecast.training.schedules import cycle_start, kl_weight, learning_rate, teacher_forcing_rate


def weights(num_epochs: int, **knobs: object) -> list[float]:
    settings = {"schedule": "cyclical", "peak": 1.0, "floor": 0.0, "period": 4.0, "ramp": 1.0, **knobs}
    return [kl_weight(epoch, **settings) for epoch in range(num_epochs)]  # pyright: ignore[reportArgumentType]


def test_cyclical_equals_fu_et_al() -> None:
    assert weights(16, period=4, ramp=0.5) == pytest.approx([0, 0.5, 1, 1] * 4)
    assert weights(10, period=10 / 3, ramp=0.5) == pytest.approx([0, 0.6, 1, 0, 0.6, 1, 0, 0.6, 1, 1])
    assert weights(12, period=12) == pytest.approx([k / 12 for k in range(12)])


def test_the_reports_reading() -> None:
    assert weights(8, period=4) == pytest.approx([0, 0.25, 0.5, 0.75] * 2)
    assert weights(7, period=4, schedule="monotonic") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_constant_is_the_peak_and_a_floor_lifts_the_start() -> None:
    assert weights(3, schedule="constant", peak=0.3) == [0.3, 0.3, 0.3]
    assert weights(3, period=4, floor=0.2) == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize("period", [1, 2.5, 10 / 3, 7])
def test_cycles_start_at_the_whole_part_of_their_multiples(period: float) -> None:
    starts = sorted({cycle_start(epoch, period) for epoch in range(50)})
    assert starts == [s for s in (int(c * period + 1e-9) for c in range(60)) if s < 50]


def test_teacher_forcing_falls_by_a_step_an_epoch() -> None:
    rates = [teacher_forcing_rate(epoch, start=0.5, step=0.1, decay_from=5) for epoch in range(11)]
    assert rates == pytest.approx([0.5] * 5 + [0.4, 0.3, 0.2, 0.1, 0, 0])


def rate(step: int, schedule: str = "cosine", **knobs: object) -> float:
    settings = {"peak": 2.0, "warmup_steps": 10, "milestones": (0.5, 0.8), "milestone_factor": 0.1, **knobs}
    settings |= {"progress": step / 110, "warmup_progress": 10 / 110}
    return learning_rate(step, schedule=schedule, **settings)  # pyright: ignore[reportArgumentType]


def test_learning_rate_warms_up_then_falls() -> None:
    assert [rate(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate(60) == pytest.approx(1.0)
    assert rate(110) == pytest.approx(0.0)
    assert [rate(step, "milestones") for step in (20, 55, 88)] == pytest.approx([2.0, 0.2, 0.02])
    assert rate(100, "constant") == 2.0
