"""Shared configurations and recordings; the import hook checks shapes in signatures during tests."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker, child processes included
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

SHAPED = (
    "model",
    "data.background",
    "data.augmentation",
    "data.clips",
    "evaluation",
    "training.optimizers",
    "training.plan",
    "training.shares",
    "training.step",
    "training.budget",
    "training.validation",
)
install_import_hook([f"posecast.{name}" for name in SHAPED], "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from posecast.config.overrides import build_config  # noqa: E402
from posecast.config.schema import Config  # noqa: E402
from posecast.data.recordings import Recording  # noqa: E402

torch.set_num_threads(1)  # the models here are too small for several threads

TINY = {"size": "16x16", "widths": [8, 16], "blocks": 1, "latent_channels": 2, "clip_length": 4, "batch_size": 4}
GROWN = {"clip_length": 4, "clip_length_curriculum": [0.01, 0.5, 1.0], "first_frame_dropout": 0.5}
TINY_LAB4 = {
    "size": "16x16",
    "frame_channels": 8,
    "pose_channels": 4,
    "latent_channels": 4,
    "fusion_channels": 8,
    "clip_length": 4,
}


@pytest.fixture
def tiny() -> Config:
    """Return a small `anchored` configuration with eight updates."""
    return build_config("anchored", flags={**TINY, "steps": 8, "warmup_steps": 2, "validate_every": 1})


FED_BACK = ["fixed", "learned", "recurrent", "stationary", "lab4"]


def small(kind: str) -> Config:
    """Return a small configuration: "lab4", a prior of `anchored`, or "no feedback" with an optional prior."""
    if kind == "lab4":
        return build_config("lab4", flags={**TINY_LAB4, "steps": 4})
    flags = {**TINY, "steps": 4, "feedback": "frame", **GROWN}
    if kind.startswith("no feedback"):
        flags |= {"feedback": "none", "clip_length": 2, "clip_length_curriculum": [1.0]}
        kind = kind.partition(", ")[2] or "fixed"
    scope = "spatial" if kind in ("fixed", "learned") else "global"
    return build_config("anchored", flags={**flags, "prior": kind, "latent_scope": scope})


@pytest.fixture(params=[*FED_BACK, "no feedback", "no feedback, stationary"])
def either(request: pytest.FixtureRequest) -> Config:
    """Return each kind of configuration."""
    return small(request.param)


@pytest.fixture(params=FED_BACK)
def fed_back(request: pytest.FixtureRequest) -> Config:
    """Return each kind whose next frame is decoded from the last prediction."""
    return small(request.param)


def moving_square(num_frames: int = 24, side: int = 16, seed: int = 0, name: str = "square") -> Recording:
    """Return a recording of a bright square on a random walk; the pose maps mark its position."""
    rng = np.random.default_rng(seed)
    place = np.clip(np.cumsum(rng.integers(-2, 3, (num_frames, 2)), axis=0) + side // 2, 0, side - 4)
    frames = np.full((num_frames, side, side, 3), 60, np.uint8)
    poses = np.full((num_frames, side, side, 3), 255, np.uint8)
    for t, (y, x) in enumerate(place):
        frames[t, y : y + 4, x : x + 4] = (220, 180, 140)
        poses[t, y + 1 : y + 3, x + 1 : x + 3] = (255, 0, 0)
    return Recording(name, frames, poses)


@pytest.fixture
def square() -> Recording:
    return moving_square()


def still_in(grey: int, columns: slice) -> Recording:
    """Return a recording of a person who never leaves some columns, in front of a plain background."""
    frames, poses = np.full((20, 32, 64, 3), grey, np.uint8), np.full((20, 32, 64, 3), 255, np.uint8)
    frames[:, 5:30, columns], poses[:, 6:29, columns] = 10, (0, 0, 255)
    return Recording("still", frames, poses)
