"""BatchNorm of the course's networks: which statistics it uses, and their measurement on pose maps.

In: features of pose maps, or recordings. Out: normalised features, or statistics.
Next: `lab4.py` has the layer; `training/posthoc.py` measures it before every validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from posecast.data.clips import pose_windows
from posecast.data.recordings import Recording
from posecast.model.predictor import Predictor

BATCHNORM_PIXELS = 256 * 32 * 64
"""Pixels of pose maps that BatchNorm's statistics are measured on: 256 frames of the course's size."""


@torch.no_grad()
def recompute_batchnorm(predictor: Predictor, recordings: Sequence[Recording]) -> None:
    """Recompute BatchNorm's mean and variance over pose maps of all recordings (Wu and Johnson 2021, section 3).

    The running averages of training lag behind the weights and do not belong to averaged ones. Most of a pose map is
    blank, so features vary little around a mean that drifts, and the lag can be many standard deviations. Networks
    without BatchNorm do not change.
    """
    norms = [module for module in predictor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    height, width = recordings[0].size
    num_frames = max(16, BATCHNORM_PIXELS // (height * width))
    every = max(1, -(-sum(len(recording) for recording in recordings) // num_frames))
    windows = [
        pose_windows(recording.poses, np.arange(0, len(recording), every), predictor.pose_window)
        for recording in recordings
    ]
    poses = torch.cat(windows).to(next(predictor.parameters()).device, memory_format=torch.channels_last)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average, here over one batch
    predictor.train()
    predictor.networks.encode_condition(poses, ())  # networks with BatchNorm have no anchor
    predictor.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
