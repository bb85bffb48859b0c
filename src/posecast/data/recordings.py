"""Recordings and pose sequences, the common form of all footage.

In: uint8 arrays from a data folder, its cache, the dancer or a notebook.
Out: checked `Recording`s (true frames and pose maps) and `PoseSequence`s (one photo and the pose maps to follow).
Next: `clips.py`, which cuts recordings into clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posecast.errors import InputError, counted


@dataclass(frozen=True)
class Recording:
    """Continuous footage with a frame and a pose map for every time step.

    Attributes:
        name: Name in messages and results.
        frames: RGB, uint8 `[T, H, W, 3]`, T >= 2; may be memory-mapped, never written to.
        poses: Pose maps of the frames, likewise.

    Raises:
        InputError: An array has another type or shape, or the recording has fewer than two frames.

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
                f"Recording {self.name!r} has {counted(len(self.frames), 'frame')}; at least 2 are needed, "
                "one to start from and one to predict."
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frames.shape[1], self.frames.shape[2]

    def first(self, num_frames: int) -> Recording:
        """Return the first frames as a recording of the same name; the recording itself if it is not longer."""
        if num_frames >= len(self):
            return self
        return Recording(self.name, self.frames[:num_frames], self.poses[:num_frames])


@dataclass(frozen=True)
class PoseSequence:
    """A photo and the pose maps to follow, without true frames.

    Attributes:
        name: Name in messages and results.
        first_frame: The photo, uint8 `[H, W, 3]`.
        poses: Pose maps, uint8 `[T, H, W, 3]`; `poses[0]` is the photo's own.
        frame_names: T file names without extension, for the generated frames; empty for default names.

    Raises:
        InputError: An array has another type or shape.
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
    """Recordings to train on and to validate with."""

    train: Sequence[Recording]
    validation: Sequence[Recording]
    selected_on: str = "val"
    """Split on which the best weights are selected: "val", or "train tail" for a held-out part of train."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Origin of the data, written to config.json: path and fingerprints."""
    former_fingerprint: str | None = None
    """Fingerprint of the training images as earlier versions recorded it, with modification times."""

    @property
    def fingerprints(self) -> tuple[str | None, ...]:
        """Fingerprints that a run may have recorded for this footage; they are compared on resuming."""
        former = () if self.former_fingerprint is None else (self.former_fingerprint,)
        return self.facts.get("fingerprint"), *former

    def limited(self, training_share: float, validation_frames: int) -> Footage:
        """Return the first share of the training frames, with shortened validation recordings.

        Args:
            training_share: Share of all training frames, in (0, 1].
            validation_frames: Frames to keep of each validation recording; less than 2 for all.
        """
        validation = self.validation
        if validation_frames >= 2:
            validation = [recording.first(validation_frames) for recording in validation]
        return dataclasses.replace(self, train=first_share(self.train, training_share), validation=validation)


def first_share(recordings: Sequence[Recording], share: float) -> list[Recording]:
    """Return the first share of all frames, counted over the recordings in order.

    The last recording that is kept may be shortened; one that would keep fewer than two frames is left out.
    """
    remaining = round(share * sum(len(recording) for recording in recordings))
    kept = []
    for recording in recordings:
        num_kept = min(remaining, len(recording))
        if num_kept >= 2:
            kept.append(recording.first(num_kept))
        remaining -= num_kept
    return kept


TAIL_SHARE = 0.1
"""Share of a recording that is held out for validation where there is no validation split."""


def tail_length(num_frames: int) -> int:
    """Return the number of frames at the end of a recording that are held out for validation."""
    return max(2, round(TAIL_SHARE * num_frames))


def hold_out_tail(recordings: Sequence[Recording]) -> Footage:
    """Split footage without a validation split: hold out the tail of every recording for validation.

    Recordings that would keep fewer than two frames are left out.

    Raises:
        InputError: No recording is long enough.
    """
    train, validation = [], []
    for recording in recordings:
        num_held = tail_length(len(recording))
        if len(recording) - num_held >= 2:
            train.append(recording.first(len(recording) - num_held))
            tail = Recording(f"{recording.name}-tail", recording.frames[-num_held:], recording.poses[-num_held:])
            validation.append(tail)
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
