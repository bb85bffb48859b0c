"""Files as posecast writes them, and a folder in which commands are tried on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.experiments.grids import configurations, find_grid
from posecast.experiments.runner import open_experiment

from ..conftest import TINY
from ..hostile_files import write_sounding
from .place import GRID, Capture, Place, write_run


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set, a run and an experiment that are as posecast writes them, and a clip."""
    folder = tmp_path_factory.mktemp("strangers")
    words = ["synth", str(folder / "data"), "--sequences=1", "--frames=8", "--size=16x16"]
    assert main(words) == 0
    write_run(folder / "run")
    assert main(["evaluate", str(folder / "run"), "--data", str(folder / "data"), "--futures=1"]) == 0
    (folder / "grid.toml").write_text(GRID)
    configs = configurations(find_grid(str(folder / "grid.toml")), "anchored", None, {**TINY, "steps": 2})
    grid = find_grid(str(folder / "grid.toml"))
    open_experiment(grid, configs, folder / "data", folder / "exp", num_seeds=1, futures=1, notify=lambda _: None)
    write_sounding(folder / "clip.mp4")
    return folder


@pytest.fixture
def place(tmp_path: Path, origin: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, origin, capsys)
