"""Tests of reading and writing poses.npz, and of refusing other or damaged files."""

from pathlib import Path

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.errors import InputError
from posecast.video.extracted_poses import read_poses, write_poses


def poses_arrays(num: int = 3) -> dict[str, np.ndarray]:
    return {
        "names": np.array([f"train/frame{k:06d}" for k in range(num)]),
        "keypoints": np.full((num, len(SKELETON), 3), 2.0, np.float32),
        "windows": np.tile([10.0, 20, 100, 50], (num, 1)),
        "frame_sizes": np.tile([80, 200], (num, 1)),
        "joints": np.array([joint.name for joint in SKELETON]),
        "size": np.array([25, 50]),
        "fps": np.array(12.5),
    }


def test_keypoints_are_read_in_pixels_of_the_frames_and_of_the_source(tmp_path: Path) -> None:
    np.savez(tmp_path / "poses.npz", **poses_arrays())
    poses = read_poses(tmp_path / "poses.npz")
    assert (poses.size, poses.fps, poses.names[1]) == ((25, 50), 12.5, "train/frame000001")
    np.testing.assert_allclose(poses.in_source()[0, 0], [10 + 4, 20 + 4, 2])
    np.testing.assert_allclose(poses.view or (), [0.05, 0.25, 0.5, 0.625, 2.5])


def test_written_poses_are_read_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "poses.npz", **poses_arrays())
    poses = read_poses(tmp_path / "poses.npz")
    write_poses(tmp_path / "copy.npz", poses, filled=np.zeros((3, len(SKELETON)), bool))
    copy = read_poses(tmp_path / "copy.npz")
    np.testing.assert_array_equal(copy.in_source(), poses.in_source())
    assert (copy.names, copy.size, copy.fps, copy.view) == (poses.names, poses.size, poses.fps, poses.view)


def test_different_windows_have_no_view(tmp_path: Path) -> None:
    arrays = poses_arrays()
    arrays["windows"][1, 0] += 3
    np.savez(tmp_path / "poses.npz", **arrays)
    assert read_poses(tmp_path / "poses.npz").view is None


@pytest.mark.parametrize("broken", ["joints", "keypoints", "windows", "frame_sizes", "fps", "size"])
def test_arrays_of_other_shapes_are_refused(tmp_path: Path, broken: str) -> None:
    arrays = poses_arrays()
    arrays[broken] = arrays[broken][:1] if arrays[broken].ndim else np.array(0.0)
    np.savez(tmp_path / "poses.npz", **arrays)
    with pytest.raises(InputError, match=r"poses\.npz"):
        read_poses(tmp_path / "poses.npz")


def test_missing_files_pickles_and_noise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no"):
        read_poses(tmp_path / "poses.npz")
    np.savez(tmp_path / "p.npz", **(poses_arrays() | {"names": np.array([{}], dtype=object)}))
    (tmp_path / "q.npz").write_bytes(b"PK\x03\x04" + bytes(range(200)))
    for name in ("p.npz", "q.npz"):
        with pytest.raises(InputError, match=name):
            read_poses(tmp_path / name)
