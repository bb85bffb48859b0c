"""Tapered capsules, anti-aliased and composited over a whole batch of frames at once.

In: float canvases `[T, H, W, 3]` and N capsules per frame. Out: the canvases, painted on.
Knows no skeleton and no dancer. Next: `pose_maps.py`, which draws pose maps with these, then `dance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LIGHT = np.array([-0.55, -0.8], np.float32)
"""Where shaded capsules are lit from, in the picture: from above, and a little from the left."""


@dataclass(frozen=True)
class Capsules:
    """N capsules in each of T frames; a picture's pixel i spans i to i + 1. All float32.

    A capsule is the trace of a disc that runs from `start` to `end` while its radius changes.
    One that does not start or end anywhere (NaN) is not painted.
    """

    start: np.ndarray
    """x, y in pixels, `[T, N, 2]`; `end` likewise."""
    end: np.ndarray
    shape: np.ndarray
    """Radius at the start, at the end, what is added in the middle (all pixels), and how many times flatter than
    round the ends are: `[T, N, 4]`."""
    paint: np.ndarray
    """Red, green, blue in [0, 1], opacity, and roundness (0 flat, 1 shaded like a pipe): `[T, N, 5]`."""

    def ordered(self, depth: np.ndarray) -> Capsules:
        """The same capsules, in every frame sorted by `depth` `[T, N]`, so that the nearest is painted last."""
        order = np.argsort(depth, axis=1, kind="stable")[:, :, None]
        fields = (self.start, self.end, self.shape, self.paint)
        return Capsules(*(np.take_along_axis(values, order, axis=1) for values in fields))

    def __getitem__(self, frames: slice) -> Capsules:
        return Capsules(self.start[frames], self.end[frames], self.shape[frames], self.paint[frames])


def paint_capsules(canvas: np.ndarray, capsules: Capsules) -> None:
    """Paint the capsules on float32 `canvas` `[T, H, W, 3]`, in place, capsule 0 first."""
    there = np.isfinite(capsules.start).all(2) & np.isfinite(capsules.end).all(2)
    there &= capsules.paint[:, :, 3] > 0
    for n in range(capsules.start.shape[1]):
        frames = np.flatnonzero(there[:, n])
        if len(frames):
            _paint_one(canvas, frames, *(a[frames, n] for a in _fields(capsules)))


def _fields(capsules: Capsules) -> tuple[np.ndarray, ...]:
    return capsules.start, capsules.end, capsules.shape, capsules.paint


def _paint_one(
    canvas: np.ndarray,
    frames: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    shape: np.ndarray,
    paint: np.ndarray,
) -> None:
    corner, window = _windows(start, end, shape, (canvas.shape[1], canvas.shape[2]))
    coverage, shade = _rasterise(corner, window, start, end, shape, paint[:, 4])
    # numpy 1's own types know one axis only.
    views = sliding_window_view(canvas, window, axis=(1, 2), writeable=True)  # pyright: ignore
    where = (frames, corner[:, 1], corner[:, 0])  # [n] each: views[where] is [n, 3, h, w]
    alpha = (coverage * paint[:, 3, None, None])[:, None]
    under = views[where]
    colour = paint[:, :3, None, None] * shade[:, None]
    views[where] = under + alpha * (colour - under)


def _windows(
    start: np.ndarray, end: np.ndarray, shape: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """The corner (x, y) of each frame's window, and one window (height, width) that is large enough for all."""
    reach = np.maximum(shape[:, 0], shape[:, 1]) + np.maximum(shape[:, 2], 0) + 1
    limit = np.array([size[1], size[0]])
    low = np.clip(np.floor(np.minimum(start, end) - reach[:, None]), 0, limit).astype(int)
    high = np.clip(np.ceil(np.maximum(start, end) + reach[:, None]), 0, limit).astype(int)
    extent = np.maximum((high - low).max(axis=0), 1)
    return np.minimum(low, limit - extent), (int(extent[1]), int(extent[0]))


def _rasterise(
    corner: np.ndarray,
    window: tuple[int, int],
    start: np.ndarray,
    end: np.ndarray,
    shape: np.ndarray,
    roundness: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's covered share and its shade, both `[n, h, w]`."""
    axis = end - start
    length = np.hypot(axis[:, 0], axis[:, 1])[:, None, None]
    angle = np.arctan2(axis[:, 1], axis[:, 0])[:, None, None]  # unlike a quotient, defined for a dot
    ax, ay = np.cos(angle), np.sin(angle)
    offset = (corner - start + 0.5).astype(np.float32)
    x = offset[:, 0, None, None] + np.arange(window[1], dtype=np.float32)
    y = offset[:, 1, None, None] + np.arange(window[0], dtype=np.float32)[:, None]
    along, across = x * ax + y * ay, y * ax - x * ay
    share = np.clip(along / np.maximum(length, 1e-6), 0.0, 1.0)
    first, last, middle, flatness = (shape[:, k, None, None] for k in range(4))
    radius = np.maximum(first + (last - first) * share + 4 * middle * share * (1 - share), 1e-4)
    beyond = (along - share * length) * flatness
    distance = np.sqrt(across * across + beyond * beyond)
    # The exact overlap of a strip of this radius with a pixel one wide: thin limbs fade instead of breaking up.
    coverage = np.clip(np.minimum(radius, distance + 0.5) + np.minimum(radius, 0.5 - distance), 0.0, 1.0)
    # The ends count less than the sides: a limb's two halves should meet without a dark ring between them.
    towards = across * (LIGHT[1] * ax - LIGHT[0] * ay) + 0.4 * beyond * (LIGHT[0] * ax + LIGHT[1] * ay)
    towards /= radius
    shade = 1 + roundness[:, None, None] * (0.45 * np.clip(towards, -1.1, 1.1) - 0.1)
    return coverage, shade
