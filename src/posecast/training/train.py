"""Training a run: begin it, go on with it, or make it again, in one process or several.

In: a configuration and a source of footage. Out: a run folder. With the footage, the number of processes and of
threads, the configuration and the number of updates determine the weights.
Knows no architecture. Next: `loop.py` makes the updates; `resume.py` is what must not change meanwhile.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from posecast.config.schema import Config, Lab4
from posecast.data.clips import ClipCutter
from posecast.data.recordings import Footage
from posecast.errors import InputError
from posecast.files import claim_folder, read_json_lines
from posecast.model.checkpoint import (
    RUN_FILES,
    RUN_MARKER,
    WEIGHTS,
    digest_of,
    fit_weights,
    load_weights,
    read_config,
    write_config,
)
from posecast.model.device import Precision, machine_profile, resolve_device, resolve_precision
from posecast.model.lab4_checkpoint import named_as_ours, read_checkpoint
from posecast.model.predictor import Predictor
from posecast.model.threads import operator_threads
from posecast.training.batches import build_cutter, check_divisible, footage_seen
from posecast.training.budget import Pacer, first_plan, measured_pacer
from posecast.training.checkpoints import LOCKS, load_state, states, training_lock, write_log
from posecast.training.distributed import Processes, launch, machine_facts
from posecast.training.loop import fit
from posecast.training.resume import Circumstances, Record, check_circumstances, check_same, recorded
from posecast.training.signals import stop_requests
from posecast.training.state import Callback, TrainState
from posecast.training.step import TrainStep
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
    there, from the same footage and weights. `resume` goes on where `out` stopped, starts if nothing was saved there,
    and does nothing if it is finished. With `force` both go on although configuration or circumstances differ, and then
    equal no other run; alone, `force` replaces a run.
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
    asked = Circumstances(devices, precision, seen.facts.get("fingerprint"), digest_of(initial) if initial else None)
    record = dataclasses.replace(recorded(Path(repeat)), repeated=True) if repeat is not None else None
    if record and not force:
        check_circumstances(record, asked, from_the_start=True)
    # Only now, when nothing is left to be wrong, is anything touched.
    with training_lock(run):
        if resume and (run / RUN_MARKER).exists():
            record = recorded(run)
            if not force:
                check_same(config, read_config(run)[0])
                check_circumstances(record, asked, from_the_start=not states(run))
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
            threads=(record.threads, record.shares) if record else chosen_threads(accelerator, devices),
            began=began,
            initial=initial,
            deterministic=deterministic,
            callback=callback,
        )
        launch(fabric, task, run)


def chosen_threads(accelerator: str, processes: int = 1) -> tuple[int, int]:
    """Return operator threads and shares of an update, as this machine was measured to be quickest.

    Processes of one machine share its cores. They are told, and do not measure by themselves: all must choose alike.
    """
    if accelerator != "cpu":
        return torch.get_num_threads(), 1
    profile = machine_profile()
    if profile.shares > 1:
        return 1, max(1, profile.shares // processes)
    return max(1, profile.operator_threads // processes), 1


def _build_and_fit(
    fabric: Fabric,
    *,
    config: Config,
    footage: tuple[Footage, ClipCutter] | Footage | Callable[[], Footage],
    run: Path,
    record: Record | None,
    threads: tuple[int, int],
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
    with operator_threads(threads[0]):
        learner = TrainStep(fabric, config, initial, shares=threads[1])
        try:
            saved = load_state(run, lambda sentence: print(f"posecast: {sentence}", file=sys.stderr))
            train_state, pacer = _state_and_pacer(learner, cutter, seen, saved, record, began)
            if fabric.global_rank == 0:
                if saved is None:
                    write_config(run, config, _facts(learner, seen, train_state, record, initial))
                write_log(run, read_json_lines(run / "log.jsonl")[: train_state.epoch])
            fabric.barrier()
            watching = callback if fabric.global_rank == 0 else None
            with stop_requests() as requests:
                fit(learner, cutter, seen, train_state, run, watching, requests, pacer)
        finally:
            learner.workers.close()


def _state_and_pacer(
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


def _facts(
    learner: TrainStep,
    footage: Footage,
    train_state: TrainState,
    record: Record | None,
    initial: dict[str, Tensor] | None,
) -> dict[str, Any]:
    """What config.json records of a beginning, beside the configuration."""
    return {
        "source": footage.facts,
        "selected_on": footage.selected_on,
        "num_steps": train_state.num_steps,
        "plan": [list(entry) for entry in train_state.plan.entries],
        "repeated": record is not None and record.repeated,
        "initial_weights": digest_of(initial) if initial else None,
        "body": body_of_footage(footage.train, footage.facts).to_json(),
        "machine": machine_facts(learner.fabric, learner.workers.count),
    }


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
