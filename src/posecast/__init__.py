"""Video prediction with a conditional VAE: from a photo and a sequence of poses to a video of the moving person.

Out: the public interface, `__all__`; names are imported on first use, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posecast.config.overrides import build_config
    from posecast.data.cache import load_recordings
    from posecast.data.dancer.dance import dance
    from posecast.data.recordings import PoseSequence, Recording
    from posecast.errors import InputError
    from posecast.evaluation.evaluate import evaluate
    from posecast.model.checkpoint import load_run
    from posecast.model.rollout import predict, rollout
    from posecast.training.train import train

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "PoseSequence",
    "Recording",
    "build_config",
    "dance",
    "evaluate",
    "load_recordings",
    "load_run",
    "predict",
    "rollout",
    "train",
]

_MODULES = {
    "InputError": "posecast.errors",
    "Recording": "posecast.data.recordings",
    "PoseSequence": "posecast.data.recordings",
    "build_config": "posecast.config.overrides",
    "dance": "posecast.data.dancer.dance",
    "load_recordings": "posecast.data.cache",
    "train": "posecast.training.train",
    "load_run": "posecast.model.checkpoint",
    "rollout": "posecast.model.rollout",
    "predict": "posecast.model.rollout",
    "evaluate": "posecast.evaluation.evaluate",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'posecast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_MODULES, "__version__"])
