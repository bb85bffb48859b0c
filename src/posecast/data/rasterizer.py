"""Anti-aliased rasterization of tapered capsules, for a batch of frames at once.

In: float canvases `[T, H, W, 3]` and N capsules per frame. Out: the canvases with the capsules painted in place.
Next: `pose_maps.py`, which draws pose maps with capsules, then `dancer/renderer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LIGHT = np.array([-0.55, -0.8], np.float32)
"""Direction of the light on shaded capsules, in image coordinates: from above and slightly from the left."""


@dataclass(frozen=True)
class Capsules:
    """N capsules in each of T frames, all float32; pixel i of an image spans i to i + 1.

    A capsule is the area covered by a disc that moves from `start` to `end` while its radius changes. A capsule whose
    start or end is NaN is not painted.
    """

    start: np.ndarray
    """x, y in pixels, `[T, N, 2]`; `end` likewise."""
    end: np.ndarray
    shape: np.ndarray
    """Radius at the start, radius at the end, radius added in the middle (all in pixels), and flatness of the ends, 1
    for round: `[T, N, 4]`."""
    paint: np.ndarray
    """Red, green, blue in [0, 1], opacity, and roundness (0 flat, 1 shaded like a pipe): `[T, N, 5]`."""

    def ordered(self, depth: np.ndarray) -> Capsules:
        """Return the capsules of every frame sorted by `depth` `[T, N]`, so that the largest is painted last."""
        order = np.argsort(depth, axis=1, kind="stable")[:, :, None]
        fields = (self.start, self.end, self.shape, self.paint)
        return Capsules(*(np.take_along_axis(values, order, axis=1) for values in fields))

    def __getitem__(self, frames: slice) -> Capsules:
        return Capsules(self.start[frames], self.end[frames], self.shape[frames], self.paint[frames])


def paint_capsules(canvas: np.ndarray, capsules: Capsules) -> None:
    """Paint the capsules on float32 `canvas` `[T, H, W, 3]`, in place, capsule 0 first."""
    visible = np.isfinite(capsules.start).all(2) & np.isfinite(capsules.end).all(2)
    visible &= capsules.paint[:, :, 3] > 0
    fields = (capsules.start, capsules.end, capsules.shape, capsules.paint)
    for n in range(capsules.start.shape[1]):
        frames = np.flatnonzero(visible[:, n])
        if len(frames):
            _paint_capsule(canvas, frames, *(values[frames, n] for values in fields))


def _paint_capsule(
    canvas: np.ndarray,
    frames: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    shape: np.ndarray,
    paint: np.ndarray,
) -> None:
    corner, window = _windows(start, end, shape, (canvas.shape[1], canvas.shape[2]))
    coverage, shade = _rasterise(corner, window, start, end, shape, paint[:, 4])
    # The stubs of numpy 1 allow only one axis.
    views = sliding_window_view(canvas, window, axis=(1, 2), writeable=True)  # pyright: ignore
    index = (frames, corner[:, 1], corner[:, 0])  # [n] each: views[index] is [n, 3, h, w]
    alpha = (coverage * paint[:, 3, None, None])[:, None]
    under = views[index]
    colour = paint[:, :3, None, None] * shade[:, None]
    views[index] = under + alpha * (colour - under)


def _windows(
    start: np.ndarray, end: np.ndarray, shape: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the corner (x, y) of each frame's window, and one window size (height, width) that fits all."""
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
    """Return each pixel's covered share and its shade, both `[n, h, w]`."""
    axis = end - start
    length = np.hypot(axis[:, 0], axis[:, 1])[:, None, None]
    angle = np.arctan2(axis[:, 1], axis[:, 0])[:, None, None]  # unlike a quotient, defined for length 0
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
    # The exact overlap of a strip of this radius with a pixel of width 1, so that thin limbs fade without gaps.
    coverage = np.clip(np.minimum(radius, distance + 0.5) + np.minimum(radius, 0.5 - distance), 0.0, 1.0)
    # The ends count less than the sides, so that two capsules of a limb meet without a dark ring between them.
    towards = across * (LIGHT[1] * ax - LIGHT[0] * ay) + 0.4 * beyond * (LIGHT[0] * ax + LIGHT[1] * ay)
    towards /= radius
    shade = 1 + roundness[:, None, None] * (0.45 * np.clip(towards, -1.1, 1.1) - 0.1)
    return coverage, shade
