"""Work done by threads ahead of its consumer, with results in order.

In: a function and items. Out: an iterator over the results, computed a few items ahead.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # takes longer to import than torch, and a rollout does not need it
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]
"""Callback that receives the number of finished items and their total."""
Item = TypeVar("Item")
Done = TypeVar("Done")


def in_threads(
    work: Callable[[Item], Done], items: Sequence[Item], progress: Progress | None = None, threads: int | None = None
) -> Iterator[Done]:
    """Map `work` over `items` in threads and yield the results in order, computed a few items ahead.

    Threads suffice for work that releases the interpreter's lock, as Pillow and hashlib do.

    Args:
        work: Function of an item; its errors are raised where its result is due.
        items: Inputs.
        progress: Called after each result.
        threads: Number of threads; None for one per core.
    """
    num_threads = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[Done]] = deque()
        try:
            for done in range(1, len(items) + 1):
                while len(pending) < 4 * num_threads and done + len(pending) <= len(items):
                    pending.append(pool.submit(work, items[done + len(pending) - 1]))
                yield pending.popleft().result()
                if progress:
                    progress(done, len(items))
        finally:  # an error or Ctrl-C cancels the remaining items
            pool.shutdown(cancel_futures=True)


MAX_CUTTING_THREADS = 12
"""Threads that cut clips for a GPU; it trains on about ten times as many clips as one thread cuts."""


def threads_ahead(fabric: Fabric) -> int:
    """Return the number of threads that cut clips during an update: 0 on a CPU, whose cores are all in use."""
    return min(MAX_CUTTING_THREADS, max(1, (os.cpu_count() or 1) - 2)) if fabric.device.type == "cuda" else 0


def compute_alone() -> None:
    """Limit torch to one operator thread in the calling thread."""
    import torch  # imported here because decoding images does not need it

    torch.get_num_threads()  # initialises the thread's count, which would otherwise replace the one set here
    torch.set_num_threads(1)


def mapped_ahead(function: Callable[[Item], Done], items: Iterable[Item], threads: int) -> Iterator[Done]:
    """Map `function` over `items` like `map`, while threads work on the next items.

    Args:
        function: Function of an item, computed with one operator thread.
        items: Inputs; read at most `threads` + 2 items ahead.
        threads: Number of threads; 0 for plain `map` in the calling thread.
    """
    if not threads:
        yield from map(function, items)
        return
    remaining = iter(items)
    # One core each: operators that use all cores would compete with each other.
    with ThreadPoolExecutor(threads, initializer=compute_alone) as pool:
        pending = deque(pool.submit(function, item) for item in islice(remaining, threads + 2))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result


def ahead(items: Iterator[Item], depth: int = 8) -> Generator[Item, None, None]:
    """Yield items that a separate thread produces, up to `depth` ahead; closing the generator ends the thread.

    An error in `items` is raised where the failed item is due.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    closed = threading.Event()

    def put(is_item: bool, content: Any) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((is_item, content), timeout=0.1)
                return

    def produce() -> None:
        try:
            for item in items:
                put(True, item)
                if closed.is_set():
                    return
            put(False, None)
        except BaseException as error:  # raised in the consumer's thread
            put(False, error)

    producer = threading.Thread(target=produce, name="decoding", daemon=True)
    producer.start()
    try:
        while True:
            is_item, content = ready.get()
            if not is_item:
                break
            yield content
        if content is not None:
            raise content
    finally:
        closed.set()
        producer.join()
