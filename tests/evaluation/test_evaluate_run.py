"""Tests of evaluating a run folder: files that are written, and splits that are refused."""

from pathlib import Path

import pytest
import torch

from posecast.config.schema import Config
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.errors import InputError
from posecast.evaluation.evaluate import EvaluationOptions
from posecast.evaluation.evaluate_run import score_run
from posecast.files import read_json
from posecast.model.checkpoint import WEIGHTS, save_weights, write_config
from posecast.model.predictor import Predictor


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "data", Choreography(sequences=1, frames=24, size=(16, 16)))
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path, data: Path, tiny: Config) -> Path:
    torch.manual_seed(0)
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run", tiny, {"selected_on": "val", "source": {"path": str(data)}})
    save_weights(tmp_path / "run" / WEIGHTS, Predictor(tiny).state_dict())
    return tmp_path / "run"


def test_scores_and_samples_are_written(run: Path, data: Path) -> None:
    scores = score_run(run, data, EvaluationOptions(futures=2, seed=3))
    assert read_json(run / "scores.json", "scores") == scores.as_json()
    assert (scores.selected_on, scores.seed, scores.futures) == ("val", 3, 2)
    assert scores.baselines["nearest_pose"] is not None
    assert {factor.name for factor in scores.factors} >= {"brightness", "warmth"}
    samples = {path.name for path in (run / "samples").iterdir()}
    assert samples == {"val-strip.png", "val-side-by-side.webp", "val-traversal.png", "val-futures.png"}


def test_scoring_needs_only_the_split(run: Path, data: Path) -> None:
    (data / "train").rename(data / "elsewhere")
    scores = score_run(run, data, EvaluationOptions(futures=1))
    assert scores.baselines["mean_frame"] is None
    assert scores.baselines["copy_first_frame"] is not None
    assert not scores.factors


def test_split_without_true_frames_is_refused(run: Path, data: Path) -> None:
    with pytest.raises(InputError, match="has no true frames"):
        score_run(run, data, EvaluationOptions(split="test"))
    assert not (run / "scores.json").exists()
