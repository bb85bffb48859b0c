"""Callbacks of training."""

import dataclasses
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posecast.cli.main import main
from posecast.cli.training_callbacks import Callbacks, TensorBoardWriter, TrainingDisplay
from posecast.config.schema import Budget, Config
from posecast.data.recordings import Footage
from posecast.files import read_json_lines
from posecast.training.state import TrainEvent
from posecast.training.train import train

from ..conftest import moving_square


def test_tensorboard_has_the_numbers_of_the_log(tiny: Config, tmp_path: Path) -> None:
    writer = TensorBoardWriter(str(tmp_path / "run/tensorboard"))
    train(tiny, squares(), tmp_path / "run", callback=writer)
    scalars = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    log = read_json_lines(tmp_path / "run/log.jsonl")
    for name in ("loss", "rate", "distortion", "validation_psnr_db"):
        written = {event.step: event.value for event in scalars.Scalars(name)}
        assert written == pytest.approx({entry["step"]: entry[name] for entry in log}, rel=1e-5)


def test_a_missing_extra_is_reported_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert main(["synth", data, "--sequences", "1", "--frames", "20", "--size", "16x16"]) == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "--data", data, "--out", str(tmp_path / "run"), "--size", "16x16", "--tensorboard"]) == 2
    assert "pip install 'posecast[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_validated_epoch_has_a_line(tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, validate_every=2))
    display = TrainingDisplay()
    train(config, squares(), tmp_path / "run", callback=Callbacks((display,)))
    display.close()
    stderr = capsys.readouterr().err
    validated = [
        entry for entry in read_json_lines(tmp_path / "run/log.jsonl") if entry["validation_psnr_db"] is not None
    ]
    for entry in validated:
        assert f"val {entry['validation_psnr_db']:.2f} dB" in stderr
    assert stderr.count(" dB (best") == len(validated)


def test_training_prints_lines_where_there_is_no_terminal(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posecast.cli.progress_bars.LINE_SECONDS", 0.005)

    def slow_down(event: object) -> None:
        time.sleep(0.02)

    display = TrainingDisplay()
    train(tiny, squares(), tmp_path / "run", callback=Callbacks((display, slow_down)))
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("training: update: ") and "frames/s" in line for line in lines), lines
    assert any(line.startswith("epoch ") for line in lines)


@pytest.mark.parametrize("minutes", [0.05, None])
def test_events_have_the_end_of_a_budget_in_minutes(tiny: Config, tmp_path: Path, minutes: float | None) -> None:
    budget = Budget(minutes=minutes, steps=None if minutes else 4)
    events: list[TrainEvent] = []
    began = time.monotonic()
    train(dataclasses.replace(tiny, budget=budget), squares(), tmp_path / "run", callback=events.append)
    ends = {event.ends_at for event in events}
    if minutes is None:
        assert ends == {None}
    else:
        (ends_at,) = ends
        assert ends_at is not None
        assert 60 * minutes <= ends_at - began < 60 * minutes + 1


def squares() -> Footage:
    return Footage([moving_square(40)], [moving_square(12)])
