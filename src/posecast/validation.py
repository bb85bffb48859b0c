"""Validation while training: a true rollout, and the bound on clips of recordings not trained on.

In: a learner and footage. Out: the validation part of an epoch's log line. Next: `training.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posecast.data.clips import ClipCutter, ClipPlan, pose_windows
from posecast.data.recordings import Footage, Recording
from posecast.errors import InputError
from posecast.evaluation import mean_rollout, psnr_db
from posecast.learning import VALIDATION, Learner
from posecast.media import rollout_strip, write_png
from posecast.model.predictor import Predictor, free_running, seeded

NOT_VALIDATED: dict[str, Any] = dict.fromkeys(
    ("validation_loss", "validation_rate", "validation_distortion", "validation_psnr_db")
)
SETTLING_PIXELS = 256 * 32 * 64
"""Pixels of pose maps that statistics are measured on: so many frames of the course's size, fewer of larger ones."""


@torch.no_grad()
def settle_statistics(predictor: Predictor, recordings: Sequence[Recording]) -> None:
    """Measure BatchNorm's mean and variance anew, with the weights as they are, over pose maps of all recordings.

    The running averages lag behind weights that still move, and belong to none that are averaged. Most of a pose map
    is blank, so features vary little around a mean that drifts: the lag can be many standard deviations. (Precise
    BatchNorm: Wu and Johnson 2021, section 3.) Networks without BatchNorm are left as they are.
    """
    norms = [module for module in predictor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    height, width = recordings[0].size
    num_frames = max(16, SETTLING_PIXELS // (height * width))
    share = max(1, -(-sum(len(one) for one in recordings) // num_frames))
    windows = [pose_windows(one.poses, np.arange(0, len(one), share), predictor.pose_window) for one in recordings]
    poses = torch.cat(windows).to(next(predictor.parameters()).device, memory_format=torch.channels_last)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over what is seen: here one batch
    predictor.train()
    predictor.networks.encode_condition(poses, ())  # networks with BatchNorm have no anchor
    predictor.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def validated(learner: Learner, footage: Footage, epoch: int, picture: Path | None = None) -> dict[str, Any]:
    """PSNR of a true rollout by the prior's mean; and the bound on clips, own predictions fed back.

    A rollout that is not finite is logged as None and never kept as the best. `picture` is where to show the first
    validation recording's rollout.
    """
    try:
        rollouts = [mean_rollout(learner.smoothed, one) for one in footage.validation]
        pairs = zip(rollouts, footage.validation, strict=True)
        score = float(np.mean([psnr_db(predicted, one.frames[1:]).mean() for predicted, one in pairs]))
        if picture is not None:
            first = footage.validation[0]
            write_png(picture, rollout_strip(first.frames, first.poses, rollouts[0]))
    except InputError:
        score = None
    loss, rate, distortion = validation_bound(learner, footage, epoch)
    return {
        "validation_loss": loss,
        "validation_rate": rate,
        "validation_distortion": distortion,
        "validation_psnr_db": score,
    }


@torch.inference_mode()
def validation_bound(learner: Learner, footage: Footage, epoch: int) -> tuple[float | None, ...]:
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
    terms = []
    for first in range(0, len(rows), training.batch_size):
        index, start = np.array(rows[first : first + training.batch_size]).T
        noise = torch.randn(len(index), length - 1, *learner.predictor.latent_shape, generator=generator)
        clip = cutter.cut(ClipPlan(index, start, np.zeros_like(start), np.zeros_like(start)))
        _, bound = learner.observe(
            clip, free_running(noise), kl_weight=learner.kl_weight(epoch), model=learner.smoothed
        )
        terms.append([bound.loss.item(), bound.rate_nats.item(), bound.distortion_nats.item()])
    means = np.mean(terms, axis=0).tolist()
    return tuple(value if math.isfinite(value) else None for value in means)
