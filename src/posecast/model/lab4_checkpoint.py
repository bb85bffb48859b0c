"""Checkpoints of the course's code, both ways, without running anything from them.

In: a file of `torch.save`, a dict with `state_dict` under the course's names. Out: a run folder, or weights to start
from; and a run as such a file again. Next: `model/lab4.py` has the networks.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from posecast.config.recipes import RECIPES
from posecast.config.schema import Config, Lab4
from posecast.errors import InputError, some
from posecast.files import claim_file, claim_folder, read_json_lines, write_bytes
from posecast.model.checkpoint import (
    RUN_FILES,
    RUN_MARKER,
    WEIGHTS,
    fit_weights,
    load_weights,
    read_config,
    save_weights,
    write_config,
)
from posecast.model.predictor import Predictor

PREFIXES = ("frame_transformation", "label_transformation", "Gaussian_Predictor", "Decoder_Fusion", "Generator")


def import_lab4(
    checkpoint: Path,
    out: Path,
    *,
    output: Literal["clamp", "sigmoid", "none"] = "clamp",
    posterior_sees: Literal["current", "previous"] = "current",
    size: str = "32x64",
    force: bool = False,
) -> Config:
    """Write `checkpoint` as the run `out`; the networks' widths are read off its shapes. Raises InputError.

    A final Sigmoid leaves no trace in the weights, so `output` must say it. Clamping equals the original, which
    is unbounded, while its outputs lie in [0, 1].
    """
    weights = read_checkpoint(checkpoint)
    networks = Lab4(**widths_of(weights, checkpoint), output=output, posterior_sees=posterior_sees)
    config = dataclasses.replace(RECIPES["lab4"], networks=networks, size=size)
    predictor = Predictor(config)
    fit_weights(predictor, named_as_ours(weights, predictor), checkpoint)
    claim_folder(out, marker=RUN_MARKER, ours=RUN_FILES, force=force)
    write_config(out, config, {"source": {}, "selected_on": "unknown", "imported_from": checkpoint.name})
    save_weights(out / WEIGHTS, predictor.state_dict())
    return config


def export_lab4(run: Path, checkpoint: Path, *, epoch: int | None = None, force: bool = False) -> Config:
    """Write a run of the course's networks as a checkpoint that the course's own code loads with `strict=True`.

    `epoch` names one of the kept sets of weights (`checkpoint_every`), counted from 1; None takes the best. The other
    entries are those the template reads: "lr", "tfr" and "last_epoch" as the run's log ends, and "optimizer", where
    the template keeps the weights once more. Raises InputError for other networks.
    """
    config, _ = read_config(run)
    if not isinstance(config.networks, Lab4):
        raise InputError(f"{run} has the networks of recipe {config.recipe!r}; the course's code has only lab4's.")
    origin = run / WEIGHTS if epoch is None else kept_weights(run, epoch)
    predictor = Predictor(config)
    fit_weights(predictor, load_weights(origin), origin)
    claim_file(checkpoint, force=force)
    weights = {name.removeprefix("networks."): value for name, value in predictor.state_dict().items()}
    log = read_json_lines(run / "log.jsonl")
    last = log[-1] if log else {}
    content = {
        "state_dict": weights,
        "optimizer": weights,
        "lr": last.get("learning_rate") or config.training.learning_rate,
        "tfr": last.get("teacher_forcing_rate", config.training.teacher_forcing),
        "last_epoch": epoch or len(log),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(checkpoint, buffer.getbuffer())
    return config


def kept_weights(run: Path, epoch: int) -> Path:
    """The file of the weights kept after an epoch, counted from 1. Raises InputError."""
    path = run / "epochs" / f"epoch-{epoch:04d}.safetensors"
    if path.exists():
        return path
    names = [found.stem.removeprefix("epoch-") for found in (run / "epochs").glob("epoch-*.safetensors")]
    kept = [str(number) for number in sorted(int(name) for name in names if name.isdecimal())]
    raise InputError(
        f"{run} kept no weights of epoch {epoch}, {f'only of {some(kept)}' if kept else 'nor of any other'}; "
        "name a kept one, leave --epoch out for the best weights, or train with --checkpoint-every 1, which keeps all."
    )


def named_as_ours(weights: Mapping[str, Tensor], predictor: Predictor) -> dict[str, Tensor]:
    """The course's names as a predictor has them."""
    named = {f"networks.{name}": value for name, value in weights.items()}
    for name, value in predictor.state_dict().items():
        if name.endswith("num_batches_tracked"):  # older versions of torch did not save it
            named.setdefault(name, torch.zeros_like(value))
    return named


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, as float32 tensors; nothing is unpickled that could run code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected a checkpoint of the course's code.") from error
    except Exception as error:  # torch raises nearly anything on damaged bytes
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain values, "
            "which is not loaded because it could run code; save it again with its state_dict alone."
        ) from error
    found = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    weights = {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in tensors_of(found).items()
    }
    missing = [prefix for prefix in PREFIXES if not any(name.startswith(f"{prefix}.") for name in weights)]
    if missing:
        raise InputError(
            f"{path} has no weights under {missing[0]!r}; expected a state_dict with {', '.join(PREFIXES)}."
        )
    return {name: value for name, value in weights.items() if name.split(".")[0] in PREFIXES}


def tensors_of(found: Any) -> dict[str, Tensor]:
    """The entries of a state dict that are tensors under string names."""
    items = found.items() if isinstance(found, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}


def widths_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    """F, L, N and D of the course's options, from the shapes of the layers that end in them."""
    ends = {
        "frame_channels": ("frame_transformation.6.weight", 1),
        "pose_channels": ("label_transformation.1.weight", 2),
        "latent_channels": ("Gaussian_Predictor.6.weight", 0.5),
        "fusion_channels": ("Decoder_Fusion.5.weight", 1),
    }
    widths = {}
    for name, (layer, factor) in ends.items():
        if layer not in weights or weights[layer].ndim != 4:
            raise InputError(f"{path} has no layer {layer!r}; expected the networks of the course's template.")
        widths[name] = int(len(weights[layer]) * factor)
    return widths
