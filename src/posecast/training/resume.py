"""Conditions under which a run may be resumed or repeated.

In: what a run was started with, as config.json records it, and what is requested. Out: nothing, or an InputError that
names the difference. Next: `train.py`, which checks them before it changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from posecast.config.schema import Config, flattened, to_dict
from posecast.data.fingerprint import CONTENTS
from posecast.errors import InputError
from posecast.model.checkpoint import read_config
from posecast.training.plan import Plan


def check_same(config: Config, saved: Config) -> None:
    """Check that a run is resumed with the configuration it was started with.

    Args:
        config: The configuration that is requested.
        saved: The configuration of the run.

    Raises:
        InputError: They differ; the message names up to three settings.
    """
    requested, before = flattened(to_dict(config)), flattened(to_dict(saved))
    names = sorted(name for name in requested | before if requested.get(name) != before.get(name))
    different = [f"{name} was {before.get(name)}, now {requested.get(name)}" for name in names]
    if different:
        raise InputError(
            f"This run was started with another configuration ({'; '.join(different[:3])}); "
            "resume it with the same one, or start a new run."
        )


@dataclass(frozen=True)
class Record:
    """Conditions that determine a run's bytes in addition to configuration and footage, as config.json records them."""

    plan: Plan
    processes: int
    precision: Any
    threads: int
    """Threads of an operator."""
    shares: int
    """Shares of an update's clips, each computed by one thread."""
    fingerprint: str | None
    """Fingerprint of the footage."""
    initial: str | None
    """Digest of the weights given with `--from`; None if the weights were drawn from the seed."""
    repeated: bool = False
    """True if the plan is final; otherwise a budget of minutes may change it."""


def read_record(run: Path) -> Record:
    """Return the record of a run; raise InputError if it has none, as an imported run."""
    facts = read_config(run)[1]
    if "machine" not in facts:
        raise InputError(
            f"{run} was imported, so there are no updates to resume or to repeat; start from it with --from."
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
    """Conditions that are requested for a run and must match its record."""

    processes: int
    precision: str
    fingerprints: tuple[str | None, ...]
    """Fingerprints of the footage, one of which the record must have."""
    initial: str | None


def check_circumstances(record: Record, requested: Circumstances, *, from_the_start: bool) -> None:
    """Check that processes, precision and footage are those of the record.

    Args:
        record: Record of the run to resume or to repeat.
        requested: Circumstances of this training.
        from_the_start: Whether all updates are made again; then the initial weights must be the same, too.

    Raises:
        InputError: They differ.
    """
    if record.processes != requested.processes:
        raise InputError(
            f"This run was started with --devices {record.processes}, not {requested.processes}; give the same number."
        )
    if requested.precision not in ("auto", record.precision):
        raise InputError(
            f"This run was started in {record.precision}, not {requested.precision}; leave --precision out."
        )
    if record.fingerprint not in requested.fingerprints:
        raise InputError(
            f"{_difference(record.fingerprint)}; restore the data set, use the present one with --force, or start a "
            "new run with --from."
        )
    if from_the_start and record.initial != requested.initial:
        then, now = (
            f"weights {digest}" if digest else "random weights" for digest in (record.initial, requested.initial)
        )
        raise InputError(f"This run was started from {then}, not from {now}; give the same --from, or leave it out.")


def _difference(fingerprint: str | None) -> str:
    """Return a clause on footage that differs from what a run recorded."""
    if fingerprint is None or fingerprint.startswith(CONTENTS):
        return "The data set has changed since this run was started (names or contents of its training images differ)"
    return (
        "The data set has changed since this run was started, or was copied without its modification times, which are "
        "all that an earlier posecast recorded of its images in addition to names and sizes"
    )
