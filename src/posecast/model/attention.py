"""Attention from the pose to the anchor: what a real frame shows of the body part that belongs in each cell.

A convolution sees the anchor where the person stood. When an arm is to be painted elsewhere, its sleeve must be
brought from there: pose-guided image synthesis does so by attention (Zhu et al. 2019, PATN; Ren et al. 2020, GFLA).
In: features of pose and anchor at one scale. Out: features to add (`AnchorAttention`), or the anchor's own pixels as a
picture to begin with (`Copied`). Next: `anchored.py`, whose decoder holds it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.data.clips import Pictures

HEADS = 4
FEW_CELLS = 256
"""Up to so many, a CPU writes down all weights: two products of matrices are six times as fast, there and back, as
torch's blockwise kernel (28 pictures of 128 cells). That one's memory does not grow with the square of the cells;
64 instants of 1024 cells would be a gigabyte of weights."""


class AnchorAttention(nn.Module):
    """Multi-head attention over cells (Vaswani et al. 2017): queries from the pose, keys and values from the anchor.

    The anchor's features know its own pose map, so a query for a left hand can find the left hand. The last layer
    starts at zero: a new network begins as one without attention. Work grows with the square of the number of cells.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ask = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.answer = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.value = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pose: Float[Tensor, "TN C h w"], anchor: Float[Tensor, "N C h w"]) -> Tensor:
        """One row for each of the pose's; all T instants (time-major) ask the same N anchors."""
        num_anchors, (height, width) = len(anchor), pose.shape[2:]
        query, key, value = (by_head(x, num_anchors) for x in (self.ask(pose), self.answer(anchor), self.value(anchor)))
        found = attended(query, key, value).unflatten(2, (-1, height * width))  # [N, heads, T, cells, depth]
        cells = found.permute(2, 0, 3, 1, 4).reshape(len(pose), height, width, -1)
        return self.out(cells.permute(0, 3, 1, 2))  # channels_last, as it lies


def by_head(x: Float[Tensor, "TN C h w"], num_anchors: int) -> Float[Tensor, "N H L D"]:
    """The cells of all instants as one sequence, channels shared out among the heads."""
    cells = x.permute(0, 2, 3, 1).reshape(-1, num_anchors, x.shape[2] * x.shape[3], HEADS, x.shape[1] // HEADS)
    return cells.permute(1, 3, 0, 2, 4).flatten(2, 3)


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(depth)) value, `[N, H, L, D]`."""
    if query.device.type != "cpu" or key.shape[2] > FEW_CELLS:
        return nn.functional.scaled_dot_product_attention(query, key, value)
    weights = torch.softmax(query.shape[-1] ** -0.5 * (query @ key.mT), -1)
    return weights @ value


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
