"""Progress bars on stderr for counted work.

Where stderr is no terminal that can overwrite lines, a plain line is printed about every 15 s: the work, its progress
and the time left.
Next: `training_callbacks.py`, which shows the progress of training.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from posecast.cli.options import is_quiet, print_error
from posecast.errors import printable

LINE_SECONDS = 15.0
"""Interval of the plain lines."""
SPEED_WINDOW_SECONDS = 60.0
"""Period over which the present speed is measured."""


class Heartbeat:
    """Thread that prints a line at regular intervals, also while a single step takes minutes."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            print_error(self._line())

    def stop(self) -> None:
        """Stop printing; may be called repeatedly."""
        self._ended.set()
        self._thread.join()


class Pace:
    """Progress of counted work and the time left: until `ends_at` if set, else at the speed of the last minute."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        self.ends_at: float | None = None
        """Time on the monotonic clock."""
        self._history: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def update(self, done: int, total: int) -> None:
        """Record the progress; a smaller `done` than before starts a new measurement."""
        now = time.monotonic()
        if done < self.done:
            self._history = deque([(now, done)])
        self.done, self.total = done, total
        self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > SPEED_WINDOW_SECONDS:
            self._history.popleft()

    def describe(self, label: str) -> str:
        """Return one line: the label, the progress and the time left."""
        if not self.total:
            return f"{label}: starting"
        left = self.time_left()
        return f"{label}: {self.done:,} of {self.total:,}" + (f", {left} left" if left else "")

    def time_left(self) -> str:
        """Return the time left in words; empty if it is unknown."""
        (start, done_at_start), now = self._history[0], time.monotonic()
        if self.ends_at is not None:
            return duration(max(0.0, self.ends_at - now))
        done = self.done - done_at_start
        return duration((now - start) / done * (self.total - self.done)) if done > 0 else ""


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> duration(7.2), duration(100), duration(7300)
    ('7 s', '1 min 40 s', '2 h 1 min')
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for one kind of work; yields a function of (done, total) that updates it."""
    with stages(label) as progress:
        yield lambda done, total: progress(label, done, total)


@contextmanager
def stages(first: str = "working") -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each of several stages, and remove them at the end.

    Args:
        first: Label of the plain lines until the first update.

    Yields:
        A function of (label, done, total) that updates the bar of that label.
    """
    console = live_console()
    if is_quiet():
        yield lambda label, done, total: None
    elif console is not None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _bar_updater(progress)
    else:
        line = _StageLine(first, Pace())
        heartbeat = Heartbeat(lambda: line.pace.describe(line.label))
        try:
            yield line.update
        finally:
            heartbeat.stop()


def live_console() -> Console | None:
    """Return a console on stderr whose lines can be overwritten; None for a file, a pipe or a plain terminal."""
    console = Console(stderr=True)
    # The stream is asked as well, since variables such as FORCE_COLOR make rich take a file for a terminal.
    return console if sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal else None


def _bar_updater(progress: Progress) -> Callable[[str, int, int], None]:
    """Return a function of (label, done, total) that updates the label's bar, which the first call adds."""
    tasks: dict[str, Any] = {}

    def update(label: str, done: int, total: int) -> None:
        if label not in tasks:
            tasks[label] = progress.add_task(printable(label), total=total)
        progress.update(tasks[label], completed=done, total=total)

    return update


@dataclasses.dataclass
class _StageLine:
    """Current stage where there is no terminal."""

    label: str
    pace: Pace

    def update(self, label: str, done: int, total: int) -> None:
        if label != self.label:
            self.label, self.pace = label, Pace()
        self.pace.update(done, total)
