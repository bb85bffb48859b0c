"""Predictions without a model, which a score is held against.

In: recordings, training recordings. Out: mean PSNR of copying, of the mean frame, of the nearest pose. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from posecast.data.recordings import Recording
from posecast.evaluation.metrics import Pixels, psnr_db


def baselines(recordings: Sequence[Recording], training: Sequence[Recording] | None) -> dict[str, float | None]:
    """Mean PSNR of three predictions that need no model: what a score must be held against."""
    known = [one for one in training or () if recordings and one.size == recordings[0].size]
    mean_frame = nearest = None
    if known:
        average = mean_training_frame(known)
        mean_frame = mean_psnr(recordings, lambda r: np.broadcast_to(average, r.frames[1:].shape))
        nearest = mean_psnr(recordings, lambda r: nearest_pose_frames(r.poses[1:], known))
    return {
        "copy_first_frame": mean_psnr(recordings, lambda r: np.broadcast_to(r.frames[0], r.frames[1:].shape)),
        "mean_frame": mean_frame,
        "nearest_pose": nearest,
    }


def mean_psnr(recordings: Sequence[Recording], prediction: Callable[[Recording], Pixels]) -> float:
    return float(np.mean([psnr_db(prediction(one), one.frames[1:]).mean() for one in recordings]))


def mean_training_frame(training: Sequence[Recording]) -> UInt8[np.ndarray, "H W 3"]:
    total = sum(one.frames.sum(axis=0, dtype=np.int64) for one in training)
    return np.rint(total / sum(len(one) for one in training)).astype(np.uint8)


AT_A_TIME = 128
"""Pictures compared at once: bounded memory, however long the recordings."""


def nearest_pose_frames(poses: Pixels, training: Sequence[Recording]) -> Pixels:
    """For each pose map the frame of the training pose map with the smallest mean squared difference."""
    best_distance = np.full(len(poses), np.inf)
    found = np.empty_like(poses)
    for first in range(0, len(poses), AT_A_TIME):
        rows = slice(first, first + AT_A_TIME)
        wanted = _exact(poses[rows])
        for recording in training:
            for start in range(0, len(recording), AT_A_TIME):
                stored = _exact(recording.poses[start : start + AT_A_TIME])
                # |a - b|^2 less |a|^2, which is the same for every b
                distance = np.square(stored).sum(1) - 2.0 * wanted @ stored.T
                nearest = distance.argmin(1)
                value = distance[np.arange(len(wanted)), nearest]
                better = np.flatnonzero(value < best_distance[rows])
                best_distance[first + better] = value[better]
                found[first + better] = recording.frames[start + nearest[better]]
    return found


def _exact(pixels: Pixels) -> np.ndarray:
    """`[N, pixels]` as float64: sums of products of bytes are whole numbers, so no order of adding rounds them."""
    return pixels.reshape(len(pixels), -1).astype(np.float64)
