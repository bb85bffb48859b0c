"""Plan of a run: its number of updates, and the clip length and batch size of each update.

In: a configuration and the number of training frames. Out: `Plan`, which learning rate and clip length follow and
which is recorded so that a run can be repeated exactly.
Next: `budget.py` turns minutes into a plan; `loop.py` follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from posecast.config.schema import Config, Training
from posecast.data.clips import ClipCutter

MIN_CHANGE = 0.02
"""Smallest change of the number of updates, as a share of those left, for which a plan is replaced."""


@dataclass(frozen=True)
class Plan:
    """Number of updates of a run, which a budget of minutes may change while the run trains.

    An entry `(step, num_steps)` says that from update `step` on, the run was planned to have `num_steps` in all.
    """

    entries: tuple[tuple[int, int], ...]

    @property
    def num_steps(self) -> int:
        """Total number of updates by the newest entry."""
        return self.entries[-1][1]

    def at(self, step: int) -> Plan:
        """Return the plan that was in force at an update."""
        return Plan(tuple(entry for entry in self.entries if entry[0] <= step))

    def progress(self, step: int) -> float:
        """Return the share of the training completed before an update, in [0, 1].

        It increases continuously from entry to entry and reaches 1 at the end of the newest one.
        """
        done, ends = 0.0, [start for start, _ in self.entries[1:]]
        for (start, num_steps), end in zip(self.entries, [*ends, math.inf], strict=True):
            left = num_steps - start
            reached = min(step, end)
            done += (1.0 - done) * min(1.0, (reached - start) / left) if left > 0 else 1.0 - done
            if step <= end:
                break
        return done

    def replanned(self, step: int, num_steps: int) -> Plan:
        """Return the plan with `num_steps` updates in all from update `step` on; earlier entries stay."""
        earlier = tuple(entry for entry in self.entries if entry[0] < step)
        return Plan((*earlier, (step, max(step, num_steps))))


def new_plan(plan: Plan, step: int, num_steps: int) -> Plan:
    """Return the plan with another number of updates, or the same plan if the change is too small to matter."""
    if abs(num_steps - plan.num_steps) <= MIN_CHANGE * max(1, plan.num_steps - step):
        return plan
    return plan.replanned(step, num_steps)


def steps_per_epoch(config: Config, cutter: ClipCutter, epoch: int) -> int:
    """Return the number of updates in an epoch: at least one, and only complete batches.

    Args:
        config: The run's configuration; a fast epoch has only `training.fast_share` of the clips.
        cutter: Its number of frames gives the clips of an epoch where the configuration does not.
        epoch: Counted from 0.
    """
    training = config.training
    clips = training.clips_per_epoch or cutter.num_frames // training.clip_length
    if epoch < training.fast_epochs:
        clips = int(clips * training.fast_share)
    return max(1, clips // training.batch_size)


def steps_of_epochs(config: Config, cutter: ClipCutter, epochs: int) -> int:
    """Return the number of updates in the first `epochs` epochs."""
    fast = min(epochs, config.training.fast_epochs)
    ordinary = steps_per_epoch(config, cutter, config.training.fast_epochs)
    return fast * steps_per_epoch(config, cutter, 0) + (epochs - fast) * ordinary


class Stage(NamedTuple):
    """Clip length and batch size of one stage of the clip-length curriculum."""

    clip_length: int
    """In frames."""
    batch_size: int
    """In clips, over all processes."""


def stages(training: Training, num_processes: int = 1) -> list[Stage]:
    """Return the stages of the clip-length curriculum; an update of each has about as many predicted frames.

    Args:
        training: Its curriculum lists clip lengths as shares of `clip_length`.
        num_processes: Batch sizes are multiples of it.
    """
    curriculum = []
    for clip_length in training.clip_lengths:
        batch_size = training.batch_size * (training.clip_length - 1) // (clip_length - 1)
        curriculum.append(Stage(clip_length, max(1, batch_size // num_processes) * num_processes))
    return curriculum


def stage_index(config: Config, cutter: ClipCutter, epoch: int, plan: Plan) -> int:
    """Return the index of an epoch's stage, the one that its first update falls into; stages are equally long."""
    num_stages = len(config.training.clip_length_curriculum)
    first_step = steps_of_epochs(config, cutter, epoch)
    progress = plan.at(first_step).progress(first_step)
    return min(int(progress * num_stages + 1e-9), num_stages - 1)
