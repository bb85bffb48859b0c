"""Scores against references, identities, and the promise that nothing of the target leaks."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from posecast.config import Config
from posecast.data.recordings import Recording
from posecast.evaluation import (
    baselines,
    drift,
    evaluate,
    mean_training_frame,
    nearest_pose_frames,
    psnr_db,
    ssim,
)
from posecast.model.predictor import Predictor
from posecast.rollout import predict

from .conftest import moving_square


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def predictor(tiny: Config) -> Predictor:
    torch.manual_seed(0)
    return Predictor(tiny).eval().requires_grad_(False)


def test_psnr_equals_scikit_image_and_is_averaged_by_no_one_else() -> None:
    a, b = noise(4, 32, 64, 3), noise(4, 32, 64, 3, seed=1)
    reference = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(b, a, strict=True)]
    assert psnr_db(a, b) == pytest.approx(reference, abs=1e-4)


def test_psnr_is_limited_by_8_bits_and_known_by_hand() -> None:
    frame = noise(1, 32, 64, 3)
    assert psnr_db(frame, frame) == pytest.approx([10 * np.log10(12 * 255**2)])
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    assert psnr_db(grey, grey + 10) == pytest.approx([20 * np.log10(255 / 10)], abs=1e-5)


def test_ssim_equals_scikit_images_gaussian_version() -> None:
    smooth = np.kron(noise(3, 8, 16, 3), np.ones((1, 4, 4, 1), np.uint8))
    near = np.clip(smooth.astype(int) + noise(3, 32, 64, 3, seed=2) // 8, 0, 255).astype(np.uint8)
    reference = [
        structural_similarity(
            x / 255,
            y / 255,
            data_range=1.0,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(smooth, near, strict=True)
    ]
    assert ssim(smooth, near) == pytest.approx(reference, abs=1e-4)
    assert ssim(smooth, smooth) == pytest.approx(np.ones(3), abs=1e-6)


def test_noise_for_a_target_changes_no_predicted_byte(predictor: Predictor, square: Recording) -> None:
    """Everything but the first frame replaced: the whole path of `evaluate` must predict the same."""
    seen: list[list[np.ndarray]] = []
    for recording in (square, with_noise(square)):
        predicted: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:

            def spy(*given: object, predicted: list = predicted, **asked: object) -> object:
                for frame in predict(*given, **asked):  # pyright: ignore
                    predicted.append(frame)
                    yield frame

            patch.setattr("posecast.evaluation.predict", spy)
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


def test_baselines_need_no_model() -> None:
    recording, training = moving_square(12, seed=1), [moving_square(30)]
    found = baselines([recording], training)
    copied = np.broadcast_to(recording.frames[0], recording.frames[1:].shape)
    assert found["copy_first_frame"] == pytest.approx(psnr_db(copied, recording.frames[1:]).mean())
    assert baselines([recording], None)["nearest_pose"] is None
    assert baselines([training[0]], training)["nearest_pose"] == pytest.approx(10 * np.log10(12 * 255**2))


def test_the_nearest_pose_is_the_nearest_of_all() -> None:
    training = [moving_square(30, seed=3), moving_square(600, seed=4)]
    wanted = moving_square(9, seed=5).poses
    everything = np.concatenate([one.poses for one in training]).reshape(630, -1).astype(float)
    frames = np.concatenate([one.frames for one in training])
    for pose, found in zip(wanted, nearest_pose_frames(wanted, training), strict=True):
        distances = np.square(everything - pose.reshape(-1)).sum(1)
        nearest = np.flatnonzero(distances == distances.min())
        assert any(np.array_equal(found, frames[k]) for k in nearest)


def test_the_mean_training_frame_weighs_frames_and_not_recordings() -> None:
    training = [moving_square(10, seed=1), moving_square(40, seed=2)]
    together = np.concatenate([one.frames for one in training]).astype(float).mean(0)
    assert np.abs(mean_training_frame(training) - together).max() <= 0.5


def test_without_feedback_nothing_drifts(predictor: Predictor) -> None:
    """The tiny untrained decoder ignores what is fed back, so a restart must end in the same frames."""
    for join in predictor.networks.decoder.join:  # pyright: ignore
        channels = join.in_channels
        features = join.out_channels
        first = 0
        join.weight[:, first : first + features] = 0.0
        assert channels > features
    found = drift(predictor, moving_square(230))
    assert found is not None
    assert found.difference_db == pytest.approx(0.0, abs=1e-9)
    assert drift(predictor, moving_square(201)) is None
