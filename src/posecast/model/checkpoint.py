"""Run folders: configuration, weights, resumable state, log.

In: a run folder. Out: a ready model, or what training needs to go on exactly. Nothing here runs code from a file:
weights are safetensors, state is read with `weights_only`. Next: `train.py` writes runs, `rollout.py` uses them.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

import posecast
from posecast.config.overrides import from_dict
from posecast.config.schema import Config, to_dict
from posecast.errors import InputError
from posecast.files import read_json, write_bytes, write_json
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
DIGEST = "blake2b"


def write_config(run: Path, config: Config, facts: Mapping[str, Any]) -> None:
    """config.json: the whole configuration, and facts about the run (source of the data, machine, plan)."""
    write_json(run / "config.json", {"posecast": posecast.__version__, **to_dict(config), **facts})


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
    needed: list[tuple[Any, str, type, bool]] = [
        (content, "source", dict, False),
        (content, "selected_on", str, False),
        (content, "initial_weights", str, False),
    ]
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
