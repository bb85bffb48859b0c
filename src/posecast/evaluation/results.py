"""What a run folder holds, as plain values for pages: configuration, log, scores, pictures.

In: a folder with config.json, log.jsonl, perhaps scores.json and samples/. Out: `Run`. Knows no torch and no page.
Next: `run_report.py` and `statistics.py`, which show and compare runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posecast.errors import InputError
from posecast.files import read_json, read_json_lines


@dataclass(frozen=True)
class Run:
    """What a run folder holds; `log` has one entry per epoch, `scores` is empty before evaluation."""

    name: str
    config: dict[str, Any]
    log: list[dict[str, Any]]
    scores: dict[str, Any]
    pictures: list[Path]
    """Predictions beside the truth."""
    traversals: list[Path] = field(default_factory=list)
    """z moved along its strongest directions."""
    futures: list[Path] = field(default_factory=list)
    """Several futures beside each other."""

    def score(self, *keys: str) -> float:
        """One number of scores.json; NaN where it is missing or null."""
        value: Any = self.scores
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return number(value)

    def column(self, key: str) -> list[float]:
        """One key of the log, epoch by epoch; NaN where an epoch lacks it."""
        return [number(entry.get(key)) for entry in self.log]


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder. Raises InputError where it is none."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a run folder: it has no config.json; name a folder made by train.")
    scores_path = folder / "scores.json"
    return Run(
        name,
        config=read_json(folder / "config.json", "the configuration of a run"),
        log=read_json_lines(folder / "log.jsonl"),
        scores=read_json(scores_path, "the scores of a run") if scores_path.exists() else {},
        pictures=[*sorted(folder.glob("samples/*-strip.png")), *sorted(folder.glob("samples/*-side-by-side.webp"))],
        traversals=sorted(folder.glob("samples/*-traversal.png")),
        futures=sorted(folder.glob("samples/*-futures.png")),
    )


def number(value: Any) -> float:
    """A number as it is; anything else as NaN."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
