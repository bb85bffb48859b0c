"""Schedules: KL weight, teacher forcing, learning rate and weight average as pure functions of epoch or update.

In: an epoch or an update, counted from 0, and the settings. Out: a number. `course/template.py` translates the options
of the course into these schedules, docs/explanation/theory.md states them.
Next: `plan.py` is what the learning rate follows.
"""

from __future__ import annotations

import math

from posecast.config.schema import Bound, Training
from posecast.training.plan import Plan


def kl_weight(epoch: int, bound: Bound) -> float:
    """Return the weight of the KL term in an epoch (Fu et al. 2019, eq. 6).

    It is floor + (peak - floor) x min(1, u / ramp), where u is the completed share of the period. *monotonic* rises
    once; *cyclical* restarts with every cycle; *constant* is always the peak. Cycle c starts at epoch
    floor(c x period), so a period need not be an integer.

    >>> bound = Bound(kl_schedule="cyclical", kl_peak=1.0, kl_floor=0.0, kl_period=4, kl_ramp=0.5)
    >>> [kl_weight(epoch, bound) for epoch in range(5)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    if bound.kl_schedule == "constant":
        return bound.kl_peak
    start = cycle_start(epoch, bound.kl_period) if bound.kl_schedule == "cyclical" else 0
    share = (epoch - start) / bound.kl_period
    return bound.kl_floor + (bound.kl_peak - bound.kl_floor) * min(1.0, share / bound.kl_ramp)


def cycle_start(epoch: int, period: float) -> int:
    """Return the first epoch of the cycle that contains `epoch`."""
    cycle = int(epoch / period)
    while math.floor((cycle + 1) * period + 1e-9) <= epoch:  # 1e-9: 3 x (10 / 3) is 10
        cycle += 1
    return math.floor(cycle * period + 1e-9)


def teacher_forcing_rate(epoch: int, training: Training) -> float:
    """Return the probability of teacher forcing in an epoch, which decays linearly to 0 as in the course.

    >>> training = Training(teacher_forcing=0.5, teacher_forcing_step=0.1, teacher_forcing_decay_from=5)
    >>> [round(teacher_forcing_rate(epoch, training), 1) for epoch in (4, 5, 8, 9, 10)]
    [0.5, 0.4, 0.1, 0.0, 0.0]
    """
    num_decays = max(0, epoch - training.teacher_forcing_decay_from + 1)
    return max(0.0, training.teacher_forcing - training.teacher_forcing_step * num_decays)


def learning_rate(step: int, plan: Plan, training: Training) -> float:
    """Return the learning rate of an update: linear warm-up to the peak, then the schedule of the settings.

    *cosine* falls to 0 at the end of the plan; *milestones* multiplies by a factor at given shares of the plan;
    *constant* stays at the peak. Only entries of the plan up to `step` count, so a repeated run has the same rates.
    """
    plan, peak = plan.at(step), training.learning_rate
    warmup_steps = min(training.warmup_steps, plan.num_steps // 2)  # so that a short run reaches the peak
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = plan.progress(step)
    if training.learning_rate_schedule == "cosine":
        warmup_progress = plan.progress(warmup_steps)
        share = (progress - warmup_progress) / max(1e-12, 1.0 - warmup_progress)
        return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, share))))
    if training.learning_rate_schedule == "milestones":
        return peak * training.milestone_factor ** sum(progress + 1e-9 >= share for share in training.milestones)
    return peak


def average_decay(decay: float, num_averaged: int) -> float:
    """Return the share of the averaged weights kept at an update: it rises with the updates up to `decay`.

    With a constant share the average of a short run would contain its random initial weights.
    """
    return min(decay, (1.0 + num_averaged) / (10.0 + num_averaged)) if num_averaged else 0.0
