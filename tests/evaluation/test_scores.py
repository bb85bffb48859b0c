"""Tests of the JSON form of scores."""

import json

import numpy as np
import pytest

from posecast.evaluation.calibration import LEVELS, Coverage
from posecast.evaluation.energies import Energies
from posecast.evaluation.explained_error import ExplainedError, FutureMoments
from posecast.evaluation.factor_evidence import FactorEvidence, Motion
from posecast.evaluation.posterior import Reconstruction
from posecast.evaluation.scores import Drift, FrameScores, Scores, SequenceScores


def make_scores(values: list[float], factor: FactorEvidence) -> Scores:
    scores = FrameScores(np.array(values), np.array(values) / 100)
    best = FrameScores(np.array(values) + 1, np.array(values) / 100)
    energies = {"truth": Energies(0.2, 0.0), "mean": Energies(0.1, 0.1)} | dict.fromkeys(
        ("sample", "best"), Energies(0.3, 0.1)
    )
    return Scores(
        split="val",
        selected_on="val",
        seed=0,
        futures=2,
        sequences=[SequenceScores("a", scores, scores, best, 1, np.array([20.0, 24.0]), energies)],
        reconstruction=Reconstruction(30.0, 0.001, 1.5, 3, 8),
        drift=Drift(20.0, 22.5),
        baselines={"copy_first_frame": 10.0, "mean_frame": None, "nearest_pose": None, "mean_of_8_nearest_poses": None},
        baselines_note="none",
        spread=Coverage([0.5] * len(LEVELS), None),
        predictive=Coverage([0.5] * len(LEVELS), [0.1] * len(LEVELS)),
        explained=ExplainedError([FutureMoments(0.01, 0.001)], [0.008]),
        bounds=None,
        factors=[factor],
    )


def test_json_has_no_nan_and_the_documented_keys() -> None:
    motion = Motion(float("nan"), 2.0)
    paths = np.array([[1.0, np.nan], [3.0, 4.0]])
    factor = FactorEvidence("warmth", float("nan"), 0.5, motion, motion, 0.1, np.array([1.0, np.nan]), paths)
    content = make_scores([20.0, 30.0], factor).as_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["sequences"][0]["psnr_db"] == {"mean": [20, 30], "sample": [20, 30], "best": [21, 31]}
    assert content["summary"]["psnr_db"] == {"mean": 25, "sample": 25, "best": 26}
    assert content["summary"]["sharpness"] == pytest.approx({"mean": 0.5, "sample": 1.5, "best": 1.5})
    assert content["summary"]["flicker"] == {"mean": None, "sample": None, "best": None}  # the truth stands still
    assert content["best_of"] == [22, 24]
    assert content["generative"]["ratio"] == pytest.approx(0.5)
    assert content["generative"]["ratio_standard_error"] is None
    assert content["calibration"]["spread_standard_error"] is None
    assert content["calibration"]["predictive_standard_error"] == [0.1] * len(LEVELS)
    assert content["drift"]["difference_db"] == 2.5
    (factor_content,) = content["factors"]
    assert factor_content["reader_r2"] is None
    assert factor_content["truth"] == {"deviation": None, "time_constant": 2.0}
    assert factor_content["paths"]["recorded"] == [1.0, None]
    assert factor_content["paths"]["middle"] == [2.0, None]
