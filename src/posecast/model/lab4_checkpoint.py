"""Import and export of checkpoints of the course's code, without running code from them.

In: a file of `torch.save` or safetensors with weights under the course's names. Out: a run folder, or weights to start
from; and such a file from a run folder. Next: `lab4.py` defines the networks.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from posecast.config.recipes import RECIPES
from posecast.config.schema import Config, Lab4
from posecast.data.recordings import Recording
from posecast.errors import InputError, join_limited, shown
from posecast.files import claim_file, claim_folder, read_json_lines, write_bytes
from posecast.model.batchnorm import recompute_batchnorm
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
from posecast.model.torch_files import load_with_stand_ins

PREFIXES = ("frame_transformation", "label_transformation", "Gaussian_Predictor", "Decoder_Fusion", "Generator")
WRAPPERS = frozenset(("module", "_orig_mod", "_modules", "_parameters", "_buffers"))
"""Parts of names within a network that DataParallel, torch.compile and the attributes of a complete module add."""
COPIES = re.compile("(^|[._])(ema|swa|optimi[sz]er|average|averaged|shadow)([._]|$)", re.IGNORECASE)
"""Places of moving averages; the course's template writes the weights again as "optimizer"."""
MAX_DEPTH = 64
"""Deepest nesting of a checkpoint that is searched for weights."""


def import_lab4(
    checkpoint: Path,
    out: Path,
    *,
    output: Literal["clamp", "sigmoid", "none"] = "clamp",
    posterior_sees: Literal["current", "previous"] = "current",
    batchnorm: Literal["running", "batch"] = "running",
    size: str = "32x64",
    recordings: Sequence[Recording] = (),
    force: bool = False,
) -> Config:
    """Write a checkpoint as a run folder; the widths of the networks are read from its shapes.

    Args:
        checkpoint: File of the course's code.
        out: Run folder to write.
        output: Bound of the decoded image, which leaves no trace in the weights. clamp equals the course's unbounded
            output as long as that lies in [0, 1]; sigmoid is for code with a final Sigmoid.
        posterior_sees: Frame that the posterior reads: the current one (the assignment) or the previous one.
        batchnorm: Statistics of BatchNorm: the running ones, or those of each frame as in the course's code.
        size: HEIGHTxWIDTH of the images in pixels.
        recordings: Training recordings to measure the running statistics on; none keeps those of the checkpoint, which
            lag behind its weights.
        force: Replace an earlier run in the folder.

    Returns:
        Configuration of the run.

    Raises:
        InputError: The checkpoint cannot be read, has other networks, or the folder may not be written.
    """
    weights = read_checkpoint(checkpoint)
    options = Lab4(output=output, posterior_sees=posterior_sees, batchnorm=batchnorm)
    networks = dataclasses.replace(options, **widths_of(weights, checkpoint))
    config = dataclasses.replace(RECIPES["lab4"], networks=networks, size=size)
    predictor = Predictor(config)
    fit_weights(predictor, named_as_ours(weights, predictor), checkpoint)
    if recordings:
        recompute_batchnorm(predictor, recordings)
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
    """Read the weights of a checkpoint, wherever in the file they are; no code in it is run.

    The names may have any prefix (`model.`), the dict may lie in others ("model_state_dict"), and the networks may be
    wrapped by DataParallel or torch.compile. Of weights and their moving average, the weights are read.

    Args:
        path: File of `torch.save`, also of a complete module, or safetensors.

    Returns:
        Tensors under the course's names, floating-point ones as float32.

    Raises:
        InputError: The file is missing or damaged, could run code, lacks one of the five networks, or has several
            versions of them.
    """
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise InputError(f"{path} is not a regular file; expected a checkpoint of the course's code.")
    by_place = _weights_by_place(_load(path))
    complete = {place: weights for place, weights in by_place.items() if not _missing(weights)}
    if not complete:
        most = max(by_place.values(), key=len, default={})
        raise InputError(
            f"{path} has no weights under {_missing(most)[0]!r}; expected a state_dict with {', '.join(PREFIXES)}, "
            "as torch.save({'state_dict': model.state_dict()}, PATH) writes it."
        )
    originals = {place: weights for place, weights in complete.items() if not COPIES.search(place)} or complete
    place, weights = next(iter(originals.items()))
    if others := [other for other, values in originals.items() if not _are_equal(values, weights)]:
        raise InputError(
            f"{path} has several versions of the weights, under {shown(place)} and {shown(others[0])}; expected a "
            "single one, so save the one to use alone: torch.save({'state_dict': model.state_dict()}, PATH)."
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _load(path: Path) -> Any:
    """Return the content of a file of `torch.save` or safetensors, with stand-ins for objects of other classes."""
    try:
        with path.open("rb") as file:
            begin = file.read(9)
            if begin[8:] == b"{":  # the header of safetensors, after its length
                return load_weights(path)
            file.seek(0)
            return load_with_stand_ins(file)
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected a checkpoint of the course's code.") from error
    except InputError:
        raise
    except Exception as error:  # torch raises nearly anything on damaged bytes
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain values, "
            "which is not loaded because it could run code; save it again with its state_dict alone."
        ) from error


def _weights_by_place(content: Any) -> dict[str, dict[str, Tensor]]:
    """Return the tensors below the five networks under the course's names, by what precedes the network in the file.

    Each container is visited once, because a file can describe endless ones.
    """
    by_place: dict[str, dict[str, Tensor]] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), content)]
    visited = set()
    for path, value in pending:
        if isinstance(value, Tensor):
            network = next((k for k, part in enumerate(path) if part in PREFIXES), len(path))
            name = ".".join(part for part in path[network:] if part not in WRAPPERS)
            if name and _is_stored(value):
                by_place.setdefault(".".join(path[:network]), {}).setdefault(name, value.detach())
        elif isinstance(value, Mapping) and id(value) not in visited and len(path) < MAX_DEPTH:
            visited.add(id(value))
            inner_values = {**value, **getattr(value, "__dict__", {})}
            pending += [
                ((*path, *key.split(".")), inner) for key, inner in inner_values.items() if isinstance(key, str)
            ]
    return by_place


def _is_stored(value: Tensor) -> bool:
    """Return whether all values of a tensor are in the file; strides of 0 can describe a tensor of any size."""
    return value.layout == torch.strided and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _missing(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the networks of which there is no weight."""
    return sorted(set(PREFIXES) - {name.split(".")[0] for name in weights}, key=PREFIXES.index)


def _are_equal(weights: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether two versions have the same names and values."""
    return weights.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in weights.items())


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
