"""What a watcher of training writes and says."""

import dataclasses
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posecast.cli import main
from posecast.config import Config
from posecast.data.recordings import Footage
from posecast.files import read_json_lines
from posecast.progress import TensorBoardWriter, TrainingDisplay, Watchers
from posecast.training import train

from .conftest import moving_square


def test_tensorboard_gets_the_numbers_of_the_log(tiny: Config, tmp_path: Path) -> None:
    writer = TensorBoardWriter(str(tmp_path / "run/tensorboard"))
    train(tiny, Footage([moving_square(40)], [moving_square(12)]), tmp_path / "run", watcher=writer)
    scalars = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    log = read_json_lines(tmp_path / "run/log.jsonl")
    for name in ("loss", "rate", "distortion", "validation_psnr_db"):
        written = {event.step: event.value for event in scalars.Scalars(name)}
        assert written == pytest.approx({entry["step"]: entry[name] for entry in log}, rel=1e-5)


def test_a_missing_extra_is_one_friendly_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert main(["synth", data, "--sequences", "1", "--frames", "20", "--size", "16x16"]) == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "--data", data, "--out", str(tmp_path / "run"), "--size", "16x16", "--tensorboard"]) == 2
    assert "pip install 'posecast[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_validated_epochs_are_told_and_the_bar_is_taken_away(
    tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, validate_every=2))
    display = TrainingDisplay()
    footage = Footage([moving_square(40)], [moving_square(12)])
    train(config, footage, tmp_path / "run", watcher=Watchers((display,)))
    display.close()
    said = capsys.readouterr().err
    validated = [e for e in read_json_lines(tmp_path / "run/log.jsonl") if e["validation_psnr_db"] is not None]
    for entry in validated:
        assert f"val {entry['validation_psnr_db']:.2f} dB" in said
    assert said.count(" dB (best") == len(validated)
