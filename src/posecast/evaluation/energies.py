"""Sharpness and flicker: how much a video differs from pixel to pixel and from frame to frame, by the truth.

In: uint8 frames. Out: mean squared differences, whose ratios to those of the truth are reported.
Next: `evaluate.py`, which computes them for each prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from posecast.evaluation.metrics import Pixels

Detail = Literal["sharpness", "flicker"]
DETAIL_DEFINITION = (
    "'sharpness': mean squared difference between neighbouring pixels, of the prediction by the truth; 'flicker': the "
    "same between successive frames; 1 for the truth itself; mean over frames and pixels, then over sequences"
)


@dataclass(frozen=True)
class Energies:
    """Mean squared differences of a video, of values in [0, 1]."""

    sharpness: float
    """Between pixels that are neighbours in a row or a column."""
    flicker: float
    """Between successive frames."""


def gradient_energy(frames: Pixels) -> Float[np.ndarray, " N"]:
    """Return the mean squared difference between neighbouring pixels of each frame."""
    values = frames.astype(np.float32) / 255.0
    down, across = (np.square(np.diff(values, axis=axis)) for axis in (1, 2))
    return 0.5 * (down.mean((1, 2, 3), dtype=np.float64) + across.mean((1, 2, 3), dtype=np.float64))


def change_energy(frames: Pixels, previous: Pixels) -> Float[np.ndarray, " N"]:
    """Return the mean squared difference between each frame and another one."""
    difference = (frames.astype(np.float32) - previous.astype(np.float32)) / 255.0
    return np.square(difference).mean(axis=(1, 2, 3), dtype=np.float64)


def video_energies(frames: Pixels) -> Energies:
    """Return the energies of one video; its first frame counts only as the one before the second.

    >>> video = np.zeros((3, 2, 2, 3), np.uint8)
    >>> video[1:, :, 1] = 255
    >>> video_energies(video)
    Energies(sharpness=0.5, flicker=0.25)
    """
    return Energies(float(gradient_energy(frames[1:]).mean()), float(change_energy(frames[1:], frames[:-1]).mean()))
