"""PSNR and SSIM against references and by hand; baselines by what they are."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from posecast.data.recordings import Recording
from posecast.evaluation.baselines import baselines, mean_training_frame, nearest_pose_frames
from posecast.evaluation.metrics import psnr_db, ssim, worst_stretches

from ..conftest import moving_square


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


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


def test_worst_stretches_are_the_lowest_and_do_not_overlap() -> None:
    values = np.full(60, 30.0)
    values[10:14], values[30:34] = 10.0, 20.0
    worst = worst_stretches({"a": values, "short": np.array([25.0, 27.0])}, frames=4, count=3)
    assert [(one.sequence, one.first, one.last, one.psnr_db) for one in worst] == [
        ("a", 12, 15, 10.0),  # the first value is frame 2's
        ("a", 32, 35, 20.0),
        ("short", 2, 3, 26.0),
    ]


def test_the_nearest_pose_is_exact_however_products_are_rounded() -> None:
    """Maps that differ by one step of one pixel: in float32 their distances are equal, or as threads share sums."""
    pose = np.random.default_rng(0).integers(100, 250, (64, 64, 3)).astype(np.uint8)
    stored = np.stack([pose] * 3)
    stored[0, 0, 0, 0] += 2
    stored[2, 5, 5, 1] += 3
    stored[1, 9, 9, 2] += 1
    frames = np.stack([np.full_like(pose, value) for value in (10, 20, 30)])
    assert (nearest_pose_frames(pose[None], [Recording("a", frames, stored)]) == 20).all()
