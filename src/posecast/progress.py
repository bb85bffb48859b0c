"""What a person sees while waiting: bars for counted work, a live line and a table of epochs for training.

Everything here goes to stderr; results go to stdout. Without a terminal, bars are silent and epochs are plain lines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from posecast.standing import Status


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total); it goes away at the end."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tell


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is told (what is being done, done, total); it goes away at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell


class TrainingDisplay:
    """A watcher of training: a bar with loss, rate, distortion and speed; a line for each validated epoch.

    Starts with the first update, in the process that trains, so that it can be sent there.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: Any = None

    def __call__(self, status: Status) -> None:
        standing = status.standing
        if self._progress is None:
            self._start(standing.step, standing.num_steps)
        assert self._progress is not None
        sums = standing.sums
        if status.update is not None and sums.get("updates", 0.0) > sums.get("skipped", 0.0):
            used = sums["updates"] - sums["skipped"]
            self._progress.update(
                self._task,
                completed=standing.step,
                loss=f"{sums['loss'] / used:.5f}",
                distortion=f"{sums['distortion_nats'] / used:,.0f}",
                rate=f"{sums['rate_nats'] / used:.1f}",
                best="" if standing.best_psnr_db == -math.inf else f" · val {standing.best_psnr_db:.2f} dB",
                speed=f"{sums['predictions'] / max(sums['seconds'], 1e-9):.0f}",
                skipped=f" · {standing.skipped} updates skipped" if standing.skipped else "",
            )
        if status.entry is not None and status.entry["validation_loss"] is not None:
            self._tell(status.entry, standing.best_psnr_db)
        if standing.step >= standing.num_steps and status.entry is not None:
            self.close()

    def close(self) -> None:
        """Take the bar away; safe to call at any time."""
        if self._progress is not None:
            self._progress.stop()

    def _start(self, step: int, num_steps: int) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]} · distortion {task.fields[distortion]} + rate {task.fields[rate]} nats"
            ),
            TextColumn("{task.fields[speed]} frames/s{task.fields[best]}{task.fields[skipped]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        blank = dict.fromkeys(("loss", "distortion", "rate", "speed", "best", "skipped"), "")
        self._task = self._progress.add_task("training", total=num_steps, completed=step, **blank)
        self._progress.start()

    def _tell(self, entry: dict[str, Any], best_psnr_db: float) -> None:
        assert self._progress is not None
        psnr = entry["validation_psnr_db"]
        said = "rollout not finite" if psnr is None else f"val {psnr:.2f} dB (best {best_psnr_db:.2f})"
        self._progress.console.print(
            f"epoch {entry['epoch'] + 1:4d}  update {entry['step']:6d}  {said}  "
            f"distortion {shown(entry['distortion'])} + rate {shown(entry['rate'])} nats/frame  "
            f"{entry['frames_per_second']:.0f} frames/s",
            highlight=False,
        )


def shown(value: float | None) -> str:
    """A number for the eye, or a dash."""
    return "-" if value is None else f"{value:,.1f}"


class TensorBoardWriter:
    """A watcher that writes each epoch's numbers as TensorBoard scalars into a folder; needs the extra."""

    def __init__(self, folder: str) -> None:
        self._folder, self._writer = folder, None

    def __call__(self, status: Status) -> None:
        if status.entry is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(self._folder)
        for name, value in status.entry.items():
            if isinstance(value, int | float) and name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, status.entry["step"])
        self._writer.flush()


@dataclasses.dataclass(frozen=True)
class Watchers:
    """Several watchers as one."""

    watchers: tuple[Callable[[Status], None], ...]

    def __call__(self, status: Status) -> None:
        for watcher in self.watchers:
            watcher(status)
