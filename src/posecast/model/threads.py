"""Threads that share work and each compute with one operator thread.

Threads inside small operators wait for each other thousands of times in an update, and a thread delayed by another
program delays all. Threads that each take a share of the clips meet four times: after cutting clips, the forward pass,
the backward pass and the optimiser.
In: independent calls. Out: their results in order; they do not depend on which thread computed them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import torch

from posecast.data.prefetch import compute_alone

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def operator_threads(count: int) -> Iterator[None]:
    """Compute each operator with `count` threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Workers:
    """Pool of `count` threads, including the caller's; each has one operator thread while they share work."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> Workers:
        """Return the pool itself: copies of a model share its threads."""
        return self

    def close(self) -> None:
        """End the threads; a later call of `map` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return the results of `function` for every item, in order.

        The first error is raised, and no further item is begun after it.

        Args:
            function: Called in any of the threads; it must set gradient mode and autocast itself.
            items: Arguments, one per call.
        """
        if self.count == 1 or len(items) <= 1:
            return [function(item) for item in items]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, "share", compute_alone)
        results: list[Result | None] = [None] * len(items)
        remaining, lock = list(range(len(items) - 1, -1, -1)), threading.Lock()

        def work() -> None:
            try:
                while True:
                    with lock:
                        if not remaining:
                            return
                        index = remaining.pop()
                    results[index] = function(items[index])
            except BaseException:
                remaining.clear()
                raise

        helpers = [self._pool.submit(work) for _ in range(min(self.count, len(items)) - 1)]
        try:
            with operator_threads(1):
                work()
        finally:
            errors = [error for helper in helpers if (error := helper.exception())]
        if errors:
            raise errors[0]
        return results  # pyright: ignore[reportReturnType]
