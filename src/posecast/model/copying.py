"""Colours copied from the anchor: where the pose finds them, and where they already are.

What networks have learned to paint are the colours of the people and rooms they trained on; a picture's own pixels are
right for everybody. So the picture begins as pixels of the anchor and is changed from there (compositing from the first
frame: Ebert et al. 2017, SNA; moved by attention from the pose: Ren et al. 2020, GFLA).
In: features of pose and anchor at one scale, the anchor's pixels. Out: two pictures to begin with, and then one.
Next: `anchored.py`, which holds it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.data.clips import Pictures

MOST_CELLS = 1024
"""Work and memory grow with the square of the cells: larger pictures look pixels up in larger pieces."""
TURNS = (0.5, 1.0, 2.0)
"""Periods over the picture of the sines and cosines by which a cell knows its place."""
DARKEST = 0.01
"""A copied colour is kept so far from 0 and 1, where no change could move it."""


class Copied(nn.Module):
    """Each cell of the picture as a mean of all cells of the anchor, weighed by attention; and the anchor as it is.

    Queries come from the pose, keys from the anchor's features, which know its pose; both know their places. Values are
    the pixels themselves. Beside what was found stands the anchor in place, for what does not move.
    """

    def __init__(self, width: int, cell: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.cell = cell
        place = places(size[0] // cell, size[1] // cell)
        self.register_buffer("place", place, persistent=False)
        self.ask = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.answer = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.ask_place = nn.Conv2d(place.shape[1], width, 1)
        self.answer_place = nn.Conv2d(place.shape[1], width, 1)

    def forward(
        self, pose: Float[Tensor, "TN C h w"], anchor: Float[Tensor, "N C h w"], photo: Pictures
    ) -> Float[Tensor, "TN 6 H W"]:
        """One row for each of the pose's; all T instants (time-major) ask the same N anchors."""
        num_anchors, num_instants = len(anchor), len(pose) // len(anchor)
        query = cells(self.ask(pose) + self.ask_place(self.place), num_anchors)
        key = cells(self.answer(anchor) + self.answer_place(self.place), num_anchors)
        value = cells(nn.functional.pixel_unshuffle(photo, self.cell), num_anchors)
        # In the features' own precision: a softmax in float32 takes three times as long, and this one
        # rounds colours by less than two steps of 256.
        with torch.autocast(query.device.type, enabled=False):
            weights = torch.softmax(query.shape[-1] ** -0.5 * query @ key.mT, -1)
            found = weights @ value.to(weights.dtype)  # [N, T h w, 3 cell²]
        height, width = pose.shape[2:]
        found = found.unflatten(1, (num_instants, height, width)).permute(1, 0, 4, 2, 3).flatten(0, 1)
        in_place = torch.cat([photo] * num_instants).to(found.dtype)
        both = torch.cat((in_place, nn.functional.pixel_shuffle(found, self.cell)), 1)
        return both.contiguous(memory_format=torch.channels_last)


def places(height: int, width: int) -> Float[Tensor, "1 P h w"]:
    """Sines and cosines of where a cell lies (Vaswani et al. 2017, over a picture): cells near each other are alike."""
    rows, columns = (torch.arange(side) / side for side in (height, width))
    waves = [
        wave(2 * math.pi * turns * where)
        for where in (rows[:, None].expand(height, width), columns[None].expand(height, width))
        for turns in TURNS
        for wave in (torch.sin, torch.cos)
    ]
    return torch.stack(waves)[None]


def cells(x: Float[Tensor, "TN C h w"], num_anchors: int) -> Float[Tensor, "N L C"]:
    """The cells of all instants of each anchor as one sequence."""
    return (
        x.permute(0, 2, 3, 1)
        .reshape(-1, num_anchors, x.shape[2] * x.shape[3], x.shape[1])
        .transpose(0, 1)
        .flatten(1, 2)
    )


def changed(copied: Float[Tensor, "N 6 H W"], change: Float[Tensor, "N 4 H W"]) -> Pictures:
    """A picture in (0, 1) from copied ones: mixed by the fourth channel of the change, then moved by the others."""
    in_place, found = copied.float().chunk(2, 1)
    shift, share = change.float().split((3, 1), 1)
    return torch.sigmoid(torch.logit(torch.lerp(found, in_place, torch.sigmoid(share)), DARKEST) + shift)
