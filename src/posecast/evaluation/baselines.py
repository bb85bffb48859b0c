"""Baselines: predictions without a model, which put a score into perspective.

In: scored recordings and training recordings. Out: mean PSNR of copying the first frame, of the mean training frame
and of the frame of the nearest training pose. Next: `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from posecast.data.recordings import Recording
from posecast.evaluation.metrics import Pixels, psnr_db

POSES_PER_BLOCK = 128
"""Pose maps compared at once; bounds memory for recordings of any length."""


def baselines(recordings: Sequence[Recording], training: Sequence[Recording] | None) -> dict[str, float | None]:
    """Return the mean PSNR in dB of three predictions that need no model, by name.

    Args:
        recordings: Recordings to predict from their second frame on.
        training: Recordings to take frames from; those of another size are left out. Without any, the values of
            `mean_frame` and `nearest_pose` are None.
    """
    usable = [candidate for candidate in training or () if recordings and candidate.size == recordings[0].size]
    mean_frame = nearest = None
    if usable:
        average = mean_training_frame(usable)
        mean_frame = _mean_psnr(recordings, lambda r: np.broadcast_to(average, r.frames[1:].shape))
        nearest = _mean_psnr(recordings, lambda r: nearest_pose_frames(r.poses[1:], usable))
    return {
        "copy_first_frame": _mean_psnr(recordings, lambda r: np.broadcast_to(r.frames[0], r.frames[1:].shape)),
        "mean_frame": mean_frame,
        "nearest_pose": nearest,
    }


def _mean_psnr(recordings: Sequence[Recording], prediction: Callable[[Recording], Pixels]) -> float:
    """Return the mean PSNR over frames, then over recordings."""
    return float(np.mean([psnr_db(prediction(recording), recording.frames[1:]).mean() for recording in recordings]))


def mean_training_frame(training: Sequence[Recording]) -> UInt8[np.ndarray, "H W 3"]:
    """Return the mean of all frames, in which every frame has the same weight."""
    total = sum(recording.frames.sum(axis=0, dtype=np.int64) for recording in training)
    return np.rint(total / sum(len(recording) for recording in training)).astype(np.uint8)


def nearest_pose_frames(poses: Pixels, training: Sequence[Recording]) -> Pixels:
    """Return, for each pose map, the frame of the training pose map with the smallest mean squared difference."""
    best_distance = np.full(len(poses), np.inf)
    best_frames = np.empty_like(poses)
    for first in range(0, len(poses), POSES_PER_BLOCK):
        rows = slice(first, first + POSES_PER_BLOCK)
        wanted = _flattened(poses[rows])
        for recording in training:
            for start in range(0, len(recording), POSES_PER_BLOCK):
                stored = _flattened(recording.poses[start : start + POSES_PER_BLOCK])
                # |a - b|^2 without |a|^2, which is the same for every b
                distance = np.square(stored).sum(1) - 2.0 * wanted @ stored.T
                nearest = distance.argmin(1)
                value = distance[np.arange(len(wanted)), nearest]
                better = np.flatnonzero(value < best_distance[rows])
                best_distance[first + better] = value[better]
                best_frames[first + better] = recording.frames[start + nearest[better]]
    return best_frames


def _flattened(pixels: Pixels) -> np.ndarray:
    """Return pixels as float64 `[N, H W 3]`; sums of products of bytes are integers there, exact in any order."""
    return pixels.reshape(len(pixels), -1).astype(np.float64)
