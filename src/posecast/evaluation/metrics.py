"""PSNR and SSIM of single frames, and the stretches of a rollout where PSNR is lowest.

In: uint8 frames. Out: one number per frame. Next: `evaluate.py`, which scores rollouts with these metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from posecast.data.clips import as_images

PSNR_DEFINITION = (
    "10*log10(1/MSE) dB per frame; frames rounded to 8 bits, MSE over colour and pixels, not under "
    "1/(12*255^2); frame 1 (given) left out; mean over frames, then over sequences"
)
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_DEFINITION = "Gaussian window 11, sigma 1.5, range 1, mean over colour"
SMALLEST_MSE = 1.0 / (12.0 * 255.0**2)
"""Mean squared error of rounding to 8 bits; smaller errors cannot be distinguished."""

Pixels = UInt8[np.ndarray, "N H W 3"]


def psnr_db(predicted: Pixels, truth: Pixels) -> Float[np.ndarray, " N"]:
    """Return the PSNR of each frame in dB, as defined by `PSNR_DEFINITION`; at most 58.92 dB."""
    difference = predicted.astype(np.float32) - truth.astype(np.float32)
    mse = np.square(difference / 255.0).mean(axis=(1, 2, 3), dtype=np.float64)
    return -10.0 * np.log10(np.maximum(mse, SMALLEST_MSE))


def ssim(predicted: Pixels, truth: Pixels) -> Float[np.ndarray, " N"]:
    """Return the structural similarity of each frame (Wang et al. 2004), as defined by `SSIM_DEFINITION`.

    Only windows that lie completely inside the frame count, as in scikit-image.

    Args:
        predicted: At least 11 pixels high and wide.
        truth: Frames to compare with, of the same shape.

    Returns:
        Similarities, at most 1.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, by_pixel = structural_similarity_index_measure(
        as_images(predicted),
        as_images(truth),
        sigma=SSIM_SIGMA,
        kernel_size=SSIM_WINDOW,
        reduction="none",
        data_range=1.0,
        return_full_image=True,
    )
    border = SSIM_WINDOW // 2
    return by_pixel[..., border:-border, border:-border].mean((1, 2, 3), dtype=torch.float64).numpy()


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of a sequence and their mean PSNR; frames are counted from 1, which is the given frame."""

    sequence: str
    first: int
    last: int
    psnr_db: float


def worst_stretches(psnr_db: Mapping[str, np.ndarray], *, frames: int = 15, count: int = 10) -> list[Stretch]:
    """Find the stretches with the lowest mean PSNR, none of which overlap.

    Args:
        psnr_db: PSNR of frames 2, 3, ... of each sequence, `[T-1]`.
        frames: Length of a stretch; a shorter sequence is one stretch.
        count: Largest number of stretches to return.

    Returns:
        Stretches, the worst first.

    >>> stretches = worst_stretches({"a": np.array([9, 9, 1, 2, 9, 3])}, frames=2, count=2)
    >>> [(stretch.first, stretch.last) for stretch in stretches]
    [(4, 5), (6, 7)]
    """
    candidates: list[Stretch] = []
    for name, values in psnr_db.items():
        length = min(frames, len(values))
        means = np.convolve(values, np.full(length, 1 / length), mode="valid")
        candidates += [Stretch(name, start + 2, start + 1 + length, float(mean)) for start, mean in enumerate(means)]
    worst: list[Stretch] = []
    for candidate in sorted(candidates, key=lambda stretch: stretch.psnr_db):
        if len(worst) < count and not any(_overlap(candidate, stretch) for stretch in worst):
            worst.append(candidate)
    return worst


def _overlap(first: Stretch, second: Stretch) -> bool:
    return first.sequence == second.sequence and first.first <= second.last and second.first <= first.last
