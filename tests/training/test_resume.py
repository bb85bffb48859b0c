"""Resuming: equal to uninterrupted training, and refused where something has changed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from posecast.config.schema import Config
from posecast.errors import InputError, InterruptedTraining
from posecast.training.checkpoints import load_state, states
from posecast.training.train import train

from .runs import StopAfter, footage, log_without_times, weights


@pytest.mark.parametrize("stop_at", [1, 2, 5, 7])
def test_resumed_equals_uninterrupted(either: Config, tmp_path: Path, stop_at: int) -> None:
    config = dataclasses.replace(either, budget=dataclasses.replace(either.budget, epochs=None, steps=7, minutes=None))
    train(config, footage(), tmp_path / "uninterrupted", precision="32-true")
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "interrupted", precision="32-true", callback=StopAfter(stop_at))
    train(config, footage(), tmp_path / "interrupted", precision="32-true", resume=True)
    assert weights(tmp_path / "interrupted") == weights(tmp_path / "uninterrupted")
    assert log_without_times(tmp_path / "interrupted") == log_without_times(tmp_path / "uninterrupted")
    final = [load_state(tmp_path / name) for name in ("interrupted", "uninterrupted")]
    for resumed, expected in zip(*(state["weights"].values() for state in final if state), strict=True):
        assert torch.equal(resumed, expected)


def test_resuming_a_finished_run_does_nothing(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.safetensors")}
    train(tiny, footage(), tmp_path / "run", resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_resuming_with_another_configuration_or_data_is_refused(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    with pytest.raises(InputError, match="seed was 0, now 3"):
        train(dataclasses.replace(tiny, seed=3), footage(), run, resume=True)
    other = dataclasses.replace(footage(), facts={"path": "squares", "fingerprint": "2"})
    with pytest.raises(InputError, match="data set has changed"):
        train(tiny, other, run, resume=True)


def test_force_resumes_with_another_configuration(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    other = dataclasses.replace(tiny, seed=3)
    with pytest.raises(InputError, match="seed was 0, now 3"):
        train(other, footage(), run, resume=True)
    train(other, footage(), run, resume=True, force=True)
    state = load_state(run)
    assert state is not None
    assert state["step"] == 8


def test_a_run_without_states_starts_with_its_planned_updates(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), run, precision="32-true")
    for path in states(run):
        path.unlink()
    before = weights(run)
    (run / "model.safetensors").unlink()
    train(tiny, footage(), run, precision="32-true", resume=True)
    assert weights(run) == before


def test_a_run_without_states_needs_its_initial_weights(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), tmp_path / "origin", precision="32-true")
    train(tiny, footage(), run, precision="32-true", start_from=tmp_path / "origin")
    train(tiny, footage(), run, resume=True)  # its own state is there
    before = weights(run)
    for path in states(run):
        path.unlink()
    with pytest.raises(InputError, match="--from"):
        train(tiny, footage(), run, resume=True)
    train(tiny, footage(), run, resume=True, start_from=tmp_path / "origin")
    assert weights(run) == before
