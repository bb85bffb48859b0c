"""Validation during training: PSNR of true rollouts, and the bound on clips that are not trained on.

In: a predictor with averaged weights, and footage. Out: the validation part of an epoch's log entry.
Next: `loop.py`, which keeps the weights with the best PSNR.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.images import write_png
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.evaluation.contact_sheet import rollout_strip
from posecast.evaluation.evaluate import mean_rollout, psnr_db
from posecast.model.draws import free_running, seeded
from posecast.model.predictor import Predictor
from posecast.training.batches import VALIDATION
from posecast.training.schedules import kl_weight
from posecast.training.step import TrainStep

NOT_VALIDATED: dict[str, Any] = dict.fromkeys(
    ("validation_loss", "validation_rate", "validation_distortion", "validation_psnr_db")
)


def validate(
    train_step: TrainStep, predictor: Predictor, footage: Footage, epoch: int, sample: Path | None = None
) -> dict[str, Any]:
    """Roll out all validation recordings with the prior's mean, and compute the bound without teacher forcing.

    Args:
        train_step: Step of the run; its device, precision and bound are used.
        predictor: Predictor to validate.
        footage: Footage of the run.
        epoch: Number of the epoch, which gives the KL weight.
        sample: PNG file to draw the first recording's rollout in, or None.

    Returns:
        The entries of `NOT_VALIDATED` with their values; the PSNR is None if a rollout is not finite, so that its
        weights are never kept as the best.
    """
    try:
        rollouts = [mean_rollout(predictor, recording) for recording in footage.validation]
        pairs = zip(rollouts, footage.validation, strict=True)
        score = float(np.mean([psnr_db(predicted, truth.frames[1:]).mean() for predicted, truth in pairs]))
        if sample is not None:
            first = footage.validation[0]
            write_png(sample, rollout_strip(first.frames, first.poses, rollouts[0]))
    except InputError:
        score = None
    loss, rate, distortion = validation_bound(train_step, predictor, footage, epoch)
    return {
        "validation_loss": loss,
        "validation_rate": rate,
        "validation_distortion": distortion,
        "validation_psnr_db": score,
    }


@torch.inference_mode()
def validation_bound(
    train_step: TrainStep, predictor: Predictor, footage: Footage, epoch: int
) -> tuple[float | None, ...]:
    """Return loss, rate and distortion over consecutive clips, anchored on their recording's first frame."""
    config, pose_window = train_step.config, train_step.predictor.pose_window
    longest = max(len(recording) for recording in footage.validation)
    length = min(config.training.clip_length, longest)
    cutter = ClipCutter(footage.validation, length, pose_window)
    rows = [
        (index, start)
        for index, recording in enumerate(footage.validation)
        for start in range(0, len(recording) - length + 1, length)
    ]
    generator = seeded(VALIDATION, config.seed)
    batches = []
    for first in range(0, len(rows), config.training.batch_size):
        index, start = np.array(rows[first : first + config.training.batch_size]).T
        noise = torch.randn(len(index), length - 1, *train_step.predictor.latent_shape, generator=generator)
        batches.append((ClipPlan(index, start, np.zeros_like(start), np.zeros_like(start)), noise))
    weight = kl_weight(epoch, config.bound)

    def terms_of(batch: tuple[ClipPlan, Tensor]) -> list[float]:
        plan, noise = batch
        _, bound = train_step.observe(cutter.cut(plan), free_running(noise), kl_weight=weight, predictor=predictor)
        return [bound.loss.item(), bound.rate_nats.item(), bound.distortion_nats.item()]

    terms, sizes = train_step.workers.map(terms_of, batches), [len(noise) for _, noise in batches]
    means = np.average(terms, axis=0, weights=sizes).tolist()
    return tuple(value if math.isfinite(value) else None for value in means)
