"""Track of one person through a video: keypoints at a constant rate, and the scenes of the video.

In: keypoints of one frame after the other. Out: a `Track`, which can be saved; its `Scene`s, with short gaps filled.
Next: `tracking.py` makes tracks, `diagnostics.py` describes them.
"""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from posecast.data.pose_maps import SKELETON, SURE
from posecast.files import write_bytes

SHORT_GAP_S = 0.3
"""Longest gap of a joint, in seconds, that is filled by linear interpolation."""


@dataclass
class Track:
    """Frames of one video that have been processed so far."""

    fps: float
    keypoints: list[np.ndarray] = field(default_factory=list)
    """float32 `[J, 3]` of each frame: x, y in pixels of the source, confidence; NaN where the person was not found."""
    changes: list[float] = field(default_factory=list)
    """Difference of each frame from the one before; see `data/shot_changes.py`."""
    cuts: list[int] = field(default_factory=list)
    """Frames that begin a new scene, without frame 0."""
    shifts: list[tuple[int, float, float]] = field(default_factory=list)
    """Frame, and camera shift to the right and down since the entry before, as shares of width and height."""
    facts: dict[str, Any] = field(default_factory=dict)
    """JSON values about the source: its size, the gaps between its frames, the tracker's memory."""

    def __len__(self) -> int:
        return len(self.keypoints)

    def add(self, keypoints: np.ndarray | None, change: float) -> None:
        """Add a frame.

        Args:
            keypoints: `[J, 3]`, or None if the person was not found.
            change: Difference from the frame before.
        """
        nobody = np.full((len(SKELETON), 3), np.nan, np.float32)
        self.keypoints.append(nobody if keypoints is None else keypoints.astype(np.float32))
        self.changes.append(change)

    def save(self, path: Path) -> None:
        """Write the track, atomically."""
        content = io.BytesIO()
        np.savez(
            content,
            keypoints=np.array(self.keypoints, np.float32).reshape(-1, len(SKELETON), 3),
            changes=np.array(self.changes, float),
            cuts=np.array(self.cuts, np.int64),
            shifts=np.array(self.shifts, float).reshape(-1, 3),
            facts=np.array(json.dumps({"fps": self.fps, **self.facts})),
        )
        write_bytes(path, content.getbuffer())

    @classmethod
    def load(cls, path: Path) -> Track:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: The file is damaged or of another kind.
        """
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            shifts = [(int(frame), right, down) for frame, right, down in arrays["shifts"].tolist()]
            lists = (list(arrays["keypoints"]), arrays["changes"].tolist(), arrays["cuts"].tolist(), shifts)
            return cls(facts.pop("fps"), *lists, facts)


class Scene(NamedTuple):
    """Part of a track without a cut that starts and ends with a frame in which the person was found."""

    first: int
    """Index of its first frame in the track."""
    keypoints: np.ndarray
    """float32 `[T, J, 3]`, with short gaps filled; unsure joints keep their low confidence, missing ones are NaN."""
    filled: np.ndarray
    """Joints that were interpolated, bool `[T, J]`."""
    found: np.ndarray
    """Frames in which the estimator found the person, bool `[T]`."""

    def part(self, start: int, stop: int) -> Scene:
        """Return frames `start` to `stop` as a scene."""
        return Scene(self.first + start, *(values[start:stop] for values in self[1:]))

    @property
    def drawn(self) -> np.ndarray:
        """Keypoints as drawn on pose maps, `[T, J, 3]`; unsure ones have confidence 0."""
        return only_sure(self.keypoints)


def only_sure(keypoints: np.ndarray) -> np.ndarray:
    """Return keypoints `[..., J, 3]` whose confidence is 0 if it is below 0.5 or the joint is missing."""
    sure = np.nan_to_num(keypoints[..., 2:], nan=0.0) >= SURE
    return np.where(sure, keypoints, np.float32(0))


def scenes(track: Track) -> list[Scene]:
    """Split a track at its cuts into scenes, each from the first to the last frame with a sure joint.

    Parts with fewer than two such frames are left out.
    """
    parts = []
    edges = [0, *track.cuts, len(track)]
    for start, stop in itertools.pairwise(edges):
        raw = np.array(track.keypoints[start:stop], np.float32).reshape(-1, len(SKELETON), 3)
        keypoints, filled = fill_gaps(raw, track.fps)
        visible = np.flatnonzero((np.nan_to_num(keypoints[:, :, 2]) >= SURE).any(1))
        if len(visible) >= 2:
            part = slice(visible[0], visible[-1] + 1)
            found = np.isfinite(raw[part, :, 0]).any(1)
            parts.append(Scene(start + int(visible[0]), keypoints[part], filled[part], found))
    return parts


def fill_gaps(keypoints: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate every joint's short gaps linearly.

    In a gap, a joint is missing or unsure between two frames in which it is sure. Longer gaps, the start and the end
    stay unchanged.

    Args:
        keypoints: float32 `[T, J, 3]`.
        fps: Frames per second.

    Returns:
        Keypoints `[T, J, 3]`, in gaps with the lower confidence of both ends, and the interpolated joints, bool
        `[T, J]`.
    """
    keypoints = keypoints.copy()
    filled = np.zeros(keypoints.shape[:2], bool)
    longest = round(SHORT_GAP_S * fps)
    for joint in range(keypoints.shape[1]):
        sure = np.flatnonzero(np.nan_to_num(keypoints[:, joint, 2]) >= SURE)
        for before, after in itertools.pairwise(sure):
            if 1 < after - before <= longest + 1:
                share = (np.arange(before + 1, after) - before)[:, None] / (after - before)
                ends = keypoints[before, joint], keypoints[after, joint]
                bridge = (1 - share) * ends[0] + share * ends[1]
                bridge[:, 2] = min(ends[0][2], ends[1][2])
                keypoints[before + 1 : after, joint] = bridge
                filled[before + 1 : after, joint] = True
    return keypoints, filled
