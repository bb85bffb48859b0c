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
        """One row for each of the pose's; all T instants ask the same N anchors (time-major)."""
        shown = [torch.cat([x] * (len(pose) // len(anchor))) for x in (self.answer(anchor), self.value(anchor))]
        query, key, value = (by_head(x) for x in (self.ask(pose), *shown))
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        cells = found.transpose(1, 2).flatten(2).mT.unflatten(2, pose.shape[2:])
        return self.out(cells.contiguous(memory_format=torch.channels_last))


def by_head(x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N H L D"]:
    """Cells as the sequence, channels shared out among the heads."""
    return x.flatten(2).mT.unflatten(2, (HEADS, -1)).transpose(1, 2)
