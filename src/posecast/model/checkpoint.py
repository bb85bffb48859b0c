"""Run folders: configuration, weights, resumable state, log.

In: a run folder. Out: a ready model, or what training needs to go on exactly. Nothing here runs code from a file:
weights are safetensors, state is read with `weights_only`. Next: `training.py` writes runs, `rollout.py` uses them.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

import posecast
from posecast.config.overrides import from_dict
from posecast.config.schema import Config, to_dict
from posecast.errors import InputError
from posecast.files import is_empty, read_json, remove_leftovers, write_bytes, write_json, write_text
from posecast.model.device import machine_profile, resolve_precision
from posecast.model.predictor import Predictor
from posecast.model.threads import Workers

RUN_MARKER = "config.json"
RUN_FILES = (
    "config.json",
    "log.jsonl",
    "model.safetensors",
    "epochs",
    "state",
    "scores.json",
    "samples",
    "report.html",
    "tensorboard",
)
WEIGHTS = "model.safetensors"
KEPT_STATES = 2
DIGEST = "blake2b"
LOCKS = (".lock", ".writer.lock")
"""Who trains into a run, and, where several processes train, which of them writes."""
WAIT_S = 60.0
"""How long a training waits for processes that a killed one left behind; these stop at their next update."""


@contextmanager
def training_lock(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder; the lock ends with the process, however that ends.

    Half-written files that a killed process left behind are removed, for now nobody writes them. A folder that holds
    something else is not touched: whoever asked will be refused it. Raises InputError.
    """
    refused = run.is_symlink() or (run.exists() and not run.is_dir())
    if refused or not (is_empty(run, LOCKS) or (run / RUN_MARKER).exists()):
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / LOCKS[0], timeout=0):
            with writer_lock(run):  # nobody's any more, once it is to be had: what is read from now on stays
                remove_leftovers(run)
            yield
    except Timeout as error:
        raise InputError(f"Another posecast is training into {run}; wait for it, or name another folder.") from error


def writer_lock(run: Path) -> FileLock:
    """Held by that one of several processes which writes; it may outlive the one that began them for a moment."""
    return FileLock(run / LOCKS[1], timeout=WAIT_S)


def write_config(run: Path, config: Config, facts: Mapping[str, Any]) -> None:
    """config.json: the whole configuration, and facts about the run (source of the data, machine, plan)."""
    write_json(run / "config.json", {"posecast": posecast.__version__, **to_dict(config), **facts})


def write_plan(run: Path, entries: Sequence[Sequence[int]]) -> None:
    """Record in config.json how many updates are planned now, where that has changed."""
    content = read_json(run / "config.json", "a run folder")
    planned = {"num_steps": entries[-1][1], "plan": [list(entry) for entry in entries]}
    if any(content.get(name) != value for name, value in planned.items()):
        write_json(run / "config.json", {**content, **planned})


def read_config(run: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration and the whole of config.json. Raises InputError."""
    content = read_json(run / "config.json", "a run folder, as 'posecast train' makes it")
    if "posecast" not in content:
        raise InputError(f"{run}/config.json was not written by posecast; expected a run folder.")
    _check_facts(content, run)
    return from_dict(content), content


def _check_facts(content: Mapping[str, Any], run: Path) -> None:
    """Raise InputError unless the facts are of the kinds that are read again; an imported run has no machine."""
    machine = content.get("machine", {})
    needed: list[tuple[Any, str, type, bool]] = [(content, "source", dict, False), (content, "selected_on", str, False)]
    if "machine" in content:
        needed += [(content, "machine", dict, True), (content, "num_steps", int, True)]
    if isinstance(machine, Mapping) and machine:
        needed += [
            (machine, "precision", str, True),
            (machine, "processes", int, True),
            (machine, "threads", int, False),
            (machine, "shares", int, False),
        ]
    entries = content.get("plan")
    if entries is not None and not _is_plan(entries):
        raise InputError(f"{run}/config.json is damaged (plan is {str(entries)[:40]!r}); copy it from elsewhere.")
    for holder, name, kind, must in needed:
        value = holder.get(name)
        if not isinstance(value, kind) and (must or value is not None):
            raise InputError(f"{run}/config.json is damaged ({name} is {str(value)[:40]!r}); copy it from elsewhere.")


def _is_plan(entries: Any) -> bool:
    """Whether these are pairs of an update, ascending from 0, and a number of updates."""
    pairs = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 2 and all(type(number) is int and number >= 0 for number in entry)
        for entry in entries
    )
    steps = [entry[0] for entry in entries] if pairs else []
    return bool(steps) and steps[0] == 0 and all(a < b for a, b in itertools.pairwise(steps))


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """A safetensors file with a digest of its values, atomically; the same weights give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, save(tensors, {DIGEST: digest_of(tensors)}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU. Raises InputError, also where values are not those that were written."""
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get(DIGEST)
        weights = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; train the run first, or go on with --resume.") from error
    except (SafetensorError, OSError, ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{path} is damaged ({error}); expected safetensors weights.") from error
    if written is not None and written != digest_of(weights):
        raise InputError(f"{path} is damaged (its values are not those that were written); copy it again, or train.")
    return weights


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """BLAKE2b over names and values, in the order of the names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode() + b"\0")
        digest.update(weights[name].flatten().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_run(run: str | Path, device: str = "cpu") -> Predictor:
    """A trained predictor in evaluation mode, its weights in float32; its `config` is the run's. Raises InputError.

    It rolls out in bfloat16 if it was trained so and `device` is faster so; on a CPU, rollouts are shared out among
    the threads that this machine was measured to be quickest with.
    """
    folder = Path(run)
    config, facts = read_config(folder)
    predictor = Predictor(config)
    trained_in = facts.get("machine", {}).get("precision")
    predictor.in_bfloat16 = trained_in == "bf16-mixed" and resolve_precision("auto", device) == "bf16-mixed"
    if device == "cpu":
        predictor.workers = Workers(machine_profile().shares)
    fit_weights(predictor, load_weights(folder / WEIGHTS), folder / WEIGHTS)
    return predictor.to(device).eval().requires_grad_(False)


def fit_weights(predictor: Predictor, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Put weights into a predictor; every name and shape must fit, every value be finite."""
    try:
        predictor.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{origin} does not fit the networks of its configuration ({reason}); it is another run's, or of an "
            "earlier posecast, whose networks differ: train it again."
        ) from error
    bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if bad:
        raise InputError(f"{origin} holds values that are not finite, first in {bad[0]}; it cannot be used.")


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """state/step-N-DIGEST.pt: everything needed to go on exactly; the newest two are kept."""
    content = io.BytesIO()  # some megabytes; the digest in its name is known before the file has one
    torch.save(dict(state), content)
    digest = hashlib.blake2b(content.getbuffer(), digest_size=8).hexdigest()
    path = run / "state" / f"step-{state['step']:09d}-{digest}.pt"
    write_bytes(path, content.getbuffer())
    for same in path.parent.glob(f"step-{state['step']:09d}*.pt"):  # saved before this epoch was validated
        if same != path:
            same.unlink(missing_ok=True)
    for old in states(run)[:-KEPT_STATES]:
        old.unlink(missing_ok=True)


def is_finite(content: Any) -> bool:
    """Whether no tensor in nested mappings and lists holds NaN or infinity."""
    if isinstance(content, Tensor):
        return bool(torch.isfinite(content).all())
    if isinstance(content, Mapping):
        return all(is_finite(value) for value in content.values())
    return not isinstance(content, list | tuple) or all(is_finite(value) for value in content)


def load_state(run: Path, tell: Callable[[str], None] = lambda sentence: None) -> dict[str, Any] | None:
    """The newest whole state, None where nothing was saved; `tell` hears of damaged ones that were passed over.

    Raises InputError if all are damaged.
    """
    paths = states(run)
    for path in reversed(paths):
        state = read_state(path)
        if state is not None:
            return state
        tell(f"{path} is damaged; going on from the one before it.")
    if paths:
        raise InputError(f"Every state in {run}/state is damaged; start again in a new folder.")
    return None


def read_state(path: Path) -> dict[str, Any] | None:
    """One saved state, None if it is not byte for byte what was written. Nothing in it is run."""
    try:
        content = path.read_bytes()
        if path.stem.split("-")[2:] != [hashlib.blake2b(content, digest_size=8).hexdigest()]:
            return None
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # whatever torch says of a file that is no state
        return None
    whole = isinstance(state, dict) and isinstance(state.get("standing"), dict) and isinstance(state.get("step"), int)
    return state if whole and isinstance(state["standing"].get("plan"), list) else None


def states(run: Path) -> list[Path]:
    """Saved states, oldest first."""
    return sorted((run / "state").glob("step-*.pt"), key=lambda path: (path.name.split("-")[1][:9], path.name))


def write_log(run: Path, entries: list[dict[str, Any]]) -> None:
    """Replace log.jsonl, one object per epoch, atomically."""
    write_text(run / "log.jsonl", "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries))
