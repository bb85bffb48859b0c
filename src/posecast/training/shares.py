"""Shares of a batch: the clips of one update, divided among processes and threads.

In: clips and their random draws. Out: shares of them, as tuples or as the flat list of tensors that a CUDA graph takes;
pose features that shares have in common where BatchNorm normalises over all clips.
Next: `step.py` runs the forward and the backward pass of each share.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posecast.data.clips import Clip
from posecast.model.draws import Draws
from posecast.model.layout import rows_of_clips, time_major
from posecast.model.predictor import Predictor
from posecast.model.priors import Features


class Share(NamedTuple):
    """Clips that one thread works on, and the random draws about them."""

    clip: Clip
    draws: Draws


def share_of(batch: Any, index: int, count: int) -> Any:
    """Return every `count`-th row of a plan, of clips or of their draws, from row `index` on.

    The first clips of a batch are the observed ones; interleaving gives all shares the same number of them, or one
    more.
    """
    if isinstance(batch, tuple):
        return type(batch)(*(share_of(part, index, count) for part in batch))  # pyright: ignore[reportCallIssue]
    return batch[index::count]


def to_tensors(shares: Sequence[Share]) -> list[Tensor]:
    """Return the tensors of all shares in one list."""
    return [tensor for clip, draws in shares for tensor in (*clip, *draws)]


def from_tensors(tensors: Sequence[Tensor]) -> list[Share]:
    """Return the shares that `to_tensors` made a list of."""
    clip_size, share_size = len(Clip._fields), len(Clip._fields) + len(Draws._fields)
    rows = [tensors[first : first + share_size] for first in range(0, len(tensors), share_size)]
    return [Share(Clip(*row[:clip_size]), Draws(*row[clip_size:])) for row in rows]


_SHARED_GRAPH_LOCK = threading.Lock()
"""Held by the thread that runs the backward pass of a graph that all shares have in common."""


class SharedCondition(NamedTuple):
    """Pose features of one share, computed in one batch with those of all shares.

    Each share runs its backward pass down to `leaves`; from there `backward` continues through the common graph.
    """

    features: Features
    leaves: Features
    """`features` detached from the common graph."""

    def backward(self, leaf_gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the gradients of the parameters for given gradients of the leaves; the graph is kept."""
        with _SHARED_GRAPH_LOCK:
            return torch.autograd.grad(
                self.features,
                parameters,
                leaf_gradients,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )


def shared_conditions(predictor: Predictor, shares: Sequence[Share]) -> list[SharedCondition | None]:
    """Encode the poses of all shares in one batch if networks normalise over it; return None per share otherwise."""
    if len(shares) == 1 or not predictor.normalises_over_clips:
        return [None] * len(shares)
    poses = time_major(torch.cat([share.clip.poses[:, 1:] for share in shares]))
    sizes = [len(share.clip.poses) for share in shares]
    scales = (rows_of_clips(scale, sizes) for scale in predictor.networks.encode_condition(poses, ()))
    return [
        SharedCondition(features, tuple(scale.detach().requires_grad_() for scale in features))
        for features in zip(*scales, strict=True)
    ]
