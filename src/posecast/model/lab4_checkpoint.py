"""Import and export of checkpoints of the course's code, without running code from them.

In: a file of `torch.save`, a dict with `state_dict` under the course's names. Out: a run folder, or weights to start
from; and such a file from a run folder. Next: `lab4.py` defines the networks.
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
from posecast.errors import InputError, join_limited
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
    """Write a checkpoint as a run folder; the widths of the networks are read from its shapes.

    Args:
        checkpoint: File of the course's code.
        out: Run folder to write.
        output: Bound of the decoded image, which leaves no trace in the weights. clamp equals the course's unbounded
            output as long as that lies in [0, 1]; sigmoid is for code with a final Sigmoid.
        posterior_sees: Frame that the posterior reads: the current one (the assignment) or the previous one.
        size: HEIGHTxWIDTH of the images in pixels.
        force: Replace an earlier run in the folder.

    Returns:
        Configuration of the run.

    Raises:
        InputError: The checkpoint cannot be read, has other networks, or the folder may not be written.
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
    """Write a run of the course's networks as a checkpoint that the course's code loads with `strict=True`.

    The other entries are those that the template reads: "lr", "tfr" and "last_epoch" from the end of the run's log, and
    "optimizer", where the template saves the weights once more.

    Args:
        run: Run folder.
        checkpoint: File to write.
        epoch: Number of an epoch whose weights were kept (`checkpoint_every`), counted from 1; None for the best.
        force: Replace the file if it exists.

    Returns:
        Configuration of the run.

    Raises:
        InputError: The run is damaged or has other networks, the epoch was not kept, or the file may not be written.
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
    """Return the file of the weights kept after an epoch, counted from 1; raise InputError if there is none."""
    path = run / "epochs" / f"epoch-{epoch:04d}.safetensors"
    if path.exists():
        return path
    names = [file.stem.removeprefix("epoch-") for file in (run / "epochs").glob("epoch-*.safetensors")]
    kept = [str(number) for number in sorted(int(name) for name in names if name.isdecimal())]
    raise InputError(
        f"{run} kept no weights of epoch {epoch}, {f'only of {join_limited(kept)}' if kept else 'nor of any other'}; "
        "name a kept epoch, leave --epoch out for the best weights, or train with --checkpoint-every 1 to keep all."
    )


def named_as_ours(weights: Mapping[str, Tensor], predictor: Predictor) -> dict[str, Tensor]:
    """Return the weights of a checkpoint under the names of the predictor's `state_dict`.

    Args:
        weights: Result of `read_checkpoint`.
        predictor: Predictor with the course's networks; counters of batches that are missing become 0.
    """
    named = {f"networks.{name}": value for name, value in weights.items()}
    for name, value in predictor.state_dict().items():
        if name.endswith("num_batches_tracked"):  # older versions of torch did not save it
            named.setdefault(name, torch.zeros_like(value))
    return named


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint; nothing is unpickled that could run code.

    Returns:
        Tensors under the course's names, floating-point ones as float32.

    Raises:
        InputError: The file is missing or damaged, could run code, or lacks one of the five networks.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected a checkpoint of the course's code.") from error
    except Exception as error:  # torch raises nearly anything on damaged bytes
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain values, "
            "which is not loaded because it could run code; save it again with its state_dict alone."
        ) from error
    state_dict = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    weights = {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in tensors_of(state_dict).items()
    }
    missing = [prefix for prefix in PREFIXES if not any(name.startswith(f"{prefix}.") for name in weights)]
    if missing:
        raise InputError(
            f"{path} has no weights under {missing[0]!r}; expected a state_dict with {', '.join(PREFIXES)}."
        )
    return {name: value for name, value in weights.items() if name.split(".")[0] in PREFIXES}


def tensors_of(state_dict: Any) -> dict[str, Tensor]:
    """Return the entries that are tensors under string names; none if this is not a mapping."""
    items = state_dict.items() if isinstance(state_dict, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}


def widths_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    """Return the widths of the networks by the names of `Lab4`, from the shapes of weights.

    Args:
        weights: Result of `read_checkpoint`.
        path: Its file, for error messages.

    Raises:
        InputError: A layer of the course's template is missing.
    """
    layers = {
        "frame_channels": ("frame_transformation.6.weight", 1),
        "pose_channels": ("label_transformation.1.weight", 2),
        "latent_channels": ("Gaussian_Predictor.6.weight", 0.5),
        "fusion_channels": ("Decoder_Fusion.5.weight", 1),
    }
    widths = {}
    for name, (layer, factor) in layers.items():
        if layer not in weights or weights[layer].ndim != 4:
            raise InputError(f"{path} has no layer {layer!r}; expected the networks of the course's template.")
        widths[name] = int(len(weights[layer]) * factor)
    return widths
