"""State of a training run: counters, sums over an epoch's updates, and the log entry that follows from them.

In: the metrics of updates. Out: what is saved to resume a run, and what callbacks receive.
Next: `loop.py` advances the state; `checkpoints.py` saves it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from posecast.errors import TrainingFailed
from posecast.training.plan import Plan
from posecast.training.schedules import kl_weight, teacher_forcing_rate
from posecast.training.step import StepMetrics, TrainStep

MAX_SKIPPED_IN_A_ROW = 20


@dataclass
class TrainState:
    """Progress of a training run; saved in every state."""

    plan: Plan
    step: int = 0
    """Completed updates."""
    epoch: int = 0
    """Completed epochs."""
    batch: int = 0
    """Completed updates of the current epoch."""
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_psnr_db: float = -math.inf
    sums: dict[str, float] = field(default_factory=dict)
    """Sums over the updates of the current epoch, and `seconds` spent on them."""
    spent_s: float = 0.0
    """Seconds spent of a budget of minutes."""

    @property
    def num_steps(self) -> int:
        """Total number of updates by the newest plan."""
        return self.plan.num_steps

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, lists and dictionaries."""
        return {**dataclasses.asdict(self), "plan": [list(entry) for entry in self.plan.entries]}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainState:
        """Return the state that `to_dict` gave."""
        entries = tuple((int(step), int(num_steps)) for step, num_steps in content["plan"])
        return cls(**{**content, "plan": Plan(entries)})


@dataclass(frozen=True)
class TrainEvent:
    """Argument of a training callback: one before the first update, one after every update, one after every epoch."""

    train_state: TrainState
    update: StepMetrics | None
    """Metrics of the update that has ended; None in other events."""
    entry: dict[str, Any] | None
    """Line of log.jsonl of the epoch that has ended; None in other events."""
    ends_at: float | None = None
    """End of a budget of minutes, as `time.monotonic`; None for other budgets."""


Callback = Callable[[TrainEvent], None]


def add_update(train_state: TrainState, update: StepMetrics, seconds: float) -> None:
    """Count an update, and add it to the sums of its epoch.

    Raises:
        TrainingFailed: It is the last of `MAX_SKIPPED_IN_A_ROW` skipped updates.
    """
    train_state.step += 1
    train_state.batch += 1
    _add(
        train_state.sums,
        updates=1.0,
        seconds=seconds,
        predictions=float(update.num_predictions),
        skipped=float(update.skipped),
    )
    if update.skipped:
        train_state.skipped += 1
        train_state.skipped_in_a_row += 1
        if train_state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingFailed(
                f"The loss or its gradient was not finite in {MAX_SKIPPED_IN_A_ROW} updates in a row; training "
                f"stopped at update {train_state.step}. Lower --learning-rate or --max-grad-norm, or check the data."
            )
        return
    train_state.skipped_in_a_row = 0
    _add(
        train_state.sums,
        loss=update.loss,
        mse=update.mse,
        observed=float(update.num_observed),
        rate_nats=update.rate_nats * update.num_observed,
        distortion_nats=update.distortion_nats * update.num_observed,
    )
    train_state.sums["learning_rate"] = update.learning_rate


def _add(sums: dict[str, float], **values: float) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value


def epoch_means(sums: dict[str, float]) -> dict[str, float | None]:
    """Return the means of an epoch from the sums of its updates.

    Args:
        sums: `TrainState.sums`; skipped updates do not count.

    Returns:
        `loss` and `mse` over updates, `rate` and `distortion` in nats over predicted frames with z from the
        posterior; None where there were none.
    """
    used, observed = sums.get("updates", 0.0) - sums.get("skipped", 0.0), sums.get("observed", 0.0)
    return {
        name: sums.get(key, 0.0) / count if count else None
        for name, key, count in (
            ("loss", "loss", used),
            ("mse", "mse", used),
            ("rate", "rate_nats", observed),
            ("distortion", "distortion_nats", observed),
        )
    }


def training_entry(train_step: TrainStep, train_state: TrainState) -> dict[str, Any]:
    """Return the part of an epoch's log entry that follows from its updates."""
    config, sums, epoch = train_step.config, train_state.sums, train_state.epoch
    return {
        "epoch": epoch,
        "step": train_state.step,
        **epoch_means(sums),
        "kl_weight": kl_weight(epoch, config.bound),
        "teacher_forcing_rate": teacher_forcing_rate(epoch, config.training),
        "learning_rate": sums.get("learning_rate"),
        "skipped_updates": int(sums["skipped"]),
        "frames_per_second": train_step.fabric.world_size * sums["predictions"] / max(sums["seconds"], 1e-9),
        "seconds": sums["seconds"],
    }
