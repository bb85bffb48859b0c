"""Plans of updates: how many a budget buys, planned again as the machine becomes slower or faster.

In: a budget, the speed seen so far. Out: `Plan`, from which the learning rate and the clip length follow, and which is
recorded so that a run can be repeated exactly. Knows no run folder. Next: `loop.py`, which follows it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from posecast.config.schema import Config, Training
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import mean_rollout
from posecast.model.cuda_graphs import FIRST_CALLS
from posecast.training.step import TrainStep

MEASURED_SECONDS = 3.0
REPLAN_SECONDS = 30.0
"""The longest time from one plan to the next."""
SPEED_SECONDS = 20.0
"""The speed is that of the updates of the last so many seconds."""
LEAST_CHANGE = 0.02
"""A new plan that differs by less than this share of what is left is not made."""


@dataclass(frozen=True)
class Plan:
    """Updates of a run as planned, and planned again: from update `step` on `num_steps` in all, for each entry."""

    entries: tuple[tuple[int, int], ...]

    @property
    def num_steps(self) -> int:
        """Updates in all, by the newest entry."""
        return self.entries[-1][1]

    def at(self, step: int) -> Plan:
        """The plan as it stood at an update."""
        return Plan(tuple(entry for entry in self.entries if entry[0] <= step))

    def progress(self, step: int) -> float:
        """The share of the training gone by before an update, in [0, 1]: it rises to 1 at the end of every plan."""
        done, ends = 0.0, [start for start, _ in self.entries[1:]]
        for (start, num_steps), end in zip(self.entries, [*ends, math.inf], strict=True):
            left = num_steps - start
            reached = min(step, end)
            done += (1.0 - done) * min(1.0, (reached - start) / left) if left > 0 else 1.0 - done
            if step <= end:
                break
        return done

    def replanned(self, step: int, num_steps: int) -> Plan:
        """The plan with another number of updates from `step` on; what came before stays."""
        before = tuple(entry for entry in self.entries if entry[0] < step)
        return Plan((*before, (step, max(step, num_steps))))


def steps_per_epoch(config: Config, cutter: ClipCutter, epoch: int) -> int:
    """Updates in an epoch: whole batches only, at least one. Fast epochs have their share of them."""
    training = config.training
    clips = training.clips_per_epoch or cutter.num_frames // training.clip_length
    if epoch < training.fast_epochs:
        clips = int(clips * training.fast_share)
    return max(1, clips // training.batch_size)


def steps_of_epochs(config: Config, cutter: ClipCutter, epochs: int) -> int:
    """Updates in the first so many epochs."""
    fast = min(epochs, config.training.fast_epochs)
    ordinary = steps_per_epoch(config, cutter, config.training.fast_epochs)
    return fast * steps_per_epoch(config, cutter, 0) + (epochs - fast) * ordinary


def stages(training: Training, num_processes: int = 1) -> list[tuple[int, int]]:
    """Clip length and batch size of each stage; an update always has about as many predictions."""
    found = []
    for share in training.clip_length_curriculum:
        length = max(2, round(share * training.clip_length))
        batch = training.batch_size * (training.clip_length - 1) // (length - 1)
        found.append((length, max(1, batch // num_processes) * num_processes))
    return found


def stage_at(progress: float, count: int) -> int:
    """Which of `count` stages of equal length a share of the training falls into."""
    return min(int(progress * count + 1e-9), count - 1)


def stage_of(config: Config, cutter: ClipCutter, epoch: int, plan: Plan, num_processes: int) -> tuple[int, int]:
    """Clip length and batch size in an epoch: the stage that its first update falls into."""
    found = stages(config.training, num_processes)
    first = steps_of_epochs(config, cutter, epoch)
    return found[stage_at(plan.at(first).progress(first), len(found))]


class Pacer:
    """Turns the minutes that are left into updates, by the speed of the latest ones."""

    def __init__(self, config: Config, cutter: ClipCutter, ends: float, costs: Sequence[float], validation_s: float):
        """Begin with measured seconds of an update in each stage, and of a validation; `ends` as time.monotonic()."""
        self.ends, self.costs, self.validation_s = ends, list(costs), validation_s
        self.per_epoch = steps_per_epoch(config, cutter, config.training.fast_epochs)
        self.validate_every = config.training.validate_every
        self.recent: deque[tuple[float, float]] = deque()
        """Seconds that updates took, and that they were measured to take at the start."""
        self.planned_at = time.monotonic()

    def note_update(self, stage: int, seconds: float) -> None:
        """An update of a stage took so long, clips and saving included."""
        self.recent.append((seconds, self.costs[stage]))
        while len(self.recent) > 3 and sum(took for took, _ in self.recent) - self.recent[0][0] > SPEED_SECONDS:
            self.recent.popleft()

    def note_validation(self, seconds: float) -> None:
        """A validation took so long."""
        self.validation_s = seconds

    def is_due(self, *, epoch_ended: bool) -> bool:
        """Whether to plan again: at an epoch's end, after 30 s, and sooner as the end comes nearer."""
        now = time.monotonic()
        wait = min(REPLAN_SECONDS, max(1.0, 0.2 * (self.ends - now)))
        return now - self.planned_at > (1.0 if epoch_ended else wait)

    def first_plan(self) -> Plan:
        """The plan of a training that has not begun."""
        return Plan(((0, self.num_steps(Plan(((0, 1),)), 0)),))

    def num_steps(self, plan: Plan, step: int) -> int:
        """Updates in all that fit, validations and the last one included; at least one."""
        self.planned_at = time.monotonic()
        took, expected = (sum(part) for part in zip(*self.recent, strict=True)) if self.recent else (1.0, 1.0)
        left = self.ends - self.planned_at - self.validation_s
        per_update = took / expected * self._mean_cost(plan.progress(step))
        per_update += self.validation_s / (self.per_epoch * self.validate_every)
        return max(1, step + max(0, int(left / per_update)))

    def _mean_cost(self, progress: float) -> float:
        """Seconds of an update on average over what is left of the training, at the speed of the start."""
        count = len(self.costs)
        overlaps = [max(0.0, (n + 1) / count - max(progress, n / count)) for n in range(count)]
        if sum(overlaps) <= 0.0:
            return self.costs[-1]
        return sum(o * cost for o, cost in zip(overlaps, self.costs, strict=True)) / sum(overlaps)


def first_plan(config: Config, cutter: ClipCutter, pacer: Pacer | None) -> Plan:
    """The plan that a budget begins with; minutes need a pacer."""
    if config.budget.steps is not None:
        return Plan(((0, config.budget.steps),))
    if config.budget.epochs is not None:
        return Plan(((0, steps_of_epochs(config, cutter, config.budget.epochs)),))
    assert pacer is not None
    return pacer.first_plan()


def new_plan(plan: Plan, step: int, num_steps: int) -> Plan:
    """The plan with another number of updates, if that differs enough from the one it has."""
    if abs(num_steps - plan.num_steps) <= LEAST_CHANGE * max(1, plan.num_steps - step):
        return plan
    return plan.replanned(step, num_steps)


def measured_pacer(learner: TrainStep, cutter: ClipCutter, footage: Footage, ends: float) -> Pacer:
    """A pacer that has measured an update of every stage, and a validation; changes no weight or statistic."""
    costs = [measure_update(learner, cutter, *stage) for stage in stages(learner.config.training, _processes(learner))]
    learner.forget_gradients()
    return Pacer(learner.config, cutter, ends, costs, measure_validation(learner, footage))


def _processes(learner: TrainStep) -> int:
    return learner.fabric.world_size


def measure_update(learner: TrainStep, cutter: ClipCutter, length: int, batch_size: int) -> float:
    """Seconds of an update of a stage, clips included; the learning rate is 0, and statistics are put back."""
    on_gpu = learner.fabric.device.type == "cuda"
    buffers = [*learner.predictor.buffers(), *learner.averaged.buffers()]
    before = [buffer.clone() for buffer in buffers]
    cutter = cutter.of_length(length)
    plan = next(cutter.epoch(batch_size, batch_size, learner.config.seed, 0))

    def seconds_of_one() -> float:
        start = time.monotonic()
        batch = learner.batches.prepare(cutter, plan, step=0, epoch=0)
        if on_gpu:
            start = time.monotonic()  # while it trains, threads cut the next clips
        _, gradients = learner.passes(batch)
        learner.apply_gradients(gradients)
        if on_gpu:
            torch.cuda.synchronize()
        return time.monotonic() - start

    learner.set_learning_rate(0.0)  # the optimisers work as ever and move nothing
    for _ in range(FIRST_CALLS + 1 if on_gpu else 1):
        seconds_of_one()  # the first ones also allocate, choose and record kernels
    once = seconds_of_one()
    # All processes must measure as often, since they exchange gradients with each other.
    seconds = MEASURED_SECONDS / len(learner.config.training.clip_length_curriculum)
    repeats = learner.fabric.broadcast(min(20, max(1, round(seconds / once))))
    cost = float(sum(seconds_of_one() for _ in range(repeats)) / repeats)
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
    return cost


def measure_validation(learner: TrainStep, footage: Footage) -> float:
    """Seconds of one validation, from a short rollout; the bound on clips costs about half of a rollout."""
    first = footage.validation[0]
    num = min(len(first), 65)
    piece = Recording(first.name, first.frames[:num], first.poses[:num])
    start = time.monotonic()
    mean_rollout(learner.smoothed, piece)
    per_frame = (time.monotonic() - start) / (num - 1)
    return 1.5 * per_frame * sum(len(one) for one in footage.validation)
