"""Run folders: configuration, weights, resumable state, log.

In: a run folder. Out: a ready model, or what training needs to go on exactly. Nothing here runs code from a file:
weights are safetensors, state is read with `weights_only`. Next: `training.py` writes runs, `rollout.py` uses them.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import posecast
from posecast.config import Config, to_dict
from posecast.errors import InputError
from posecast.files import read_json, replacing, write_json, write_text
from posecast.machine import resolve_precision
from posecast.model.predictor import Predictor
from posecast.settings import from_dict

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


def write_config(run: Path, config: Config, facts: Mapping[str, Any]) -> None:
    """config.json: the whole configuration, and facts about the run (source of the data, machine, plan)."""
    write_json(run / "config.json", {"posecast": posecast.__version__, **to_dict(config), **facts})


def read_config(run: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration and the whole of config.json. Raises InputError."""
    content = read_json(run / "config.json", "a run folder, as 'posecast train' makes it")
    if "posecast" not in content:
        raise InputError(f"{run}/config.json was not written by posecast; expected a run folder.")
    return from_dict(content), content


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """A safetensors file, atomically; the same weights give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU. Raises InputError."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; train the run first, or go on with --resume.") from error
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise InputError(f"{path} is damaged ({error}); expected safetensors weights.") from error


def load_run(run: str | Path, device: str = "cpu") -> Predictor:
    """A trained predictor in evaluation mode, its weights in float32; its `config` is the run's. Raises InputError.

    It rolls out in bfloat16 if it was trained so and `device` multiplies it natively.
    """
    folder = Path(run)
    config, facts = read_config(folder)
    predictor = Predictor(config)
    trained_in = facts.get("machine", {}).get("precision")
    predictor.in_bfloat16 = trained_in == "bf16-mixed" and resolve_precision("auto", device) == "bf16-mixed"
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
    """state/step-N.pt: everything needed to go on exactly; the newest two are kept."""
    with replacing(run / "state" / f"step-{state['step']:09d}.pt") as temporary:
        torch.save(dict(state), temporary)
    for old in states(run)[:-KEPT_STATES]:
        old.unlink(missing_ok=True)


def load_state(run: Path) -> dict[str, Any] | None:
    """The newest readable state, None where nothing was saved. Raises InputError if all are damaged."""
    paths = states(run)
    for path in reversed(paths):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError):
            continue
    if paths:
        raise InputError(f"Every state in {run}/state is damaged; start again in a new folder.")
    return None


def states(run: Path) -> list[Path]:
    """Saved states, oldest first."""
    return sorted((run / "state").glob("step-*.pt"))


def write_log(run: Path, entries: list[dict[str, Any]]) -> None:
    """Replace log.jsonl, one object per epoch, atomically."""
    write_text(run / "log.jsonl", "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries))
