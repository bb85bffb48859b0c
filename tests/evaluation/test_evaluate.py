"""Tests of scores by reference, by identities, and for independence of predictions from the true frames."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.data.recordings import Recording
from posecast.evaluation import evaluate as evaluate_module
from posecast.evaluation.energies import gradient_energy, video_energies
from posecast.evaluation.evaluate import evaluate, mean_rollout, measure_drift
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


def test_predictions_do_not_depend_on_the_true_frames(either: Config, square: Recording) -> None:
    """Noise in place of all frames but the first changes no byte that `evaluate` predicts."""
    torch.manual_seed(0)
    predictor = Predictor(either).eval().requires_grad_(False)
    predictions: list[list[np.ndarray]] = []
    for recording in (square, with_noise(square)):
        predicted: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:

            def recorded(*args: Any, predicted: list[np.ndarray] = predicted, **options: Any) -> Iterator[np.ndarray]:
                for frame in predict(*args, **options):
                    predicted.append(frame)
                    yield frame

            patch.setattr("posecast.evaluation.evaluate.predict", recorded)
            evaluate(predictor, [recording], futures=2)
        predictions.append(predicted)
    assert len(predictions[0]) >= 2 * len(square)
    assert all(np.array_equal(a, b) for a, b in zip(*predictions, strict=True))


def with_noise(recording: Recording) -> Recording:
    frames = noise(*recording.frames.shape, seed=9)
    frames[0] = recording.frames[0]
    return dataclasses.replace(recording, frames=frames)


def flicker(predictor: Predictor, recording: Recording) -> float:
    rolled_out = np.concatenate((recording.frames[:1], mean_rollout(predictor, recording)))
    return video_energies(rolled_out).flicker / video_energies(recording.frames).flicker


def test_scores_agree_with_their_definitions(predictor: Predictor) -> None:
    recordings = [moving_square(12, seed=1), moving_square(20, seed=2)]
    scores = evaluate(predictor, recordings, training=[moving_square(30)], futures=3, seed=4)
    content = scores.as_json()
    json.dumps(content, allow_nan=False)
    assert [sequence["frames"] for sequence in content["sequences"]] == [11, 19]
    sampled, sharpness = [], []
    for index, recording in enumerate(recordings):
        frames = predict(predictor, recording.frames[0], recording.poses, seed=4, sequence=index, futures=3)
        stacked = np.stack(list(frames))[1:]  # [T-1, N, H, W, 3]
        sampled.append(np.stack([psnr_db(stacked[:, n], recording.frames[1:]) for n in range(3)], 1))
        true = video_energies(recording.frames).sharpness
        sharpness.append(np.mean([gradient_energy(stacked[:, n]).mean() for n in range(3)]) / true)
    for sequence, expected in zip(content["sequences"], sampled, strict=True):
        best = expected.mean(0).argmax()
        assert sequence["psnr_db"]["sample"] == pytest.approx(expected.mean(1))
        assert sequence["psnr_db"]["best"] == pytest.approx(expected[:, best])
    assert content["summary"]["sharpness"]["sample"] == pytest.approx(np.mean(sharpness))
    assert content["summary"]["flicker"]["mean"] == pytest.approx(np.mean([flicker(predictor, r) for r in recordings]))
    summary = content["summary"]["psnr_db"]
    assert summary["sample"] == pytest.approx(np.mean([psnrs.mean() for psnrs in sampled]))
    assert summary["best"] >= summary["sample"]
    assert content["reconstruction"]["note"].endswith("not a prediction")


def test_networks_without_feedback_do_not_drift() -> None:
    """Without feedback, errors cannot accumulate, and a restarted rollout has the same frames."""
    torch.manual_seed(0)
    predictor = Predictor(small("no feedback")).eval().requires_grad_(False)
    recording = moving_square(230)
    drift = measure_drift(predictor, recording, mean_rollout(predictor, recording))
    assert drift is not None
    assert drift.difference_db == pytest.approx(0.0, abs=1e-9)
    short = moving_square(201)
    assert measure_drift(predictor, short, short.frames[1:]) is None


def test_bounds_are_estimated_only_on_request(predictor: Predictor, square: Recording) -> None:
    assert evaluate(predictor, [square], futures=1).as_json()["bounds"] is None
    calls: list[tuple[int, int]] = []
    content = evaluate(predictor, [square], futures=1, bound=True, progress=lambda *call: calls.append(call)).as_json()
    assert content["bounds"]["weighted"] >= content["bounds"]["plain"] - 1.0
    assert calls[-1][0] >= 0.95 * calls[-1][1]


def test_posterior_and_prior_mean_are_computed_once_per_recording(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = [moving_square(12, seed=1), moving_square(20, seed=2)]
    calls: list[tuple[str, int]] = []

    def counted(name: str) -> None:
        function: Callable[..., Any] = getattr(evaluate_module, name)

        def wrapper(*args: Any, **options: Any) -> Any:
            length = len(args[2] if name in ("predict", "rollout") else args[1])
            calls.append((f"{name} {options.get('latent', '')}".strip(), length))
            return function(*args, **options)

        monkeypatch.setattr(evaluate_module, name, wrapper)

    for name in ("observe", "predict", "rollout"):
        counted(name)
    evaluate(predictor, recordings, futures=2)
    expected = [(name, length) for name in ("observe", "predict mean", "predict sample") for length in (12, 20)]
    assert sorted(calls) == sorted(expected)
