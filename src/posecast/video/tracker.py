"""Tracker of one person through a video, which prefers losing the person to following another.

In: frames in order, and an estimator. Out: the person's keypoints in each frame, or None. Its state, `Memory`, can be
saved, so that an interrupted run continues exactly. Next: `tracks.py`, which stores the keypoints.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecast.video.pose_estimation import Estimator, Person, Region, overlap

MIN_OVERLAP = 0.2
"""Smallest intersection over union of one person's boxes in consecutive frames."""
SIZE_STEP = 1.6
"""Largest factor by which a person's size changes from one frame to the next, or during a short absence."""
SIZE_STEP_DOUBLING_S = 4.0
"""Time out of sight, in seconds, after which the permitted factor is doubled."""
HEIGHT_DECAY = 0.99
"""Decay per frame of the usual height; a person who leaves the frame or bends down does not become smaller."""
MAX_SPEED = 3.0
"""Largest speed of a person out of sight, in their heights per second."""
CLOSE_SEARCH_INTERVAL_S = 0.5
"""Interval of the slow, close searches for a person out of sight, in seconds."""


@dataclass
class Memory:
    """State of a `Follower` between two frames."""

    last: Person | None = None
    """The person where they were last seen."""
    usual_height: float = 0.0
    """Usual height of the person in pixels."""
    frames_lost: int = 0
    """Number of frames since the person was seen; since the start if they never were."""
    num_people: int = 0
    """Number of people in the frame in which one was selected."""
    times_lost: int = 0
    """Number of times the person was lost and found again."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for `from_json`."""
        last = self.last and {"keypoints": self.last.keypoints.tolist(), "region": self.last.region}
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "last"}
        return plain | {"last": last}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Memory:
        """Restore what `to_json` returned."""
        last = content["last"]
        person = last and Person(np.array(last["keypoints"], np.float32), Region(*last["region"]))
        return dataclasses.replace(cls(**{k: v for k, v in content.items() if k != "last"}), last=person)


class Follower:
    """Tracker of the `choice`-th largest person (from 1) of the first frame that shows at least that number.

    From frame to frame the person is estimated at their last position; the result must overlap with them and have
    their size. A lost person is searched for in the whole frame, but only within the distance that they can have
    walked since.

    Args:
        estimator: Estimator of people in a frame.
        fps: Frames per second of the sequence.
        choice: Rank of the person by height.
        memory: State to continue from.
    """

    def __init__(self, estimator: Estimator, fps: float, choice: int = 1, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._estimator, self._fps, self._choice = estimator, fps, choice

    def see(self, frame: np.ndarray, number: int) -> np.ndarray | None:
        """Process the next frame.

        Args:
            frame: uint8 `[H, W, 3]`.
            number: Number of the frame in its file.

        Returns:
            The person's keypoints `[J, 3]`, or None.
        """
        memory = self.memory
        if memory.last is None:
            return self._update(self._choose(frame, number))
        if memory.frames_lost == 0:
            person = self._estimator.again(frame, number, memory.last)
            if person is not None and can_be_same(person, memory.last):
                return self._update(person)
        return self._update(self._search(frame, number, memory.last))

    def begin_again(self) -> None:
        """Reset the state at the start of a new scene, so that a person is selected again."""
        self.memory = Memory(num_people=self.memory.num_people, times_lost=self.memory.times_lost)

    def _choose(self, frame: np.ndarray, number: int) -> Person | None:
        people = self._everybody(frame, number)
        self.memory.num_people = max(self.memory.num_people, len(people))
        if len(people) < self._choice:
            return None
        return sorted(people, key=lambda person: -person.height)[self._choice - 1]

    def _search(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """Return the person nearest to the last position, of those within reach and of a plausible height."""
        usual, lost_s = self.memory.usual_height, (1 + self.memory.frames_lost) / self._fps
        reach, factor = (0.5 + MAX_SPEED * lost_s) * usual, SIZE_STEP * (1 + lost_s / SIZE_STEP_DOUBLING_S)
        candidates = [
            person
            for person in self._everybody(frame, number)
            if _distance(person, last) <= reach and 1 / factor < person.height / usual < factor
        ]
        return min(candidates, key=lambda person: _distance(person, last), default=None)

    def _everybody(self, frame: np.ndarray, number: int) -> list[Person]:
        every = max(1, round(CLOSE_SEARCH_INTERVAL_S * self._fps))
        return self._estimator.everybody(frame, number, closely=self.memory.frames_lost % every == 0)

    def _update(self, person: Person | None) -> np.ndarray | None:
        """Update the memory by the person found in this frame, and return their keypoints."""
        memory = self.memory
        if person is None:
            memory.frames_lost += 1
            return None
        memory.times_lost += memory.last is not None and memory.frames_lost > 0
        memory.last, memory.frames_lost = person, 0
        memory.usual_height = max(HEIGHT_DECAY * memory.usual_height, person.height, 1.0)
        return person.keypoints


def can_be_same(person: Person, last: Person) -> bool:
    """Return whether a person can be the one of the frame before, by overlap and size."""
    return overlap(person.box, last.box) >= MIN_OVERLAP and have_similar_size(person, last)


def have_similar_size(person: Person, last: Person) -> bool:
    """Return whether two boxes have about the same height or width.

    Raised arms change only one of them.
    """
    ratios = _sides(person) / np.maximum(_sides(last), 1e-6)
    return bool(((ratios < SIZE_STEP) & (ratios > 1 / SIZE_STEP)).any())


def _sides(person: Person) -> np.ndarray:
    return person.box[2:] - person.box[:2]


def _distance(first: Person, second: Person) -> float:
    """Return the distance between the centres of two boxes in pixels."""
    centres = [(person.box[:2] + person.box[2:]) / 2 for person in (first, second)]
    return float(np.linalg.norm(centres[0] - centres[1]))
