"""Rooms: what is left of a recording when the person is taken away.

In: recordings. Out: one float picture of each, the median of the frames in which no limb is near.
Knows no clips. Next: `augmentation.py`, which moves a person within their room.
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

ROOM_FRAMES = 400
"""Frames, spread over all recordings, that the room is measured on."""
SELDOM = 0.05
"""A pixel that is free of the person in a smaller share of the frames is not known."""
ALIKE = 255 * 0.1
"""Rooms that differ by less on average, of 255, are one room in another light."""
INKED = 232
"""A pose map's pixel darker than this in some colour shows a limb."""
NEAR_LIMBS = 1 / 8
"""What counts as near a limb, as a share of the picture's height: there a person may be."""
SHADED = (3 / 8, 1 / 4, NEAR_LIMBS)
"""How far a person's shadow may reach, as shares of the height: the farthest that leaves something to see is taken."""


def measure_rooms(recordings: Sequence[Recording]) -> Float[Tensor, "R 3 H W"]:
    """Each recording's room without the person, in [0, 1].

    A pixel is the median over the recording's frames in which no limb, and no limb's shadow, is near it. Where
    somebody nearly always is, it is what the other recordings show, in this one's light, if their rooms are alike; else
    what is seen closer to the limbs, else what is beside it.
    """
    every = max(1, sum(len(one) for one in recordings) // ROOM_FRAMES)
    seen = [(one.frames[::every], one.poses[::every]) for one in recordings]
    by_reach = [np.stack([seen_without_person(*one, reach) for one in seen]) for reach in SHADED]  # [R, H, W, 3] each
    rooms = np.stack([room_of(number, by_reach) for number in range(len(recordings))])
    return torch.from_numpy(rooms / np.float32(255)).permute(0, 3, 1, 2)


def room_of(number: int, by_reach: Sequence[np.ndarray]) -> np.ndarray:
    """One recording's room, whole, from what all of them show at each reach: float32 `[H, W, 3]`."""
    own = by_reach[0][number]
    closer = first_known(rooms[number] for rooms in by_reach)
    if len(by_reach[0]) == 1:
        return filled(closer)
    others = first_known(
        torch.from_numpy(np.delete(rooms, number, axis=0)).nanmedian(0).values.numpy() for rooms in by_reach
    )
    light = own - others
    known = light[~np.isnan(light)]
    if known.size and np.abs(known).mean() >= ALIKE:
        return filled(closer)
    # In another light what the others show would be a patch: the difference of light is filled in, and added.
    return filled(first_known((own, others + filled(light), closer)))


def first_known(rooms: Iterable[np.ndarray]) -> np.ndarray:
    """Each pixel from the first of the rooms in which it is known."""
    return functools.reduce(lambda found, other: np.where(np.isnan(found), other, found), rooms)


def seen_without_person(frames: np.ndarray, poses: np.ndarray, reach: float) -> np.ndarray:
    """The median of each pixel over frames without a limb within `reach`: float32 `[H, W, 3]`, NaN where unknown.

    Where a pose map is blank a person may be anywhere.
    """
    blank = (poses == 255).all((1, 2, 3))
    return uncovered_median(frames, near_limbs(poses, reach) | blank[:, None, None])


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


def near_limbs(poses: np.ndarray, reach: float = NEAR_LIMBS) -> np.ndarray:
    """Where a limb is within so many heights: bool `[N, H, W]` of pose maps `[N, H, W, 3]`."""
    near = torch.from_numpy((poses < INKED).any(-1)).float()[:, None]
    pixels = max(1, round(reach * poses.shape[1]))
    for window, padding in (((2 * pixels + 1, 1), (pixels, 0)), ((1, 2 * pixels + 1), (0, pixels))):
        near = functional.max_pool2d(near, window, stride=1, padding=padding)
    return near[:, 0].numpy() > 0
