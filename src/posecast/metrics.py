"""PSNR and SSIM of each frame, and the predictions without a model that they must be held against.

In: uint8 frames. Out: one number a frame, or the mean of a baseline. Knows no predictor. Next: `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from posecast.data.clips import as_pictures
from posecast.data.recordings import Recording

PSNR_DEFINITION = (
    "10*log10(1/MSE) dB per frame; frames rounded to 8 bits, MSE over colour and pixels, not under "
    "1/(12*255^2); frame 1 (given) left out; mean over frames, then over sequences"
)
SSIM_DEFINITION = "Gaussian window 11, sigma 1.5, range 1, mean over colour"
SMALLEST_MSE = 1.0 / (12.0 * 255.0**2)
"""The mean squared error of rounding to 8 bits: no prediction can be told to be better."""

Pixels = UInt8[np.ndarray, "N H W 3"]


def psnr_db(predicted: Pixels, truth: Pixels) -> Float[np.ndarray, " N"]:
    """PSNR of each frame in dB, as `PSNR_DEFINITION` says."""
    difference = predicted.astype(np.float32) - truth.astype(np.float32)
    mse = np.square(difference / 255.0).mean(axis=(1, 2, 3), dtype=np.float64)
    return -10.0 * np.log10(np.maximum(mse, SMALLEST_MSE))


def ssim(predicted: Pixels, truth: Pixels) -> Float[np.ndarray, " N"]:
    """Structural similarity of each frame (Wang et al. 2004), as `SSIM_DEFINITION` says.

    Only windows that lie within the picture count, as in scikit-image.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, by_pixel = structural_similarity_index_measure(
        as_pictures(predicted),
        as_pictures(truth),
        sigma=1.5,
        kernel_size=11,
        reduction="none",
        data_range=1.0,
        return_full_image=True,
    )
    border = 11 // 2
    return by_pixel[..., border:-border, border:-border].mean((1, 2, 3), dtype=torch.float64).numpy()


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


@dataclass(frozen=True)
class Stretch:
    """Some frames of a sequence in a row and their mean PSNR; frames are counted as people do, the given one is 1."""

    sequence: str
    first: int
    last: int
    psnr_db: float


def worst_stretches(psnr_db: Mapping[str, np.ndarray], *, frames: int = 15, count: int = 10) -> list[Stretch]:
    """Where rollouts fail: the stretches of so many frames with the lowest mean PSNR, none overlapping another.

    `psnr_db` has frames 2, 3, ... of each sequence; a sequence shorter than a stretch is one itself.

    >>> [(one.first, one.last) for one in worst_stretches({"a": np.array([9, 9, 1, 2, 9, 3])}, frames=2, count=2)]
    [(4, 5), (6, 7)]
    """
    candidates = []
    for name, values in psnr_db.items():
        length = min(frames, len(values))
        means = np.convolve(values, np.full(length, 1 / length), mode="valid")
        candidates += [Stretch(name, at + 2, at + 1 + length, float(mean)) for at, mean in enumerate(means)]
    worst: list[Stretch] = []
    for one in sorted(candidates, key=lambda one: one.psnr_db):
        apart = all(
            one.sequence != other.sequence or one.last < other.first or other.last < one.first for other in worst
        )
        if apart and len(worst) < count:
            worst.append(one)
    return worst
