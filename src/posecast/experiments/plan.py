"""The plan of an experiment: its settings, seeds and runs; the content of DIR/experiment.json.

In: a plan on disk. Out: `Plan`, with a folder and a state for each run. Knows no torch.
Next: `runner.py`, which makes a plan and carries it out; `statistics.py`, which reads what came of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posecast.config.overrides import from_dict
from posecast.config.schema import Config, flattened
from posecast.errors import InputError
from posecast.files import read_json

PLAN = "experiment.json"
LOCK = "experiment.lock"
WRITTEN = (PLAN, "runs", "claims", "comparison.html", "comparison.json", "figures", "curves")


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment: a setting under a seed."""

    setting: str
    config: Config
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def failure(self) -> Path:
        """Where it is written that and why this run could not be trained."""
        return self.folder.with_name(f"{self.name}.failed.json")

    @property
    def finished(self) -> bool:
        return (self.folder / "scores.json").exists() or self.failure.exists()


@dataclass(frozen=True)
class Plan:
    """What an experiment consists of; the content of experiment.json."""

    name: str
    question: str
    data: Path
    futures: int
    configs: Mapping[str, Config]
    seeds: tuple[int, ...]
    out: Path

    @property
    def runs(self) -> list[PlannedRun]:
        """Every run, seed by seed, so that an interrupted experiment has each setting as often as the others."""
        return [
            PlannedRun(name, dataclasses.replace(config, seed=seed), self.out / "runs" / f"{name}-seed{seed}")
            for seed in self.seeds
            for name, config in self.configs.items()
        ]


def read_plan(out: Path) -> tuple[Plan, dict[str, Any]]:
    """The plan of an experiment, and the request that it came from. Raises InputError."""
    content = read_json(out / PLAN, "the plan of an experiment")
    try:
        plan = Plan(
            content["experiment"],
            content["question"],
            Path(content["data"]),
            content["futures"],
            {name: from_dict(config) for name, config in content["settings"].items()},
            tuple(content["seeds"]),
            out,
        )
        return plan, content["request"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out / PLAN} is not the plan of an experiment; name another folder.") from error


def check_same_request(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError unless an experiment is gone on with as it was begun."""
    then, asked = flattened(before), flattened(now)
    names = [name for name in sorted(then | asked) if then.get(name) != asked.get(name)]
    if names:
        name = names[0]
        raise InputError(
            f"{out} was begun with {name} = {then.get(name)}, now it is {asked.get(name)}; "
            "go on with the same options, or name another folder."
        )
