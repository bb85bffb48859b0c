"""Budgets of an experiment's settings."""

from dataclasses import replace
from pathlib import Path

import pytest

from posecast.config.overrides import build_config
from posecast.config.schema import Budget, Config
from posecast.data.clips import ClipCutter
from posecast.errors import InputError
from posecast.experiments import budgets
from posecast.experiments.budgets import minutes_in_steps, plan_budgets, with_planned_budget
from posecast.experiments.grids import Setting, configurations
from posecast.training.budget import Pacer
from posecast.training.plan import steps_of_epochs

from ..conftest import TINY_LAB4, moving_square
from .conftest import GRID


def test_settings_of_different_size_are_measured_separately(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[str, tuple[int, int]]] = []

    def measure_costs(config: Config, cutter: ClipCutter, footage: object, device: str) -> Pacer:
        sizes.append((config.size, cutter.recordings[0].size))
        return Pacer(config, cutter, 0.0, [0.01], 0.01)

    monkeypatch.setattr(budgets, "measure_costs", measure_costs)
    grid = replace(GRID, settings=(Setting("small", {"size": "16x16"}), Setting("large", {"size": "16x32"})))
    flags = {name: value for name, value in TINY_LAB4.items() if name != "size"}
    plan_budgets(grid, configurations(grid, flags={**flags, "minutes": 0.1}), data, "cpu")
    assert sizes == [("16x16", (16, 16)), ("16x32", (16, 32))]


def cutter(num_frames: int = 80) -> ClipCutter:
    return ClipCutter([moving_square(num_frames)], 4, 0)


def test_a_schedule_completes_within_the_budget() -> None:
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 100})
    planned = with_planned_budget(config, cutter(), 100, 20)
    assert planned.budget == Budget(epochs=20)
    assert steps_of_epochs(planned, cutter(), 20) == 100
    fast = replace(config, training=replace(config.training, fast_epochs=15, fast_share=0.4))
    assert 90 <= steps_of_epochs(with_planned_budget(fast, cutter(), 100, 20), cutter(), 20) <= 100


def test_epochs_are_shortened_only_if_there_are_too_few() -> None:
    many = build_config("lab4", flags={**TINY_LAB4, "epochs": 30})
    assert with_planned_budget(many, cutter(), None, 20) == many
    few = build_config("lab4", flags={**TINY_LAB4, "epochs": 4})  # of 80 // 4 // 2 = 10 updates each
    assert steps_of_epochs(with_planned_budget(few, cutter(), None, 20), cutter(), 20) == 40
    with pytest.raises(InputError, match="suffices for 5 updates per run, but the schedules count 20 epochs"):
        with_planned_budget(few, cutter(), 5, 20)
    plain = build_config("lab4", flags={**TINY_LAB4, "minutes": 3.0})
    assert with_planned_budget(plain, cutter(), 7, 0).budget == Budget(steps=7)


def test_a_budget_in_minutes_includes_the_validations() -> None:
    config = build_config("lab4", flags={**TINY_LAB4, "minutes": 2.0, "validate_every": 1})
    pacer = Pacer(config, cutter(), 0.0, [0.5], 10.0)
    assert minutes_in_steps(GRID, config, pacer) == (120 - 3 * 10) / 0.5
