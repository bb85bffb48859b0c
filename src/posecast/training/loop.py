"""The loop: updates, epochs, validation by true rollouts, saving, stopping.

In: a `TrainStep`, clips, and where training stands. Out: weights, states and a log in the run folder.
Knows no architecture, and not how a run begins. Next: `step.py` is one update; `train.py` begins a run or goes on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from posecast.config.schema import Config, Training
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.prefetch import mapped_ahead, threads_ahead
from posecast.data.recordings import Footage
from posecast.errors import InterruptedTraining, TrainingFailed
from posecast.files import read_json_lines
from posecast.model.checkpoint import WEIGHTS, save_weights
from posecast.training.batches import Batch
from posecast.training.budget import Pacer, Plan, new_plan, stage_of, stages, steps_per_epoch
from posecast.training.checkpoints import is_finite, save_state, write_log, write_plan
from posecast.training.distributed import any_of
from posecast.training.posthoc import settled
from posecast.training.schedules import learning_rate
from posecast.training.signals import StopRequested, StopRequests
from posecast.training.state import Callback, TrainEvent, TrainState, account, training_entry
from posecast.training.step import TrainStep
from posecast.training.validation import NOT_VALIDATED, validated


def fit(
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
    ends_at = pacer.ends if pacer else None
    if callback:
        callback(TrainEvent(train_state, None, None, ends_at))  # it has begun, however long the first update takes
    while train_state.step < train_state.num_steps or train_state.batch > 0:  # the last epoch must be ended, too
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
                callback(TrainEvent(train_state, update, None, ends_at))
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
            callback(TrainEvent(train_state, None, entry, ends_at))
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
