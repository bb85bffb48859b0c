"""Work shared out among threads that each compute with one operator thread.

Threads inside small operators wait for each other thousands of times an update, and one that a busy neighbour holds
up holds up all. Threads that each take a share of the clips meet four times: after
cutting clips, the forward pass, the backward pass and the optimiser.
In: independent calls. Out: their results in order, the same whatever thread computed them. Knows no model.
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
    """Compute each operator with `count` threads while this lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Workers:
    """A crew of `count` threads, the caller's among them, with one operator thread each while they share work."""

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
        """Copies of a model share its threads."""
        return self

    def close(self) -> None:
        """End the threads; the crew may be used again, and begins new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return `function` of every item, in order. After an error no other item is begun, and it is raised.

        Gradient modes and autocast belong to a thread: `function` must set its own.
        """
        if self.count == 1 or len(items) <= 1:
            return [function(item) for item in items]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, "share", compute_alone)
        results: list[Result | None] = [None] * len(items)
        left, lock = list(range(len(items) - 1, -1, -1)), threading.Lock()

        def work() -> None:
            try:
                while True:
                    with lock:
                        if not left:
                            return
                        number = left.pop()
                    results[number] = function(items[number])
            except BaseException:
                left.clear()
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
