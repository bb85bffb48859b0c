"""A trained run, and a cache of its own for every test."""

from pathlib import Path

import pytest

from posecast.config.overrides import build_config
from posecast.data.recordings import Footage
from posecast.training.train import train

from ..conftest import TINY, moving_square


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    square = moving_square(24)
    train(build_config(flags={**TINY, "steps": 4}), Footage([square], [square]), folder, precision="32-true")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep graphs of a test in a folder of its own."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("posecast.export.engine.graphs_folder", lambda: cache)
    return cache
