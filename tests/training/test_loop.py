"""The loop: which weights it keeps, how it stops, and values that are not finite."""

import dataclasses
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import posecast.training.loop
from posecast.config.schema import Config
from posecast.data.clips import Clip, ClipCutter, ClipPlan
from posecast.errors import InterruptedTraining, TrainingFailed
from posecast.evaluation.evaluate import mean_rollout, psnr_db
from posecast.files import read_json_lines
from posecast.model.checkpoint import load_run, load_weights
from posecast.training.batches import Batch
from posecast.training.checkpoints import is_finite, load_state, states
from posecast.training.step import StepMetrics, TrainStep
from posecast.training.train import train

from .runs import StopAfter, footage, log_without_times, weights


def test_the_kept_weights_are_the_best_by_validation(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run", precision="32-true")
    kept = load_run(tmp_path / "run")
    recording = footage().validation[0]
    kept_psnr_db = psnr_db(mean_rollout(kept, recording), recording.frames[1:]).mean()
    logged_psnr_db = [entry["validation_psnr_db"] for entry in read_json_lines(tmp_path / "run" / "log.jsonl")]
    assert kept_psnr_db == pytest.approx(max(logged_psnr_db), abs=1e-6)


def test_sigterm_saves_the_state(tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(InterruptedTraining) as stopped:
        train(tiny, footage(), tmp_path / "run", callback=StopAfter(3, signal.SIGTERM))
    assert stopped.value.signal_number == signal.SIGTERM
    assert [path.name[:15] for path in states(tmp_path / "run")] == ["step-000000003-"]


def test_a_stop_interrupts_a_validation(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollouts of long recordings take longer than a cluster waits after SIGTERM."""
    validate = posecast.training.loop.validate
    calls = []

    def stop_in_second(*args: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the validation was not interrupted")
        return validate(*args)

    monkeypatch.setattr(posecast.training.loop, "validate", stop_in_second)
    with pytest.raises(InterruptedTraining) as stopped:
        train(tiny, footage(), tmp_path / "run")
    assert stopped.value.signal_number == signal.SIGTERM
    assert len(read_json_lines(tmp_path / "run" / "log.jsonl")) == 1
    train(tiny, footage(), tmp_path / "run", resume=True)
    train(tiny, footage(), tmp_path / "uninterrupted")
    assert weights(tmp_path / "run") == weights(tmp_path / "uninterrupted")
    assert log_without_times(tmp_path / "run") == log_without_times(tmp_path / "uninterrupted")


def damage(train_step: TrainStep, where: str) -> None:
    """Set an entry to NaN or infinity, as bad memory or an overflow does."""
    if where == "weights":
        tensor = next(parameter for parameter in train_step.predictor.parameters() if parameter.ndim == 4)
    elif where == "averages":
        tensor = next(iter(train_step.smoothed.parameters()))
    else:
        state = next(state for optimizer in train_step.optimizers for state in optimizer.state.values())
        tensor = next(value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim > 1)
    with torch.no_grad():
        tensor[(0,) * tensor.ndim] = math.inf if where == "weights" else math.nan


@pytest.mark.parametrize("where", ["weights", "averages", "optimiser"])
def test_values_that_are_not_finite_are_never_saved(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    update = TrainStep.update

    def damaging_update(self: TrainStep, batch: Batch, *, rate: float) -> StepMetrics:
        metrics = update(self, batch, rate=rate)
        if batch.step == 4:
            damage(self, where)
        return metrics

    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "update", damaging_update)
        with pytest.raises(TrainingFailed, match="not finite"):
            train(config, footage(), tmp_path / "run")
    state = load_state(tmp_path / "run")
    assert state is not None
    assert state["step"] == 4
    assert is_finite(state)
    if (tmp_path / "run" / "model.safetensors").exists():
        assert is_finite(load_weights(tmp_path / "run" / "model.safetensors"))
    train(config, footage(), tmp_path / "run", resume=True)
    train(config, footage(), tmp_path / "uninterrupted")
    assert weights(tmp_path / "run") == weights(tmp_path / "uninterrupted")


def test_a_loss_that_is_not_finite_is_skipped_and_counted(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = ClipCutter.cut

    def cut_with_nan(self: ClipCutter, plan: ClipPlan) -> Clip:
        clip = cut(self, plan)
        return clip._replace(frames=clip.frames * math.nan) if plan.key[0] % 2 else clip

    with monkeypatch.context() as patch:
        patch.setattr(ClipCutter, "cut", cut_with_nan)
        train(tiny, footage(), tmp_path / "run")
    entries = read_json_lines(tmp_path / "run" / "log.jsonl")
    skipped = sum(entry["skipped_updates"] for entry in entries)
    assert 0 < skipped < 8
    assert "NaN" not in (tmp_path / "run" / "log.jsonl").read_text()
    assert load_run(tmp_path / "run")
