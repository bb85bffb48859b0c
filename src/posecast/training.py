"""Training a run: how many updates, epochs, validation by true rollouts, saving, going on, stopping.

In: a configuration and a source of footage. Out: a run folder. With the footage, the number of processes and of
threads, the configuration and the number of updates determine the weights.
Knows no architecture. Next: `learning.py` is one update; `checkpoint.py` is the folder.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from posecast.checkpoint import (
    RUN_FILES,
    RUN_MARKER,
    fit_weights,
    load_state,
    load_weights,
    read_config,
    save_state,
    save_weights,
    write_config,
    write_log,
)
from posecast.config import Config, to_dict
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.recordings import Footage
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.evaluation import mean_rollout, psnr_db
from posecast.files import claim_folder, read_json_lines
from posecast.learning import VALIDATION, Learner, Update, check_divisible
from posecast.machine import (
    Precision,
    any_of,
    forwarding_signals,
    machine_facts,
    resolve_device,
    resolve_precision,
    stop_requests,
)
from posecast.model.predictor import Predictor, seeded
from posecast.pace import plan_steps, steps_per_epoch

MOST_SKIPPED_IN_A_ROW = 20


@dataclass
class Standing:
    """How far training has come; saved with every state."""

    num_steps: int
    step: int = 0
    epoch: int = 0
    batch: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_psnr_db: float = -math.inf
    sums: dict[str, float] = field(default_factory=dict)
    """Sums over the updates of the current epoch, and `seconds` spent on them."""


@dataclass(frozen=True)
class Status:
    """What a watcher of the training is told after every update, and after every epoch."""

    standing: Standing
    update: Update | None
    entry: dict[str, Any] | None
    """The epoch's line of log.jsonl, when an epoch has just ended."""


Watcher = Callable[[Status], None]


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
    saved there, and does nothing if it is finished. Raises InputError; InterruptedTraining after SIGINT or
    SIGTERM, with the state saved; TrainingFailed when losses stay non-finite.
    """
    run = Path(out)
    accelerator = resolve_device(device)
    check_divisible(config, devices)
    seen = footage() if callable(footage) else footage
    ClipCutter(seen.train, config.training.clip_length, config.networks.pose_window)  # refuses what cannot be cut
    initial = None
    if start_from is not None:
        origin = Path(start_from) / "model.safetensors"
        initial = load_weights(origin)
        fit_weights(Predictor(config), initial, origin)
    arithmetic = resolve_precision(precision, accelerator)
    num_steps = None
    # Only now, when nothing is left to be wrong, is anything touched.
    if resume and (run / RUN_MARKER).exists():
        saved, facts = read_config(run)
        if "machine" not in facts:
            raise InputError(f"{run} was imported, so there is nothing to resume; start from it with --from.")
        check_same(config, saved)
        arithmetic = facts["machine"]["precision"] if precision == "auto" else arithmetic
        check_same_circumstances(facts, devices, arithmetic, seen)
        num_steps = facts["num_steps"]
    else:
        claim_folder(run, marker=RUN_MARKER, ours=RUN_FILES, force=force)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp_spawn",
        precision=arithmetic,
    )
    task = functools.partial(
        _train_here,
        config=config,
        footage=footage,
        run=run,
        num_steps=num_steps,
        initial=initial,
        deterministic=deterministic,
        watcher=watcher,
    )
    with forwarding_signals(devices) as caught:
        try:
            fabric.launch(task)
        except Exception:
            if caught:
                raise InterruptedTraining(caught[0]) from None
            raise


def _train_here(fabric: Fabric, **given: Any) -> None:
    """What every process does: train, then leave the group of processes in good order."""
    try:
        _build_and_fit(fabric, **given)
    finally:
        if torch.distributed.is_initialized():
            # gloo's threads may still hold tensors of the last exchange and need the interpreter's lock to drop
            # them. Whoever takes the group apart holds that lock and joins those threads, so let them finish first.
            time.sleep(0.3)
            torch.distributed.destroy_process_group()


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
    seen = footage() if callable(footage) else footage
    cutter = ClipCutter(seen.train, config.training.clip_length, config.networks.pose_window)
    learner = Learner(fabric, config, initial)
    saved = load_state(run)
    if saved is None:
        standing = Standing(num_steps or plan_steps(learner, cutter, seen, began))
        if fabric.global_rank == 0:
            facts = {"source": seen.facts, "selected_on": seen.selected_on, "num_steps": standing.num_steps}
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
    with stop_requests() as requested:
        _fit(learner, cutter, seen, standing, run, watcher if fabric.global_rank == 0 else None, requested)


def _fit(
    learner: Learner,
    cutter: ClipCutter,
    footage: Footage,
    standing: Standing,
    run: Path,
    watcher: Watcher | None,
    requested: list[int],
) -> None:
    """The loop. State is saved between updates: every so many seconds, on a request to stop, and at the end."""
    config, fabric = learner.config, learner.fabric
    saved_at = time.monotonic()
    while standing.step < standing.num_steps:
        for plan in remaining_plans(config, cutter, standing):
            began = time.monotonic()
            update = learner.update(
                cutter, plan, step=standing.step, epoch=standing.epoch, num_steps=standing.num_steps
            )
            account(standing, update, time.monotonic() - began)
            if watcher:
                watcher(Status(standing, update, None))
            waited = time.monotonic() - saved_at
            stop, due = any_of(fabric, bool(requested), waited > config.training.save_every_seconds)
            if stop or due:
                save(learner, standing, run)
                saved_at = time.monotonic()
            if stop:
                raise InterruptedTraining(requested[0] if requested else signal.SIGTERM)
        entry = end_epoch(learner, footage, standing, run)
        if watcher:
            watcher(Status(standing, None, entry))
    save(learner, standing, run)


def remaining_plans(config: Config, cutter: ClipCutter, standing: Standing) -> Iterator[ClipPlan]:
    """The batches of the current epoch that are still to come, within the number of updates."""
    training = config.training
    per_epoch = steps_per_epoch(config, cutter)
    plans = cutter.epoch(per_epoch * training.batch_size, training.batch_size, config.seed, standing.epoch)
    left = standing.num_steps - standing.step
    return islice(plans, standing.batch, min(per_epoch, standing.batch + left))


def account(standing: Standing, update: Update, seconds: float) -> None:
    """Add an update to the epoch's sums. Raises TrainingFailed if skipping has become a habit."""
    standing.step += 1
    standing.batch += 1
    sums = standing.sums
    for name, value in (
        ("updates", 1.0),
        ("seconds", seconds),
        ("predictions", float(update.num_predictions)),
        ("skipped", float(update.skipped)),
    ):
        sums[name] = sums.get(name, 0.0) + value
    if update.skipped:
        standing.skipped += 1
        standing.skipped_in_a_row += 1
        if standing.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingFailed(
                f"The loss or its gradient was not finite in {MOST_SKIPPED_IN_A_ROW} updates in a row; training "
                "stopped at update {standing.step}. Lower --learning-rate or --clip-norm, or look at the data."
            )
        return
    standing.skipped_in_a_row = 0
    for name in ("loss", "mse", "rate_nats", "distortion_nats"):
        sums[name] = sums.get(name, 0.0) + getattr(update, name)
    sums["learning_rate"] = update.learning_rate


def end_epoch(learner: Learner, footage: Footage, standing: Standing, run: Path) -> dict[str, Any]:
    """Log the epoch, validate if it is time, keep the best weights, and begin the next epoch."""
    config, fabric = learner.config, learner.fabric
    last = standing.step >= standing.num_steps
    due = last or (standing.epoch + 1) % config.training.validate_every == 0
    entry = training_entry(learner, standing)
    if fabric.global_rank == 0:
        entry |= validation_entry(learner, footage, standing.epoch) if due else NOT_VALIDATED
        score = entry["validation_psnr_db"]
        if score is not None and score > standing.best_psnr_db:
            standing.best_psnr_db = score
            save_weights(run, learner.smoothed.state_dict())
        write_log(run, [*read_json_lines(run / "log.jsonl"), entry])
    fabric.barrier()
    standing.epoch += 1
    standing.batch = 0
    standing.sums = {}
    return entry


def training_entry(learner: Learner, standing: Standing) -> dict[str, Any]:
    """The part of an epoch's log line that the updates give."""
    sums = standing.sums
    used = sums["updates"] - sums["skipped"]
    processes = learner.fabric.world_size
    means = {
        name: sums.get(key, 0.0) / used if used else None
        for name, key in (
            ("loss", "loss"),
            ("mse", "mse"),
            ("rate", "rate_nats"),
            ("distortion", "distortion_nats"),
        )
    }
    return {
        "epoch": standing.epoch,
        "step": standing.step,
        **means,
        "kl_weight": learner.kl_weight(standing.epoch),
        "teacher_forcing_rate": learner.teacher_forcing_rate(standing.epoch),
        "learning_rate": sums.get("learning_rate"),
        "skipped_updates": int(sums["skipped"]),
        "frames_per_second": processes * sums["predictions"] / max(sums["seconds"], 1e-9),
        "seconds": sums["seconds"],
    }


NOT_VALIDATED: dict[str, Any] = dict.fromkeys(
    ("validation_loss", "validation_rate", "validation_distortion", "validation_psnr_db")
)


def validation_entry(learner: Learner, footage: Footage, epoch: int) -> dict[str, Any]:
    """PSNR of a true rollout by the prior's mean; and the bound on clips, own predictions fed back.

    A rollout that is not finite is logged as None and never kept as the best.
    """
    try:
        psnrs = [psnr_db(mean_rollout(learner.smoothed, one), one.frames[1:]).mean() for one in footage.validation]
        score = float(np.mean(psnrs))
    except InputError:
        score = None
    loss, rate, distortion = validation_bound(learner, footage, epoch)
    return {
        "validation_loss": loss,
        "validation_rate": rate,
        "validation_distortion": distortion,
        "validation_psnr_db": score,
    }


@torch.inference_mode()
def validation_bound(learner: Learner, footage: Footage, epoch: int) -> tuple[float | None, ...]:
    """Loss, rate and distortion over consecutive clips, anchored on their recording's first frame."""
    training = learner.config.training
    longest = max(len(one) for one in footage.validation)
    length = min(training.clip_length, longest)
    cutter = ClipCutter(footage.validation, length, learner.predictor.pose_window)
    rows = [
        (index, start)
        for index, one in enumerate(footage.validation)
        for start in range(0, len(one) - length + 1, length)
    ]
    generator = seeded(VALIDATION, learner.config.seed)
    terms = []
    for first in range(0, len(rows), training.batch_size):
        index, start = np.array(rows[first : first + training.batch_size]).T
        shape = (len(index), length - 1)
        noise = torch.randn(*shape, *learner.predictor.latent_shape, generator=generator)
        forced = torch.zeros(shape, dtype=torch.bool)
        clip = cutter.cut(ClipPlan(index, start, np.zeros_like(start)))
        _, bound = learner.observe(clip, forced=forced, noise=noise, epoch=epoch, model=learner.smoothed)
        terms.append([bound.loss.item(), bound.rate_nats.item(), bound.distortion_nats.item()])
    means = np.mean(terms, axis=0).tolist()
    return tuple(value if math.isfinite(value) else None for value in means)


def save(learner: Learner, standing: Standing, run: Path) -> None:
    """Save all that is needed to go on; one process writes."""
    if learner.fabric.global_rank == 0:
        save_state(run, {**learner.state(), "standing": dataclasses.asdict(standing), "step": standing.step})
    learner.fabric.barrier()


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


def flattened(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def check_same_circumstances(facts: dict[str, Any], devices: int, precision: str, footage: Footage) -> None:
    """Raise InputError if data, processes or arithmetic are not what the run was begun with."""
    machine = facts["machine"]
    if machine["processes"] != devices:
        raise InputError(
            f"This run was begun with {machine['processes']} process(es), not {devices}; "
            "resume it with the same --devices."
        )
    if machine["precision"] != precision:
        raise InputError(
            f"This run was begun in {machine['precision']}, not {precision}; leave --precision out to resume it."
        )
    before, now = (source.get("fingerprint") for source in (facts.get("source", {}), footage.facts))
    if before != now:
        raise InputError(
            "The data set has changed since this run was begun (its fingerprint differs); "
            "restore it, or begin a new run with --from."
        )
