"""Planning and execution of an experiment.

In: a grid's configurations and a data set. Out: DIR/experiment.json (the plan) and a run folder DIR/runs/NAME-seedK for
each run. Several processes or machines that see DIR share the runs; finished runs are skipped.
Next: `budgets.py`, which plans the budgets; `statistics.py`, which reads the runs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from filelock import SoftFileLease, Timeout

from posecast.config.schema import Config, parse_size, to_dict
from posecast.data.cache import load_footage
from posecast.errors import TrainingFailed
from posecast.evaluation.evaluate import EvaluationOptions
from posecast.evaluation.evaluate_run import score_run
from posecast.experiments.budgets import plan_budgets
from posecast.experiments.grids import Grid
from posecast.experiments.plan import (
    LOCK,
    PLAN,
    WRITTEN,
    Choices,
    Plan,
    PlannedRun,
    check_same_request,
    read_plan,
    write_plan,
)
from posecast.files import claim_folder, write_json
from posecast.model.checkpoint import WEIGHTS
from posecast.model.device import fixed_choices, machine_profile, resolve_device
from posecast.system.drives import locked
from posecast.system.names import check_contents
from posecast.training.state import Callback, TrainEvent
from posecast.training.train import train

LEASE_SECONDS = 90.0
"""Time after which a claim that its holder has not refreshed is taken over; equal in all processes."""
POLL_SECONDS = 2.0

Notify = Callable[[str], None]
"""Called with a sentence for the user."""
Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Function that shows a progress bar with a label, in whose context a function of (done, total) updates it."""


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
    notify: Notify,
) -> Plan:
    """Plan an experiment into the folder `out`, or join the one that was started there.

    Budgets in minutes are converted to numbers of updates by one measurement, so that settings with the same networks
    get the same number, and the runs can be repeated. Threads and arithmetic of a CPU are chosen once, too.

    Args:
        grid: Grid from which `configs` was made by `configurations`.
        configs: Configuration of each setting.
        data: Folder of the data set.
        out: Folder of the experiment.
        num_seeds: Runs of each setting, from the first configuration's seed on.
        futures: Sampled rollouts of each sequence when a run is scored.
        device: Device to measure on.
        force: Replace an earlier experiment in `out`.
        notify: Called when planning starts.

    Raises:
        InputError: If `out` holds something else or another experiment, or a budget is too small.
    """
    first = next(iter(configs.values()))
    settings = {name: to_dict(config) for name, config in configs.items()}
    footage = load_footage(data, parse_size(first.size))
    request = {"grid": grid.name, "settings": settings, "num_seeds": num_seeds, "futures": futures}
    request["fingerprint"] = footage.facts["fingerprint"]
    check_folder(out, force)
    out.mkdir(parents=True, exist_ok=True)
    check_contents(out, WRITTEN)
    with locked(out / LOCK):  # the first process plans; the others wait here and read its plan
        if force or not (out / PLAN).exists():
            claim_folder(out, marker=PLAN, ours=WRITTEN, force=force, besides=(LOCK,))
            notify("Planning the number of updates of each setting")
            planned = plan_budgets(grid, configs, data, device)
            seeds = tuple(first.seed + k for k in range(num_seeds))
            choices = measured_choices(device)
            write_plan(Plan(grid.name, grid.question, data.resolve(), futures, planned, seeds, out, choices), request)
        plan, original_request = read_plan(out)
    if original_request.get("fingerprint") in footage.fingerprints:  # also in the form of earlier versions
        original_request["fingerprint"] = request["fingerprint"]
    check_same_request(out, original_request, request)
    return dataclasses.replace(plan, data=data)


def measured_choices(device: str) -> Choices | None:
    """Return the threads and arithmetic that were measured to be the fastest on this machine; None on a GPU."""
    if resolve_device(device) != "cpu":
        return None
    profile = machine_profile()
    return Choices(profile.operator_threads, profile.shares, profile.bfloat16)


def planned_choices(plan: Plan, device: str) -> AbstractContextManager[None]:
    """Return a context in which this process computes with the plan's threads and arithmetic, if it has any."""
    if plan.choices is None or resolve_device(device) != "cpu":
        return nullcontext()
    return fixed_choices(**dataclasses.asdict(plan.choices))


def check_folder(out: Path, force: bool) -> None:
    """Raise InputError if `out` holds something other than an experiment, before a lock is written into it."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (names and not names & {PLAN, LOCK}) or out.is_symlink() or (out.exists() and not out.is_dir()):
        claim_folder(out, marker=PLAN, ours=WRITTEN, force=force)


def carry_out(
    plan: Plan,
    *,
    device: str = "auto",
    notify: Notify,
    callback: Callable[[], Callback],
    counting: Counting,
    after_each: Callable[[], object],
) -> None:
    """Train and score every run that no other process has claimed, until all are finished.

    If other processes have claimed all remaining runs, wait for them, and take over claims that are not refreshed.

    Args:
        plan: The experiment, from `open_experiment`.
        device: Device to compute on.
        notify: Called with a sentence for each run.
        callback: Called for each run; returns its callback of training.
        counting: Progress bar of scoring.
        after_each: Called after each run.
    """
    runs = plan.runs
    claims = plan.out / "claims"
    claims.mkdir(exist_ok=True)
    leases = {run.name: SoftFileLease(claims / f"{run.name}.claim", lease_duration=LEASE_SECONDS) for run in runs}
    was_notified = False
    while unfinished := [run for run in runs if not run.finished]:
        run = next((run for run in unfinished if claim(leases[run.name])), None)
        if run is None:
            if not was_notified:
                notify(f"Waiting: other processes work on the remaining {len(unfinished)} runs")
                was_notified = True
            time.sleep(POLL_SECONDS)
            continue
        lease = leases[run.name]
        try:
            if not run.finished:  # another process may have finished it just before the claim
                notify(f"[{runs.index(run) + 1}/{len(runs)}] {run.setting}, seed {run.config.seed}")
                with planned_choices(plan, device):
                    train_and_score(plan, run, device, lease, notify, callback(), counting)
        finally:
            lease.release()
        after_each()


def claim(lease: SoftFileLease) -> bool:
    """Claim a run unless another process holds it; return whether it is claimed."""
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
    notify: Notify,
    callback: Callback,
    counting: Counting,
) -> None:
    """Start or resume a run and score it; record the reason if its training fails."""

    def watch(event: TrainEvent) -> None:
        if lease.compromise is not None:  # this machine was suspended, and another process claimed the run
            raise ClaimLost(run.name)
        callback(event)

    footage = partial(load_footage, plan.data, parse_size(run.config.size))
    try:
        train(run.config, footage, run.folder, device=device, resume=True, callback=watch)
        if not (run.folder / WEIGHTS).exists():
            raise TrainingFailed("No validation rollout of this run was finite.")
    except TrainingFailed as error:
        notify(f"{run.name} failed: {error}")
        write_json(run.failure, {"failed": str(error)})
    except ClaimLost:
        pass
    else:
        with counting("rolling out") as progress:
            options = EvaluationOptions(futures=plan.futures)
            score_run(run.folder, plan.data, options, device=resolve_device(device), progress=progress)


class ClaimLost(Exception):
    """Claim of the current run taken over by another process."""
