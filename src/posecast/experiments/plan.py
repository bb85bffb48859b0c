"""Plan of an experiment: its settings, seeds and runs, stored in DIR/experiment.json.

In: a plan on disk. Out: `Plan`, with a folder and a state for each run. Imports no torch.
Next: `runner.py`, which makes a plan and carries it out; `statistics.py`, which reads its results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import posecast
from posecast.config.overrides import from_dict
from posecast.config.schema import Config, flattened, to_dict
from posecast.errors import InputError, shown
from posecast.files import read_json, write_json
from posecast.system.names import NAME_IS, inside, is_name

PLAN = "experiment.json"
LOCK = "experiment.lock"
MOST_THREADS = 4096
"""Largest number of threads that a plan may ask for."""
WRITTEN = (PLAN, "runs", "claims", "comparison.html", "comparison.json", "figures", "curves")


@dataclass(frozen=True)
class PlannedRun:
    """Run of an experiment: a setting under a seed."""

    setting: str
    config: Config
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def failure(self) -> Path:
        """File with the reason if the run could not be trained; beside the folder, which --force would remove."""
        return self.folder.with_name(f"{self.name}.failed.json")

    @property
    def finished(self) -> bool:
        return (self.folder / "scores.json").exists() or self.failure.exists()


@dataclass(frozen=True)
class Choices:
    """Threads and arithmetic of every run on a CPU, whichever process trains and scores it.

    They are measured when the experiment is planned. The results depend on them, since they determine rounding.
    """

    operator_threads: int
    shares: int
    """Shares of an update's clips, each computed by one thread."""
    bfloat16: bool


@dataclass(frozen=True)
class Plan:
    """Experiment as it was planned.

    Attributes:
        name: Name of the grid.
        question: Question that the experiment answers.
        data: Folder of the data set.
        futures: Sampled rollouts of each sequence when a run is scored.
        configs: Configuration of each setting, with its budget in epochs or updates.
        seeds: Seeds of each setting.
        out: Folder of the experiment.
        choices: Threads and arithmetic; None if the experiment was planned on a GPU or by an earlier version. Then
            each process measures its own.
    """

    name: str
    question: str
    data: Path
    futures: int
    configs: Mapping[str, Config]
    seeds: tuple[int, ...]
    out: Path
    choices: Choices | None = None

    @property
    def runs(self) -> list[PlannedRun]:
        """Every run, ordered by seed, so that an interrupted experiment has each setting about equally often."""
        return [
            PlannedRun(name, dataclasses.replace(config, seed=seed), inside(self.out, "runs", f"{name}-seed{seed}"))
            for seed in self.seeds
            for name, config in self.configs.items()
        ]


def write_plan(plan: Plan, request: dict[str, Any]) -> None:
    """Write the plan of an experiment, and the request that it was made for, into its folder."""
    content = {
        "posecast": posecast.__version__,
        "experiment": plan.name,
        "question": plan.question,
        "data": str(plan.data),
        "seeds": list(plan.seeds),
        "futures": plan.futures,
        "choices": dataclasses.asdict(plan.choices) if plan.choices else None,
        "settings": {name: to_dict(config) for name, config in plan.configs.items()},
        "request": request,
    }
    write_json(plan.out / PLAN, content)


def read_plan(out: Path) -> tuple[Plan, dict[str, Any]]:
    """Return the plan of an experiment, and the request that it was made for.

    Raises:
        InputError: If the folder has no plan, or its file is damaged or has names that are not allowed.
    """
    content = read_json(out / PLAN, "the plan of an experiment")
    try:
        _check_content(content, out / PLAN)
        plan = Plan(
            content["experiment"],
            content["question"],
            Path(content["data"]),
            content["futures"],
            {name: from_dict(config) for name, config in content["settings"].items()},
            tuple(content["seeds"]),
            out,
            _choices(content.get("choices")),
        )
        return plan, content["request"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out / PLAN} is not the plan of an experiment; name another folder.") from error


def _choices(content: Mapping[str, Any] | None) -> Choices | None:
    """Return the choices that a plan records; raise TypeError for other types and numbers than are written."""
    if content is None:
        return None
    choices = Choices(**content)
    counts = (choices.operator_threads, choices.shares)
    if not all(type(count) is int and 1 <= count <= MOST_THREADS for count in counts):
        raise TypeError("threads")
    if type(choices.bfloat16) is not bool:
        raise TypeError("bfloat16")
    return choices


def _check_content(content: Mapping[str, Any], file: Path) -> None:
    """Raise InputError unless a plan, which may come from a stranger, has the types and names that are written."""
    kinds = {"experiment": str, "question": str, "data": str, "futures": int, "seeds": list, "settings": dict}
    for key, kind in {**kinds, "request": dict}.items():
        if not isinstance(content[key], kind):
            raise TypeError(key)
    for name in content["settings"]:
        if not is_name(name):
            raise InputError(f"{file} names a setting {shown(name)}; expected {NAME_IS}.")
    for seed in content["seeds"]:
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise InputError(f"{file} has a seed {shown(seed)}; expected whole numbers from 0 to {2**63 - 1}.")
    if not content["settings"] or not content["seeds"] or content["futures"] < 1:
        raise InputError(f"{file} has no setting, no seed, or futures below 1; expected at least one of each.")


def check_same_request(out: Path, original: dict[str, Any], current: dict[str, Any]) -> None:
    """Raise InputError if an experiment was started with another request, naming the first difference."""
    before, now = flattened(original), flattened(current)
    differences = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    if differences:
        name = differences[0]
        raise InputError(
            f"{out} was started with {name[:80]} = {str(before.get(name))[:80]}, but now it is "
            f"{str(now.get(name))[:80]}; "
            "use the same options, or name another folder."
        )
