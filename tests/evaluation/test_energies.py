"""Tests of sharpness and flicker."""

import numpy as np
import pytest
import torch

from posecast.evaluation.energies import change_energy, gradient_energy, video_energies

from ..conftest import moving_square


def frames(seed: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 16, 3), np.uint8)


def test_a_checkerboard_has_the_highest_sharpness() -> None:
    rows, columns = np.mgrid[:8, :8]
    board = np.repeat(255 * ((rows + columns) % 2)[None, ..., None], 3, -1).astype(np.uint8)
    assert gradient_energy(board) == pytest.approx(1.0)
    assert gradient_energy(np.full_like(board, 90)) == 0.0


def test_blurred_frames_are_less_sharp() -> None:
    image = torch.from_numpy(frames(0)).float().movedim(-1, 1)
    blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False).movedim(1, -1)
    assert (gradient_energy(blurred.numpy().astype(np.uint8)) < 0.3 * gradient_energy(frames(0))).all()


def test_a_still_video_has_no_flicker_and_independent_frames_have_twice_their_variance() -> None:
    still = np.repeat(frames(1, 1), 6, axis=0)
    assert video_energies(still).flicker == 0.0
    noise = frames(2, 400)
    variance = np.square(noise / 255 - 127.5 / 255).mean()
    assert video_energies(noise).flicker == pytest.approx(2 * variance, rel=0.02)


def test_the_first_frame_counts_only_as_the_one_before_the_second() -> None:
    video = moving_square(6).frames
    energies = video_energies(video)
    assert energies.sharpness == pytest.approx(gradient_energy(video[1:]).mean())
    assert energies.flicker == pytest.approx(change_energy(video[1:], video[:-1]).mean())
    assert energies.flicker > 0
