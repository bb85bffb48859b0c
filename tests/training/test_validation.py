"""Validation: rollouts that are not finite."""

import json
from pathlib import Path

import numpy as np
import pytest

from posecast.config.schema import Config
from posecast.errors import InputError
from posecast.training.train import train

from .runs import footage


def test_a_rollout_that_is_not_finite_is_logged_and_never_kept(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(*_: object) -> np.ndarray:
        raise InputError("Frame 2 of the rollout is not finite")

    monkeypatch.setattr("posecast.training.validation.mean_rollout", raise_error)
    monkeypatch.setattr("posecast.training.budget.mean_rollout", lambda *_: None)
    train(tiny, footage(), tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["validation_psnr_db"] is None
