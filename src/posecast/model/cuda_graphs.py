"""CUDA graphs: the small kernels of an update, or of a rollout's step, launched as one.

An update is thousands of kernels of a few microseconds; a processor takes longer to launch one than a GPU to compute
it. Recorded once and replayed they follow each other without it ("CUDA Graphs" in torch's notes on CUDA semantics).
In: a function of tensors that always does the same with them. Out: the same results, on a GPU sooner; elsewhere the
function is called. Knows no model. Next: `step.py` and `rollout.py`, whose steps are replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

FIRST_CALLS = 3
"""Calls of one shape that are computed as they come: libraries choose kernels, optimisers make their state."""


class CapturedGraph(NamedTuple):
    """Kernels that read what `given` holds and write what `found` holds."""

    graph: torch.cuda.CUDAGraph
    given: list[Tensor]
    found: Any


class GraphedFunction:
    """A function of tensors; on a GPU the calls of one shape are recorded once and replayed from then on.

    The function may change parameters in place, must not wait for the GPU, and must read everything else that
    differs from call to call from the tensors given. What a call returns is overwritten by the next one.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, *, records: bool = True) -> None:
        self.function, self.device = function, device
        self.records = records and device.type == "cuda"
        self.recordings: dict[tuple[torch.Size, ...], CapturedGraph] = {}
        self.calls: Counter[tuple[torch.Size, ...]] = Counter()

    def __call__(self, *given: Tensor) -> Any:
        """What the function returns; tensors on the CPU are brought to the device."""
        if not self.records:
            return self.function(*(one.to(self.device, non_blocking=True) for one in given))
        shapes = tuple(one.shape for one in given)
        self.calls[shapes] += 1
        if shapes in self.recordings:
            if given:
                torch._foreach_copy_(self.recordings[shapes].given, given, non_blocking=True)  # pyright: ignore
        else:
            own = [self._copied(one) for one in given]
            if self.calls[shapes] <= FIRST_CALLS:
                return self._computed(own)
            self.recordings[shapes] = self._recorded(own)
        self.recordings[shapes].graph.replay()
        return self.recordings[shapes].found

    def _copied(self, given: Tensor) -> Tensor:
        # A row that stands for many has no order of its own to keep.
        order = torch.channels_last if given.ndim == 4 and not given.is_contiguous() else torch.preserve_format
        return given.to(self.device, non_blocking=True, copy=True, memory_format=order)

    def _computed(self, given: list[Tensor]) -> Any:
        """Not on the default stream, where whatever a call leaves behind could not be recorded later."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            found = self.function(*given)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return found

    def _recorded(self, given: list[Tensor]) -> CapturedGraph:
        graph = torch.cuda.CUDAGraph()
        # What other threads ask of the GPU meanwhile, such as memory for clips, is not part of it.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = self.function(*given)
        return CapturedGraph(graph, given, found)
