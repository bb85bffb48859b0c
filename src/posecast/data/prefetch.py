"""Items prepared by threads before they are asked for, in their order.

In: a function and items. Out: its results, a little ahead of their reader. Knows no recording and no model.
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

if TYPE_CHECKING:  # it takes longer to import than torch, and a rollout does without
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]  # called with how many are done and how many there are
Item = TypeVar("Item")
Done = TypeVar("Done")


def in_threads(
    work: Callable[[Item], Done], items: Sequence[Item], progress: Progress | None = None, threads: int | None = None
) -> Iterator[Done]:
    """`work(item)` for every item, in order, in so many threads (None: one a core), a little ahead of the reader."""
    # Threads suffice: Pillow and hashlib release the interpreter's lock.
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
        finally:  # an error or Ctrl-C drops the rest
            pool.shutdown(cancel_futures=True)


MOST_AHEAD = 12
"""Threads. One cuts about 500 clips a second (8 frames of 32x64, augmented); a GPU learns from ten times as many."""


def threads_ahead(fabric: Fabric) -> int:
    """How many threads prepare what the next updates need while one is computed; a CPU has none to spare."""
    return min(MOST_AHEAD, max(1, (os.cpu_count() or 1) - 2)) if fabric.device.type == "cuda" else 0


def compute_alone() -> None:
    """Take one operator thread for this thread, for good."""
    import torch  # whoever packs pictures does without

    torch.get_num_threads()  # torch sets a new thread's number when it is first asked for, and would do so later
    torch.set_num_threads(1)


def mapped_ahead(function: Callable[[Item], Done], items: Iterable[Item], threads: int) -> Iterator[Done]:
    """`map`, but so many threads are at work on the next items before they are asked for; with none it is `map`."""
    if not threads:
        yield from map(function, items)
        return
    left = iter(items)
    # Each on one core: what they share out among cores otherwise would contend for all of them.
    with ThreadPoolExecutor(threads, initializer=compute_alone) as pool:
        begun = deque(pool.submit(function, item) for item in islice(left, threads + 2))
        while begun:
            found = begun.popleft().result()
            begun.extend(pool.submit(function, item) for item in islice(left, 1))
            yield found


def ahead(items: Iterator[Item], depth: int = 8) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, up to so many ahead; closing this ends that thread."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    closed = threading.Event()

    def put(whether: bool, item: Any) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((whether, item), timeout=0.1)
                return

    def make() -> None:
        try:
            for item in items:
                put(True, item)
                if closed.is_set():
                    return
            put(False, None)
        except BaseException as error:  # told to the one who waits
            put(False, error)

    maker = threading.Thread(target=make, name="decoding", daemon=True)
    maker.start()
    try:
        while (found := ready.get())[0]:
            yield found[1]
        if found[1] is not None:
            raise found[1]
    finally:
        closed.set()
        maker.join()
