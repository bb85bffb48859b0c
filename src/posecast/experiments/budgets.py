"""Budgets of an experiment's settings, planned before any run starts.

In: a grid, its configurations and a data set. Out: configurations with budgets in epochs or updates, within which
schedules that count epochs complete. Next: `runner.py`, which trains these configurations.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posecast.config.schema import Budget, Config, parse_size
from posecast.data.cache import load_footage
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.experiments.grids import Grid
from posecast.model.device import resolve_device
from posecast.model.threads import operator_threads
from posecast.training.batches import build_cutter, footage_seen
from posecast.training.budget import Pacer, measured_pacer
from posecast.training.distributed import single_process
from posecast.training.plan import steps_per_epoch
from posecast.training.step import TrainStep
from posecast.training.train import chosen_threads


def plan_budgets(grid: Grid, configs: Mapping[str, Config], data: Path, device: str) -> dict[str, Config]:
    """Return the configurations with their budgets in epochs or updates, within which their schedules complete."""
    pacers: dict[Any, Pacer] = {}
    planned = {}
    for name, config in configs.items():
        footage = footage_seen(config, load_footage(data, parse_size(config.size)))
        cutter = build_cutter(config, footage)
        steps = config.budget.steps
        if config.budget.minutes is not None:
            costs = cost_key(config)
            if costs not in pacers:
                pacers[costs] = measure_costs(config, cutter, footage, device)
            steps = minutes_in_steps(grid, config, pacers[costs])
        planned[name] = with_planned_budget(config, cutter, steps, grid.schedule_epochs)
    return planned


def cost_key(config: Config) -> tuple[Any, ...]:
    """Return the settings that determine the time of an update and of a validation."""
    training = config.training
    return (
        config.networks,
        config.size,
        training.clip_length,
        training.batch_size,
        training.validation_frames,
        training.clip_length_curriculum,
        training.optimizer,
        training.shift_prob,
    )


def measure_costs(config: Config, cutter: ClipCutter, footage: Footage, device: str) -> Pacer:
    """Measure the seconds of an update and of a validation, with the precision and threads of a training run."""
    accelerator = resolve_device(device)
    threads, shares = chosen_threads(accelerator)
    with operator_threads(threads):
        train_step = TrainStep(single_process(accelerator), config, shares=shares)
        try:
            return measured_pacer(train_step, cutter, footage, ends=time.monotonic())
        finally:
            train_step.workers.close()


def minutes_in_steps(grid: Grid, config: Config, pacer: Pacer) -> int:
    """Return the number of updates for which a run's minutes suffice, in addition to its validations."""
    assert config.budget.minutes is not None
    seconds = 60.0 * config.budget.minutes
    if not grid.schedule_epochs:
        pacer.ends = time.monotonic() + seconds
        return pacer.first_plan().num_steps
    validations = -(-grid.schedule_epochs // config.training.validate_every)
    return int((seconds - validations * pacer.validation_s) / statistics.mean(pacer.costs))


def with_planned_budget(config: Config, cutter: ClipCutter, steps: int | None, schedule_epochs: int) -> Config:
    """Return the configuration with its budget planned so that schedules which count epochs complete.

    If the budget suffices for fewer epochs than the schedules count, epochs are shortened by their number of clips.

    Args:
        config: Configuration of a setting.
        cutter: Source of its clips.
        steps: Number of updates; None: the number of epochs in the configuration's budget.
        schedule_epochs: Number of epochs that the schedules count; 0: they count none.

    Raises:
        InputError: If there is less than one update for an epoch.
    """
    training = config.training
    usual_steps = steps_per_epoch(config, cutter, training.fast_epochs)
    if steps is None:
        epochs = config.budget.epochs
        assert epochs is not None
        if epochs >= schedule_epochs:
            return config
        steps = epochs * usual_steps
    elif not schedule_epochs:
        return dataclasses.replace(config, budget=Budget(steps=steps))
    fast = min(training.fast_epochs, schedule_epochs)
    num_usual_epochs = fast * training.fast_share + (schedule_epochs - fast)
    planned_steps = int(steps / num_usual_epochs)
    if planned_steps < 1:
        raise InputError(
            f"The budget suffices for {max(steps, 0)} updates per run, but the schedules count {schedule_epochs} "
            "epochs; give more --minutes, --steps or --epochs, or smaller networks."
        )
    shorter = dataclasses.replace(training, clips_per_epoch=planned_steps * training.batch_size)
    return dataclasses.replace(config, training=shorter, budget=Budget(epochs=schedule_epochs))
