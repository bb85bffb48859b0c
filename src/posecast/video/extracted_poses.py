"""The file poses.npz, which `posecast extract` writes beside the frames of a data set.

In and out: `Poses`: keypoints of every frame, and the window of the source that the frame shows.
Next: `driving.py` and `retargeting.py`, which read the file, and `extract.py`, which writes it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecast.data.pose_maps import SKELETON
from posecast.errors import InputError
from posecast.files import write_bytes

FILE_NAME = "poses.npz"
KEYS = ("names", "joints", "keypoints", "windows", "frame_sizes", "size", "fps")


@dataclass(frozen=True)
class Poses:
    """Content of poses.npz: one row for each of N frames, in the order of their numbers."""

    names: list[str]
    """Split and name of each frame: train/frame000001, ..."""
    keypoints: np.ndarray
    """float32 `[N, J, 3]`: x, y in pixels of the frames, confidence; NaN where nobody was found."""
    windows: np.ndarray
    """Windows cut out of the source's frames, `[N, 4]`: left, top, width, height in its pixels."""
    frame_sizes: np.ndarray
    """Height and width of the source's frames, `[N, 2]`."""
    size: tuple[int, int]
    """Height and width of the frames."""
    fps: float

    @property
    def view(self) -> tuple[float, ...] | None:
        """Left, top, width and height of the window as shares of the source's frame, and the frame's aspect ratio.

        None if windows differ, because several cameras were used or the window follows the person.
        """
        (height, width), shares = self.frame_sizes[0], self.windows / self.frame_sizes[:, [1, 0, 1, 0]]
        if not (np.ptp(shares, axis=0) < 1e-6).all() or (self.frame_sizes != self.frame_sizes[0]).any():
            return None
        return (*(float(share) for share in shares[0]), float(width / height))

    def in_source(self) -> np.ndarray:
        """Return the keypoints in pixels of the source, `[N, J, 3]`, which show the path also if windows follow it."""
        keypoints = self.keypoints.astype(float)
        scale = self.windows[:, None, 2:] / np.array(self.size[::-1])
        keypoints[:, :, :2] = keypoints[:, :, :2] * scale + self.windows[:, None, :2]
        return keypoints.astype(np.float32)


def write_poses(path: Path, poses: Poses, filled: np.ndarray) -> None:
    """Write poses.npz, atomically.

    Args:
        path: The file.
        poses: Its content.
        filled: Which joints were interpolated, bool `[N, J]`.
    """
    table = io.BytesIO()
    np.savez_compressed(
        table,
        names=np.array(poses.names),
        keypoints=poses.keypoints,
        filled=filled,
        windows=poses.windows,
        frame_sizes=poses.frame_sizes,
        joints=np.array([joint.name for joint in SKELETON]),
        size=np.array(poses.size),
        fps=np.array(poses.fps),
    )
    write_bytes(path, table.getbuffer())


def read_poses(path: Path) -> Poses:
    """Read poses.npz, without executing anything in it.

    Raises:
        InputError: The file is missing, damaged or of another kind.
    """
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise InputError(f"{path} is not a regular file; expected what 'posecast extract' writes.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            # An entry of the archive that is no array is read as bytes.
            arrays = {key: np.asarray(content[key]) for key in KEYS}
            names, joints = arrays["names"].tolist(), arrays["joints"].tolist()
            keypoints, windows = arrays["keypoints"].astype(np.float32), arrays["windows"].astype(float)
            frame_sizes = arrays["frame_sizes"].astype(float)
            height, width = (int(side) for side in arrays["size"])
            fps = float(arrays["fps"])
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected what 'posecast extract' writes.") from error
    except Exception as error:  # zipfile, zlib and numpy raise nearly any exception on damaged bytes
        raise InputError(f"{path} cannot be read ({error}); expected what 'posecast extract' writes.") from error
    num = len(names) if isinstance(names, list) else 0
    fits = joints == [joint.name for joint in SKELETON] and keypoints.shape == (num, len(SKELETON), 3)
    fits = fits and frame_sizes.shape == (num, 2) and (frame_sizes > 0).all()
    if not fits or windows.shape != (num, 4) or num == 0 or not (0 < fps < 1000 and min(height, width) > 0):
        raise InputError(f"{path} holds other joints or shapes than this posecast's; extract the video again.")
    return Poses(names, keypoints, windows, frame_sizes, (height, width), fps)
