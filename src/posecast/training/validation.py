"""Validation while training: a true rollout, and the bound on clips of recordings not trained on.

In: a learner and footage. Out: the validation part of an epoch's log line. Next: `loop.py`.
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
from posecast.model.predictor import Predictor, free_running, seeded
from posecast.training.batches import VALIDATION
from posecast.training.step import TrainStep

NOT_VALIDATED: dict[str, Any] = dict.fromkeys(
    ("validation_loss", "validation_rate", "validation_distortion", "validation_psnr_db")
)


def validated(
    learner: TrainStep, predictor: Predictor, footage: Footage, epoch: int, picture: Path | None = None
) -> dict[str, Any]:
    """PSNR of a true rollout by the prior's mean; and the bound on clips, without teacher forcing.

    A rollout that is not finite is logged as None and never kept as the best. `picture` is where to show the first
    validation recording's rollout.
    """
    try:
        rollouts = [mean_rollout(predictor, one) for one in footage.validation]
        pairs = zip(rollouts, footage.validation, strict=True)
        score = float(np.mean([psnr_db(predicted, one.frames[1:]).mean() for predicted, one in pairs]))
        if picture is not None:
            first = footage.validation[0]
            write_png(picture, rollout_strip(first.frames, first.poses, rollouts[0]))
    except InputError:
        score = None
    loss, rate, distortion = validation_bound(learner, predictor, footage, epoch)
    return {
        "validation_loss": loss,
        "validation_rate": rate,
        "validation_distortion": distortion,
        "validation_psnr_db": score,
    }


@torch.inference_mode()
def validation_bound(
    learner: TrainStep, predictor: Predictor, footage: Footage, epoch: int
) -> tuple[float | None, ...]:
    """Loss, rate and distortion over consecutive clips, anchored on their recording's first frame."""
    training = learner.config.training
    longest = max(len(one) for one in footage.validation)
    length = min(training.clip_length, longest)
    cutter = ClipCutter(footage.validation, length, learner.predictor.pose_window)
    rows = [
        (index, start)
        for index, one in enumerate(footage.validation)
        for start in range(0, len(one) - length + 1, length)
    ]
    generator = seeded(VALIDATION, learner.config.seed)
    batches = []
    for first in range(0, len(rows), training.batch_size):
        index, start = np.array(rows[first : first + training.batch_size]).T
        noise = torch.randn(len(index), length - 1, *learner.predictor.latent_shape, generator=generator)
        batches.append((ClipPlan(index, start, np.zeros_like(start), np.zeros_like(start)), noise))

    def terms_of(batch: tuple[ClipPlan, Tensor]) -> list[float]:
        plan, noise = batch
        kl_weight = learner.kl_weight(epoch)
        _, bound = learner.observe(cutter.cut(plan), free_running(noise), kl_weight=kl_weight, predictor=predictor)
        return [bound.loss.item(), bound.rate_nats.item(), bound.distortion_nats.item()]

    terms, weights = learner.workers.map(terms_of, batches), [len(noise) for _, noise in batches]
    means = np.average(terms, axis=0, weights=weights).tolist()
    return tuple(value if math.isfinite(value) else None for value in means)
