"""Training state: counting of skipped updates."""

import math

import pytest

from posecast.errors import TrainingFailed
from posecast.training.plan import Plan
from posecast.training.state import TrainState, add_update
from posecast.training.step import StepMetrics


def test_many_skipped_updates_in_a_row_end_the_training() -> None:
    skipped = StepMetrics(math.nan, math.nan, math.nan, math.nan, 1e-3, 12, 12, skipped=True)
    train_state = TrainState(Plan(((0, 100),)))
    for _ in range(19):
        add_update(train_state, skipped, 0.1)
    with pytest.raises(TrainingFailed, match="20 updates in a row"):
        add_update(train_state, skipped, 0.1)
    assert train_state.skipped == 20
