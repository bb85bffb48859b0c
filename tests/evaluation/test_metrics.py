"""Tests of PSNR and SSIM against scikit-image and by hand, and of the worst stretches."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from posecast.evaluation.metrics import psnr_db, ssim, worst_stretches


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_psnr_of_each_frame_equals_scikit_image() -> None:
    a, b = noise(4, 32, 64, 3), noise(4, 32, 64, 3, seed=1)
    reference = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(b, a, strict=True)]
    assert psnr_db(a, b) == pytest.approx(reference, abs=1e-4)


def test_psnr_is_limited_by_8_bits_and_equals_a_manual_result() -> None:
    frame = noise(1, 32, 64, 3)
    assert psnr_db(frame, frame) == pytest.approx([10 * np.log10(12 * 255**2)])
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    assert psnr_db(grey, grey + 10) == pytest.approx([20 * np.log10(255 / 10)], abs=1e-5)


def test_ssim_equals_scikit_image_with_gaussian_weights() -> None:
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


def test_worst_stretches_have_the_lowest_psnr_and_do_not_overlap() -> None:
    values = np.full(60, 30.0)
    values[10:14], values[30:34] = 10.0, 20.0
    worst = worst_stretches({"a": values, "short": np.array([25.0, 27.0])}, frames=4, count=3)
    assert [(stretch.sequence, stretch.first, stretch.last, stretch.psnr_db) for stretch in worst] == [
        ("a", 12, 15, 10.0),  # the first value belongs to frame 2
        ("a", 32, 35, 20.0),
        ("short", 2, 3, 26.0),
    ]
