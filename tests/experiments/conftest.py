"""A small grid and a small data set."""

from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.experiments.grids import Grid, Setting

GRID = Grid(
    "two",
    "Which?",
    (Setting("rising", {"kl_schedule": "monotonic", "kl_period": 3.0}), Setting("flat", {"kl_schedule": "constant"})),
    common={"validate_every": 1},
    schedule_epochs=3,
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "data"
    assert main(["synth", str(folder), "--sequences", "1", "--frames", "12", "--size", "16x16"]) == 0
    return folder
