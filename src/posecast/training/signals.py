"""Requests to stop: SIGINT and SIGTERM, collected by the process that trains or passed on to several that do.

In: signals. Out: `StopRequests`, which the loop reads between updates.
Next: `loop.py` saves and stops; `distributed.py` passes signals on.
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


class StopRequested(BaseException):
    """Signal that interrupts a `StopRequests.at_once` block."""


class StopRequests:
    """Signals received so far, to be answered between two updates; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._first, self._at_once = math.inf, False

    def __bool__(self) -> bool:
        return bool(self.numbers)

    @property
    def number(self) -> int:
        """Number of the first signal; SIGTERM if only another process received one."""
        return self.numbers[0] if self.numbers else signal.SIGTERM

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        # The terminal and the parent process may both send the same request within a moment.
        if number == signal.SIGINT and time.monotonic() - self._first > 1.0:
            raise KeyboardInterrupt
        self._first = min(self._first, time.monotonic())
        self.numbers.append(number)
        if self._at_once:
            raise StopRequested

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise StopRequested for a signal received before or within the block, which must be safe to interrupt."""
        self._at_once = True
        try:
            if self.numbers:
                raise StopRequested
            yield
        finally:
            self._at_once = False


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Collect SIGINT and SIGTERM within the block."""
    requests = StopRequests()
    with _handling(requests.note):
        yield requests


@contextmanager
def forwarding_signals(devices: int) -> Iterator[list[int]]:
    """Pass signals on to the child processes within the block, if there are several devices; yield those received."""
    caught: list[int] = []
    if devices == 1:
        yield caught
        return

    def forward(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    with _handling(forward):
        yield caught


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler of SIGINT and SIGTERM within the block."""
    try:
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread may install handlers; in another, as in a notebook, there are none
        yield
        return
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
