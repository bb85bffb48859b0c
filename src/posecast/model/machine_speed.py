"""Speed of this machine: trial computations for choosing arithmetic and threads.

In: numeric types, a limit of threads. Out: GFLOP/s, numbers of threads, whether the cores are free.
Trials resemble a training update, because processors differ from what their specifications suggest.
Next: `device.py` keeps the results as a profile.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from posecast.model.threads import Workers, operator_threads

CLEARLY_FASTER = 1.15
"""Factor by which a choice must be faster if it rounds differently or uses more threads."""
NEARLY_AS_FAST = 1.05
"""Factor of time within which fewer threads are preferred."""
TRIAL_SECONDS = 0.25
"""Duration of the trial of one choice."""
ROUNDS = 5
MOST_THREADS = 16
"""Updates of a few small clips do not give more threads enough work."""
FREE_SHARE = 0.85
"""Share of the time for which a thread must get the processor for its core to count as free."""


def cores_are_free(count: int) -> bool:
    """Return whether `count` threads each get a core to themselves, measured by the processor time they are given."""
    matrix = torch.ones(256, 256)

    def processor_share(_: int) -> float:
        began, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < TRIAL_SECONDS:
            torch.mm(matrix, matrix)
        return (time.thread_time() - used) / (time.perf_counter() - began)

    with Workers(count) as workers, operator_threads(1):
        return min(workers.map(processor_share, range(count))) > FREE_SHARE


def product_gflops(kind: torch.dtype, side: int = 256) -> float:
    """Measure the GFLOP/s of a product of square matrices with the current number of operator threads."""
    a, b = (torch.randn(side, side, generator=torch.Generator().manual_seed(n)).to(kind) for n in (0, 1))
    return 2e-9 * side**3 / min(_seconds(lambda: a @ b))


def convolution_gflops(kind: torch.dtype) -> float:
    """Measure the GFLOP/s of a 3x3 convolution, forward and backward, with the current number of operator threads."""
    work = TrialWork(kind, layers=1)
    return 1e-9 * work.flops / min(_seconds(lambda: work.gradients(work.features)))


def _seconds(function: Callable[[], object], seconds: float = TRIAL_SECONDS) -> Iterator[float]:
    """Yield the durations of repeated calls for `seconds`, at least two; the first call is not counted."""
    ends = time.perf_counter() + seconds
    function()
    for repetition in range(10_000):
        start = time.perf_counter()
        function()
        yield time.perf_counter() - start
        if repetition > 0 and time.perf_counter() > ends:
            return


class TrialWork:
    """Small version of an update: convolutions and activations, forward and backward, on a batch of eight."""

    def __init__(self, kind: torch.dtype, layers: int = 4, width: int = 64) -> None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(8, width, 16, 32, generator=generator)
        self.features = features.contiguous(memory_format=torch.channels_last)
        self.kind = kind
        self.layers = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(layers)))
        self.layers.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # Three passes: forward, and the gradients of features and kernels.
        self.flops = 3 * layers * 2 * 9 * width**2 * features.shape[0] * math.prod(features.shape[2:])

    def gradients(self, features: Tensor) -> list[Tensor]:
        """Return the gradients of features and kernels."""
        inputs = features.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.kind == torch.bfloat16):
            x = inputs
            for layer in self.layers:
                x = nn.functional.silu(layer(x))
        return list(torch.autograd.grad(x.float().square().mean(), [inputs, *self.layers.parameters()]))


def choose_threads(limit: int, kind: torch.dtype) -> tuple[int, int]:
    """Measure how threads compute a small update fastest: inside operators, or each on a share of the batch.

    On many cores neither number is the limit: small operators on 64 threads are slower than on eight.

    Args:
        limit: Largest number of threads to try.
        kind: float32, or bfloat16 for mixed precision.

    Returns:
        Threads inside operators; and shares of a batch, 1 where operators are clearly faster.
    """
    counts = [count for count in (1, 2, 3, 4, 6, 8, 12, MOST_THREADS) if count < limit] + [limit]
    if counts == [1]:
        return 1, 1
    trials = _time_threads(TrialWork(kind), counts)
    operators, shares = fewest(trials, "operators"), fewest(trials, "shares")
    # Threads with a share of the clips do not wait for each other inside operators, so they are the default.
    times = {choice: statistics.median(seconds) for choice, seconds in trials.items()}
    if times["operators", operators] * CLEARLY_FASTER < times["shares", shares]:
        shares = 1
    return operators, shares


def _time_threads(work: TrialWork, counts: Sequence[int]) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of an update for threads inside operators and for shares, for every count."""
    trials: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        pools = {count: stack.enter_context(Workers(count)) for count in counts if count <= len(work.features)}
        for _ in range(ROUNDS):  # in turns, so that other programs slow all choices down alike
            for count in counts:
                with operator_threads(count):
                    seconds = _seconds(lambda: work.gradients(work.features), TRIAL_SECONDS / ROUNDS)
                    trials.setdefault(("operators", count), []).extend(seconds)
            for count, pool in pools.items():
                shares = work.features.tensor_split(count)
                with operator_threads(1):
                    seconds = _seconds(lambda: pool.map(work.gradients, shares), TRIAL_SECONDS / ROUNDS)  # noqa: B023
                    trials.setdefault(("shares", count), []).extend(seconds)
    return trials


def fewest(trials: Mapping[tuple[str, int], Sequence[float]], way: str) -> int:
    """Return the smallest number of threads that is nearly as fast as the fastest, by the median of its trials."""
    times = {count: statistics.median(seconds) for (name, count), seconds in trials.items() if name == way}
    return min(count for count, seconds in times.items() if seconds <= NEARLY_AS_FAST * min(times.values()))
