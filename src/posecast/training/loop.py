"""Training loop: batch, step, log, validate, save.

In: a `TrainSession`, which `train.py` builds. Out: weights, states and a log in the run folder.
Next: `step.py` is one update; `validation.py` scores the end of an epoch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from posecast.config.schema import Config
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.prefetch import mapped_ahead, threads_ahead
from posecast.data.recordings import Footage
from posecast.errors import InterruptedTraining, TrainingFailed
from posecast.evaluation.bounds import TRAINING_VARIANCE
from posecast.evaluation.posterior import fit_variance
from posecast.files import read_json_lines
from posecast.model.checkpoint import WEIGHTS, save_weights
from posecast.model.predictor import Predictor
from posecast.training.batches import Batch
from posecast.training.budget import Pacer
from posecast.training.checkpoints import is_finite, save_state, write_facts, write_log, write_plan
from posecast.training.distributed import any_of
from posecast.training.plan import Stage, new_plan, stage_index, stages, steps_per_epoch
from posecast.training.posthoc import fit_posthoc
from posecast.training.schedules import learning_rate
from posecast.training.signals import StopRequested, StopRequests
from posecast.training.state import Callback, TrainEvent, TrainState, add_update, training_entry
from posecast.training.step import StepMetrics, TrainStep
from posecast.training.validation import NOT_VALIDATED, validate


@dataclass(frozen=True)
class TrainSession:
    """Components of a training in one process."""

    train_step: TrainStep
    cutter: ClipCutter
    footage: Footage
    state: TrainState
    run: Path
    """Folder of the run; only the first process writes to it."""
    requests: StopRequests
    pacer: Pacer | None
    """Planner of a budget of minutes; None where the number of updates is fixed."""
    callback: Callback | None
    """Called in the first process after every update and every epoch."""

    def notify(self, update: StepMetrics | None = None, entry: dict[str, Any] | None = None) -> None:
        """Report an event to the callback, if there is one."""
        if self.callback:
            self.callback(TrainEvent(self.state, update, entry, self.pacer.ends if self.pacer else None))


def fit(session: TrainSession) -> None:
    """Train to the end of the plan.

    The state is saved between updates: at regular intervals, on a request to stop, and at the end.

    Raises:
        InterruptedTraining: A signal asked for a stop; the state is saved.
        TrainingFailed: Weights or too many losses in a row are not finite.
    """
    state, train_step, pacer = session.state, session.train_step, session.pacer
    training, fabric = train_step.config.training, train_step.fabric
    spent_before, began_at = state.spent_s, time.monotonic()
    saved_at = began_at
    session.notify()  # the first update may take long
    while state.step < state.num_steps or state.batch > 0:  # the last epoch is ended even if it is incomplete
        stage = stage_index(train_step.config, session.cutter, state.epoch, state.plan)
        update_began = time.monotonic()
        for batch in epoch_batches(session, stages(training, fabric.world_size)[stage]):
            if state.step >= state.num_steps:  # the run was planned again in this epoch
                break
            metrics = train_step.update(batch, rate=learning_rate(state.step, state.plan, training))
            now = time.monotonic()
            seconds, update_began = now - update_began, now
            add_update(state, metrics, seconds)
            state.spent_s = spent_before + now - began_at
            session.notify(metrics)
            save_due = time.monotonic() - saved_at > training.save_every_seconds
            plan_due = pacer is not None and pacer.is_due(epoch_ended=False)
            stop, save_due, plan_due = any_of(fabric, bool(session.requests), save_due, plan_due)
            if pacer:
                pacer.note_update(stage, seconds)
            if pacer and plan_due:
                replan(session, pacer)
            if stop or save_due:
                save(session)
                saved_at = time.monotonic()
            if stop:
                raise InterruptedTraining(session.requests.number)
        end_epoch(session)
    save(session)


def epoch_batches(session: TrainSession, stage: Stage) -> Iterator[Batch]:
    """Return the batches of the current epoch that are still to come; on a GPU threads cut them ahead of time."""
    train_step, state = session.train_step, session.state
    cutter = session.cutter.of_length(stage.clip_length)
    plans = enumerate(remaining_plans(train_step.config, cutter, stage.batch_size, state), start=state.step)
    prepare = functools.partial(prepare_batch, train_step, cutter, state.epoch)
    return mapped_ahead(prepare, plans, threads_ahead(train_step.fabric))


def remaining_plans(config: Config, cutter: ClipCutter, batch_size: int, state: TrainState) -> Iterator[ClipPlan]:
    """Return the plans of the current epoch's batches that are still to come."""
    training = config.training
    per_epoch = steps_per_epoch(config, cutter, state.epoch)
    if state.epoch < training.fast_epochs:
        cutter = cutter.first(training.fast_share)  # its clips have the same positions in the shortened recordings
    plans = cutter.epoch(per_epoch * batch_size, batch_size, config.seed, state.epoch)
    return islice(plans, state.batch, per_epoch)


def prepare_batch(train_step: TrainStep, cutter: ClipCutter, epoch: int, numbered: tuple[int, ClipPlan]) -> Batch:
    """Return the batch of an update.

    Args:
        train_step: Step that will train on the batch.
        cutter: Cutter of the plan's clip length.
        epoch: Number of the epoch.
        numbered: Number of the update, and the plan of its clips.
    """
    step, plan = numbered
    return train_step.batches.prepare(cutter, plan, step=step, epoch=epoch)


def replan(session: TrainSession, pacer: Pacer) -> None:
    """Plan the number of updates again by the present speed; all processes take the first one's plan."""
    state = session.state
    num_steps = session.train_step.fabric.broadcast(pacer.num_steps(state.plan, state.step))
    state.plan = new_plan(state.plan, state.step, int(num_steps))


def end_epoch(session: TrainSession) -> None:
    """Validate and log an epoch, keep the best weights, and advance to the next epoch.

    Raises:
        InterruptedTraining: A signal interrupted the validation; the saved state is that before the epoch's end.
    """
    state, pacer, fabric = session.state, session.pacer, session.train_step.fabric
    began_at = time.monotonic()
    validated = validate_epoch(session)
    if validated is None:
        save(session)
        raise InterruptedTraining(session.requests.number)
    entry, predictor = validated
    if fabric.global_rank == 0:
        write_epoch(session, entry, predictor)
    fabric.barrier()
    state.epoch += 1
    state.batch = 0
    state.sums = {}
    if pacer:
        if entry.get("validation_loss") is not None:  # only in the first process, whose plan counts
            pacer.note_validation(time.monotonic() - began_at)
        if state.step < state.num_steps and any_of(fabric, pacer.is_due(epoch_ended=True))[0]:
            replan(session, pacer)
    session.notify(entry=entry)


def validate_epoch(session: TrainSession) -> tuple[dict[str, Any], Predictor] | None:
    """Return the epoch's log entry, validated in the first process if it is due, and the predictor to keep.

    Return None if a signal interrupted the validation in any process.
    """
    state, train_step, training = session.state, session.train_step, session.train_step.config.training
    entry, predictor, interrupted = training_entry(train_step, state), train_step.smoothed, False
    sample_due = epoch_is_due(state.epoch, training.sample_every)
    validation_due = sample_due or epoch_is_due(state.epoch, training.validate_every) or state.step >= state.num_steps
    if train_step.fabric.global_rank == 0:
        sample = session.run / "samples" / "epochs" / f"epoch-{state.epoch + 1:04d}.png" if sample_due else None
        try:
            with session.requests.at_once():  # rollouts of long recordings take longer than a stop may wait
                if validation_due or epoch_is_due(state.epoch, training.checkpoint_every):
                    predictor = fit_posthoc(predictor, session.footage.train)
                if validation_due:
                    entry |= validate(train_step, predictor, session.footage, state.epoch, sample)
                else:
                    entry |= NOT_VALIDATED
        except StopRequested:
            interrupted = True
    return None if any_of(train_step.fabric, interrupted)[0] else (entry, predictor)


def write_epoch(session: TrainSession, entry: dict[str, Any], predictor: Predictor) -> None:
    """Write an epoch's log entry, and its weights if they are the best so far or are to be kept."""
    state, run = session.state, session.run
    score = entry["validation_psnr_db"]
    if score is not None and score > state.best_psnr_db:
        state.best_psnr_db = score
        save_weights(run / WEIGHTS, predictor.state_dict())
        write_facts(run, {TRAINING_VARIANCE: fit_variance(predictor, session.footage.train)})
    if epoch_is_due(state.epoch, session.train_step.config.training.checkpoint_every):
        save_weights(run / "epochs" / f"epoch-{state.epoch + 1:04d}.safetensors", predictor.state_dict())
    write_log(run, [*read_json_lines(run / "log.jsonl"), entry])
    write_plan(run, state.plan.entries)


def epoch_is_due(epoch: int, every: int) -> bool:
    """Return whether an epoch, counted from 0, is the last of `every` epochs; never where `every` is 0."""
    return every > 0 and (epoch + 1) % every == 0


def save(session: TrainSession) -> None:
    """Save everything needed to resume; the first process writes.

    Raises:
        TrainingFailed: Weights or optimisers are not finite; the newest state is still the one before.
    """
    train_step, state = session.train_step, session.state
    if train_step.fabric.global_rank == 0:
        content = train_step.state()
        if not is_finite(content):
            raise TrainingFailed(
                f"Weights or the optimiser are not finite at update {state.step}; training stopped, and the state "
                "saved before is kept. Go on from there with --resume, --force and a lower --learning-rate."
            )
        save_state(session.run, {**content, "standing": state.to_dict(), "step": state.step})
    train_step.fabric.barrier()
