"""Inspection of intact, damaged, unfinished and growing runs."""

import dataclasses
import signal
import threading
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.config.schema import Budget, Config
from posecast.data.recordings import Footage
from posecast.errors import InterruptedTraining
from posecast.files import read_json_lines
from posecast.reporting.run_report import write_report
from posecast.training.check_run import inspect_run
from posecast.training.checkpoints import states
from posecast.training.state import TrainEvent
from posecast.training.train import train

from ..conftest import moving_square
from .runs import footage, weights


@pytest.fixture
def run(tiny: Config, tmp_path: Path) -> Path:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, Footage([moving_square(20)], [moving_square(8, seed=1)]), tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_an_intact_run(run: Path) -> None:
    inspection = inspect_run(run)
    assert (inspection.errors, inspection.remarks) == ((), ())
    assert any("model.safetensors: intact" in line for line in inspection.lines)
    assert any("update 8" in line for line in inspection.lines)
    assert main(["check", str(run)]) == 0


@pytest.mark.parametrize("name", ["model.safetensors", "log.jsonl", "scores.json"])
def test_damaged_files_are_named(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / name
    path.write_text('{"epoch": 0}\n{"epo') if name != "model.safetensors" else flip(path)
    inspection = inspect_run(run)
    assert len(inspection.errors) == 1
    assert name in inspection.errors[0].message
    assert main(["check", str(run)]) == 2
    assert name in capsys.readouterr().out


def test_a_flipped_bit_in_a_weight_is_also_an_error_at_loading(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run / "model.safetensors")
    assert main(["generate", str(run), "--first-frame", "a.png", "--poses", "b", "--out", "c.gif"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_damaged_states(run: Path) -> None:
    older, newest = states(run)
    flip(newest)
    inspection = inspect_run(run)
    kinds = [finding.kind for finding in inspection.remarks]
    assert kinds == ["damaged state", "unfinished"]
    assert not inspection.errors
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


@pytest.mark.long
def test_inspections_and_reports_during_training(tiny: Config, tmp_path: Path) -> None:
    """Readers see a consistent run at any time and do not disturb the training."""
    run = tmp_path / "run"
    often = dataclasses.replace(
        tiny,
        budget=Budget(epochs=12),
        training=dataclasses.replace(tiny.training, save_every_seconds=0.0, validate_every=1),
    )
    started, ended = threading.Event(), threading.Event()
    inspected: list[tuple[set[str], int]] = []
    failures: list[Exception] = []

    def read() -> None:
        started.wait()
        while not ended.is_set():
            try:
                inspection = inspect_run(run)
                write_report([run], tmp_path / "page.html")
                kinds = {finding.kind for finding in (*inspection.errors, *inspection.remarks)}
                inspected.append((kinds, len(read_json_lines(run / "log.jsonl"))))
            except Exception as error:
                failures.append(error)
                return

    def start_reader(event: TrainEvent) -> None:
        if event.entry is not None:
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        train(often, footage(), run, callback=start_reader)
    finally:
        started.set()
        ended.set()
        reader.join()
    assert not failures
    assert len({epochs for _, epochs in inspected}) > 1  # it has read during the training
    assert set().union(*(kinds for kinds, _ in inspected)) <= {"unfinished", "leftovers"}  # and found no damage
    train(often, footage(), tmp_path / "alone")
    assert weights(run) == weights(tmp_path / "alone")
