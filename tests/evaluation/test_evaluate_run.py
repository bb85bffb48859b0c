"""Tests of evaluating a run folder: files that are written, and splits that are refused."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import pytest
import torch

from posecast.config.schema import Config
from posecast.data.cache import load_split
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.errors import InputError
from posecast.evaluation import evaluate_run
from posecast.evaluation.evaluate import EvaluationOptions
from posecast.evaluation.evaluate_run import score_run
from posecast.files import read_json, write_json
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
    fingerprint = load_split(data, "train", (16, 16)).fingerprint
    facts = {"selected_on": "val", "source": {"path": str(data), "fingerprint": fingerprint}}
    write_config(tmp_path / "run", tiny, facts)
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


@pytest.mark.parametrize("kind", ["contents", "stamp", "none"])
def test_baselines_need_the_training_footage_that_the_run_recorded(run: Path, data: Path, kind: str) -> None:
    """Footage that was changed where it lay gives no baselines, whatever fingerprint the run has."""
    config = read_json(run / "config.json", "a run")
    packed = load_split(data, "train", (16, 16))
    config["source"]["fingerprint"] = {"contents": packed.fingerprint, "stamp": packed.stamp, "none": None}[kind]
    write_json(run / "config.json", config)
    if kind != "none":
        unchanged = score_run(run, data, EvaluationOptions(futures=1))
        assert unchanged.baselines["nearest_pose"] is not None
        assert unchanged.baselines_note is None
    frames, validation = data / "train" / "train_img", data / "val" / "val_img"
    for path, other in zip(sorted(frames.iterdir()), sorted(validation.iterdir()), strict=False):
        shutil.copyfile(other, path)
    changed = score_run(run, data, EvaluationOptions(futures=1))
    assert changed.baselines["nearest_pose"] is changed.baselines["mean_frame"] is None
    assert "has changed" in str(changed.baselines_note)
    assert read_json(run / "scores.json", "scores")["baselines_note"] == changed.baselines_note


def test_the_only_training_recording_is_not_its_own_baseline(run: Path, data: Path) -> None:
    scores = score_run(run, data, EvaluationOptions(split="train", futures=1))
    assert scores.baselines["nearest_pose"] is None
    assert "no other training recording" in str(scores.baselines_note)


def test_bounds_use_the_variance_that_the_run_stored(run: Path, data: Path) -> None:
    assert (
        score_run(run, data, EvaluationOptions(futures=1, bound=True)).as_json()["bounds"]["with_training_variance"]
        is None
    )
    config = read_json(run / "config.json", "a run")
    write_json(run / "config.json", {**config, "training_variance": 0.02})
    bounds = score_run(run, data, EvaluationOptions(futures=1, bound=True)).as_json()["bounds"]
    assert bounds["with_training_variance"]["variance"] == 0.02
    assert bounds["variance"] != 0.02


def test_split_without_true_frames_is_refused(run: Path, data: Path) -> None:
    with pytest.raises(InputError, match="has no true frames"):
        score_run(run, data, EvaluationOptions(split="test"))
    assert not (run / "scores.json").exists()


@pytest.mark.parametrize("part", ["", "samples"])
def test_folder_that_cannot_be_written_to_is_noticed_before_computing(
    part: str, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "samples").mkdir()
    whole = tempfile.TemporaryFile

    def refuse(prefix: str, dir: Path) -> IO[bytes]:
        if dir == run / part:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), f"{dir}/{prefix}x")
        return whole(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(evaluate_run, "evaluate_fully", None)
    with pytest.raises(OSError, match="Read-only") as caught:
        score_run(run, data, EvaluationOptions(futures=1))
    assert caught.value.filename == str(run / part)
