"""A run folder looked through: is what it says is there, whole, and can it go on?

In: a run folder. Out: errors, remarks, and what it holds, in sentences. Mends nothing, runs nothing from a file.
Next: `checkpoint.py`, whose files these are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posecast.config.schema import Config
from posecast.errors import Finding, InputError
from posecast.files import WRITING, read_json, read_json_lines
from posecast.model.checkpoint import WEIGHTS, fit_weights, load_weights, read_config
from posecast.model.predictor import Predictor
from posecast.training.checkpoints import read_state, states


@dataclass(frozen=True)
class Inspection:
    """What a run folder holds, in lines; what is broken; what is worth knowing."""

    lines: tuple[str, ...]
    errors: tuple[Finding, ...]
    remarks: tuple[Finding, ...]


def inspect_run(run: Path) -> Inspection:
    """Look through a run folder. Raises InputError only where its configuration cannot be read at all."""
    config, facts = read_config(run)
    errors: list[Finding] = []
    remarks: list[Finding] = []
    lines = [f"recipe {config.recipe}, size {config.size}, seed {config.seed}, by posecast {facts['posecast']}"]
    _look_at_weights(run, config, facts, lines, errors, remarks)
    step, num_steps = _look_at_states(run, lines, errors, remarks), facts.get("num_steps")
    if isinstance(num_steps, int) and 0 < step < num_steps:
        remarks.append(
            Finding("unfinished", f"It is at update {step} of {num_steps}: unless it trains now, go on with --resume.")
        )
    _look_at_log(run, lines, errors)
    if (run / "scores.json").exists():
        try:
            read_json(run / "scores.json", "scores")
            lines.append("scores.json: there")
        except InputError as error:
            errors.append(Finding("scores", f"{error} Make it anew with 'posecast evaluate'."))
    leftovers = sorted(str(path.relative_to(run)) for path in run.rglob(f"{WRITING}*"))
    if leftovers:
        said = f"{len(leftovers)} half-written files, such as {leftovers[0]}; unless it trains now, --resume cleans up."
        remarks.append(Finding("leftovers", said))
    return Inspection(tuple(lines), tuple(errors), tuple(remarks))


def _look_at_weights(
    run: Path, config: Config, facts: dict[str, Any], lines: list[str], errors: list[Finding], remarks: list[Finding]
) -> None:
    path = run / WEIGHTS
    if not path.exists():
        remarks.append(
            Finding("no weights", f"There is no {WEIGHTS} yet: nothing was validated, or training went wrong.")
        )
        return
    try:
        weights = load_weights(path)
        fit_weights(Predictor(config), weights, path)
        lines.append(f"{WEIGHTS}: whole, {sum(value.numel() for value in weights.values()):,} numbers")
    except InputError as error:
        errors.append(
            Finding("weights", f"{error} If a state is whole, --resume writes them again when it next validates.")
        )


def _look_at_states(run: Path, lines: list[str], errors: list[Finding], remarks: list[Finding]) -> int:
    """The update of the newest whole state; 0 where there is none."""
    paths, step = states(run), 0
    for path in paths:
        state = read_state(path)
        if state is None and not path.exists():  # a training is going on, and has saved a newer one
            continue
        if state is None:
            remarks.append(Finding("damaged state", f"state/{path.name} is damaged; the other one is used."))
        else:
            step = max(step, int(state["step"]))
            lines.append(f"state/{path.name}: whole, update {state['step']}")
    if paths and not step:
        errors.append(Finding("states", "No state is whole, so training cannot go on; begin a new run with --from."))
    return step


def _look_at_log(run: Path, lines: list[str], errors: list[Finding]) -> None:
    path = run / "log.jsonl"
    if not path.exists():
        return
    entries = read_json_lines(path)
    num_lines = sum(1 for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip())
    if len(entries) < num_lines:
        said = (
            f"log.jsonl is damaged from line {len(entries) + 1} on ({num_lines} lines); what comes before it is used."
        )
        errors.append(Finding("log", said))
    best = max((e["validation_psnr_db"] for e in entries if _is_number(e.get("validation_psnr_db"))), default=None)
    lines.append(f"log.jsonl: {len(entries)} epochs" + ("" if best is None else f", best {best:.2f} dB"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
