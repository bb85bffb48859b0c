"""Pure functions of the epoch or the step: KL weight, teacher-forcing rate, learning rate.

Numbers in, a number out; nothing here knows a model or remembers anything. Epochs and steps count from 0.
"""

from __future__ import annotations

import math
from typing import Literal

KlSchedule = Literal["constant", "monotonic", "cyclical"]
LearningRateSchedule = Literal["cosine", "milestones", "constant"]


def kl_weight(epoch: int, *, schedule: KlSchedule, peak: float, floor: float, period: float, ramp: float) -> float:
    """floor + (peak - floor) x min(1, u / ramp), u the share of the period gone by (Fu et al. 2019, eq. 6).

    *monotonic* rises once; *cyclical* starts again with every cycle, cycle c at epoch floor(c x period), so a
    period need not be whole; *constant* is always `peak`.

    >>> [kl_weight(e, schedule="cyclical", peak=1.0, floor=0.0, period=4, ramp=0.5) for e in range(5)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    if schedule == "constant":
        return peak
    start = cycle_start(epoch, period) if schedule == "cyclical" else 0
    share = (epoch - start) / period
    return floor + (peak - floor) * min(1.0, share / ramp)


def cycle_start(epoch: int, period: float) -> int:
    """The first epoch of the cycle that `epoch` lies in."""
    cycle = int(epoch / period)
    while math.floor((cycle + 1) * period + 1e-9) <= epoch:  # 1e-9: 3 x (10 / 3) is 10
        cycle += 1
    return math.floor(cycle * period + 1e-9)


def teacher_forcing_rate(epoch: int, *, start: float, step: float, decay_from: int) -> float:
    """max(0, start - step x max(0, epoch - decay_from + 1)): the course's linear decay.

    >>> [round(teacher_forcing_rate(e, start=0.5, step=0.1, decay_from=5), 1) for e in (4, 5, 8, 9, 10)]
    [0.5, 0.4, 0.1, 0.0, 0.0]
    """
    return max(0.0, start - step * max(0, epoch - decay_from + 1))


def learning_rate(
    step: int,
    *,
    progress: float,
    schedule: LearningRateSchedule,
    peak: float,
    warmup_steps: int,
    warmup_progress: float,
    milestones: tuple[float, ...],
    milestone_factor: float,
) -> float:
    """Linear warm-up to `peak`, then cosine to 0, a factor at each milestone, or flat.

    `progress` is the share of the training gone by at `step`, `warmup_progress` at the end of the warm-up.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "cosine":
        share = (progress - warmup_progress) / max(1e-12, 1.0 - warmup_progress)
        return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, share))))
    if schedule == "milestones":
        return peak * milestone_factor ** sum(progress + 1e-9 >= share for share in milestones)
    return peak
