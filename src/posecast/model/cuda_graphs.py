"""CUDA graphs: the kernels of an update, or of a rollout's step, launched together.

An update has thousands of kernels of a few microseconds; a processor takes longer to launch one than a GPU to compute
it. A captured graph launches them all at once ("CUDA Graphs" in torch's notes on CUDA semantics).
In: a function of tensors that always runs the same operations. Out: its results, computed by a graph on a GPU and by
calls elsewhere. Next: `training/step.py` and `rollout_batches.py` capture their steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

FIRST_CALLS = 3
"""Calls of each shape that are computed before a capture: libraries choose kernels, optimisers create their state."""


class CapturedGraph(NamedTuple):
    """Kernels that read `inputs` and write `outputs`."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Any


class GraphedFunction:
    """Function of tensors; on a GPU, calls of one shape are captured once and replayed afterwards.

    Args:
        function: May change parameters in place. It must not wait for the GPU, and everything else that differs between
            calls must be in its arguments. The next call overwrites what it returns.
        device: Device of the arguments and results.
        enabled: False calls the function on a GPU, too.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, *, enabled: bool = True) -> None:
        self.function, self.device = function, device
        self.enabled = enabled and device.type == "cuda"
        self.graphs: dict[tuple[torch.Size, ...], CapturedGraph] = {}
        self.calls: Counter[tuple[torch.Size, ...]] = Counter()

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the function's result; inputs are moved to the device first."""
        if not self.enabled:
            return self.function(*(x.to(self.device, non_blocking=True) for x in inputs))
        shapes = tuple(x.shape for x in inputs)
        self.calls[shapes] += 1
        if shapes in self.graphs:
            if inputs:
                torch._foreach_copy_(self.graphs[shapes].inputs, inputs, non_blocking=True)  # pyright: ignore
        else:
            copies = [self._copy(x) for x in inputs]
            if self.calls[shapes] <= FIRST_CALLS:
                return self._compute(copies)
            self.graphs[shapes] = self._capture(copies)
        self.graphs[shapes].graph.replay()
        return self.graphs[shapes].outputs

    def _copy(self, x: Tensor) -> Tensor:
        # The strides of an expanded row cannot be preserved.
        order = torch.channels_last if x.ndim == 4 and not x.is_contiguous() else torch.preserve_format
        return x.to(self.device, non_blocking=True, copy=True, memory_format=order)

    def _compute(self, inputs: list[Tensor]) -> Any:
        """Call the function on a stream of its own: state created on the default stream could not be captured later."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            outputs = self.function(*inputs)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return outputs

    def _capture(self, inputs: list[Tensor]) -> CapturedGraph:
        graph = torch.cuda.CUDAGraph()
        # Calls by other threads meanwhile, such as allocations for clips, are not part of the graph.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self.function(*inputs)
        return CapturedGraph(graph, inputs, outputs)
