"""How many updates a budget buys; minutes are turned into updates by measuring the speed once, at the start.

Knows no run folder. Next: `training.py`.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from posecast.batches import Batch
from posecast.config import Config, Training
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.recordings import Footage, Recording
from posecast.evaluation import mean_rollout
from posecast.learning import Learner
from posecast.model.predictor import free_running
from posecast.replaying import FIRST_CALLS

MEASURED_SECONDS = 3.0


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
    for share in training.growth:
        length = max(2, round(share * training.clip_length))
        batch = training.batch_size * (training.clip_length - 1) // (length - 1)
        found.append((length, max(1, batch // num_processes) * num_processes))
    return found


def stage_of(config: Config, cutter: ClipCutter, epoch: int, num_steps: int, num_processes: int) -> tuple[int, int]:
    """Clip length and batch size in an epoch: the stage that its first update falls into."""
    found = stages(config.training, num_processes)
    first = steps_of_epochs(config, cutter, epoch)
    return found[min(first * len(found) // num_steps, len(found) - 1)]


def plan_steps(learner: Learner, cutter: ClipCutter, footage: Footage, began: float) -> int:
    """The number of updates that the budget buys. Minutes are turned into updates by measuring the speed."""
    budget = learner.config.budget
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return steps_of_epochs(learner.config, cutter, budget.epochs)
    assert budget.minutes is not None
    speed = measure_speed(learner, cutter, footage)
    left = 60.0 * budget.minutes - (time.monotonic() - began)
    return int(learner.fabric.broadcast(steps_within(left, learner.config, cutter, speed)))


def steps_within(seconds: float, config: Config, cutter: ClipCutter, speed: tuple[float, float]) -> int:
    """Updates that fit into so many seconds, validations between them included; `speed` is `measure_speed`'s."""
    step_seconds, validation_seconds = speed
    per_epoch = steps_per_epoch(config, cutter, config.training.fast_epochs)
    # The last epoch is always validated, so one validation is due however short the run.
    per_update = step_seconds + validation_seconds / (per_epoch * config.training.validate_every)
    return max(1, int((seconds - validation_seconds) / per_update))


def measure_speed(learner: Learner, cutter: ClipCutter, footage: Footage) -> tuple[float, float]:
    """Seconds of an update, and of a validation; uses no random numbers and changes no weight or statistic."""
    found = stages(learner.config.training, learner.fabric.world_size)
    on_gpu = learner.fabric.device.type == "cuda"
    buffers = [*learner.predictor.buffers(), *learner.averaged.buffers()]
    before = [buffer.clone() for buffer in buffers]

    def seconds_of_one(length: int, size: int) -> float:
        index = next(i for i, one in enumerate(cutter.recordings) if len(one) >= length)
        plan = learner.batches.own_share(ClipPlan(*np.array([[index] * size, [0] * size, [0] * size, [0] * size])))
        draws = free_running(torch.zeros(len(plan.start), length - 1, *learner.predictor.latent_shape))
        start = time.monotonic()
        batch = Batch(cutter.of_length(length).cut(plan), draws, step=0, epoch=0)
        if on_gpu:
            start = time.monotonic()  # while it trains, threads cut the next clips
        _, gradients = learner.passes(batch)
        learner.apply_gradients(gradients)
        if on_gpu:
            torch.cuda.synchronize()
        return time.monotonic() - start

    learner.set_learning_rate(0.0)  # the optimisers work as ever and move nothing
    times = []
    for stage in found:
        for _ in range(FIRST_CALLS + 1 if on_gpu else 1):
            seconds_of_one(*stage)  # the first ones also allocate, choose and record kernels
        once = seconds_of_one(*stage)
        # All processes must measure as often, since they average gradients with each other.
        repeats = learner.fabric.broadcast(min(20, max(2, round(MEASURED_SECONDS / len(found) / once))))
        times.append(np.median([seconds_of_one(*stage) for _ in range(repeats)]))
    learner.forget_gradients()
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
    return float(np.mean(times)), measure_validation(learner, footage)


def measure_validation(learner: Learner, footage: Footage) -> float:
    """Seconds of one validation, from a short rollout; the bound on clips costs about a quarter of a rollout."""
    first = footage.validation[0]
    num = min(len(first), 24)
    piece = Recording(first.name, first.frames[:num], first.poses[:num])
    start = time.monotonic()
    mean_rollout(learner.smoothed, piece)
    per_frame = (time.monotonic() - start) / (num - 1)
    return 1.25 * per_frame * sum(len(one) for one in footage.validation)
