"""Callbacks of training: a live display on stderr, and TensorBoard.

In: a `TrainEvent` after each update and each epoch. Next: `training/state.py`, which defines the events;
`progress_bars.py`, which shows other work.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from posecast.cli.options import is_quiet, print_error
from posecast.cli.progress_bars import Heartbeat, Pace, live_console
from posecast.errors import counted
from posecast.training.state import epoch_means

if TYPE_CHECKING:
    from posecast.training.state import TrainEvent, TrainState


class TrainingDisplay:
    """Callback of training that shows a bar with loss, rate, distortion and speed, and a line per validated epoch.

    Bar and thread are created at the first event, because the object may be pickled for the process that trains.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._heartbeat: Heartbeat | None = None
        self._task: Any = None
        self._pace: Pace | None = None
        self._line = ""
        self._quiet = is_quiet()

    def __call__(self, event: TrainEvent) -> None:
        if self._quiet:
            return
        train_state = event.train_state
        if self._pace is None:
            self._pace = self._start(train_state)
        self._pace.update(train_state.step, train_state.num_steps)
        self._pace.ends_at = event.ends_at
        if event.update is not None:
            self._show_update(train_state, self._pace.time_left())
        if event.entry is not None and event.entry["validation_loss"] is not None:
            self._print_epoch(event.entry, train_state.best_psnr_db)
        if train_state.step >= train_state.num_steps and event.entry is not None:
            self.close()

    def close(self) -> None:
        """Remove the bar; may be called repeatedly."""
        if self._progress is not None:
            self._progress.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _start(self, train_state: TrainState) -> Pace:
        """Start the bar, or the plain lines where there is no terminal."""
        pace = Pace()
        console = live_console()
        if console is None:
            self._heartbeat = Heartbeat(lambda: f"{pace.describe('training: update')} {self._line}".rstrip())
            return pace
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
        return pace

    def _show_update(self, train_state: TrainState, time_left: str) -> None:
        """Refresh the bar, and the text of the plain lines, with means over the current epoch."""
        means = epoch_means(train_state.sums)
        if means["loss"] is None:
            return
        fields: dict[str, Any] = {
            "loss": f"{means['loss']:.5f}",
            "distortion": format_number(means["distortion"], 0),
            "rate": format_number(means["rate"]),
            "best": "" if train_state.best_psnr_db == -math.inf else f" · val {train_state.best_psnr_db:.2f} dB",
            "speed": f"{train_state.sums['predictions'] / max(train_state.sums['seconds'], 1e-9):.0f}",
            "left": time_left or "-",
            "skipped": f" · {counted(train_state.skipped, 'update')} skipped" if train_state.skipped else "",
        }
        self._line = "loss {loss}, {speed} frames/s{best}{skipped}".format(**fields).replace(" ·", ",")
        if self._progress is not None:
            self._progress.update(self._task, completed=train_state.step, total=train_state.num_steps, **fields)

    def _print_epoch(self, entry: dict[str, Any], best_psnr_db: float) -> None:
        """Print the line of a validated epoch."""
        psnr_db = entry["validation_psnr_db"]
        validation = "rollout not finite" if psnr_db is None else f"val {psnr_db:.2f} dB (best {best_psnr_db:.2f})"
        line = (
            f"epoch {entry['epoch'] + 1:4d}  update {entry['step']:6d}  {validation}  "
            f"distortion {format_number(entry['distortion'])} + rate {format_number(entry['rate'])} nats/frame  "
            f"{entry['frames_per_second']:.0f} frames/s"
        )
        if self._progress is not None:
            self._progress.console.print(line, highlight=False)
        else:
            print_error(line)


def format_number(value: float | None, digits: int = 1) -> str:
    """Return a number with separators of thousands, or a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


class TensorBoardWriter:
    """Callback of training that writes each epoch's numbers as TensorBoard scalars; needs posecast[tensorboard]."""

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
    """Several callbacks of training as one."""

    callbacks: tuple[Callable[[TrainEvent], None], ...]

    def __call__(self, event: TrainEvent) -> None:
        for callback in self.callbacks:
            callback(event)
