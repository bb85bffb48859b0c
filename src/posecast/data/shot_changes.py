"""Changes of the image as a whole: shot changes and camera motion.

In: consecutive frames `[H, W, 3]`. Out: small grey images, and measurements on two of them.
Next: `video/tracks.py`, which stores the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

THUMBNAIL = (72, 128)
"""Height and width of a thumbnail in pixels."""
CUT_AT_LEAST = 0.08
CUT_TIMES_USUAL = 6.0
"""A cut is a frame that differs from the one before by at least this share of the full scale, and by this multiple of
the usual difference. Hand-held footage differs in every frame, a cut only once."""
USUAL_FRAMES = 25
"""Number of preceding frames whose median difference is the usual one."""
MAX_RESIDUAL = 0.7
"""A camera shift counts if it reduces the difference of two thumbnails to at most this share."""


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """Reduce a frame to a small grey image: float32 `[72, 128]` in [0, 1]."""
    small = Image.fromarray(frame).resize((THUMBNAIL[1], THUMBNAIL[0]), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small.convert("L"), np.float32) / 255


def thumbnail_difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute difference of two thumbnails, in [0, 1]."""
    return float(np.abs(before - after).mean())


def is_cut(differences: Sequence[float], current: float) -> bool:
    """Decide whether a difference to the previous frame is a cut.

    Args:
        differences: Differences of the frames before, in order, since the last cut.
        current: Difference to decide on, from `thumbnail_difference`.
    """
    usual = float(np.median(differences[-USUAL_FRAMES:])) if len(differences) else 0.0
    return current >= CUT_AT_LEAST and current >= CUT_TIMES_USUAL * usual


def camera_shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Measure the camera shift between two thumbnails by phase correlation (Kuglin and Hines 1975).

    The shift of most of the image is found to a fraction of a pixel. It counts only if it makes the two thumbnails
    agree better: in front of a plain background only the moving person correlates, but the background stays.

    Returns:
        Shift of the image content to the right and down, `[2]`, as shares of width and height; 0 if none counts.
    """
    window = np.outer(np.hanning(THUMBNAIL[0]), np.hanning(THUMBNAIL[1]))
    spectra = [np.fft.rfft2((image - image.mean()) * window) for image in (before, after)]
    cross = spectra[1] * spectra[0].conj()
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=THUMBNAIL)
    row, column = np.unravel_index(peaks.argmax(), peaks.shape)
    down, right = _peak_offset(peaks[:, column], int(row)), _peak_offset(peaks[row], int(column))
    residual = _shifted_difference(before, after, round(right), round(down))
    if residual > MAX_RESIDUAL * _shifted_difference(before, after, 0, 0):
        return np.zeros(2)
    return np.array([right / THUMBNAIL[1], down / THUMBNAIL[0]])


def _peak_offset(line: np.ndarray, index: int) -> float:
    """Return the position of a peak on a circular line as a signed distance from 0, to a fraction of a step."""
    left, top, right = np.roll(line, 1 - index)[:3]
    bend = left - 2 * top + right
    vertex = float(0.5 * (left - right) / bend) if bend < 0 else 0.0  # of the parabola through the three values
    return (index + vertex + len(line) / 2) % len(line) - len(line) / 2


def _shifted_difference(before: np.ndarray, after: np.ndarray, right: int, down: int) -> float:
    """Return the mean absolute difference where `before`, shifted right and down, overlaps `after`."""
    height, width = before.shape
    later = after[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    earlier = before[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
    return float(np.abs(later - earlier).mean()) if later.size else 1.0
