"""Time-major layout: the time steps of several clips as rows of one batch.

In: tensors `[B, T, ...]`. Out: `[T B, ...]`, and rows of them by time step or by clip. A time step is then a slice of
the first axis. Such a slice keeps the `channels_last` memory order; one of a five-dimensional tensor would not.
Next: `predictor.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from posecast.model.priors import Features


def time_major(x: Tensor) -> Tensor:
    """Convert `[B, T, ...]` to `[T B, ...]`; images become `channels_last`."""
    if x.ndim == 5:  # channels move last before the copy, so that there is only one
        return x.transpose(0, 1).movedim(2, -1).flatten(0, 1).contiguous().movedim(-1, 1)
    return x.transpose(0, 1).flatten(0, 1).contiguous()


def batch_major(x: Tensor, num_clips: int) -> Tensor:
    """Convert `[T B, ...]` to `[B, T, ...]`."""
    return x.unflatten(0, (-1, num_clips)).transpose(0, 1)


def by_time_step(features: Features, num_clips: int) -> list[Features]:
    """Split time-major features into those of each time step."""
    # A single split: the backward pass of each of many slices would allocate a gradient of full size.
    return list(zip(*(scale.split(num_clips) for scale in features), strict=True))


def slice_rows(features: Features, rows: slice) -> Features:
    """Return the same rows of the features of every scale."""
    return tuple(scale[rows] for scale in features)


def first_clips(x: Tensor, num_clips: int, count: int) -> Tensor:
    """Return the rows of the first `count` clips at every time step, in the memory order of `x`."""
    if count == num_clips:
        return x
    if x.ndim != 4:
        return x.unflatten(0, (-1, num_clips))[:, :count].flatten(0, 1)
    if len(x) == num_clips:
        return x[:count]
    return x.permute(0, 2, 3, 1).unflatten(0, (-1, num_clips))[:, :count].flatten(0, 1).permute(0, 3, 1, 2)


def rows_of_clips(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Split time-major rows `[T B, C, H, W]` by clips, in the memory order of `x`.

    Args:
        x: Rows of B clips.
        sizes: Number of clips of each part; their sum is B.

    Returns:
        One tensor `[T size, C, H, W]` per size.
    """
    parts = x.permute(0, 2, 3, 1).unflatten(0, (-1, sum(sizes))).split(list(sizes), 1)
    return [part.flatten(0, 1).permute(0, 3, 1, 2) for part in parts]


def repeat_rows(features: Features, times: int) -> Features:
    """Repeat every row, once per future, in `channels_last` memory order."""
    if times == 1:
        return features
    copies = (scale.repeat_interleave(times, 0) for scale in features)
    return tuple(copy.contiguous(memory_format=torch.channels_last) for copy in copies)


def expand_rows(features: Features, times: int) -> Features:
    """Repeat every row like `repeat_rows`, but a single row without a copy."""
    if times > 1 and features and len(features[0]) == 1:
        return tuple(scale.expand(times, -1, -1, -1) for scale in features)
    return repeat_rows(features, times)


def repeat_over_time(x: Tensor, like: Tensor) -> Tensor:
    """Repeat the rows of anchors, one per clip, for all time steps: as many rows as `like` has, time-major."""
    if len(x) == 1:  # without a copy, and in graphs of any number of rows
        return x.expand(like.shape[0], *x.shape[1:])
    return torch.cat([x] * (len(like) // len(x)))
