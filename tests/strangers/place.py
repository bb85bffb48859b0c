"""Folder in which commands are tried on files of strangers, beside a folder that they must neither read nor change.

In: a data set, a run and an experiment. Out: the output of commands, after checks that hold of every command.
Next: `test_links.py`, `test_names_in_files.py`, `test_exhausting_files.py`, `test_hostile_content.py`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posecast.cli.main import main
from posecast.config.overrides import build_config
from posecast.data.images import write_png
from posecast.model.checkpoint import save_weights, write_config
from posecast.model.predictor import Predictor

from ..conftest import TINY
from ..test_moved_data import OPTIONS

CANARY = "CANARY-8f41c2"
GRID = "[settings.a]\nlearning_rate = 1e-3\n[settings.b]\nlearning_rate = 1e-4\n"
Capture = pytest.CaptureFixture[str]
EXPERIMENT = "experiment grid.toml --data data --out exp --seeds 1 --futures 1 --recipe anchored".split()
EXPERIMENT += [*OPTIONS[: OPTIONS.index("--warmup-steps")], "--steps", "2"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some names and links")


def write_run(run: Path) -> None:
    torch.manual_seed(0)
    config = build_config("anchored", flags={**TINY, "steps": 2})
    run.mkdir()
    machine = {"precision": "32-true", "processes": 1, "threads": 1, "shares": 1, "device": "cpu"}
    write_config(run, config, {"source": {}, "selected_on": "val", "num_steps": 2, "machine": machine})
    save_weights(run / "model.safetensors", Predictor(config).state_dict())
    save_weights(run / "epochs" / "epoch-0001.safetensors", Predictor(config).state_dict())
    (run / "log.jsonl").write_text('{"epoch": 0, "step": 2, "loss": 0.1, "seconds": 1.0}\n')
    for name in ("val-strip.png", "val-traversal.png", "val-futures.png"):
        write_png(run / "samples" / name, np.zeros((4, 4, 3), np.uint8))
    (run / "state").mkdir()


class Place:
    """Folder in which a command is tried, beside a folder that it must neither read nor change."""

    def __init__(self, folder: Path, origin: Path, capture: Capture) -> None:
        self.folder, self.outside, self.capture = folder, folder / "outside", capture
        for name in ("run", "exp"):
            shutil.copytree(origin / name, folder / name)
        (folder / "data").symlink_to(origin / "data")
        for name in ("grid.toml", "clip.mp4"):
            shutil.copy(origin / name, folder / name)
        self.outside.mkdir()
        for name in ("secret.txt", "config.json", "x-strip.png", "val-strip.png", "step-000000001-x.pt", "scores.json"):
            (self.outside / name).write_text(f"{CANARY} {name}")
        self.before = self.snapshot()
        self.status = 0

    def own_data(self) -> Path:
        """Return the data set after putting a copy in the place of the one that the tests share."""
        data = self.folder / "data"
        shared = data.resolve()
        data.unlink()
        return shutil.copytree(shared, data)

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        files = [path for path in self.outside.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def run(self, *words: str, status: tuple[int, ...] = (1, 2)) -> str:
        """Run a command and return its output, after checking what holds of every command."""
        self.capture.readouterr()
        self.status = main(list(words))
        output = self.capture.readouterr()
        assert self.status in status, (words, output.err)
        assert "Traceback" not in output.err
        assert all(letter.isprintable() or letter == "\n" for letter in output.out + output.err), output
        if self.status:
            assert len([line for line in output.err.splitlines() if line.startswith("posecast: ")]) == 1, output.err
        self.check_outside()
        assert CANARY not in output.out + output.err
        return output.out + output.err

    def check_outside(self) -> None:
        """Check that the folder outside is unchanged, that nothing of it was copied, and that nothing else appeared."""
        assert self.snapshot() == self.before
        expected = {"data", "run", "exp", "grid.toml", "clip.mp4", "outside", "made", "page.html", "input"}
        assert set(os.listdir(self.folder)) <= expected
        for parent, _, files in os.walk(self.folder):
            if not Path(parent).is_relative_to(self.outside):
                for path in (Path(parent, name) for name in files):
                    if not path.is_symlink() and path.is_file() and path.stat().st_size < 2**30:
                        assert CANARY.encode() not in path.read_bytes(), path


def core_first(cases: list[tuple[str, ...]], is_core: Callable[..., bool]) -> list[Any]:
    """Return parameters of a test, marked as long except some."""
    return [pytest.param(*case, marks=() if is_core(*case) else pytest.mark.long) for case in cases]


def some_long(values: list[Any], every: int) -> list[Any]:
    """Return parameters of a test, marked as long except every n-th."""
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*case, marks=pytest.mark.long if k % every else ()) for k, case in enumerate(cases)]
