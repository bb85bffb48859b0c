"""What `posecast check RUN` says of whole, damaged and unfinished runs."""

import dataclasses
import signal
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.config.schema import Config
from posecast.data.recordings import Footage
from posecast.errors import InterruptedTraining
from posecast.training.check_run import inspect_run
from posecast.training.checkpoints import states
from posecast.training.state import TrainEvent
from posecast.training.train import train

from ..conftest import moving_square


@pytest.fixture
def run(tiny: Config, tmp_path: Path) -> Path:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, Footage([moving_square(20)], [moving_square(8, seed=1)]), tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_whole_run(run: Path) -> None:
    found = inspect_run(run)
    assert (found.errors, found.remarks) == ((), ())
    assert any("model.safetensors: whole" in line for line in found.lines)
    assert any("update 8" in line for line in found.lines)
    assert main(["check", str(run)]) == 0


@pytest.mark.parametrize("name", ["model.safetensors", "log.jsonl", "scores.json"])
def test_what_is_damaged_is_named(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / name
    path.write_text('{"epoch": 0}\n{"epo') if name != "model.safetensors" else flip(path)
    found = inspect_run(run)
    assert len(found.errors) == 1
    assert name in found.errors[0].message
    assert main(["check", str(run)]) == 2
    assert name in capsys.readouterr().out


def test_a_flipped_bit_in_a_weight_is_an_error_at_loading_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run / "model.safetensors")
    assert main(["generate", str(run), "--first-frame", "a.png", "--poses", "b", "--out", "c.gif"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_damaged_states(run: Path) -> None:
    older, newest = states(run)
    flip(newest)
    found = inspect_run(run)
    kinds = [finding.kind for finding in found.remarks]
    assert kinds == ["damaged state", "unfinished"]
    assert not found.errors
    older.write_bytes(b"")
    assert [finding.kind for finding in inspect_run(run).errors] == ["states"]


def test_an_unfinished_run_and_its_leftovers(tiny: Config, tmp_path: Path) -> None:
    def stop(event: TrainEvent) -> None:
        if event.train_state.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedTraining):
        train(tiny, Footage([moving_square(20)], [moving_square(8, seed=1)]), tmp_path / "run", callback=stop)
    (tmp_path / "run" / ".writing-x").write_bytes(b"")
    messages = [finding.message for finding in inspect_run(tmp_path / "run").remarks]
    assert any("update 3 of 8" in message for message in messages)
    assert any("half-written" in message for message in messages)
