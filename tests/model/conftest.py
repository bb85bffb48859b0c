"""Networks without zero weights, and rollouts as arrays."""

from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict

Module = TypeVar("Module", bound=torch.nn.Module)


def without_zeros(module: Module, std: float = 0.05) -> Module:
    """Fill parameters that start at zero, so that every layer has an effect; return the module for evaluation."""
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=std)
    return module.eval()


@pytest.fixture
def predictor(either: Config) -> Predictor:
    torch.manual_seed(3)
    return without_zeros(Predictor(either)).requires_grad_(False)


def predicted(predictor: Predictor, recording: Recording, **options: Any) -> np.ndarray:
    """Return all predicted frames as one array, `[T, N, H, W, 3]`."""
    return np.stack(list(predict(predictor, recording.frames[0], recording.poses, **options)))
