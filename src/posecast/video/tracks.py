"""What was found in one video: a person's keypoints at an even rate, and where scenes change.

In: frames and sightings, one by one. Out: a `Track`, on disk from time to time; its scenes, with short gaps filled.
Knows no estimator and no pictures. Next: `diagnostics.py`, which says what is wrong with it.
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
"""A joint out of sight for no longer than this is bridged by a straight line."""


@dataclass
class Track:
    """One video, frame by frame as far as it has been looked at; T grows."""

    fps: float
    keypoints: list[np.ndarray] = field(default_factory=list)
    """float32 `[J, 3]` for each frame: x, y in pixels of the source, confidence; NaN where the person was not found."""
    changes: list[float] = field(default_factory=list)
    """How much each frame differs from the one before; see `shot_changes.py`."""
    cuts: list[int] = field(default_factory=list)
    """The frames that begin a new scene; 0 is not named."""
    shifts: list[tuple[int, float, float]] = field(default_factory=list)
    """A frame; how far the picture moved right and down since the shift before, in shares of its width and height."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else is known of the source, as JSON has it: its size, its gaps in time, what the follower remembers."""

    def __len__(self) -> int:
        return len(self.keypoints)

    def add(self, keypoints: np.ndarray | None, change: float) -> None:
        """One more frame; None where the person was not found."""
        nobody = np.full((len(SKELETON), 3), np.nan, np.float32)
        self.keypoints.append(nobody if keypoints is None else keypoints.astype(np.float32))
        self.changes.append(change)

    def save(self, path: Path) -> None:
        """Write the track whole or not at all."""
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
        """What `save` wrote. Raises OSError, ValueError or KeyError where the file is another or damaged."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            shifts = [(int(frame), right, down) for frame, right, down in arrays["shifts"].tolist()]
            lists = (list(arrays["keypoints"]), arrays["changes"].tolist(), arrays["cuts"].tolist(), shifts)
            return cls(facts.pop("fps"), *lists, facts)


class Scene(NamedTuple):
    """A part of a track without a cut, in which the person is seen at its start and at its end."""

    first: int
    """Its first frame in the track."""
    keypoints: np.ndarray
    """float32 `[T, J, 3]`, short gaps filled; unsure joints keep their low confidence, missing ones are NaN."""
    filled: np.ndarray
    """bool `[T, J]`: which of them were not seen but bridged."""

    found: np.ndarray
    """bool `[T]`: where the estimator found somebody."""

    def part(self, start: int, stop: int) -> Scene:
        """A part of the scene as a scene."""
        return Scene(self.first + start, *(values[start:stop] for values in self[1:]))

    @property
    def drawn(self) -> np.ndarray:
        """The keypoints as they are drawn: what is unsure has confidence 0, `[T, J, 3]`."""
        return only_sure(self.keypoints)


def only_sure(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints `[..., J, 3]` with confidence 0 where it is below one half, or where the joint is missing."""
    sure = np.nan_to_num(keypoints[..., 2:], nan=0.0) >= SURE
    return np.where(sure, keypoints, np.float32(0))


def scenes(track: Track) -> list[Scene]:
    """The track cut where the scene changes; each begins and ends with a frame that shows somebody.

    Parts with fewer than two such frames are left out.
    """
    found = []
    edges = [0, *track.cuts, len(track)]
    for start, stop in itertools.pairwise(edges):
        raw = np.array(track.keypoints[start:stop], np.float32).reshape(-1, len(SKELETON), 3)
        keypoints, filled = fill_gaps(raw, track.fps)
        seen = np.flatnonzero((np.nan_to_num(keypoints[:, :, 2]) >= SURE).any(1))
        if len(seen) >= 2:
            part = slice(seen[0], seen[-1] + 1)
            there = np.isfinite(raw[part, :, 0]).any(1)
            found.append(Scene(start + int(seen[0]), keypoints[part], filled[part], there))
    return found


def fill_gaps(keypoints: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints `[T, J, 3]` with every joint's short gaps bridged, and which were: bool `[T, J]`.

    A gap is where a joint is missing or unsure between two moments at which it is sure; a bridge has the lower
    confidence of the two. Longer gaps, the start and the end stay as they are.
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
