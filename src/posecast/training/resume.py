"""What must not change between the beginning of a run and its going on.

In: a configuration and circumstances, then and now. Out: nothing, or an InputError that names the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from posecast.config.schema import Config, flattened, to_dict
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.model.checkpoint import read_config
from posecast.training.budget import Plan


def check_same(config: Config, saved: Config) -> None:
    """Raise InputError unless a resumed run is asked for with the configuration it was begun with."""
    now, before = flattened(to_dict(config)), flattened(to_dict(saved))
    names = sorted(name for name in now | before if now.get(name) != before.get(name))
    different = [f"{name} was {before.get(name)}, now {now.get(name)}" for name in names]
    if different:
        raise InputError(
            f"This run was begun with another configuration ({'; '.join(different[:3])}); "
            "resume it with the same one, or begin a new run."
        )


@dataclass(frozen=True)
class Record:
    """What beside configuration and footage decides a run's bytes, as config.json records it."""

    plan: Plan
    processes: int
    precision: Any
    threads: int
    """Inside an operator."""
    shares: int
    """Of an update's clips, each computed by one thread."""
    repeated: bool = False
    """Whether the plan is followed to its end; otherwise a budget of minutes may plan again."""


def recorded(run: Path) -> Record:
    """The record of a run. Raises InputError where there is none, as for an imported run."""
    facts = read_config(run)[1]
    if "machine" not in facts:
        raise InputError(
            f"{run} was imported, so it has no updates to go on with or to repeat; start from it with --from."
        )
    machine, entries = facts["machine"], facts.get("plan") or [[0, facts["num_steps"]]]
    return Record(
        plan=Plan(tuple((int(step), int(num_steps)) for step, num_steps in entries)),
        processes=machine["processes"],
        precision=machine["precision"],
        threads=int(machine.get("threads") or torch.get_num_threads()),
        shares=int(machine.get("shares") or 1),
        repeated=facts.get("repeated") is True,
    )


def check_circumstances(record: Record, devices: int, precision: str) -> None:
    """Raise InputError if processes or arithmetic are not what the run was begun with."""
    if record.processes != devices:
        raise InputError(
            f"This run was begun with {record.processes} process(es), not {devices}; go on with the same --devices."
        )
    if precision not in ("auto", record.precision):
        raise InputError(f"This run was begun in {record.precision}, not {precision}; leave --precision out.")


def check_footage(facts: dict[str, Any], footage: Footage) -> None:
    """Raise InputError if the data are not what the run was begun with."""
    before, now = (source.get("fingerprint") for source in (facts.get("source", {}), footage.facts))
    if before != now:
        raise InputError(
            "The data set has changed since this run was begun (its fingerprint differs); "
            "restore it, or begin a new run with --from."
        )
