"""Training a run: how many updates, epochs, validation by true rollouts, saving, going on, stopping.

In: a configuration and a source of footage. Out: a run folder. With the footage, the number of processes and of
threads, the configuration and the number of updates determine the weights.
Knows no architecture. Next: `learning.py` is one update; `checkpoint.py` is the folder.
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

from posecast.batches import Batch, check_divisible
from posecast.checkpoint import (
    LOCKS,
    RUN_FILES,
    RUN_MARKER,
    WEIGHTS,
    is_finite,
    load_state,
    read_config,
    save_state,
    save_weights,
    training_lock,
    write_config,
    write_log,
)
from posecast.config import Config
from posecast.data.augmentation import Augmentation
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.recordings import Footage
from posecast.data.rooms import measure_rooms
from posecast.driving import body_of_footage
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.files import claim_folder, read_json_lines
from posecast.lab4_checkpoints import initial_weights
from posecast.launching import Processes, launch
from posecast.learning import Learner
from posecast.machine import (
    Precision,
    StopRequested,
    StopRequests,
    any_of,
    machine_facts,
    mapped_ahead,
    resolve_device,
    resolve_precision,
    stop_requests,
    threads_ahead,
)
from posecast.model.predictor import Predictor
from posecast.pace import plan_steps, stage_of, steps_per_epoch
from posecast.resuming import check_same, check_same_circumstances
from posecast.settling import settled
from posecast.standing import Standing, Status, Watcher, account, training_entry
from posecast.validation import NOT_VALIDATED, validated


def train(
    config: Config,
    footage: Footage | Callable[[], Footage],
    out: str | Path,
    *,
    device: str = "auto",
    devices: int = 1,
    precision: Precision = "auto",
    start_from: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    deterministic: bool = False,
    watcher: Watcher | None = None,
) -> None:
    """Train a run into the folder `out`. With several processes `footage` is called in each of them.

    `start_from` is a run whose weights to begin with. `resume` goes on where `out` stopped, starts if nothing was
    saved there, and does nothing if it is finished; with `force` it goes on although configuration or circumstances
    differ from what it was begun with, and then equals no uninterrupted run. Without `resume`, `force` replaces a run.
    Raises InputError; InterruptedTraining after SIGINT or SIGTERM, with the state saved; TrainingFailed when losses
    stay non-finite or a process dies.
    """
    run = Path(out)
    accelerator = resolve_device(device)
    check_divisible(config, devices)
    seen = footage_seen(config, footage)
    build_cutter(config, seen).first(config.training.fast_share if config.training.fast_epochs else 1.0)
    initial = initial_weights(Path(start_from), Predictor(config)) if start_from is not None else None
    arithmetic = resolve_precision(precision, accelerator)
    num_steps = None
    # Only now, when nothing is left to be wrong, is anything touched.
    with training_lock(run):
        if resume and (run / RUN_MARKER).exists():
            arithmetic, num_steps = _what_was_begun(run, config, devices, precision, arithmetic, seen, force=force)
        else:
            claim_folder(run, marker=RUN_MARKER, ours=RUN_FILES, force=force, besides=LOCKS)
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy="auto" if devices == 1 else Processes(),
            precision=arithmetic,
        )
        task = functools.partial(
            _build_and_fit,
            config=config,
            footage=footage,
            run=run,
            num_steps=num_steps,
            initial=initial,
            deterministic=deterministic,
            watcher=watcher,
        )
        launch(fabric, task, run)


def _what_was_begun(
    run: Path, config: Config, devices: int, precision: Precision, arithmetic: Any, seen: Footage, *, force: bool
) -> tuple[Any, int]:
    """Arithmetic and number of updates of a run that is to go on. Raises InputError unless it goes on as it began."""
    saved, facts = read_config(run)
    if "machine" not in facts:
        raise InputError(f"{run} was imported, so there is nothing to resume; start from it with --from.")
    if precision == "auto":
        arithmetic = facts["machine"]["precision"]
    if not force:
        check_same(config, saved)
        check_same_circumstances(facts, devices, arithmetic, seen)
    return arithmetic, facts["num_steps"]


def _build_and_fit(
    fabric: Fabric,
    *,
    config: Config,
    footage: Footage | Callable[[], Footage],
    run: Path,
    num_steps: int | None,
    initial: dict[str, Tensor] | None,
    deterministic: bool,
    watcher: Watcher | None,
) -> None:
    """Build, go on or begin, and train to the end. `num_steps` is None for a new run."""
    began = time.monotonic()
    if deterministic:
        torch.use_deterministic_algorithms(True)
    seen = footage_seen(config, footage)
    cutter = build_cutter(config, seen)
    learner = Learner(fabric, config, initial)
    saved = load_state(run, lambda sentence: print(f"posecast: {sentence}", file=sys.stderr))
    if saved is None:
        standing = Standing(num_steps or plan_steps(learner, cutter, seen, began))
        if fabric.global_rank == 0:
            facts = {"source": seen.facts, "selected_on": seen.selected_on, "num_steps": standing.num_steps}
            facts["body"] = body_of_footage(seen.train, seen.facts).to_json()
            write_config(run, config, {**facts, "machine": machine_facts(fabric)})
            write_log(run, [])
    else:
        learner.load_state(saved)
        threads = read_config(run)[1].get("machine", {}).get("threads")
        torch.set_num_threads(int(threads or torch.get_num_threads()))  # another number would round otherwise
        standing = Standing(**saved["standing"])
        if fabric.global_rank == 0:
            write_log(run, read_json_lines(run / "log.jsonl")[: standing.epoch])
    fabric.barrier()
    with stop_requests() as requests:
        _fit(learner, cutter, seen, standing, run, watcher if fabric.global_rank == 0 else None, requests)


def footage_seen(config: Config, footage: Footage | Callable[[], Footage]) -> Footage:
    """The footage as far as the configuration lets a run see it."""
    whole = footage() if callable(footage) else footage
    return whole.limited(config.training.training_share, config.training.validation_frames)


def build_cutter(config: Config, footage: Footage) -> ClipCutter:
    """Cuts training clips; raises InputError where there is nothing to cut."""
    training = config.training
    cutter = ClipCutter(footage.train, training.clip_length, config.networks.pose_window)
    asked = (training.spliced, training.moved, training.drop_limbs, training.blank_poses, training.recoloured)
    if not any(asked):
        return cutter
    augmentation = Augmentation(
        rooms=measure_rooms(footage.train),
        spliced=training.spliced,
        moved=training.moved,
        shift=training.moved_shift,
        scale=training.moved_scale,
        mirrored=training.mirrored,
        drop_limbs=training.drop_limbs,
        blank_poses=training.blank_poses,
        recoloured=training.recoloured,
    )
    return dataclasses.replace(cutter, augmentation=augmentation)


def _fit(
    learner: Learner,
    cutter: ClipCutter,
    footage: Footage,
    standing: Standing,
    run: Path,
    watcher: Watcher | None,
    requests: StopRequests,
) -> None:
    """The loop. State is saved between updates: every so many seconds, on a request to stop, and at the end."""
    config, fabric = learner.config, learner.fabric
    saved_at = time.monotonic()
    while standing.step < standing.num_steps or standing.batch > 0:  # a stop may come before its epoch is ended
        length, batch_size = stage_of(config, cutter, standing.epoch, standing.num_steps, fabric.world_size)
        shorter = cutter.of_length(length)
        plans = enumerate(remaining_plans(config, shorter, batch_size, standing), start=standing.step)
        prepare = functools.partial(prepared, learner, shorter, standing.epoch)
        began = time.monotonic()
        for batch in mapped_ahead(prepare, plans, threads_ahead(fabric)):
            update = learner.update(batch, num_steps=standing.num_steps)
            account(standing, update, time.monotonic() - began)
            if watcher:
                watcher(Status(standing, update, None))
            waited = time.monotonic() - saved_at
            stop, due = any_of(fabric, bool(requests), waited > config.training.save_every_seconds)
            if stop or due:
                save(learner, standing, run)
                saved_at = time.monotonic()
            if stop:
                raise InterruptedTraining(requests.number)
            began = time.monotonic()
        entry = end_epoch(learner, footage, standing, run, requests)
        if entry is None:
            save(learner, standing, run)
            raise InterruptedTraining(requests.number)
        if watcher:
            watcher(Status(standing, None, entry))
    save(learner, standing, run)


def prepared(learner: Learner, cutter: ClipCutter, epoch: int, numbered: tuple[int, ClipPlan]) -> Batch:
    """What the update of a step learns from."""
    step, plan = numbered
    return learner.batches.prepare(cutter, plan, step=step, epoch=epoch)


def remaining_plans(config: Config, cutter: ClipCutter, batch_size: int, standing: Standing) -> Iterator[ClipPlan]:
    """The batches of the current epoch that are still to come, within the number of updates."""
    training = config.training
    per_epoch = steps_per_epoch(config, cutter, standing.epoch)
    if standing.epoch < training.fast_epochs:
        cutter = cutter.first(training.fast_share)  # the same recordings, cut short: plans fit both
    plans = cutter.epoch(per_epoch * batch_size, batch_size, config.seed, standing.epoch)
    left = standing.num_steps - standing.step
    return islice(plans, standing.batch, min(per_epoch, standing.batch + left))


def end_epoch(
    learner: Learner, footage: Footage, standing: Standing, run: Path, requests: StopRequests
) -> dict[str, Any] | None:
    """Log the epoch, validate if it is time, keep the best weights, and begin the next epoch.

    None if a signal broke the validation off: then the epoch is not ended, and nothing has changed.
    """
    training, fabric = learner.config.training, learner.fabric
    shown, kept = (is_due(standing.epoch, every) for every in (training.show_every, training.keep_every))
    last = standing.step >= standing.num_steps
    due = last or shown or is_due(standing.epoch, training.validate_every)
    entry = training_entry(learner, standing)
    broken_off, predictor = False, learner.smoothed
    if fabric.global_rank == 0:
        picture = run / "samples" / "epochs" / f"epoch-{standing.epoch + 1:04d}.png" if shown else None
        try:
            with requests.at_once():  # rollouts of long recordings take longer than a stop may wait
                if due or kept:
                    predictor = settled(predictor, footage.train)
                entry |= validated(learner, predictor, footage, standing.epoch, picture) if due else NOT_VALIDATED
        except StopRequested:
            broken_off = True
    if any_of(fabric, broken_off)[0]:
        return None
    if fabric.global_rank == 0:
        score = entry["validation_psnr_db"]
        if score is not None and score > standing.best_psnr_db:
            standing.best_psnr_db = score
            save_weights(run / WEIGHTS, predictor.state_dict())
        if kept:
            save_weights(run / "epochs" / f"epoch-{standing.epoch + 1:04d}.safetensors", predictor.state_dict())
        write_log(run, [*read_json_lines(run / "log.jsonl"), entry])
    fabric.barrier()
    standing.epoch += 1
    standing.batch = 0
    standing.sums = {}
    return entry


def is_due(epoch: int, every: int) -> bool:
    """Whether an epoch (from 0) ends a round of so many; never where `every` is 0."""
    return every > 0 and (epoch + 1) % every == 0


def save(learner: Learner, standing: Standing, run: Path) -> None:
    """Save all that is needed to go on; one process writes.

    Raises TrainingFailed rather than save what is not finite: the state before it stays the newest.
    """
    if learner.fabric.global_rank == 0:
        state = learner.state()
        if not is_finite(state):
            raise TrainingFailed(
                f"Weights or the optimiser are not finite at update {standing.step}; training stopped, and what was "
                "saved before stays. Go on from there with --resume, --force and a lower --learning-rate."
            )
        save_state(run, {**state, "standing": dataclasses.asdict(standing), "step": standing.step})
    learner.fabric.barrier()
