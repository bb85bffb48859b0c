"""Helpers for tests that train runs: small footage, a callback that stops a run, and comparable results."""

import os
import signal
from pathlib import Path
from typing import Any

from posecast.data.recordings import Footage
from posecast.files import read_json_lines
from posecast.training.state import TrainEvent

from ..conftest import moving_square


def footage() -> Footage:
    return Footage(
        [moving_square(25, seed=1), moving_square(19, seed=2)],
        [moving_square(12, seed=3)],
        facts={"path": "squares", "fingerprint": "1"},
    )


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def log_without_times(run: Path) -> list[dict[str, Any]]:
    entries = read_json_lines(run / "log.jsonl")
    return [
        {key: value for key, value in entry.items() if key not in ("seconds", "frames_per_second")} for entry in entries
    ]


class StopAfter:
    """A callback that requests a stop after an update, as Ctrl-C does."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def __call__(self, event: TrainEvent) -> None:
        if event.update is not None and event.train_state.step == self.step:
            os.kill(os.getpid(), self.number)
