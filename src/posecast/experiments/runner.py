"""An experiment carried out: its runs planned once, claimed one by one, trained, scored.

In: a grid's configurations and a data set. Out: DIR/experiment.json (the plan), DIR/runs/NAME-seedK, each a run folder.
Several processes or machines that see one DIR share the runs out among themselves; what is finished is skipped.
Knows no page. Next: `statistics.py`, which reads the runs.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLease, Timeout
from lightning_fabric import Fabric

import posecast
from posecast.config.schema import Budget, Config, parse_size, to_dict
from posecast.data.cache import load_footage
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.errors import InputError, TrainingFailed
from posecast.evaluation.evaluate_run import score_run
from posecast.experiments.grids import Grid
from posecast.experiments.plan import LOCK, PLAN, WRITTEN, Plan, PlannedRun, check_same_request, read_plan
from posecast.files import claim_folder, write_json
from posecast.model.checkpoint import WEIGHTS
from posecast.model.device import resolve_device, resolve_precision
from posecast.model.threads import operator_threads
from posecast.training.batches import build_cutter, footage_seen
from posecast.training.budget import Pacer, measured_pacer, steps_per_epoch
from posecast.training.state import Callback, TrainEvent
from posecast.training.step import TrainStep
from posecast.training.train import chosen_threads, train

LEASE_SECONDS = 90.0
"""A claim that shows no life for so long is taken over; every process must agree on it."""
POLL_SECONDS = 2.0


def open_experiment(
    grid: Grid,
    configs: Mapping[str, Config],
    data: Path,
    out: Path,
    *,
    num_seeds: int = 3,
    futures: int = 10,
    device: str = "auto",
    force: bool = False,
    say: Callable[[str], None],
) -> Plan:
    """Plan an experiment into the folder `out`, or join the one begun there. Raises InputError.

    Budgets in minutes become numbers of updates by one measurement, so that the settings which share networks get
    the same number, and the runs can be repeated.
    """
    first = next(iter(configs.values()))
    footage = load_footage(data, parse_size(first.size))
    request = {
        "grid": grid.name,
        "settings": {name: to_dict(config) for name, config in configs.items()},
        "num_seeds": num_seeds,
        "futures": futures,
        "fingerprint": footage.facts["fingerprint"],
    }
    refuse_foreign(out, force)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / LOCK):  # the first to come plans; the others wait here and read what it planned
        if force or not (out / PLAN).exists():
            claim_folder(out, marker=PLAN, ours=WRITTEN, force=force, besides=(LOCK,))
            say("Planning: how many updates each setting gets")
            planned = plan_budgets(grid, configs, data, device)
            content = {
                "posecast": posecast.__version__,
                "experiment": grid.name,
                "question": grid.question,
                "data": str(data.resolve()),
                "seeds": [first.seed + k for k in range(num_seeds)],
                "futures": futures,
                "settings": {name: to_dict(config) for name, config in planned.items()},
                "request": request,
            }
            write_json(out / PLAN, content)
        plan, begun_with = read_plan(out)
    check_same_request(out, begun_with, request)
    return dataclasses.replace(plan, data=data)


def refuse_foreign(out: Path, force: bool) -> None:
    """Raise InputError if `out` is something else, before even a lock is left in it."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (names and not names & {PLAN, LOCK}) or out.is_symlink() or (out.exists() and not out.is_dir()):
        claim_folder(out, marker=PLAN, ours=WRITTEN, force=force)


def plan_budgets(grid: Grid, configs: Mapping[str, Config], data: Path, device: str) -> dict[str, Config]:
    """Every configuration with a budget in epochs or updates, its schedules unfolding within it."""
    pacers: dict[Any, Pacer] = {}
    planned = {}
    for name, config in configs.items():
        seen = footage_seen(config, load_footage(data, parse_size(config.size)))
        cutter = build_cutter(config, seen)
        if config.budget.minutes is not None:
            training = config.training
            alike = (
                config.networks,
                config.size,
                training.clip_length,
                training.batch_size,
                training.validation_frames,
                # These too change what an update costs.
                training.clip_length_curriculum,
                training.optimizer,
                training.shift_prob,
            )
            if alike not in pacers:
                pacers[alike] = measured(config, cutter, seen, device)
            steps = minutes_in_steps(grid, config, pacers[alike])
        else:
            steps = config.budget.steps
        planned[name] = unfolded(config, cutter, steps, grid.schedule_epochs)
    return planned


def measured(config: Config, cutter: ClipCutter, footage: Footage, device: str) -> Pacer:
    """Seconds of an update and of a validation, measured as a training would take them."""
    accelerator = resolve_device(device)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=resolve_precision("auto", accelerator))
    threads, shares = chosen_threads(accelerator)
    with operator_threads(threads):
        learner = TrainStep(fabric, config, shares=shares)
        try:
            return measured_pacer(learner, cutter, footage, ends=time.monotonic())
        finally:
            learner.workers.close()


def minutes_in_steps(grid: Grid, config: Config, pacer: Pacer) -> int:
    """Updates that fit into a run's minutes, beside its validations."""
    assert config.budget.minutes is not None
    seconds = 60.0 * config.budget.minutes
    if not grid.schedule_epochs:
        pacer.ends = time.monotonic() + seconds
        return pacer.first_plan().num_steps
    validations = -(-grid.schedule_epochs // config.training.validate_every)
    return int((seconds - validations * pacer.validation_s) / statistics.mean(pacer.costs))


def unfolded(config: Config, cutter: ClipCutter, steps: int | None, schedule_epochs: int) -> Config:
    """The configuration with its budget planned: `steps` updates, or its own number of epochs where that is None.

    Where schedules count epochs and the budget buys fewer than these, epochs are made shorter, by their number of
    clips, so that the whole schedule unfolds. Raises InputError where there is less than an update for an epoch.
    """
    training = config.training
    ordinary = steps_per_epoch(config, cutter, training.fast_epochs)
    if steps is None:
        epochs = config.budget.epochs
        assert epochs is not None
        if epochs >= schedule_epochs:
            return config
        steps = epochs * ordinary
    elif not schedule_epochs:
        return dataclasses.replace(config, budget=Budget(steps=steps))
    fast = min(training.fast_epochs, schedule_epochs)
    weight = fast * training.fast_share + (schedule_epochs - fast)  # of all epochs, in ordinary ones
    per_epoch = int(steps / weight)
    if per_epoch < 1:
        raise InputError(
            f"The budget buys {max(steps, 0)} updates a run, but the schedules count {schedule_epochs} epochs; "
            "give more --minutes, --steps or --epochs, or smaller networks."
        )
    shorter = dataclasses.replace(training, clips_per_epoch=per_epoch * training.batch_size)
    return dataclasses.replace(config, training=shorter, budget=Budget(epochs=schedule_epochs))


def carry_out(
    plan: Plan,
    *,
    device: str = "auto",
    say: Callable[[str], None],
    callback: Callable[[], Callback],
    counting: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
    after_each: Callable[[], object],
) -> None:
    """Train and score every run that nobody else has claimed, until all are finished.

    Where the others have claimed what is left, waits for them, and takes over a claim that shows no life.
    """
    runs = plan.runs
    (plan.out / "claims").mkdir(exist_ok=True)
    leases = {
        run.name: SoftFileLease(plan.out / "claims" / f"{run.name}.claim", lease_duration=LEASE_SECONDS) for run in runs
    }
    told = False
    while waiting := [run for run in runs if not run.finished]:
        ours = next((run for run in waiting if claimed(leases[run.name])), None)
        if ours is None:
            if not told:
                say(f"Waiting: the {len(waiting)} runs that are left are being worked on elsewhere")
                told = True
            time.sleep(POLL_SECONDS)
            continue
        lease = leases[ours.name]
        try:
            if not ours.finished:  # it may have been finished between our look and our claim
                say(f"[{runs.index(ours) + 1}/{len(runs)}] {ours.setting}, seed {ours.config.seed}")
                train_and_score(plan, ours, device, lease, say, callback(), counting)
        finally:
            lease.release()
        after_each()


def claimed(lease: SoftFileLease) -> bool:
    """Take a claim if nobody holds it; says whether."""
    try:
        lease.acquire(timeout=0)
        return True
    except Timeout:
        return False


def train_and_score(
    plan: Plan,
    run: PlannedRun,
    device: str,
    lease: SoftFileLease,
    say: Callable[[str], None],
    callback: Callback,
    counting: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
) -> None:
    """One run, from where it stands to its scores; a failed training is written down as such."""

    def watch(event: TrainEvent) -> None:
        if lease.compromise is not None:  # this machine slept, and another took the run over
            raise ClaimLost(run.name)
        callback(event)

    size = parse_size(run.config.size)
    try:
        train(
            run.config, partial(load_footage, plan.data, size), run.folder, device=device, resume=True, callback=watch
        )
        if not (run.folder / WEIGHTS).exists():
            raise TrainingFailed("No validation rollout of this run was finite.")
    except TrainingFailed as error:
        say(f"{run.name} failed: {error}")
        write_json(run.failure, {"failed": str(error)})
    except ClaimLost:
        pass
    else:
        with counting("rolling out") as progress:
            score_run(run.folder, plan.data, futures=plan.futures, device=resolve_device(device), progress=progress)


class ClaimLost(Exception):
    """Another process holds the claim of the run that this one was working on."""
