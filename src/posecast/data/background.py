"""Backgrounds: recordings with the person removed.

In: recordings. Out: one float image of each, the median of the frames in which no limb is near a pixel.
Next: `augmentation.py`, which moves a person in front of their background.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from posecast.data.recordings import Recording

NUM_SAMPLED_FRAMES = 400
"""Frames that the backgrounds are measured on, spread over all recordings."""
MIN_VISIBLE_SHARE = 0.05
"""A pixel that is free of the person in a smaller share of the frames counts as unknown."""
SAME_PLACE_DIFFERENCE = 255 * 0.1
"""Backgrounds that differ by less on average show one place in different light. The scale is 0 to 255."""
INKED = 232
"""A pose map's pixel with a colour channel darker than this shows a limb."""
NEAR_LIMBS = 1 / 8
"""Distance from a limb within which the person may be visible, as a share of the image height."""
SHADOW_REACHES = (3 / 8, 1 / 4, NEAR_LIMBS)
"""Reach of a person's shadow, as shares of the image height; the largest that leaves a pixel visible is used."""


def measure_backgrounds(recordings: Sequence[Recording]) -> Float[Tensor, "R 3 H W"]:
    """Measure each recording's background.

    A pixel is the median over the recording's frames in which no limb, and no limb's shadow, is near it. Pixels that
    the person nearly always covers are taken, in this order, from: the other recordings, adjusted to this recording's
    light, if their backgrounds show the same place; the same recording with a smaller distance to the limbs;
    interpolation along the row.

    Args:
        recordings: At least one recording; all have the same size.

    Returns:
        One background for each recording, in [0, 1].
    """
    step = max(1, sum(len(recording) for recording in recordings) // NUM_SAMPLED_FRAMES)
    sampled = [(recording.frames[::step], recording.poses[::step]) for recording in recordings]
    by_reach = [np.stack([_visible_median(*pair, reach) for pair in sampled]) for reach in SHADOW_REACHES]
    backgrounds = np.stack([_complete_background(index, by_reach) for index in range(len(recordings))])
    return torch.from_numpy(backgrounds / np.float32(255)).permute(0, 3, 1, 2)


def _complete_background(index: int, by_reach: Sequence[np.ndarray]) -> np.ndarray:
    """Return a recording's background `[H, W, 3]` without gaps, from all recordings' `[R, H, W, 3]` at each reach."""
    own = by_reach[0][index]
    closer = _first_known(backgrounds[index] for backgrounds in by_reach)
    if len(by_reach[0]) == 1:
        return _interpolated(closer)
    others = _first_known(
        torch.from_numpy(np.delete(backgrounds, index, axis=0)).nanmedian(0).values.numpy() for backgrounds in by_reach
    )
    light = own - others
    measured = light[~np.isnan(light)]
    if measured.size and np.abs(measured).mean() >= SAME_PLACE_DIFFERENCE:
        return _interpolated(closer)
    # Pixels of another recording would form a patch of other light, so the interpolated difference is added.
    return _interpolated(_first_known((own, others + _interpolated(light), closer)))


def _first_known(backgrounds: Iterable[np.ndarray]) -> np.ndarray:
    """Take each pixel from the first background in which it is not NaN."""
    return functools.reduce(lambda known, other: np.where(np.isnan(known), other, known), backgrounds)


def _visible_median(frames: np.ndarray, poses: np.ndarray, reach: float) -> np.ndarray:
    """Return each pixel's median over frames without a limb within `reach`: float32 `[H, W, 3]`, NaN where unknown.

    Where a pose map is blank the person may be anywhere.
    """
    blank = (poses == 255).all((1, 2, 3))
    covered = near_limbs(poses, reach) | blank[:, None, None]
    background = np.full(frames.shape[1:], np.nan, np.float32)
    for y in range(len(background)):  # row by row, to bound memory
        visible = (~covered[:, y]).mean(0) >= MIN_VISIBLE_SHARE
        row = np.where(covered[:, y, :, None], np.nan, frames[:, y])[:, visible]
        if row.size:
            background[y, visible] = np.nanmedian(row, axis=0)
    return background


def _interpolated(background: np.ndarray) -> np.ndarray:
    """Interpolate unknown pixels along their rows; an unknown row becomes the mean of all known pixels, or 0."""
    known = ~np.isnan(background[..., 0])
    result = np.full_like(background, np.nanmean(background) if known.any() else 0.0)
    for y, known_in_row in enumerate(known):
        columns = np.flatnonzero(known_in_row)
        if len(columns):
            x = np.arange(len(known_in_row))
            result[y] = np.stack([np.interp(x, columns, background[y, columns, colour]) for colour in range(3)], -1)
    return result


def near_limbs(poses: np.ndarray, reach: float = NEAR_LIMBS) -> np.ndarray:
    """Mark the pixels near a limb.

    Args:
        poses: Pose maps, uint8 `[N, H, W, 3]`.
        reach: Distance from a limb, in both directions, as a share of the image height.

    Returns:
        bool `[N, H, W]`.
    """
    near = torch.from_numpy((poses < INKED).any(-1)).float()[:, None]
    pixels = max(1, round(reach * poses.shape[1]))
    for window, padding in (((2 * pixels + 1, 1), (pixels, 0)), ((1, 2 * pixels + 1), (0, pixels))):
        near = functional.max_pool2d(near, window, stride=1, padding=padding)
    return near[:, 0].numpy() > 0
