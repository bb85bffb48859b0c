"""Attention from the pose to the anchor: what a real frame shows of the body part that belongs in each cell.

A convolution sees the anchor where the person stood. When an arm is to be painted elsewhere, its sleeve must be
brought from there: pose-guided image synthesis does so by attention (Zhu et al. 2019, PATN; Ren et al. 2020, GFLA).
In: features of pose and anchor at one scale. Out: features to add. Next: `anchored.py`, whose decoder holds it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
