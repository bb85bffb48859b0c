"""Run folders: configuration and weights on disk.

In: a run folder. Out: its configuration, its weights, a predictor ready for rollouts. No code from a file is run:
weights are safetensors. Next: `training/checkpoints.py` for the state of a training run, `rollout.py` for rollouts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import posecast
from posecast.config.overrides import from_dict
from posecast.config.schema import Config, to_dict
from posecast.errors import InputError
from posecast.files import read_bytes, read_json, write_bytes, write_json
from posecast.model.device import machine_profile, resolve_precision
from posecast.model.predictor import Predictor
from posecast.model.threads import Workers
from posecast.system.names import check_contents

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
MAX_BYTES = 2**32
"""Largest file of weights that is read."""
MAX_THREADS = 4096
"""Largest number of threads or processes that a run may record."""
DIGEST = "blake2b"


def write_config(run: Path, config: Config, facts: Mapping[str, Any]) -> None:
    """Write config.json.

    Args:
        run: Run folder, which must exist.
        config: The complete configuration.
        facts: Further entries about the run as JSON values: source of the data, machine, plan.
    """
    write_json(run / "config.json", {"posecast": posecast.__version__, **to_dict(config), **facts})


def read_config(run: Path) -> tuple[Config, dict[str, Any]]:
    """Read config.json.

    Returns:
        The configuration, and the complete content with the facts about the run.

    Raises:
        InputError: There is no config.json, it is damaged, or posecast did not write it; or the folder holds a link
            out of it, or something other than files.
    """
    check_contents(run, RUN_FILES)
    content = read_json(run / "config.json", "a run folder, as 'posecast train' makes it")
    if "posecast" not in content:
        raise InputError(f"{run}/config.json was not written by posecast; expected a run folder.")
    _check_facts(content, run)
    return from_dict(content), content


def _check_facts(content: Mapping[str, Any], run: Path) -> None:
    """Raise InputError unless the facts have the types that later reads expect; an imported run has no machine."""
    machine = content.get("machine", {})
    expected: list[tuple[Any, str, type, bool]] = [
        (content, "source", dict, False),
        (content, "selected_on", str, False),
        (content, "initial_weights", str, False),
    ]
    if "machine" in content:
        expected += [(content, "machine", dict, True), (content, "num_steps", int, True)]
    if isinstance(machine, Mapping) and machine:
        expected += [
            (machine, "precision", str, True),
            (machine, "processes", int, True),
            (machine, "threads", int, False),
            (machine, "shares", int, False),
        ]
    entries = content.get("plan")
    if entries is not None and not _is_plan(entries):
        raise InputError(f"{run}/config.json is damaged (plan is {str(entries)[:40]!r}); copy it from elsewhere.")
    for holder, name, kind, is_required in expected:
        value = holder.get(name)
        is_too_large = isinstance(value, int) and holder is machine and not 0 <= value <= MAX_THREADS
        if is_too_large or (not isinstance(value, kind) and (is_required or value is not None)):
            raise InputError(f"{run}/config.json is damaged ({name} is {str(value)[:40]!r}); copy it from elsewhere.")


def _is_plan(entries: Any) -> bool:
    """Return whether these are pairs of an update, ascending from 0, and a number of updates."""
    are_pairs = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 2 and all(type(number) is int and number >= 0 for number in entry)
        for entry in entries
    )
    steps = [entry[0] for entry in entries] if are_pairs else []
    return bool(steps) and steps[0] == 0 and all(a < b for a, b in itertools.pairwise(steps))


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a safetensors file with a digest of its values, atomically; the same weights give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, save(tensors, {DIGEST: digest_of(tensors)}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Raises:
        InputError: There is no such file, or it is damaged: its digest, if it has one, must be that of its values.
    """
    try:
        content = read_bytes(path, MAX_BYTES)  # not mapped, which some drives cannot do
        weights = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        written = (header.get("__metadata__") or {}).get(DIGEST)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; train the run first, or continue it with --resume.") from error
    except (SafetensorError, OSError, MemoryError, ValueError, KeyError, OverflowError, struct.error) as error:
        raise InputError(f"{path} is damaged ({error}); expected safetensors weights.") from error
    if written is not None and written != digest_of(weights):
        raise InputError(f"{path} is damaged (its values are not those that were written); copy it again, or train.")
    return weights


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Return the BLAKE2b digest, 32 hexadecimal digits, of names and values in the order of the names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode() + b"\0")
        digest.update(weights[name].flatten().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_run(run: str | Path, device: str = "cpu") -> Predictor:
    """Load a trained predictor in evaluation mode, with float32 weights.

    It computes rollouts in bfloat16 if it was trained in it and the device is faster in it. On a CPU, rollouts are
    shared among the number of threads that was measured to be the fastest on this machine.

    Args:
        run: Run folder.
        device: cpu, cuda or mps.

    Returns:
        The predictor; its `config` is that of the run.

    Raises:
        InputError: The folder is not a run, a file is damaged, or the weights do not fit the configuration.
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
    """Load weights into a predictor.

    Args:
        predictor: Changed in place.
        weights: Values by the names of the predictor's `state_dict`.
        origin: File that the weights were read from, for error messages.

    Raises:
        InputError: A name is missing or unknown, a shape differs, or a value is not finite.
    """
    try:
        predictor.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{origin} does not fit the networks of its configuration ({reason}); it belongs to another run, or to an "
            "earlier posecast with different networks: train it again."
        ) from error
    not_finite = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise InputError(f"{origin} holds values that are not finite, first in {not_finite[0]}; it cannot be used.")
