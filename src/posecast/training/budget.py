"""Budgets: epochs, updates or minutes, turned into a plan and planned again as the machine's speed changes.

In: a budget, and the seconds that updates and validations take. Out: numbers of updates.
Next: `plan.py` is the plan; `loop.py` follows it and reports the seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import torch

from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import mean_rollout
from posecast.model.cuda_graphs import FIRST_CALLS
from posecast.training.plan import Plan, stages, steps_of_epochs, steps_per_epoch
from posecast.training.step import TrainStep

MEASURED_SECONDS = 3.0
"""Time spent on measuring updates before training, over all stages."""
REPLAN_SECONDS = 30.0
"""Longest time from one plan to the next."""
SPEED_SECONDS = 20.0
"""Updates of this many last seconds give the speed."""


class Pacer:
    """Estimator of the number of updates that fit into the time left, by the speed of the latest ones."""

    def __init__(self, config: Config, cutter: ClipCutter, ends: float, costs: Sequence[float], validation_s: float):
        """Start with measured durations.

        Args:
            config: Configuration of the run.
            cutter: Cutter of its training clips.
            ends: End of the budget, as `time.monotonic`.
            costs: Seconds of an update in each stage.
            validation_s: Seconds of a validation.
        """
        self.ends, self.costs, self.validation_s = ends, list(costs), validation_s
        self.per_epoch = steps_per_epoch(config, cutter, config.training.fast_epochs)
        self.validate_every = config.training.validate_every
        self.recent: deque[tuple[float, float]] = deque()
        """Seconds of the latest updates, and the seconds measured for them at the start."""
        self.planned_at = time.monotonic()

    def note_update(self, stage: int, seconds: float) -> None:
        """Record the duration of an update of the stage with index `stage`, cutting of clips and saving included."""
        self.recent.append((seconds, self.costs[stage]))
        while len(self.recent) > 3 and sum(took for took, _ in self.recent) - self.recent[0][0] > SPEED_SECONDS:
            self.recent.popleft()

    def note_validation(self, seconds: float) -> None:
        """Record the duration of a validation."""
        self.validation_s = seconds

    def is_due(self, *, epoch_ended: bool) -> bool:
        """Return whether to plan again: at an epoch's end, or after 30 s, and sooner towards the end of the budget."""
        now = time.monotonic()
        wait = min(REPLAN_SECONDS, max(1.0, 0.2 * (self.ends - now)))
        return now - self.planned_at > (1.0 if epoch_ended else wait)

    def first_plan(self) -> Plan:
        """Return the plan of a run that starts now."""
        return Plan(((0, self.num_steps(Plan(((0, 1),)), 0)),))

    def num_steps(self, plan: Plan, step: int) -> int:
        """Return how many updates a run at update `step` can have in all; at least one.

        Time for the validations to come, the last one included, is set aside.
        """
        self.planned_at = time.monotonic()
        took, expected = (sum(part) for part in zip(*self.recent, strict=True)) if self.recent else (1.0, 1.0)
        left = self.ends - self.planned_at - self.validation_s
        per_update = took / expected * self._mean_cost(plan.progress(step))
        per_update += self.validation_s / (self.per_epoch * self.validate_every)
        return max(1, step + max(0, int(left / per_update)))

    def _mean_cost(self, progress: float) -> float:
        """Return the mean seconds of an update over the rest of the run, at the speed measured at the start."""
        count = len(self.costs)
        overlaps = [max(0.0, (n + 1) / count - max(progress, n / count)) for n in range(count)]
        if sum(overlaps) <= 0.0:
            return self.costs[-1]
        return sum(overlap * cost for overlap, cost in zip(overlaps, self.costs, strict=True)) / sum(overlaps)


def first_plan(config: Config, cutter: ClipCutter, pacer: Pacer | None) -> Plan:
    """Return the plan that a run starts with; a budget of minutes needs a pacer."""
    if config.budget.steps is not None:
        return Plan(((0, config.budget.steps),))
    if config.budget.epochs is not None:
        return Plan(((0, steps_of_epochs(config, cutter, config.budget.epochs)),))
    assert pacer is not None
    return pacer.first_plan()


def measured_pacer(train_step: TrainStep, cutter: ClipCutter, footage: Footage, ends: float) -> Pacer:
    """Measure an update of every stage and a validation; weights, statistics and random numbers do not change.

    Args:
        train_step: A step that has made no update yet: its optimisers and its average are reset.
        cutter: Cutter of the training clips.
        footage: Footage; the time of a validation is estimated from its first validation recording.
        ends: End of the budget, as `time.monotonic`.
    """
    training, num_processes = train_step.config.training, train_step.fabric.world_size
    costs = [measure_update(train_step, cutter, *stage) for stage in stages(training, num_processes)]
    train_step.reset()
    return Pacer(train_step.config, cutter, ends, costs, measure_validation(train_step, footage))


def measure_update(train_step: TrainStep, cutter: ClipCutter, length: int, batch_size: int) -> float:
    """Return the mean seconds of an update, made with learning rate 0; BatchNorm's statistics are restored.

    On a CPU the time includes the cutting of clips; on a GPU other threads cut them during the update before.

    Args:
        train_step: Step to measure; its optimisers and its average count the updates.
        cutter: Cutter of the training clips.
        length: Frames in a clip.
        batch_size: Clips in the update, over all processes.
    """
    buffers = [*train_step.predictor.buffers(), *train_step.averaged.buffers()]
    before = [buffer.clone() for buffer in buffers]
    cutter = cutter.of_length(length)
    plan = next(cutter.epoch(batch_size, batch_size, train_step.config.seed, 0))
    on_gpu = train_step.fabric.device.type == "cuda"

    def time_update() -> float:
        start = time.monotonic()
        batch = train_step.batches.prepare(cutter, plan, step=0, epoch=0)
        if on_gpu:
            start = time.monotonic()
        _, gradients = train_step.passes(batch)
        train_step.apply_gradients(gradients)
        if on_gpu:
            torch.cuda.synchronize()
        return time.monotonic() - start

    train_step.set_learning_rate(0.0)  # all operations are computed and no weight changes
    for _ in range(FIRST_CALLS + 1 if on_gpu else 1):  # the first updates also allocate memory and choose kernels
        time_update()
    once = time_update()
    # All processes must make equally many updates, since they exchange gradients.
    seconds = MEASURED_SECONDS / len(train_step.config.training.clip_length_curriculum)
    repeats = train_step.fabric.broadcast(min(20, max(1, round(seconds / once))))
    cost = float(sum(time_update() for _ in range(repeats)) / repeats)
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
    return cost


def measure_validation(train_step: TrainStep, footage: Footage) -> float:
    """Return the seconds of one validation, extrapolated from a short rollout."""
    first = footage.validation[0]
    num = min(len(first), 65)
    excerpt = Recording(first.name, first.frames[:num], first.poses[:num])
    start = time.monotonic()
    mean_rollout(train_step.smoothed, excerpt)
    per_frame = (time.monotonic() - start) / (num - 1)
    # The bound on clips takes about half of the time of a rollout.
    return 1.5 * per_frame * sum(len(recording) for recording in footage.validation)
