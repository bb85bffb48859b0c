"""Batches of updates: clips that are cut as planned, and every random draw about them.

In: plans and recordings from `data/clips.py`, the number of the update. Out: one process's clips, on the CPU. Random
draws are keyed by seed and update, so a resumed run repeats them without saved generators.
Next: `step.py`, which trains on a batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posecast.config.schema import Config
from posecast.data.augmentation import Augmentation
from posecast.data.background import measure_backgrounds
from posecast.data.clips import Clip, ClipCutter, ClipPlan
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.model.draws import Draws, seeded
from posecast.model.threads import Workers
from posecast.training.schedules import teacher_forcing_rate
from posecast.training.shares import Share, share_of

# Purpose of a random draw: the first part of its key, so that no two purposes share noise.
NOISE, COIN, VALIDATION, GIVEN, IMAGINED, FIRST_NOISE = range(1_000_001, 1_000_007)


class Batch(NamedTuple):
    """Input of one update in one process: its clips, in the shares that its threads work on."""

    shares: tuple[Share, ...]
    step: int
    epoch: int
    num_observed: int
    """Predicted frames of all processes whose z is from the posterior."""

    @property
    def num_predictions(self) -> int:
        """Number of predicted frames."""
        return sum(draws.teacher_forced.numel() for _, draws in self.shares)


@dataclass(frozen=True)
class Batches:
    """Source of the batches of one process."""

    config: Config
    latent_shape: tuple[int, ...]
    rank: int = 0
    processes: int = 1
    workers: Workers = field(default_factory=lambda: Workers(1))
    """Threads that cut one share of the clips each."""
    pinned: bool = False
    """True if batches are to lie in pinned memory, from which a GPU copies asynchronously."""

    def prepare(self, cutter: ClipCutter, plan: ClipPlan, *, step: int, epoch: int) -> Batch:
        """Cut this process's clips of a plan and make the random draws about them; safe to call in any thread.

        Args:
            cutter: Cutter of the clip length that `plan` was made for.
            plan: Clips of all processes.
            step: Number of the update, counted from 0; the key of the draws.
            epoch: Number of its epoch, counted from 0.
        """
        draws_of_all = self.draw(len(plan.start), cutter.clip_length, step, epoch)
        num_observed = math.prod(draws_of_all.noise.shape[:2])
        draws, plan = self.own_rows(draws_of_all), self.own_rows(plan)
        num_shares = min(self.workers.count, len(plan.start))

        def cut_share(index: int) -> Share:
            share = Share(cutter.cut(share_of(plan, index, num_shares)), share_of(draws, index, num_shares))
            return _pinned(share) if self.pinned else share

        return Batch(tuple(self.workers.map(cut_share, range(num_shares))), step, epoch, num_observed)

    def draw(self, num_clips: int, clip_length: int, step: int, epoch: int) -> Draws:
        """Make all random draws of an update, for the clips of all processes."""
        training, seed = self.config.training, self.config.seed
        num_predictions = clip_length - 1
        num_observed = num_clips - self.num_imagined(num_clips, step)
        return Draws(
            noise=torch.randn(num_observed, num_predictions, *self.latent_shape, generator=seeded(NOISE, seed, step)),
            first_noise=torch.randn(num_observed, *self.latent_shape, generator=seeded(FIRST_NOISE, seed, step)),
            teacher_forced=self.coins((num_clips, num_predictions), step, epoch),
            has_first_frame=torch.rand(num_clips, generator=seeded(GIVEN, seed, step)) >= training.first_frame_dropout,
        )

    def num_imagined(self, num_clips: int, step: int) -> int:
        """Return the number of clips decoded with the prior's mean; a coin decides about the fraction of a clip."""
        coin = torch.rand((), generator=seeded(IMAGINED, self.config.seed, step))
        return int(num_clips * self.config.training.prior_mean_share + float(coin))

    def coins(self, shape: tuple[int, int], step: int, epoch: int) -> Tensor:
        """Draw where the true previous frame is used: bool `[B, T-1]`, one coin per epoch, batch or frame."""
        rate = teacher_forcing_rate(epoch, self.config.training)
        scope = self.config.training.teacher_forcing_coin
        if scope == "frame":
            return torch.rand(shape, generator=seeded(COIN, self.config.seed, 1, step)) < rate
        key = (0, epoch) if scope == "epoch" else (1, step)
        coin = torch.rand((), generator=seeded(COIN, self.config.seed, *key))
        return (coin < rate).expand(shape)

    def own_rows(self, batch: Any) -> Any:
        """Return the rows of a plan or of draws that this process works on."""
        return share_of(batch, self.rank, self.processes)


def _pinned(share: Share) -> Share:
    """Copy a share to pinned memory."""
    return Share(
        Clip(*(tensor.pin_memory() for tensor in share.clip)),
        Draws(*(tensor.contiguous().pin_memory() for tensor in share.draws)),
    )


def check_divisible(config: Config, num_processes: int) -> None:
    """Raise InputError unless all processes get equally many clips of a batch."""
    if config.training.batch_size % num_processes:
        raise InputError(
            f"The batch size is {config.training.batch_size} but there are {num_processes} processes; "
            "choose a batch size that is a multiple of --devices."
        )


def footage_seen(config: Config, footage: Footage | Callable[[], Footage]) -> Footage:
    """Return the part of the footage that a run uses, by its `training_share` and `validation_frames`.

    Args:
        config: Configuration of the run.
        footage: Footage, or a function that loads it.
    """
    complete = footage() if callable(footage) else footage
    return complete.limited(config.training.training_share, config.training.validation_frames)


def build_cutter(config: Config, footage: Footage) -> ClipCutter:
    """Build the cutter of training clips, with the augmentation of the configuration.

    Args:
        config: Configuration of the run.
        footage: Footage whose training recordings are cut; where persons are shifted, their backgrounds are measured.

    Raises:
        InputError: No recording is as long as a clip, or the recordings differ in size.
    """
    training = config.training
    cutter = ClipCutter(footage.train, training.clip_length, config.networks.pose_window)
    if not training.shift_prob and not training.pose_dropout:
        return cutter
    augmentation = Augmentation(
        backgrounds=measure_backgrounds(footage.train),
        shift_prob=training.shift_prob,
        max_shift=training.max_shift,
        max_scale=training.max_scale,
        flip_prob=training.flip_prob,
        pose_dropout=training.pose_dropout,
    )
    return dataclasses.replace(cutter, augmentation=augmentation)
