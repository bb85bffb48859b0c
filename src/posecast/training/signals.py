"""What a run asks of its machine: work prepared ahead, votes of its processes, and the signals that ask it to stop.

Knows no model. Next: `loop.py`, which asks between updates.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes longer to import than torch, and a rollout does without
    pass


class StopRequested(BaseException):
    """A signal came while something long was going on that may be broken off; see `StopRequests.at_once`."""


class StopRequests:
    """SIGINT and SIGTERM as they come, to be answered between two updates; a second Ctrl-C is not held back."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._first, self._at_once = math.inf, False

    def __bool__(self) -> bool:
        return bool(self.numbers)

    @property
    def number(self) -> int:
        """The signal that came first; SIGTERM where it came to another process."""
        return self.numbers[0] if self.numbers else signal.SIGTERM

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        # The same request may come at once from the terminal and from the parent process.
        if number == signal.SIGINT and time.monotonic() - self._first > 1.0:
            raise KeyboardInterrupt
        self._first = min(self._first, time.monotonic())
        self.numbers.append(number)
        if self._at_once:
            raise StopRequested

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While this lasts a signal raises StopRequested: what goes on may be broken off, and changes nothing."""
        self._at_once = True
        try:
            if self.numbers:
                raise StopRequested
            yield
        finally:
            self._at_once = False


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Collect SIGINT and SIGTERM while this lasts."""
    requests = StopRequests()
    with handling(requests.note):
        yield requests


@contextmanager
def forwarding_signals(devices: int) -> Iterator[list[int]]:
    """With several processes: pass a signal on to all of them and wait for them to save."""
    caught: list[int] = []
    if devices == 1:
        yield caught
        return

    def forward(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    with handling(forward):
        yield caught


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler for SIGINT and SIGTERM, where this thread may."""
    try:
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: a notebook's or a test's own business
        yield
        return
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
