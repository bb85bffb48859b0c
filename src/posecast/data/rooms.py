"""Rooms: what is left of a recording when the person is taken away.

In: recordings. Out: one float picture of each, the median of the frames in which no limb is near.
Knows no clips. Next: `augmentation.py`, which moves a person within their room.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from posecast.data.recordings import Recording

ROOM_FRAMES = 400
"""Frames, spread over all recordings, that the room is measured on."""
SELDOM = 0.05
"""A pixel that is free of the person in a smaller share of the frames is not known."""
ALIKE = 255 * 0.1
"""Rooms that differ by less on average, of 255, are one room in another light."""
INKED = 232
"""A pose map's pixel darker than this in some colour shows a limb."""
NEAR_LIMBS = 1 / 8
"""What counts as near a limb, as a share of the picture's height."""


def measure_rooms(recordings: Sequence[Recording]) -> Float[Tensor, "R 3 H W"]:
    """Each recording's room without the person, in [0, 1].

    A pixel is the median over the recording's frames in which no limb is near it. Where a limb nearly always is, it
    is what all recordings together show, in this one's light, if their rooms are alike; else what is beside it.
    """
    every = max(1, sum(len(one) for one in recordings) // ROOM_FRAMES)
    seen = [seen_without_person(one.frames[::every], one.poses[::every]) for one in recordings]
    together = filled(uncovered_median(*(np.concatenate(parts) for parts in zip(*seen, strict=True))))
    rooms = []
    for frames, covered in seen:
        own = uncovered_median(frames, covered)
        light = own - together
        known = light[~np.isnan(light)]
        alike = known.size == 0 or np.abs(known).mean() < ALIKE
        # In another light what the others show would be a patch: the difference of light is filled in, and added.
        rooms.append(together + filled(light) if alike else filled(own))
    return torch.from_numpy(np.stack(rooms) / np.float32(255)).permute(0, 3, 1, 2)


def seen_without_person(frames: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames, and where in them a person may be: near a limb, or anywhere where a pose map is blank."""
    blank = (poses == 255).all((1, 2, 3))
    return frames, near_limbs(poses) | blank[:, None, None]


def uncovered_median(frames: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The median of each pixel where it is not covered: float32 `[H, W, 3]`, NaN where it nearly always is."""
    room = np.full(frames.shape[1:], np.nan, np.float32)
    for y in range(len(room)):  # a row at a time: bounded memory
        often = (~covered[:, y]).mean(0) >= SELDOM
        row = np.where(covered[:, y, :, None], np.nan, frames[:, y])[:, often]
        if row.size:
            room[y, often] = np.nanmedian(row, axis=0)
    return room


def filled(room: np.ndarray) -> np.ndarray:
    """A room with each unknown pixel interpolated in its row; an unknown row is the mean of all that is known, or 0."""
    known = ~np.isnan(room[..., 0])
    filled = np.full_like(room, np.nanmean(room) if known.any() else 0.0)
    for y, columns in enumerate(known):
        there = np.flatnonzero(columns)
        if len(there):
            everywhere = np.arange(len(columns))
            filled[y] = np.stack([np.interp(everywhere, there, room[y, there, colour]) for colour in range(3)], -1)
    return filled


def near_limbs(poses: np.ndarray) -> np.ndarray:
    """Where a limb is near: bool `[N, H, W]` of pose maps `[N, H, W, 3]`."""
    near = torch.from_numpy((poses < INKED).any(-1)).float()[:, None]
    reach = max(1, round(NEAR_LIMBS * poses.shape[1]))
    for window, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        near = functional.max_pool2d(near, window, stride=1, padding=padding)
    return near[:, 0].numpy() > 0
