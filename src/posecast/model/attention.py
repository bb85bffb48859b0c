"""Attention from the pose to the anchor.

A convolution reads the anchor at the pixels it decodes. Where a limb has moved, its appearance is elsewhere in the
anchor; pose-guided synthesis finds it by attention (Zhu et al. 2019, PATN; Ren et al. 2020, GFLA).
In: features of pose and anchor at one scale. Out: features to add (`AnchorAttention`), or pixels of the anchor
(`AnchorCopy`). Next: `layers.py`, whose condition and decoder use them.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posecast.data.clips import Images
from posecast.model.layout import repeat_over_time

HEADS = 4
FEW_CELLS = 256
"""Up to this number of cells a CPU computes the complete matrix of weights: its two matrix products are several times
faster than torch's blockwise kernel, forward and backward. The memory of that kernel does not grow with the square of
the number of cells: 64 time steps of 1024 cells would need a gigabyte for the weights."""
MOST_CELLS = 1024
"""Limit of cells of an `AnchorCopy`, whose work and memory grow with their square; larger images have larger cells."""
PERIODS = (0.5, 1.0, 2.0)
"""Periods per image side of the sines and cosines that encode a cell's position."""
COLOUR_MARGIN = 0.01
"""Copied colours are clamped this far from 0 and 1, where a shift of their logits would have no effect."""


class AnchorAttention(nn.Module):
    """Multi-head attention over cells (Vaswani et al. 2017): queries from the pose, keys and values from the anchor.

    The anchor's features include its own pose map, so the query for a left hand can match the left hand. The last layer
    is initialised to zero: a new network computes the same as one without attention. Work grows with the square of the
    number of cells.
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
        """Return one row per row of the pose; all T time steps (time-major) attend to the same N anchors."""
        num_anchors, (height, width) = len(anchor), pose.shape[2:]
        query, key, value = (
            split_heads(x, num_anchors) for x in (self.ask(pose), self.answer(anchor), self.value(anchor))
        )
        means = attend(query, key, value).unflatten(2, (-1, height * width))  # [N, heads, T, cells, depth]
        rows = means.permute(2, 0, 3, 1, 4).reshape(pose.shape[0], height, width, -1)
        return self.out(rows.permute(0, 3, 1, 2))  # `channels_last` without a copy


def split_heads(x: Float[Tensor, "TN C h w"], num_anchors: int) -> Float[Tensor, "N H L D"]:
    """Return the cells of all time steps as one sequence per head, L = T h w long."""
    cells = x.permute(0, 2, 3, 1).reshape(-1, num_anchors, x.shape[2] * x.shape[3], HEADS, x.shape[1] // HEADS)
    return cells.permute(1, 3, 0, 2, 4).flatten(2, 3)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "N H L D"]:
    """Compute softmax(query key^T / sqrt(depth)) value."""
    if query.device.type != "cpu" or key.shape[2] > FEW_CELLS:
        return nn.functional.scaled_dot_product_attention(query, key, value)
    weights = torch.softmax(query.shape[-1] ** -0.5 * (query @ key.mT), -1)
    return weights @ value


class AnchorCopy(nn.Module):
    """Pixels of the anchor: in place, and copied to where the pose needs them.

    Each copied cell is a mean of all cells of the anchor with attention weights. Queries come from the pose, keys from
    the anchor's features, which include its pose; both encode positions. Values are the pixels themselves. The anchor
    in place serves what does not move.
    """

    def __init__(self, width: int, cell: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.cell = cell
        place = position_encoding(size[0] // cell, size[1] // cell)
        self.register_buffer("place", place, persistent=False)
        self.ask = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.answer = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 1))
        self.ask_place = nn.Conv2d(place.shape[1], width, 1)
        self.answer_place = nn.Conv2d(place.shape[1], width, 1)

    def forward(
        self, pose: Float[Tensor, "TN C h w"], anchor: Float[Tensor, "N C h w"], anchor_frame: Images
    ) -> Float[Tensor, "TN 6 H W"]:
        """Return the anchor in place and the copy, one row per row of the pose (time-major)."""
        num_anchors = len(anchor)
        query = cell_sequence(self.ask(pose) + self.ask_place(self.place), num_anchors)
        key = cell_sequence(self.answer(anchor) + self.answer_place(self.place), num_anchors)
        value = cell_sequence(nn.functional.pixel_unshuffle(anchor_frame, self.cell), num_anchors)
        # In the precision of the features: a softmax in float32 takes three times as long, and this one rounds colours
        # by less than two steps of 256.
        with torch.autocast(query.device.type, enabled=False):
            weights = torch.softmax(query.shape[-1] ** -0.5 * query @ key.mT, -1)
            means = weights @ value.to(weights.dtype)  # [N, T h w, 3 cell²]
        height, width = pose.shape[2:]
        means = means.unflatten(1, (-1, height, width)).permute(1, 0, 4, 2, 3).flatten(0, 1)
        in_place = repeat_over_time(anchor_frame, pose).to(means.dtype)
        both = torch.cat((in_place, nn.functional.pixel_shuffle(means, self.cell)), 1)
        return both.contiguous(memory_format=torch.channels_last)


def position_encoding(height: int, width: int) -> Float[Tensor, "1 P h w"]:
    """Return sines and cosines of each cell's position (Vaswani et al. 2017), alike for cells near each other."""
    rows, columns = (torch.arange(side) / side for side in (height, width))
    waves = [
        wave(2 * math.pi * periods * position)
        for position in (rows[:, None].expand(height, width), columns[None].expand(height, width))
        for periods in PERIODS
        for wave in (torch.sin, torch.cos)
    ]
    return torch.stack(waves)[None]


def cell_sequence(x: Float[Tensor, "TN C h w"], num_anchors: int) -> Float[Tensor, "N L C"]:
    """Return the cells of all time steps as one sequence per anchor, L = T h w long."""
    cells = x.permute(0, 2, 3, 1).reshape(-1, num_anchors, x.shape[2] * x.shape[3], x.shape[1])
    return cells.transpose(0, 1).flatten(1, 2)


def apply_change(copies: Float[Tensor, "N 6 H W"], change: Float[Tensor, "N 4 H W"]) -> Images:
    """Mix the two images of an `AnchorCopy` and shift the colours; the result is in (0, 1).

    Args:
        copies: The anchor in place, then the copied image.
        change: Shifts of the three colours' logits, then the logit of the share of the anchor in place.
    """
    in_place, copied = copies.float().chunk(2, 1)
    shift, share = change.float().split((3, 1), 1)
    return torch.sigmoid(torch.logit(torch.lerp(copied, in_place, torch.sigmoid(share)), COLOUR_MARGIN) + shift)
