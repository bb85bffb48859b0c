"""What a person sees while waiting: bars for counted work, a live line and a table of epochs for training.

Everything here goes to stderr; results go to stdout. Where stderr is no terminal a plain line comes about every 15 s:
what is done, how far it is, and the time left. Next: `options.py` has --quiet and --verbose.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from posecast.cli.options import is_quiet
from posecast.training.state import epoch_means

if TYPE_CHECKING:
    from posecast.training.state import TrainEvent, TrainState

LINE_SECONDS = 15.0
"""From one plain line to the next where there is no terminal."""


class Heartbeat:
    """Prints a line again and again, from a thread of its own: also while one step takes minutes."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            print(self._line(), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Print no more; safe to call at any time."""
        self._ended.set()
        self._thread.join()


class Pace:
    """Progress of counted work, and the time left: until `ends_at` if known, or at the speed of the last minute."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        self.ends_at: float | None = None
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def note(self, done: int, total: int) -> None:
        """So much is done of so much."""
        now = time.monotonic()
        if done < self.done:  # other work has begun
            self._seen = deque([(now, done)])
        self.done, self.total = done, total
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > 60.0:
            self._seen.popleft()

    def sentence(self, what: str) -> str:
        """What, how far, time left."""
        if not self.total:
            return f"{what}: beginning"
        left = self.left()
        return f"{what}: {self.done:,} of {self.total:,}" + (f", {left} left" if left else "")

    def left(self) -> str:
        """Return the time left as a person says it; empty where nothing tells it yet."""
        (first, before), now = self._seen[0], time.monotonic()
        if self.ends_at is not None:
            return duration(max(0.0, self.ends_at - now))
        done = self.done - before
        return duration((now - first) / done * (self.total - self.done)) if done > 0 else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(7.2), duration(100), duration(7300)
    ('7 s', '1 min 40 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total); it goes away at the end."""
    with stages(label) as progress:
        yield lambda done, total: progress(label, done, total)


@contextmanager
def stages(first: str = "working") -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is told (what is being done, done, total), `first` until then; it goes away at the end."""
    console = Console(stderr=True)
    if is_quiet():
        yield lambda what, done, total: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            tasks: dict[str, Any] = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=total)
                progress.update(tasks[what], completed=done, total=total)

            yield tell
    else:
        latest = {"what": first, "pace": Pace()}

        def keep(what: str, done: int, total: int) -> None:
            if what != latest["what"]:
                latest.update(what=what, pace=Pace())
            latest["pace"].note(done, total)

        heart = Heartbeat(lambda: latest["pace"].sentence(latest["what"]))
        try:
            yield keep
        finally:
            heart.stop()


class TrainingDisplay:
    """A callback of training: a bar with loss, rate, distortion and speed; a line for each validated epoch.

    Starts with what it is first told, in the process that trains, so that it can be sent there.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._heart: Heartbeat | None = None
        self._task: Any = None
        self._pace: Pace | None = None
        self._line = ""
        self._quiet = is_quiet()

    def __call__(self, event: TrainEvent) -> None:
        if self._quiet:
            return
        train_state = event.train_state
        if self._pace is None:
            self._start(train_state)
        assert self._pace is not None
        self._pace.note(train_state.step, train_state.num_steps)
        self._pace.ends_at = event.ends_at
        means = epoch_means(train_state.sums)
        if event.update is not None and means["loss"] is not None:
            fields: dict[str, Any] = {
                "loss": f"{means['loss']:.5f}",
                "distortion": shown(means["distortion"], 0),
                "rate": shown(means["rate"]),
                "best": "" if train_state.best_psnr_db == -math.inf else f" · val {train_state.best_psnr_db:.2f} dB",
                "speed": f"{train_state.sums['predictions'] / max(train_state.sums['seconds'], 1e-9):.0f}",
                "left": self._pace.left() or "-",
                "skipped": f" · {train_state.skipped} updates skipped" if train_state.skipped else "",
            }
            self._line = "loss {loss}, {speed} frames/s{best}{skipped}".format(**fields).replace(" ·", ",")
            if self._progress is not None:
                self._progress.update(self._task, completed=train_state.step, total=train_state.num_steps, **fields)
        if event.entry is not None and event.entry["validation_loss"] is not None:
            self._tell(event.entry, train_state.best_psnr_db)
        if train_state.step >= train_state.num_steps and event.entry is not None:
            self.close()

    def close(self) -> None:
        """Take the bar away; safe to call at any time."""
        if self._progress is not None:
            self._progress.stop()
        if self._heart is not None:
            self._heart.stop()

    def _start(self, train_state: TrainState) -> None:
        self._pace = pace = Pace()
        console = Console(stderr=True)
        if not console.is_terminal:
            self._heart = Heartbeat(lambda: f"{pace.sentence('training: update')} {self._line}".rstrip())
            return
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]} · distortion {task.fields[distortion]} + rate {task.fields[rate]} nats"
            ),
            TextColumn("{task.fields[speed]} frames/s{task.fields[best]}{task.fields[skipped]}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            transient=True,
        )
        blank: dict[str, Any] = dict.fromkeys(("loss", "distortion", "rate", "speed", "best", "skipped"), "")
        self._task = self._progress.add_task(
            "training", total=train_state.num_steps, completed=train_state.step, left="-", **blank
        )
        self._progress.start()

    def _tell(self, entry: dict[str, Any], best_psnr_db: float) -> None:
        psnr = entry["validation_psnr_db"]
        said = "rollout not finite" if psnr is None else f"val {psnr:.2f} dB (best {best_psnr_db:.2f})"
        line = (
            f"epoch {entry['epoch'] + 1:4d}  update {entry['step']:6d}  {said}  "
            f"distortion {shown(entry['distortion'])} + rate {shown(entry['rate'])} nats/frame  "
            f"{entry['frames_per_second']:.0f} frames/s"
        )
        if self._progress is not None:
            self._progress.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def shown(value: float | None, digits: int = 1) -> str:
    """A number for the eye, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


class TensorBoardWriter:
    """A callback that writes each epoch's numbers as TensorBoard scalars into a folder; needs the extra."""

    def __init__(self, folder: str) -> None:
        self._folder, self._writer = folder, None

    def __call__(self, event: TrainEvent) -> None:
        if event.entry is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(self._folder)
        for name, value in event.entry.items():
            if isinstance(value, int | float) and name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, event.entry["step"])
        self._writer.flush()


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """Several callbacks as one."""

    callbacks: tuple[Callable[[TrainEvent], None], ...]

    def __call__(self, event: TrainEvent) -> None:
        for callback in self.callbacks:
            callback(event)
