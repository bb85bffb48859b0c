"""How far training has come: counters, an epoch's sums, and the part of its log line that they give.

In: updates. Out: what is saved with every state and told to callbacks. Next: `loop.py`, which keeps it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from posecast.errors import TrainingFailed
from posecast.training.batches import teacher_forcing_rate_at
from posecast.training.budget import Plan
from posecast.training.step import StepMetrics, TrainStep

MOST_SKIPPED_IN_A_ROW = 20


@dataclass
class TrainState:
    """How far training has come; saved with every state."""

    plan: Plan
    step: int = 0
    epoch: int = 0
    batch: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_psnr_db: float = -math.inf
    sums: dict[str, float] = field(default_factory=dict)
    """Sums over the updates of the current epoch, and `seconds` spent on them."""
    spent_s: float = 0.0
    """Seconds of a budget of minutes that are spent."""

    @property
    def num_steps(self) -> int:
        """Updates in all, as planned last."""
        return self.plan.num_steps

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as a state holds them."""
        return {**dataclasses.asdict(self), "plan": [list(entry) for entry in self.plan.entries]}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainState:
        """The inverse of `to_dict`."""
        entries = tuple((int(step), int(num_steps)) for step, num_steps in content["plan"])
        return cls(**{**content, "plan": Plan(entries)})


@dataclass(frozen=True)
class TrainEvent:
    """What a callback of the training is told after every update, and after every epoch."""

    train_state: TrainState
    update: StepMetrics | None
    entry: dict[str, Any] | None
    """The epoch's line of log.jsonl, when an epoch has just ended."""
    ends_at: float | None = None
    """When a budget of minutes is spent, as `time.monotonic`; None for a budget of another kind."""


Callback = Callable[[TrainEvent], None]


def account(train_state: TrainState, update: StepMetrics, seconds: float) -> None:
    """Add an update to the epoch's sums. Raises TrainingFailed if skipping has become a habit."""
    train_state.step += 1
    train_state.batch += 1
    sums = train_state.sums
    for name, value in (
        ("updates", 1.0),
        ("seconds", seconds),
        ("predictions", float(update.num_predictions)),
        ("skipped", float(update.skipped)),
    ):
        sums[name] = sums.get(name, 0.0) + value
    if update.skipped:
        train_state.skipped += 1
        train_state.skipped_in_a_row += 1
        if train_state.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingFailed(
                f"The loss or its gradient was not finite in {MOST_SKIPPED_IN_A_ROW} updates in a row; training "
                f"stopped at update {train_state.step}. Lower --learning-rate or --max-grad-norm, or look at the data."
            )
        return
    train_state.skipped_in_a_row = 0
    for name, value in (
        ("loss", update.loss),
        ("mse", update.mse),
        ("observed", float(update.num_observed)),
        ("rate_nats", update.rate_nats * update.num_observed),
        ("distortion_nats", update.distortion_nats * update.num_observed),
    ):
        sums[name] = sums.get(name, 0.0) + value
    sums["learning_rate"] = update.learning_rate


def epoch_means(sums: dict[str, float]) -> dict[str, float | None]:
    """Loss and mse over updates; rate and distortion over observed predictions; None where there were none."""
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


def training_entry(learner: TrainStep, train_state: TrainState) -> dict[str, Any]:
    """The part of an epoch's log line that the updates give."""
    sums = train_state.sums
    processes = learner.fabric.world_size
    means = epoch_means(sums)
    return {
        "epoch": train_state.epoch,
        "step": train_state.step,
        **means,
        "kl_weight": learner.kl_weight(train_state.epoch),
        "teacher_forcing_rate": teacher_forcing_rate_at(learner.config.training, train_state.epoch),
        "learning_rate": sums.get("learning_rate"),
        "skipped_updates": int(sums["skipped"]),
        "frames_per_second": processes * sums["predictions"] / max(sums["seconds"], 1e-9),
        "seconds": sums["seconds"],
    }
