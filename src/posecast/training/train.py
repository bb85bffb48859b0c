"""Training of a run: started, resumed or repeated, in one process or several.

In: a configuration and footage. Out: a run folder, whose weights follow from configuration, footage, number of
processes and threads, and number of updates.
Next: `loop.py` makes the updates; `resume.py` checks the conditions for resuming and repeating.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.files import claim_folder, read_json_lines
from posecast.model.checkpoint import (
    RUN_FILES,
    RUN_MARKER,
    digest_of,
    read_config,
    write_config,
)
from posecast.model.device import Precision, machine_profile, resolve_device, resolve_precision
from posecast.model.threads import operator_threads
from posecast.training.batches import build_cutter, check_divisible, footage_seen
from posecast.training.budget import Pacer, first_plan, measured_pacer
from posecast.training.checkpoints import LOCKS, load_state, states, training_lock, write_log
from posecast.training.distributed import check_single_task, launch, machine_facts
from posecast.training.initial_weights import starting_weights
from posecast.training.loop import TrainSession, fit
from posecast.training.resume import Circumstances, Record, check_circumstances, check_same, read_record
from posecast.training.signals import stop_requests
from posecast.training.state import Callback, TrainState
from posecast.training.step import TrainStep
from posecast.video.retargeting import body_of_footage


@dataclass(frozen=True)
class TrainJob:
    """Decisions made before the processes of a training start, and sent to each of them."""

    config: Config
    footage: Footage | Callable[[], Footage]
    clips: tuple[Footage, ClipCutter] | None
    """The footage as read by `read_clips`; None where each of several processes reads it."""
    run: Path
    record: Record | None
    """Record of the run to resume or to repeat; None for a new run."""
    threads: int
    """Threads of an operator."""
    shares: int
    """Shares that the clips of an update are divided into."""
    began_at: float
    """Start of the training, as `time.monotonic`."""
    initial: dict[str, Tensor] | None
    """Weights to start from; None for random ones."""
    deterministic: bool
    callback: Callback | None


def train(
    config: Config,
    footage: Footage | Callable[[], Footage],
    out: str | Path,
    *,
    device: str = "auto",
    devices: int = 1,
    precision: Precision = "auto",
    start_from: str | Path | None = None,
    repeat: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    deterministic: bool = False,
    callback: Callback | None = None,
) -> None:
    """Train a run into a folder.

    Args:
        config: Networks, bound, training, budget and seed.
        footage: Training and validation recordings, or a function that loads them; each of several processes calls it.
        out: Folder of the run; new or empty unless `resume` or `force` is given.
        device: "auto", "cpu", "cuda" or "mps".
        devices: Number of processes, each with its own GPU if the device is "cuda".
        precision: "32-true" or "bf16-mixed"; "auto" takes the faster one, or that of the run to resume or to repeat.
        start_from: Folder of a run whose weights to start from, or for `lab4` a checkpoint of the course's code;
            takes precedence over the setting `initial_weights`.
        repeat: Folder of a run whose planned updates to make again, from the same footage and initial weights.
        resume: Whether to continue the run in `out`. If nothing was saved there, it starts; if it is finished, nothing
            happens.
        force: Whether to resume or repeat although configuration, footage or processes differ, so that the result
            equals no other run. Alone, it replaces the run in `out`.
        deterministic: Whether to use only deterministic operators of torch, for exact repetition on a GPU.
        callback: Called in the first process before the first update, after every update and after every epoch.

    Raises:
        InputError: An argument is wrong, or does not fit the run to resume or to repeat; no file has been changed.
        InterruptedTraining: SIGINT or SIGTERM was received; the state is saved.
        TrainingFailed: Losses or weights are not finite, or one of several processes ended.
    """
    began_at, run, accelerator = time.monotonic(), Path(out), resolve_device(device)
    check_single_task()
    check_divisible(config, devices)
    clips = read_clips(config, footage)
    visible, cutter = clips
    cutter.first(config.training.fast_share if config.training.fast_epochs else 1.0)  # raises errors early
    initial = starting_weights(config, Path(start_from) if start_from is not None else None)
    requested = Circumstances(devices, precision, visible.fingerprints, digest_of(initial) if initial else None)
    record = dataclasses.replace(read_record(Path(repeat)), repeated=True) if repeat is not None else None
    if record and not force:
        check_circumstances(record, requested, from_the_start=True)
    with training_lock(run):  # no file was changed before, since all arguments are checked first
        if resume and (run / RUN_MARKER).exists():
            record = _resumable_record(run, config, requested, force)
        else:
            claim_folder(run, marker=RUN_MARKER, ours=RUN_FILES, force=force, besides=LOCKS)
        threads, shares = (record.threads, record.shares) if record else chosen_threads(accelerator, devices)
        job = TrainJob(
            config=config,
            footage=footage,
            clips=clips if devices == 1 else None,
            run=run,
            record=record,
            threads=threads,
            shares=shares,
            began_at=began_at,
            initial=initial,
            deterministic=deterministic,
            callback=callback,
        )
        arithmetic = record.precision if record and precision == "auto" else resolve_precision(precision, accelerator)
        task = functools.partial(train_process, job=job)
        launch(task, run, accelerator=accelerator, devices=devices, precision=arithmetic)


def read_clips(config: Config, footage: Footage | Callable[[], Footage]) -> tuple[Footage, ClipCutter]:
    """Return the part of the footage that a run uses, and the cutter of its training clips."""
    visible = footage_seen(config, footage)
    return visible, build_cutter(config, visible)


def _resumable_record(run: Path, config: Config, requested: Circumstances, force: bool) -> Record:
    """Return the record of a run to resume; raise InputError if anything differs, unless `force` is given."""
    record = read_record(run)
    if not force:
        check_same(config, read_config(run)[0])
        check_circumstances(record, requested, from_the_start=not states(run))
    return record


def chosen_threads(accelerator: str, processes: int = 1) -> tuple[int, int]:
    """Return the numbers of threads with which this machine was measured to train fastest.

    They are chosen once for all processes, because processes that each measured could choose differently.

    Args:
        accelerator: "cpu", "cuda" or "mps"; only a CPU is measured.
        processes: Number of processes that divide the cores among themselves.

    Returns:
        Threads of an operator, and shares that the clips of an update are divided into.
    """
    if accelerator != "cpu":
        return torch.get_num_threads(), 1
    profile = machine_profile()
    if profile.shares > 1:
        return 1, max(1, profile.shares // processes)
    return max(1, profile.operator_threads // processes), 1


def train_process(fabric: Fabric, job: TrainJob) -> None:
    """Build the networks, restore the newest state if there is one, and train to the end, in one process."""
    if job.deterministic:
        torch.use_deterministic_algorithms(True)
    footage, cutter = job.clips or read_clips(job.config, job.footage)
    is_first = fabric.global_rank == 0
    with operator_threads(job.threads):
        train_step = TrainStep(fabric, job.config, job.initial, shares=job.shares)
        try:
            saved = load_state(job.run, lambda sentence: print(f"posecast: {sentence}", file=sys.stderr))
            state, pacer = _state_and_pacer(job, train_step, cutter, footage, saved)
            if is_first:
                if saved is None:
                    write_config(job.run, job.config, _facts(job, train_step, footage, state))
                write_log(job.run, read_json_lines(job.run / "log.jsonl")[: state.epoch])
            fabric.barrier()
            callback = job.callback if is_first else None
            with stop_requests() as requests:
                fit(TrainSession(train_step, cutter, footage, state, job.run, requests, pacer, callback))
        finally:
            train_step.workers.close()


def _state_and_pacer(
    job: TrainJob, train_step: TrainStep, cutter: ClipCutter, footage: Footage, saved: dict[str, Any] | None
) -> tuple[TrainState, Pacer | None]:
    """Return the state to train from, and the pacer of a budget of minutes unless its plan is final."""
    record, minutes = job.record, job.config.budget.minutes
    state = TrainState.from_dict(saved["standing"]) if saved else TrainState(record.plan) if record else None
    finished = state is not None and state.step >= state.num_steps
    pacer = None
    if minutes is not None and not finished and not (record and record.repeated):
        ends = job.began_at + 60.0 * minutes - (state.spent_s if state else 0.0)
        pacer = measured_pacer(train_step, cutter, footage, ends)
    if saved is not None:
        train_step.load_state(saved)  # after the measurement, which resets the optimisers
    if state is None:
        state = TrainState(train_step.fabric.broadcast(first_plan(job.config, cutter, pacer)))
    return state, pacer


def _facts(job: TrainJob, train_step: TrainStep, footage: Footage, state: TrainState) -> dict[str, Any]:
    """Return what config.json records in addition to the configuration."""
    return {
        "source": footage.facts,
        "selected_on": footage.selected_on,
        "num_steps": state.num_steps,
        "plan": [list(entry) for entry in state.plan.entries],
        "repeated": job.record is not None and job.record.repeated,
        "initial_weights": digest_of(job.initial) if job.initial else None,
        "body": body_of_footage(footage.train, footage.facts).to_json(),
        "machine": machine_facts(train_step.fabric, job.shares),
    }
