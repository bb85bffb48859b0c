"""What every source of footage ends in: pixels with their pose maps, as they lie on disk.

In: uint8 arrays from a course folder, a packed store, the dancer or a notebook.
Out: checked `Recording`s (with truth for every frame) and `PoseSequence`s (one photo, poses to follow).
Knows no files and no torch. Next: `clips.py`, which cuts recordings into what a model sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posecast.errors import InputError


@dataclass(frozen=True)
class Recording:
    """One continuous piece of footage: a frame and a pose map for every instant.

    `frames` and `poses` are uint8 `[T, H, W, 3]`, RGB, T >= 2; they may be memory-mapped and are never written.

    >>> import numpy as np
    >>> pixels = np.zeros((5, 32, 64, 3), np.uint8)
    >>> Recording("still", frames=pixels, poses=pixels).size
    (32, 64)
    """

    name: str
    frames: np.ndarray = field(repr=False)
    poses: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        check_pixels(self.frames, "frames", self.name)
        check_pixels(self.poses, "poses", self.name)
        if self.frames.shape != self.poses.shape:
            raise InputError(
                f"Recording {self.name!r} has frames {list(self.frames.shape)} but pose maps "
                f"{list(self.poses.shape)}; both must have the same length and size."
            )
        if len(self.frames) < 2:
            raise InputError(
                f"Recording {self.name!r} has {len(self.frames)} frame(s); at least 2 are needed, "
                "one to start from and one to predict."
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frames.shape[1], self.frames.shape[2]


@dataclass(frozen=True)
class PoseSequence:
    """A task without truth: one photo, its pose map, and the poses to follow.

    `first_frame` is uint8 `[H, W, 3]`; `poses` is uint8 `[T, H, W, 3]` and `poses[0]` is the photo's own.
    `frame_names` (T of them) are the pose maps' file names without ending: what generated files are called.
    """

    name: str
    first_frame: np.ndarray = field(repr=False)
    poses: np.ndarray = field(repr=False)
    frame_names: Sequence[str] = field(repr=False, default=())

    def __post_init__(self) -> None:
        check_pixels(self.poses, "poses", self.name)
        if self.first_frame.shape != self.poses.shape[1:] or self.first_frame.dtype != np.uint8:
            raise InputError(
                f"Sequence {self.name!r} has a first frame {list(self.first_frame.shape)} of "
                f"{self.first_frame.dtype} but pose maps of {list(self.poses.shape[1:])}; "
                "both must be uint8 of one size."
            )


@dataclass(frozen=True)
class Footage:
    """What a run is trained on and chosen by."""

    train: Sequence[Recording]
    validation: Sequence[Recording]
    selected_on: str = "val"
    """The split the best weights are chosen on: val, or a held-out tail of train."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Where it came from; written to config.json and compared on resuming."""

    def limited(self, training_share: float, validation_frames: int) -> Footage:
        """The first share of the training frames, and so many frames of each validation recording (0: all)."""
        shown = [
            Recording(one.name, one.frames[:validation_frames], one.poses[:validation_frames])
            if 2 <= validation_frames < len(one)
            else one
            for one in self.validation
        ]
        return Footage(first_share(self.train, training_share), shown, self.selected_on, self.facts)


def first_share(recordings: Sequence[Recording], share: float) -> list[Recording]:
    """The first share of all frames, recording after recording; what is left of the last one may be short."""
    left = round(share * sum(len(one) for one in recordings))
    kept = []
    for one in recordings:
        num = min(left, len(one))
        if num >= 2:
            kept.append(one if num == len(one) else Recording(one.name, one.frames[:num], one.poses[:num]))
        left -= num
    return kept


def hold_out_tail(recordings: Sequence[Recording], share: float = 0.1) -> Footage:
    """Footage without a validation split of its own: the last tenth of every recording is held out."""
    train, validation = [], []
    for one in recordings:
        held = max(2, round(share * len(one)))
        if len(one) - held >= 2:
            train.append(Recording(one.name, one.frames[:-held], one.poses[:-held]))
            validation.append(Recording(f"{one.name}-tail", one.frames[-held:], one.poses[-held:]))
    if not train:
        raise InputError("The recordings are too short to hold out a tail for validation; give a val split.")
    return Footage(train, validation, selected_on="train tail")


def check_pixels(pixels: np.ndarray, what: str, name: str) -> None:
    """Raise InputError unless `pixels` is uint8 `[T, H, W, 3]` with T >= 1."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) == 0:
        raise InputError(
            f"The {what} of {name!r} are {pixels.dtype} {list(pixels.shape)}; "
            "expected uint8 [T, height, width, 3] with values 0 to 255."
        )
