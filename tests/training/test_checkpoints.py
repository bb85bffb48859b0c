"""Files of a run: damaged states, leftovers of killed processes, and locks."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from posecast.config.schema import Config
from posecast.errors import InputError, InterruptedTraining
from posecast.training.checkpoints import load_state, states
from posecast.training.state import TrainEvent
from posecast.training.train import train

from .runs import StopAfter, footage, weights


def test_a_truncated_state_is_replaced_by_the_one_before(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, footage(), tmp_path / "run")
    newest = states(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    state = load_state(tmp_path / "run")
    assert state is not None
    assert state["step"] < 8
    train(config, footage(), tmp_path / "run", resume=True)
    train(config, footage(), tmp_path / "uninterrupted")
    assert weights(tmp_path / "run") == weights(tmp_path / "uninterrupted")


def test_a_flipped_bit_in_a_state_is_detected(tiny: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """torch does not check the checksums of its archives and would load another tensor."""
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "run", callback=StopAfter(6))
    newest = states(tmp_path / "run")[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    train(config, footage(), tmp_path / "run", resume=True)
    assert "is damaged; going on from the one before it" in capfd.readouterr().err
    train(config, footage(), tmp_path / "uninterrupted")
    assert weights(tmp_path / "run") == weights(tmp_path / "uninterrupted")


def test_two_trainings_into_one_folder_are_refused(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    messages = []
    requests: list[dict[str, Any]] = [{}, {"force": True}, {"resume": True}]

    def train_again(event: TrainEvent) -> None:
        for request in requests:
            with pytest.raises(InputError) as refused:
                train(tiny, footage(), run, **request)
            messages.append(str(refused.value))

    train(tiny, footage(), run, callback=train_again)
    assert messages
    assert all("Another posecast is training" in message for message in messages)
    train(tiny, footage(), tmp_path / "alone")
    assert weights(run) == weights(tmp_path / "alone")


def test_leftovers_of_a_killed_process_are_removed(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    (run / "state" / ".writing-abc.pt").write_bytes(b"half")
    (run / ".writing-folder").mkdir()
    train(tiny, footage(), run, resume=True)
    assert not list(run.rglob(".writing-*"))


@pytest.mark.parametrize("leftover", [".lock", ".writer.lock", ".writing-config.json"])
def test_a_run_killed_before_it_had_a_configuration_starts(tiny: Config, tmp_path: Path, leftover: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / leftover).touch()
    train(tiny, footage(), run, resume=True)
    assert not list(run.rglob(".writing-*"))
