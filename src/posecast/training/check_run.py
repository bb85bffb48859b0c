"""Inspection of a run folder: whether its files are intact and training can be resumed.

In: a run folder. Out: errors, remarks and a summary, in sentences. Nothing is changed, and no code in a file is
executed. Next: `checkpoints.py` and `model/checkpoint.py`, which write these files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from posecast.config.schema import Config
from posecast.errors import Finding, InputError, counted
from posecast.files import WRITING, read_bytes, read_json, read_json_lines
from posecast.model.checkpoint import WEIGHTS, fit_weights, load_weights, read_config
from posecast.model.predictor import Predictor
from posecast.training.checkpoints import read_state, states


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection."""

    lines: tuple[str, ...]
    """Content of the folder, one line per file."""
    errors: tuple[Finding, ...]
    """Damage that costs the run something."""
    remarks: tuple[Finding, ...]
    """Anything else worth knowing."""


def inspect_run(run: Path) -> Inspection:
    """Inspect a run folder.

    Raises:
        InputError: The configuration cannot be read; all other damage is in the result.
    """
    config, facts = read_config(run)
    errors: list[Finding] = []
    remarks: list[Finding] = []
    lines = [f"recipe {config.recipe}, size {config.size}, seed {config.seed}, by posecast {facts['posecast']}"]
    _inspect_weights(run, config, lines, errors, remarks)
    step, num_steps = _inspect_states(run, lines, errors, remarks), facts.get("num_steps")
    if isinstance(num_steps, int) and 0 < step < num_steps:
        remarks.append(
            Finding("unfinished", f"It is at update {step} of {num_steps}; unless it is training, go on with --resume.")
        )
    _inspect_log(run, lines, errors)
    if (run / "scores.json").exists():
        try:
            read_json(run / "scores.json", "scores")
            lines.append("scores.json: intact")
        except InputError as error:
            errors.append(Finding("scores", f"{error} Write it again with 'posecast evaluate'."))
    leftovers = sorted(str(path.relative_to(run)) for path in run.rglob(f"{WRITING}*"))
    if leftovers:
        number, example = len(leftovers), leftovers[0]
        remarks.append(
            Finding(
                "leftovers",
                f"{number} half-written files, such as {example}; unless it is training, --resume removes them.",
            )
        )
    return Inspection(tuple(lines), tuple(errors), tuple(remarks))


def _inspect_weights(
    run: Path, config: Config, lines: list[str], errors: list[Finding], remarks: list[Finding]
) -> None:
    path = run / WEIGHTS
    if not path.exists():
        remarks.append(
            Finding("no weights", f"There is no {WEIGHTS} yet: no validation has been made, or none was finite.")
        )
        return
    try:
        weights = load_weights(path)
        fit_weights(Predictor(config), weights, path)
        lines.append(f"{WEIGHTS}: intact, {sum(value.numel() for value in weights.values()):,} numbers")
    except InputError as error:
        errors.append(
            Finding("weights", f"{error} If a state is intact, --resume writes them again at the next validation.")
        )


def _inspect_states(run: Path, lines: list[str], errors: list[Finding], remarks: list[Finding]) -> int:
    """Inspect the states and return the update of the newest intact one, 0 if there is none."""
    paths, step = states(run), 0
    for path in paths:
        state = read_state(path)
        if state is None and not path.exists():  # a training has replaced it in the meantime
            continue
        if state is None:
            remarks.append(Finding("damaged state", f"state/{path.name} is damaged; the other one is used."))
        else:
            step = max(step, int(state["step"]))
            lines.append(f"state/{path.name}: intact, update {state['step']}")
    if paths and not step:
        errors.append(
            Finding("states", "No state is intact, so the run cannot be resumed; start a new run with --from.")
        )
    return step


def _inspect_log(run: Path, lines: list[str], errors: list[Finding]) -> None:
    path = run / "log.jsonl"
    if not path.exists():
        return
    entries = read_json_lines(path)
    num_lines = sum(1 for line in read_bytes(path).decode(errors="replace").splitlines() if line.strip())
    if len(entries) < num_lines:
        errors.append(
            Finding(
                "log",
                f"log.jsonl is damaged from line {len(entries) + 1} on ({counted(num_lines, 'line')}); earlier lines "
                "are used.",
            )
        )
    best = max((e["validation_psnr_db"] for e in entries if _is_number(e.get("validation_psnr_db"))), default=None)
    lines.append(f"log.jsonl: {counted(len(entries), 'epoch')}" + ("" if best is None else f", best {best:.2f} dB"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
