"""Starting, replacing and repeating runs."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import pytest
import torch

from posecast.config.schema import Config
from posecast.errors import InputError, InterruptedTraining
from posecast.evaluation.bounds import stored_variance
from posecast.evaluation.posterior import fit_variance
from posecast.files import read_json_lines
from posecast.model.checkpoint import load_run, load_weights, read_config
from posecast.training.train import train

from .runs import StopAfter, footage, log_without_times, weights


def test_a_run_folder_is_complete(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run", precision="32-true")
    config, facts = read_config(tmp_path / "run")
    assert config == tiny
    assert facts["num_steps"] == 8
    assert facts["source"] == {"path": "squares", "fingerprint": "1"}
    log = read_json_lines(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in log] == [2, 4, 6, 8]  # 44 frames: 11 clips, 2 full batches per epoch
    for entry in log:
        assert entry["distortion"] is not None
        assert entry["frames_per_second"] > 0
        assert math.isfinite(entry["validation_psnr_db"])
    load_run(tmp_path / "run")


def test_the_same_command_gives_the_same_bytes(either: Config, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(either, footage(), tmp_path / name, precision="32-true")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert log_without_times(tmp_path / "a") == log_without_times(tmp_path / "b")


def test_a_folder_with_other_files_is_refused(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(InputError):
            train(tiny, footage(), run, force=force)
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


def test_force_replaces_a_run_and_keeps_other_files(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), run)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--force"):
        train(tiny, footage(), run)
    train(tiny, footage(), run, force=True)
    assert (run / "notes.txt").read_text() == "mine"


def test_starting_from_another_runs_weights(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "first")
    slow = dataclasses.replace(tiny.training, learning_rate=1e-9, ema_decay=0.0)
    config = dataclasses.replace(tiny, training=slow)
    train(config, footage(), tmp_path / "second", start_from=tmp_path / "first", precision="32-true")
    first, second = (load_weights(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_footage_may_be_a_function(tiny: Config, tmp_path: Path) -> None:
    train(tiny, partial(dataclasses.replace, footage(), selected_on="tail"), tmp_path / "run")
    assert read_config(tmp_path / "run")[1]["selected_on"] == "tail"


def test_a_run_records_the_variance_that_fits_its_training_footage(tiny: Config, tmp_path: Path) -> None:
    """It is that of the kept weights, not of the last ones."""
    train(tiny, footage(), tmp_path / "run", precision="32-true")
    expected = fit_variance(load_run(tmp_path / "run"), footage().train)
    assert stored_variance(read_config(tmp_path / "run")[1]) == pytest.approx(expected, rel=1e-4)


def replan_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan again after every second update, as on a machine whose speed varies."""
    monkeypatch.setattr("posecast.training.budget.Pacer.is_due", lambda self, *, epoch_ended: not epoch_ended)
    monkeypatch.setattr(
        "posecast.training.budget.Pacer.num_steps", lambda self, plan, step: max(9, 14 - step) + step % 2
    )


def test_a_run_of_minutes_is_repeated_by_its_record(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    with monkeypatch.context() as patch:
        replan_often(patch)
        train(config, footage(), tmp_path / "run", precision="32-true")
    facts = read_config(tmp_path / "run")[1]
    assert len(facts["plan"]) > 3
    assert facts["num_steps"] == facts["plan"][-1][1] == read_json_lines(tmp_path / "run" / "log.jsonl")[-1]["step"]
    train(config, footage(), tmp_path / "again", repeat=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
    assert log_without_times(tmp_path / "run") == log_without_times(tmp_path / "again")
    assert read_config(tmp_path / "again")[1]["plan"] == facts["plan"]


@pytest.mark.parametrize("shares", [1, 2])
def test_an_interrupted_run_of_minutes_is_repeated_by_its_record(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: int
) -> None:
    """Plans change before and after the interruption; the repetition is interrupted at another update."""
    monkeypatch.setattr("posecast.training.train.chosen_threads", lambda *_: (1, shares))
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    with monkeypatch.context() as patch:
        replan_often(patch)
        with pytest.raises(InterruptedTraining):
            train(config, footage(), tmp_path / "run", precision="32-true", callback=StopAfter(5))
        train(config, footage(), tmp_path / "run", precision="32-true", resume=True)
    assert read_config(tmp_path / "run")[1]["machine"]["shares"] == shares
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "again", repeat=tmp_path / "run", callback=StopAfter(7))
    train(config, footage(), tmp_path / "again", repeat=tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_a_repetition_needs_the_same_footage_and_initial_weights(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "origin", precision="32-true")
    other = dataclasses.replace(tiny, seed=tiny.seed + 1)
    train(other, footage(), tmp_path / "run", precision="32-true", start_from=tmp_path / "origin")
    changed = dataclasses.replace(footage(), facts={"path": "squares", "fingerprint": "2"})
    with pytest.raises(InputError, match="data set has changed"):
        train(other, changed, tmp_path / "again", repeat=tmp_path / "run", start_from=tmp_path / "origin")
    with pytest.raises(InputError, match="--from"):
        train(other, footage(), tmp_path / "again", repeat=tmp_path / "run")
    with pytest.raises(InputError, match="from random weights"):
        train(tiny, footage(), tmp_path / "again", repeat=tmp_path / "origin", start_from=tmp_path / "run")
    assert not (tmp_path / "again").exists()
    train(other, footage(), tmp_path / "again", repeat=tmp_path / "run", start_from=tmp_path / "origin")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
