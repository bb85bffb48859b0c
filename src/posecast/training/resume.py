"""What must not change between the beginning of a run and its going on.

In: a configuration and circumstances, then and now. Out: nothing, or an InputError that names the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from posecast.config.schema import Config, flattened, to_dict
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
    fingerprint: str | None
    """Of the footage."""
    initial: str | None
    """The digest of the weights that `--from` began with; None where they were drawn from the seed."""
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
        fingerprint=facts.get("source", {}).get("fingerprint"),
        initial=facts.get("initial_weights"),
        repeated=facts.get("repeated") is True,
    )


@dataclass(frozen=True)
class Circumstances:
    """What is asked for beside a configuration, when a run is to go on or to be made again."""

    processes: int
    precision: str
    fingerprint: str | None
    initial: str | None


def check_circumstances(record: Record, asked: Circumstances, *, from_the_start: bool) -> None:
    """Raise InputError unless processes, arithmetic and footage are those that a run was begun with.

    So must be the weights it began with, where its updates are made `from_the_start`.
    """
    if record.processes != asked.processes:
        raise InputError(
            f"This run was begun with {record.processes} process(es), not {asked.processes}; "
            "go on with the same --devices."
        )
    if asked.precision not in ("auto", record.precision):
        raise InputError(f"This run was begun in {record.precision}, not {asked.precision}; leave --precision out.")
    if record.fingerprint != asked.fingerprint:
        raise InputError(
            "The data set has changed since this run was begun (its fingerprint differs); "
            "restore it, or begin a new run with --from."
        )
    if from_the_start and record.initial != asked.initial:
        began = "without --from" if record.initial is None else f"--from weights with the digest {record.initial}"
        raise InputError(f"This run was begun {began}; begin it the same way.")
