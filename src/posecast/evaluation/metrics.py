"""PSNR and SSIM of each frame, and the predictions without a model that they must be held against.

In: uint8 frames. Out: one number a frame, or the mean of a baseline. Knows no predictor. Next: `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from posecast.data.clips import as_pictures

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
