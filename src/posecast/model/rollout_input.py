"""Input of a rollout: first frame, pose maps and anchor of a sequence, and their tensors.

In: uint8 images of S sequences. Out: float batches on the predictor's device, one row per sequence.
Next: `rollout_batches.py` decodes frames from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from posecast.data.clips import as_images, pose_windows
from posecast.model.layout import time_major
from posecast.model.predictor import Predictor
from posecast.model.priors import Features


@dataclass(frozen=True)
class RolloutInput:
    """Input of the rollout of one sequence."""

    first_frame: UInt8[np.ndarray, "_ _ 3"]
    poses: UInt8[np.ndarray, "T H W 3"]
    """Pose maps of all frames; `poses[0]` is that of the first frame."""
    anchor: tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]] | None = None
    """A real frame and its pose map; None for the first frame."""


def first_frames(
    predictor: Predictor, inputs: Sequence[RolloutInput]
) -> tuple[Float[Tensor, "S 3 H W"], Float[Tensor, "S P H W"]]:
    """Return the first frames and their pose windows."""
    device = next(predictor.parameters()).device
    frames = as_images(np.stack([sequence.first_frame for sequence in inputs])).to(device)
    return frames, windows_at(inputs, np.zeros(1, int), predictor.pose_window).to(device)


def encode_anchors(predictor: Predictor, inputs: Sequence[RolloutInput]) -> Features:
    """Return the features of every sequence's anchor."""
    device = next(predictor.parameters()).device
    pairs = [sequence.anchor or (sequence.first_frame, sequence.poses[0]) for sequence in inputs]
    frames, poses = (
        as_images(np.stack([np.asarray(image) for image in images])) for images in zip(*pairs, strict=True)
    )
    return predictor.networks.encode_anchor(frames.to(device), poses.to(device))


def windows_at(inputs: Sequence[RolloutInput], instants: np.ndarray, pose_window: int) -> Float[Tensor, "N P H W"]:
    """Return the pose windows of every sequence at the given time steps, time-major, on the CPU."""
    if len(inputs) == 1:
        return pose_windows(inputs[0].poses, instants, pose_window)
    return time_major(torch.stack([pose_windows(sequence.poses, instants, pose_window) for sequence in inputs]))
