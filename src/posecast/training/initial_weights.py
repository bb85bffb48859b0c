"""Weights that a training starts from: random ones, those of a run, or those that come with posecast.

In: a configuration, and perhaps a run folder or a checkpoint. Out: weights by name, or None for random ones.
`benchmarks/pretrain.py` makes the weights that come with posecast. Next: `train.py`, which trains on from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from posecast.config.schema import Config, Lab4
from posecast.errors import InputError
from posecast.model.checkpoint import WEIGHTS, fit_weights, load_weights
from posecast.model.lab4_checkpoint import named_as_ours, read_checkpoint
from posecast.model.predictor import Predictor
from posecast.system.names import check_contents

OF_DANCERS = Path(__file__).with_name("dancers.safetensors")
"""Weights of the recipe `anchored` after training on many synthetic dancers, in half precision."""


def starting_weights(config: Config, start_from: Path | None) -> dict[str, Tensor] | None:
    """Return the weights to start from, or None for random ones.

    Args:
        config: Configuration of the run.
        start_from: Run folder or checkpoint, which takes precedence over the configuration's `initial_weights`.

    Raises:
        InputError: There are no such weights, or they do not fit.
    """
    if start_from is not None:
        return weights_from(start_from, Predictor(config))
    return weights_of_dancers(Predictor(config)) if config.training.initial_weights == "dancers" else None


def lacks_its_weights(config: Config) -> bool:
    """Return whether a training starts from random weights because those of dancers have other shapes."""
    return config.training.initial_weights == "dancers" and starting_weights(config, None) is None


def note_on_weights(configs: Mapping[str, Config]) -> str | None:
    """Return a sentence about configurations that would be compared although only some start from random weights."""
    random = [name for name, config in configs.items() if starting_weights(config, None) is None]
    if len(random) in (0, len(configs)):
        return None
    return (
        f"Settings that start from random weights ({', '.join(random)}) are compared with settings that start from "
        "weights of dancers; with initial_weights = random for all, only the settings differ."
    )


def weights_of_dancers(predictor: Predictor) -> dict[str, Tensor] | None:
    """Return the weights that come with posecast in float32, or None if the networks have other shapes."""
    weights = {name: value.float() for name, value in load_weights(OF_DANCERS).items()}
    shapes = {name: value.shape for name, value in predictor.state_dict().items()}
    return weights if shapes == {name: value.shape for name, value in weights.items()} else None


def weights_from(origin: Path, predictor: Predictor) -> dict[str, Tensor]:
    """Read the weights of a run folder, or of a checkpoint of the course's code.

    Args:
        origin: Folder of the run, or file of the checkpoint.
        predictor: Predictor that the weights must fit; they are loaded into it.

    Raises:
        InputError: There are no such weights, or they do not fit.
    """
    if origin.is_dir():
        check_contents(origin, (WEIGHTS,))
        origin = origin / WEIGHTS
        weights = load_weights(origin)
    elif isinstance(predictor.config.networks, Lab4):
        weights = named_as_ours(read_checkpoint(origin), predictor)
    elif not origin.exists():
        raise InputError(f"There is no {origin}; expected a run folder to start from.")
    else:
        raise InputError(f"{origin} is no run folder; only recipe 'lab4' starts from a checkpoint of the course.")
    fit_weights(predictor, weights, origin)
    return weights
