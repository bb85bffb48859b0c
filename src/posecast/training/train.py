"""Training a run: how many updates, epochs, validation by true rollouts, saving, going on, stopping.

In: a configuration and a source of footage. Out: a run folder. With the footage, the number of processes and of
threads, the configuration and the number of updates determine the weights.
Knows no architecture. Next: `step.py` is one update; `checkpoint.py` is the folder.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from posecast.config.schema import Config, Lab4, Training
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.prefetch import mapped_ahead, threads_ahead
from posecast.data.recordings import Footage
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.files import claim_folder, read_json_lines
from posecast.model.checkpoint import (
    RUN_FILES,
    RUN_MARKER,
    WEIGHTS,
    fit_weights,
    load_weights,
    read_config,
    save_weights,
    write_config,
)
from posecast.model.device import Precision, machine_profile, resolve_device, resolve_precision
from posecast.model.lab4_checkpoint import named_as_ours, read_checkpoint
from posecast.model.predictor import Predictor
from posecast.model.threads import operator_threads
from posecast.training.batches import Batch, build_cutter, check_divisible, footage_seen
from posecast.training.budget import (
    Pacer,
    Plan,
    first_plan,
    measured_pacer,
    new_plan,
    stage_of,
    stages,
    steps_per_epoch,
)
from posecast.training.checkpoints import LOCKS, is_finite, load_state, save_state, training_lock, write_log, write_plan
from posecast.training.distributed import Processes, any_of, launch, machine_facts
from posecast.training.posthoc import settled
from posecast.training.resume import Record, check_circumstances, check_footage, check_same, recorded
from posecast.training.schedules import learning_rate
from posecast.training.signals import StopRequested, StopRequests, stop_requests
from posecast.training.state import Callback, TrainEvent, TrainState, account, training_entry
from posecast.training.step import TrainStep
from posecast.training.validation import NOT_VALIDATED, validated
from posecast.video.retargeting import body_of_footage


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
    """Train a run into the folder `out`. With several processes `footage` is called in each of them.

    `start_from` is a run whose weights to begin with; `repeat` is one whose updates to make again as they were planned
    there. `resume` goes on where `out` stopped, starts if nothing was
    saved there, and does nothing if it is finished; with `force` it goes on although configuration or circumstances
    differ from what it was begun with, and then equals no uninterrupted run. Without `resume`, `force` replaces a run.
    Raises InputError; InterruptedTraining after SIGINT or SIGTERM, with the state saved; TrainingFailed when losses
    stay non-finite or a process dies.
    """
    began = time.monotonic()
    run = Path(out)
    accelerator = resolve_device(device)
    check_divisible(config, devices)
    seen = footage_seen(config, footage)
    cutter = build_cutter(config, seen)
    cutter.first(config.training.fast_share if config.training.fast_epochs else 1.0)  # whatever is wrong shows here
    initial = initial_weights(Path(start_from), Predictor(config)) if start_from is not None else None
    record = dataclasses.replace(recorded(Path(repeat)), repeated=True) if repeat is not None else None
    if record and not force:
        check_circumstances(record, devices, precision)
    # Only now, when nothing is left to be wrong, is anything touched.
    with training_lock(run):
        if resume and (run / RUN_MARKER).exists():
            record = _what_was_begun(run, config, devices, precision, seen, force=force)
        else:
            claim_folder(run, marker=RUN_MARKER, ours=RUN_FILES, force=force, besides=LOCKS)
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy="auto" if devices == 1 else Processes(),
            precision=record.precision if record and precision == "auto" else resolve_precision(precision, accelerator),
        )
        task = functools.partial(
            _build_and_fit,
            config=config,
            # One process goes on with what it has read; several read it each.
            footage=(seen, cutter) if devices == 1 else footage,
            run=run,
            record=record,
            began=began,
            initial=initial,
            deterministic=deterministic,
            callback=callback,
        )
        launch(fabric, task, run)


def _what_was_begun(
    run: Path, config: Config, devices: int, precision: Precision, seen: Footage, *, force: bool
) -> Record:
    """What a run that is to go on was begun with. Raises InputError unless it goes on as it began."""
    record, (saved, facts) = recorded(run), read_config(run)
    if not force:
        check_same(config, saved)
        check_circumstances(record, devices, precision)
        check_footage(facts, seen)
    return record


def _build_and_fit(
    fabric: Fabric,
    *,
    config: Config,
    footage: tuple[Footage, ClipCutter] | Footage | Callable[[], Footage],
    run: Path,
    record: Record | None,
    began: float,
    initial: dict[str, Tensor] | None,
    deterministic: bool,
    callback: Callback | None,
) -> None:
    """Build, go on or begin, and train to the end. `record` is None for a new run."""
    if deterministic:
        torch.use_deterministic_algorithms(True)
    if isinstance(footage, tuple):
        seen, cutter = footage
    else:
        seen = footage_seen(config, footage)
        cutter = build_cutter(config, seen)
    threads = (record.threads, record.shares) if record else chosen_threads(fabric)
    with operator_threads(threads[0]):
        learner = TrainStep(fabric, config, initial, shares=threads[1])
        try:
            saved = load_state(run, lambda sentence: print(f"posecast: {sentence}", file=sys.stderr))
            train_state, pacer = _standing_and_pacer(learner, cutter, seen, saved, record, began)
            if fabric.global_rank == 0:
                if saved is None:
                    repeated = record is not None and record.repeated
                    _write_beginning(run, learner, seen, train_state, repeated=repeated)
                write_log(run, read_json_lines(run / "log.jsonl")[: train_state.epoch])
            fabric.barrier()
            watching = callback if fabric.global_rank == 0 else None
            with stop_requests() as requests:
                _fit(learner, cutter, seen, train_state, run, watching, requests, pacer)
        finally:
            learner.workers.close()


def chosen_threads(fabric: Fabric) -> tuple[int, int]:
    """Operator threads and shares of an update, as this machine was measured to be quickest.

    Processes of one machine share its cores.
    """
    if fabric.device.type != "cpu":
        return torch.get_num_threads(), 1
    profile = machine_profile()
    if profile.shares > 1:
        return 1, max(1, profile.shares // fabric.world_size)
    return max(1, profile.operator_threads // fabric.world_size), 1


def _standing_and_pacer(
    learner: TrainStep,
    cutter: ClipCutter,
    footage: Footage,
    saved: dict[str, Any] | None,
    record: Record | None,
    began: float,
) -> tuple[TrainState, Pacer | None]:
    """Where training stands, and who plans again; nobody where the updates are given, or are those of a record."""
    minutes = learner.config.budget.minutes
    train_state = TrainState.from_dict(saved["standing"]) if saved else TrainState(record.plan) if record else None
    finished = train_state is not None and train_state.step >= train_state.num_steps
    pacer = None
    if minutes is not None and not finished and not (record and record.repeated):
        ends = began + 60.0 * minutes - (train_state.spent_s if train_state else 0.0)
        pacer = measured_pacer(learner, cutter, footage, ends)
    if saved is not None:
        learner.load_state(saved)  # after the measurement, which leaves no trace in what it clears
    if train_state is None:
        train_state = TrainState(learner.fabric.broadcast(first_plan(learner.config, cutter, pacer)))
    return train_state, pacer


def _write_beginning(
    run: Path, learner: TrainStep, footage: Footage, train_state: TrainState, *, repeated: bool
) -> None:
    facts = {
        "source": footage.facts,
        "selected_on": footage.selected_on,
        "num_steps": train_state.num_steps,
        "plan": [list(entry) for entry in train_state.plan.entries],
        "repeated": repeated,
        "body": body_of_footage(footage.train, footage.facts).to_json(),
        "machine": machine_facts(learner.fabric, learner.workers.count),
    }
    write_config(run, learner.config, facts)


def _fit(
    learner: TrainStep,
    cutter: ClipCutter,
    footage: Footage,
    train_state: TrainState,
    run: Path,
    callback: Callback | None,
    requests: StopRequests,
    pacer: Pacer | None,
) -> None:
    """The loop. State is saved between updates: every so many seconds, on a request to stop, and at the end."""
    config, fabric = learner.config, learner.fabric
    saved_at, seconds_before, began_at = time.monotonic(), train_state.spent_s, time.monotonic()
    if callback:
        callback(TrainEvent(train_state, None, None))  # it has begun, however long the first update takes
    while (
        train_state.step < train_state.num_steps or train_state.batch > 0
    ):  # a stop may come before its epoch is ended
        length, batch_size = stage_of(config, cutter, train_state.epoch, train_state.plan, fabric.world_size)
        stage = stages(config.training, fabric.world_size).index((length, batch_size))
        shorter = cutter.of_length(length)
        plans = enumerate(remaining_plans(config, shorter, batch_size, train_state), start=train_state.step)
        prepare = functools.partial(prepared, learner, shorter, train_state.epoch)
        began = time.monotonic()
        for batch in mapped_ahead(prepare, plans, threads_ahead(fabric)):
            if train_state.step >= train_state.num_steps:
                break
            update = learner.update(batch, rate=learning_rate_at(config.training, train_state.plan, train_state.step))
            seconds = time.monotonic() - began
            began = time.monotonic()
            account(train_state, update, seconds)
            train_state.spent_s = seconds_before + began - began_at
            if callback:
                callback(TrainEvent(train_state, update, None))
            waited = time.monotonic() - saved_at
            wishes = (bool(requests), waited > config.training.save_every_seconds, _wants_a_plan(pacer))
            stop, due, replan = any_of(fabric, *wishes)
            if pacer:
                pacer.note_update(stage, seconds)
            if replan and pacer:
                _plan_again(fabric, train_state, pacer)
            if stop or due:
                save(learner, train_state, run)
                saved_at = time.monotonic()
            if stop:
                raise InterruptedTraining(requests.number)
        before = time.monotonic()
        entry = end_epoch(learner, footage, train_state, run, requests)
        if entry is None:
            save(learner, train_state, run)
            raise InterruptedTraining(requests.number)
        if pacer:
            if entry.get("validation_loss") is not None:  # the first process validates, and plans
                pacer.note_validation(time.monotonic() - before)
            if train_state.step < train_state.num_steps and any_of(fabric, pacer.is_due(epoch_ended=True))[0]:
                _plan_again(fabric, train_state, pacer)
        if callback:
            callback(TrainEvent(train_state, None, entry))
    save(learner, train_state, run)


def _wants_a_plan(pacer: Pacer | None) -> bool:
    return pacer is not None and pacer.is_due(epoch_ended=False)


def _plan_again(fabric: Fabric, train_state: TrainState, pacer: Pacer) -> None:
    """As many updates as now fit; all processes take the first one's plan."""
    num_steps = fabric.broadcast(pacer.num_steps(train_state.plan, train_state.step))
    train_state.plan = new_plan(train_state.plan, train_state.step, int(num_steps))


def learning_rate_at(training: Training, plan: Plan, step: int) -> float:
    """The schedule's value at a step of a plan."""
    plan = plan.at(step)
    warmup = min(training.warmup_steps, plan.num_steps // 2)  # a short run must still reach its peak
    return learning_rate(
        step,
        progress=plan.progress(step),
        schedule=training.learning_rate_schedule,
        peak=training.learning_rate,
        warmup_steps=warmup,
        warmup_progress=plan.progress(warmup),
        milestones=training.milestones,
        milestone_factor=training.milestone_factor,
    )


def prepared(learner: TrainStep, cutter: ClipCutter, epoch: int, numbered: tuple[int, ClipPlan]) -> Batch:
    """What the update of a step learns from."""
    step, plan = numbered
    return learner.batches.prepare(cutter, plan, step=step, epoch=epoch)


def remaining_plans(config: Config, cutter: ClipCutter, batch_size: int, train_state: TrainState) -> Iterator[ClipPlan]:
    """The batches of the current epoch that are still to come."""
    training = config.training
    per_epoch = steps_per_epoch(config, cutter, train_state.epoch)
    if train_state.epoch < training.fast_epochs:
        cutter = cutter.first(training.fast_share)  # the same recordings, cut short: plans fit both
    plans = cutter.epoch(per_epoch * batch_size, batch_size, config.seed, train_state.epoch)
    return islice(plans, train_state.batch, per_epoch)


def end_epoch(
    learner: TrainStep, footage: Footage, train_state: TrainState, run: Path, requests: StopRequests
) -> dict[str, Any] | None:
    """Log the epoch, validate if it is time, keep the best weights, and begin the next epoch.

    None if a signal broke the validation off: then the epoch is not ended, and nothing has changed.
    """
    training, fabric = learner.config.training, learner.fabric
    shown, kept = (is_due(train_state.epoch, every) for every in (training.sample_every, training.checkpoint_every))
    last = train_state.step >= train_state.num_steps
    due = last or shown or is_due(train_state.epoch, training.validate_every)
    entry = training_entry(learner, train_state)
    broken_off, predictor = False, learner.smoothed
    if fabric.global_rank == 0:
        picture = run / "samples" / "epochs" / f"epoch-{train_state.epoch + 1:04d}.png" if shown else None
        try:
            with requests.at_once():  # rollouts of long recordings take longer than a stop may wait
                if due or kept:
                    predictor = settled(predictor, footage.train)
                entry |= validated(learner, predictor, footage, train_state.epoch, picture) if due else NOT_VALIDATED
        except StopRequested:
            broken_off = True
    if any_of(fabric, broken_off)[0]:
        return None
    if fabric.global_rank == 0:
        score = entry["validation_psnr_db"]
        if score is not None and score > train_state.best_psnr_db:
            train_state.best_psnr_db = score
            save_weights(run / WEIGHTS, predictor.state_dict())
        if kept:
            save_weights(run / "epochs" / f"epoch-{train_state.epoch + 1:04d}.safetensors", predictor.state_dict())
        write_log(run, [*read_json_lines(run / "log.jsonl"), entry])
        write_plan(run, train_state.plan.entries)
    fabric.barrier()
    train_state.epoch += 1
    train_state.batch = 0
    train_state.sums = {}
    return entry


def is_due(epoch: int, every: int) -> bool:
    """Whether an epoch (from 0) ends a round of so many; never where `every` is 0."""
    return every > 0 and (epoch + 1) % every == 0


def save(learner: TrainStep, train_state: TrainState, run: Path) -> None:
    """Save all that is needed to go on; one process writes.

    Raises TrainingFailed rather than save what is not finite: the state before it stays the newest.
    """
    if learner.fabric.global_rank == 0:
        state = learner.state()
        if not is_finite(state):
            raise TrainingFailed(
                f"Weights or the optimiser are not finite at update {train_state.step}; training stopped, and what was "
                "saved before stays. Go on from there with --resume, --force and a lower --learning-rate."
            )
        save_state(run, {**state, "standing": train_state.to_dict(), "step": train_state.step})
    learner.fabric.barrier()


def initial_weights(origin: Path, predictor: Predictor) -> dict[str, Tensor]:
    """Weights to start training from: of a run folder, or of a checkpoint of the course's code; they must fit."""
    if origin.is_dir():
        origin = origin / WEIGHTS
        weights = load_weights(origin)
    elif isinstance(predictor.config.networks, Lab4):
        weights = named_as_ours(read_checkpoint(origin), predictor)
    elif not origin.exists():
        raise InputError(f"There is no {origin}; expected a run folder to start from.")
    else:
        raise InputError(f"{origin} is no run folder; only recipe 'lab4' starts from a checkpoint of the course.")
    fit_weights(predictor, weights, origin)
    return weights
