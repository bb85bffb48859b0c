"""Scores against references, identities, and the promise that nothing of the target leaks."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.evaluation.evaluate import drift, evaluate, mean_rollout
from posecast.evaluation.metrics import psnr_db
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict

from ..conftest import moving_square, small


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def predictor(tiny: Config) -> Predictor:
    torch.manual_seed(0)
    return Predictor(tiny).eval().requires_grad_(False)


def test_noise_for_a_target_changes_no_predicted_byte(either: Config, square: Recording) -> None:
    """Everything but the first frame replaced: the whole path of `evaluate` must predict the same."""
    torch.manual_seed(0)
    predictor = Predictor(either).eval().requires_grad_(False)
    seen: list[list[np.ndarray]] = []
    for recording in (square, with_noise(square)):
        predicted: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:

            def spy(*given: object, predicted: list = predicted, **asked: object) -> object:
                for frame in predict(*given, **asked):  # pyright: ignore
                    predicted.append(frame)
                    yield frame

            patch.setattr("posecast.evaluation.evaluate.predict", spy)
            evaluate(predictor, [recording], futures=2)
        seen.append(predicted)
    assert len(seen[0]) >= 2 * len(square)
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


def with_noise(recording: Recording) -> Recording:
    frames = noise(*recording.frames.shape, seed=9)
    frames[0] = recording.frames[0]
    return dataclasses.replace(recording, frames=frames)


def test_scores_follow_their_definitions(predictor: Predictor) -> None:
    recordings = [moving_square(12, seed=1), moving_square(20, seed=2)]
    scores = evaluate(predictor, recordings, training=[moving_square(30)], futures=3, seed=4)
    content = scores.as_json()
    json.dumps(content, allow_nan=False)
    assert [one["frames"] for one in content["sequences"]] == [11, 19]
    sampled = []
    for number, recording in enumerate(recordings):
        frames = predict(predictor, recording.frames[0], recording.poses, seed=4, sequence=number, futures=3)
        stacked = np.stack(list(frames))[1:]  # [T-1, N, H, W, 3]
        sampled.append(np.stack([psnr_db(stacked[:, n], recording.frames[1:]) for n in range(3)], 1))
    for one, expected in zip(content["sequences"], sampled, strict=True):
        best = expected.mean(0).argmax()
        assert one["psnr_db"]["sample"] == pytest.approx(expected.mean(1))
        assert one["psnr_db"]["best"] == pytest.approx(expected[:, best])
    summary = content["summary"]["psnr_db"]
    assert summary["sample"] == pytest.approx(np.mean([s.mean() for s in sampled]))
    assert summary["best"] >= summary["sample"]
    assert content["reconstruction"]["note"].endswith("not a prediction")


def test_without_feedback_nothing_drifts() -> None:
    """Whatever is not fed back cannot add up: a restart ends in the same frames."""
    torch.manual_seed(0)
    predictor = Predictor(small("no feedback")).eval().requires_grad_(False)
    recording = moving_square(230)
    found = drift(predictor, recording, mean_rollout(predictor, recording))
    assert found is not None
    assert found.difference_db == pytest.approx(0.0, abs=1e-9)
    short = moving_square(201)
    assert drift(predictor, short, short.frames[1:]) is None


def test_bounds_are_made_where_they_are_asked_for(predictor: Predictor, square: Recording) -> None:
    assert evaluate(predictor, [square], futures=1).as_json()["bounds"] is None
    told: list[tuple[int, int]] = []
    content = evaluate(predictor, [square], futures=1, bound=True, progress=lambda *one: told.append(one)).as_json()
    assert content["bounds"]["weighted"] >= content["bounds"]["plain"] - 1.0
    assert told[-1][0] >= 0.95 * told[-1][1]
