"""Content of a run folder as plain values: configuration, log, scores and images.

In: a folder with config.json and log.jsonl, and after evaluation scores.json and samples/. Out: `Run`.
Imports no torch. Next: `reporting/run_report.py` shows runs, `experiments/statistics.py` compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posecast.errors import InputError
from posecast.files import read_json, read_json_lines
from posecast.system.names import check_contents

WRONG_FORM = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""Errors that arise where JSON is well-formed but not what posecast writes."""


@dataclass(frozen=True)
class Run:
    """Content of a run folder."""

    name: str
    config: dict[str, Any]
    log: list[dict[str, Any]]
    """One entry per epoch."""
    scores: dict[str, Any]
    """Content of scores.json; empty before evaluation."""
    pictures: list[Path]
    """Images and videos of predictions beside the truth."""
    traversals: list[Path] = field(default_factory=list)
    """Images of frames decoded with z moved along its principal directions."""
    futures: list[Path] = field(default_factory=list)
    """Images of several futures beside each other."""

    def score(self, *keys: str) -> float:
        """Return one number of scores.json by its path of keys; NaN where it is missing or null."""
        value: Any = self.scores
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return number(value)

    def column(self, key: str) -> list[float]:
        """Return one value of each epoch's log entry; NaN where an entry lacks it."""
        return [number(entry.get(key)) for entry in self.log]


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder.

    Args:
        folder: Folder written by training.
        name: Name of the run in tables and figures.

    Raises:
        InputError: The folder has no config.json, or a file in it is damaged or leads out of the folder.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a run folder: it has no config.json; name a folder made by train.")
    check_contents(folder, ("config.json", "log.jsonl", "scores.json", "samples"))
    scores_path = folder / "scores.json"
    return Run(
        name,
        config=read_json(folder / "config.json", "the configuration of a run"),
        log=read_json_lines(folder / "log.jsonl"),
        scores=read_json(scores_path, "the scores of a run") if scores_path.exists() else {},
        pictures=[*_samples(folder, "strip.png"), *_samples(folder, "side-by-side.webp")],
        traversals=_samples(folder, "traversal.png"),
        futures=_samples(folder, "futures.png"),
    )


def _samples(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"samples/[!.]*-{ending}") if path.is_file())


def number(value: Any) -> float:
    """Convert a number to float, and anything else (also a bool) to NaN."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
