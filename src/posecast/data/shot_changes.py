"""What happens to the picture as a whole: scene changes, and how far the camera moved.

In: frames `[H, W, 3]`, one after the other. Out: small grey pictures, and numbers read off two of them.
Knows no people. Next: `tracks.py`, which keeps the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

THUMBNAIL = (72, 128)
"""Height and width of the small pictures that are compared."""
CUT_AT_LEAST = 0.08
CUT_TIMES_USUAL = 6.0
"""A scene changes where a frame differs from the one before by so much of the full scale, and by so many times the
usual difference of the last frames: hand-held footage differs all the time, a cut once."""
USUAL_FRAMES = 25
BELIEVED = 0.7
"""A shift counts if it leaves no more of the difference of two pictures than this."""


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame made small and grey: float32 `[72, 128]` in [0, 1]."""
    small = Image.fromarray(frame).resize((THUMBNAIL[1], THUMBNAIL[0]), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small.convert("L"), np.float32) / 255


def change(one: np.ndarray, other: np.ndarray) -> float:
    """The mean absolute difference of two thumbnails, in [0, 1]."""
    return float(np.abs(one - other).mean())


def is_cut(changes: Sequence[float], now: float) -> bool:
    """Whether a change this large, after those `changes` (in order, none across a cut), is a change of scene."""
    usual = float(np.median(changes[-USUAL_FRAMES:])) if len(changes) else 0.0
    return now >= CUT_AT_LEAST and now >= CUT_TIMES_USUAL * usual


def camera_shift(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the picture moved between two thumbnails, right and down, in shares of its width and height: `[2]`.

    By phase correlation (Kuglin and Hines 1975): what most of the picture does, to a fraction of a pixel. It is
    believed only if the two pictures agree better when one is moved so: in a plain room a person who moves is all
    there is to correlate, but the room stays.
    """
    window = np.outer(np.hanning(THUMBNAIL[0]), np.hanning(THUMBNAIL[1]))
    spectra = [np.fft.rfft2((picture - picture.mean()) * window) for picture in (one, other)]
    cross = spectra[1] * spectra[0].conj()
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=THUMBNAIL)
    top = np.unravel_index(peaks.argmax(), peaks.shape)
    down, right = (
        _wrapped(int(place) + _vertex(np.roll(_line(peaks, top, axis), 1 - int(place))[:3]), peaks.shape[axis])
        for axis, place in enumerate(top)
    )
    moved = _difference(one, other, round(right), round(down))
    if moved > BELIEVED * _difference(one, other, 0, 0):
        return np.zeros(2)
    return np.array([right / THUMBNAIL[1], down / THUMBNAIL[0]])


def _difference(one: np.ndarray, other: np.ndarray, right: int, down: int) -> float:
    """The mean absolute difference where one, moved right and down, lies on the other."""
    height, width = one.shape
    here = other[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    there = one[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
    return float(np.abs(here - there).mean()) if here.size else 1.0


def _line(peaks: np.ndarray, top: Sequence[np.intp], axis: int) -> np.ndarray:
    """The values through the peak along an axis."""
    return peaks[:, top[1]] if axis == 0 else peaks[top[0]]


def _vertex(three: np.ndarray) -> float:
    """Where a parabola through three neighbours, the middle one the highest, has its top: from -0.5 to 0.5."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / bend) if bend < 0 else 0.0


def _wrapped(place: float, length: int) -> float:
    """A place on a circle of that length as a signed distance from 0."""
    return (place + length / 2) % length - length / 2
