"""A valid data set in the course's layout, and the paths of its files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from posecast.data.folder_dataset import write_recordings, write_test_sequences
from posecast.data.recordings import PoseSequence, Recording


def noise(num_frames: int, seed: int, size: tuple[int, int] = (8, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *size, 3), np.uint8)


def recording(num_frames: int, seed: int = 0) -> Recording:
    return Recording(f"seed {seed}", noise(num_frames, 2 * seed), noise(num_frames, 2 * seed + 1))


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Write a valid data set: two training recordings (1-5, 7-9), one of val, one test sequence."""
    write_recordings(tmp_path, "train", [recording(5, 0), recording(3, 1)])
    write_recordings(tmp_path, "val", [recording(4, 2)], first_number=31)
    names = [f"frame{number:06d}" for number in range(31, 35)]
    write_test_sequences(tmp_path, [PoseSequence("0", noise(1, 9)[0], noise(4, 10), names)])
    return tmp_path


def image(root: Path, number: int) -> Path:
    return root / "train" / "train_img" / f"frame{number:06d}.png"


def label(root: Path, number: int) -> Path:
    return root / "train" / "train_label" / f"frame{number:06d}.png"


def add_odd_files(root: Path) -> None:
    """Add a training recording with unprintable names, a link, a broken link and a folder called like a frame."""
    for folder in (image(root, 1).parent, label(root, 1).parent):
        prefix = os.fsdecode(b"na\xefve \xc3\xa9\n")
        for number in (1, 2):
            shutil.copy(folder / f"frame00000{number}.png", folder / f"{prefix}{number}.png")
        (folder / "frame000010.png").symlink_to(folder / "frame000009.png")
        (folder / "frame000011.png").symlink_to(folder / "nothing.png")
        (folder / "frame000012.png").mkdir()
