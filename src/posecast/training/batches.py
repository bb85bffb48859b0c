"""Plans to batches: the clips of an update, cut, and all that chance decides about them.

In: plans and recordings by `data/clips.py`, a step. Out: a process's share of a batch, in the CPU's memory.
Every random draw is keyed by seed and step, so going on from a saved state needs no generator's memory.
Knows no weights. Next: `step.py`, which updates them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posecast.config.schema import Config, Training
from posecast.data.augmentation import Augmentation
from posecast.data.background import measure_rooms
from posecast.data.clips import Clip, ClipCutter, ClipPlan
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.model.predictor import Draws, seeded
from posecast.model.threads import Workers
from posecast.training.schedules import teacher_forcing_rate

# What a draw is for: the first part of its key, so that no two purposes share noise.
NOISE, COIN, VALIDATION, GIVEN, IMAGINED, FIRST_NOISE = range(1_000_001, 1_000_007)


class Batch(NamedTuple):
    """What one update learns from: a process's clips, in the shares that its threads work on."""

    shares: tuple[tuple[Clip, Draws], ...]
    step: int
    epoch: int

    @property
    def num_predictions(self) -> int:
        """Predicted frames of this process."""
        return sum(draws.forced.numel() for _, draws in self.shares)

    @property
    def num_observed(self) -> int:
        """Of them those whose z is from the posterior."""
        return sum(len(draws.noise) * draws.forced.shape[1] for _, draws in self.shares)


@dataclass(frozen=True)
class Batches:
    """Makes the batches of one process of several."""

    config: Config
    latent_shape: tuple[int, ...]
    rank: int = 0
    processes: int = 1
    workers: Workers = field(default_factory=lambda: Workers(1))
    """Threads that cut a share of the clips each."""
    pinned: bool = False
    """Whether they are put into memory that a GPU reads by itself."""

    def prepare(self, cutter: ClipCutter, plan: ClipPlan, *, step: int, epoch: int) -> Batch:
        """This process's share of a plan's clips, and of what chance decides. May be called in any thread."""
        draws = self.own_share(self.draw(len(plan.start), cutter.clip_length, step, epoch))
        plan = self.own_share(plan)
        count = min(self.workers.count, len(plan.start))

        def made(number: int) -> tuple[Clip, Draws]:
            clip, chance = cutter.cut(share_of(plan, number, count)), share_of(draws, number, count)
            if self.pinned:
                clip = Clip(*(part.pin_memory() for part in clip))
                chance = Draws(*(part.contiguous().pin_memory() for part in chance))
            return clip, chance

        return Batch(tuple(self.workers.map(made, range(count))), step, epoch)

    def draw(self, num_clips: int, clip_length: int, step: int, epoch: int) -> Draws:
        """All that chance decides in an update, for the whole batch."""
        training, seed = self.config.training, self.config.seed
        shape = (num_clips, clip_length - 1)
        observed = num_clips - self.imagined(num_clips, step)
        return Draws(
            noise=torch.randn(observed, *shape[1:], *self.latent_shape, generator=seeded(NOISE, seed, step)),
            first_noise=torch.randn(observed, *self.latent_shape, generator=seeded(FIRST_NOISE, seed, step)),
            forced=self.coins(shape, step, epoch),
            given=torch.rand(num_clips, generator=seeded(GIVEN, seed, step)) >= training.first_frame_dropout,
        )

    def imagined(self, num_clips: int, step: int) -> int:
        """How many clips are imagined: the share asked for, and a coin for what it leaves over of a clip."""
        toss = torch.rand((), generator=seeded(IMAGINED, self.config.seed, step))
        return int(num_clips * self.config.training.prior_mean_share + float(toss))

    def coins(self, shape: tuple[int, int], step: int, epoch: int) -> Tensor:
        """Where the true previous frame is forced: bool `[B, T-1]`, one toss per epoch, batch or frame."""
        rate = teacher_forcing_rate_at(self.config.training, epoch)
        coin = self.config.training.teacher_forcing_coin
        if coin == "frame":
            return torch.rand(shape, generator=seeded(COIN, self.config.seed, 1, step)) < rate
        turn = (0, epoch) if coin == "epoch" else (1, step)
        toss = torch.rand((), generator=seeded(COIN, self.config.seed, *turn))
        return (toss < rate).expand(shape)

    def own_share(self, batch: Any) -> Any:
        """The rows of a whole batch that this process works on."""
        return share_of(batch, self.rank, self.processes)


def share_of(batch: Any, number: int, count: int) -> Any:
    """Every `count`-th row of a plan, a clip or its draws: shares have as many observed clips, but for one."""
    if isinstance(batch, tuple):
        return type(batch)(*(share_of(part, number, count) for part in batch))  # pyright: ignore[reportCallIssue]
    return batch[number::count]


def teacher_forcing_rate_at(training: Training, epoch: int) -> float:
    """The schedule's value in an epoch."""
    return teacher_forcing_rate(
        epoch,
        start=training.teacher_forcing,
        step=training.teacher_forcing_step,
        decay_from=training.teacher_forcing_decay_from,
    )


def check_divisible(config: Config, num_processes: int) -> None:
    """Raise InputError unless a batch can be shared out evenly."""
    if config.training.batch_size % num_processes:
        raise InputError(
            f"The batch size is {config.training.batch_size} but there are {num_processes} processes; "
            "choose a batch size that is a multiple of --devices."
        )


def footage_seen(config: Config, footage: Footage | Callable[[], Footage]) -> Footage:
    """The footage as far as the configuration lets a run see it."""
    whole = footage() if callable(footage) else footage
    return whole.limited(config.training.training_share, config.training.validation_frames)


def build_cutter(config: Config, footage: Footage) -> ClipCutter:
    """Cuts training clips; raises InputError where there is nothing to cut."""
    training = config.training
    cutter = ClipCutter(footage.train, training.clip_length, config.networks.pose_window)
    if not training.shift_prob and not training.pose_dropout:
        return cutter
    augmentation = Augmentation(
        rooms=measure_rooms(footage.train),
        moved=training.shift_prob,
        shift=training.max_shift,
        scale=training.max_scale,
        mirrored=training.flip_prob,
        blank_poses=training.pose_dropout,
    )
    return dataclasses.replace(cutter, augmentation=augmentation)
