"""One person followed through a video: never another, rather nobody.

In: frames, one after the other, and an estimator. Out: that person's keypoints for each, or None.
What it remembers can be written down (`state`), so that an interrupted run goes on as if it had not been.
Knows no files. Next: `tracks.py`, which keeps what was found.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecast.video.pose_estimation import Estimator, Person, Region, overlap

SAME = 0.2
"""Boxes of one person in two frames that follow each other overlap at least so much."""
SIZE_STEP = 1.6
"""Nobody grows or shrinks by more than this factor from one frame to the next, nor in a moment out of sight."""
GROWS_S = 4.0
"""Out of sight for so long, somebody may come back so much nearer or farther that the factor doubles."""
SHRINKS = 0.99
"""How fast the usual height gives way to a lower one: who walks out of the picture or bends down is not smaller."""
SPEED = 3.0
"""How far somebody out of sight may go: so many of their own heights in a second."""
CLOSELY_EVERY_S = 0.5
"""How often somebody out of sight is looked for closely, which is slow."""


@dataclass
class Memory:
    """All that a `Follower` remembers between two frames."""

    last: Person | None = None
    """Where the person was last seen."""
    usual_height: float = 0.0
    """How high they usually are, in pixels."""
    frames_lost: int = 0
    """For how many frames nobody was there; since the start, if nobody ever was."""
    num_people: int = 0
    """How many people were there when one was chosen."""
    times_lost: int = 0
    """How often the person went out of sight and was found again."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        last = self.last and {"keypoints": self.last.keypoints.tolist(), "region": self.last.region}
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "last"}
        return plain | {"last": last}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Memory:
        """What `to_json` wrote."""
        last = content["last"]
        person = last and Person(np.array(last["keypoints"], np.float32), Region(*last["region"]))
        return dataclasses.replace(cls(**{k: v for k, v in content.items() if k != "last"}), last=person)


class Follower:
    """Follows the `choice`-th largest person (from 1) of the first frame in which there are so many.

    From frame to frame the person is looked for where they were; what is found there must overlap with them and be
    of their size. Out of sight, they are looked for everywhere, but only as far from where they vanished as somebody
    can walk in that time.
    """

    def __init__(self, estimator: Estimator, fps: float, choice: int = 1, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._estimator, self._fps, self._choice = estimator, fps, choice

    def see(self, frame: np.ndarray, number: int) -> np.ndarray | None:
        """The person's keypoints `[J, 3]` in this frame, or None."""
        memory = self.memory
        if memory.last is None:
            return self._seen(self._choose(frame, number))
        if memory.frames_lost == 0:
            person = self._estimator.again(frame, number, memory.last)
            if person is not None and is_same(person, memory.last):
                return self._seen(person)
        return self._seen(self._find(frame, number, memory.last))

    def begin_again(self) -> None:
        """Forget who was followed: a new scene, and the choice is made again."""
        self.memory = Memory(num_people=self.memory.num_people, times_lost=self.memory.times_lost)

    def _choose(self, frame: np.ndarray, number: int) -> Person | None:
        people = self._everybody(frame, number)
        self.memory.num_people = max(self.memory.num_people, len(people))
        if len(people) < self._choice:
            return None
        return sorted(people, key=lambda person: -_height(person))[self._choice - 1]

    def _find(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """The one in reach who is nearest to where the person vanished."""
        usual, lost_s = self.memory.usual_height, (1 + self.memory.frames_lost) / self._fps
        reach, factor = (0.5 + SPEED * lost_s) * usual, SIZE_STEP * (1 + lost_s / GROWS_S)
        near = [
            (_distance(person, last), index, person)
            for index, person in enumerate(self._everybody(frame, number))
            if _distance(person, last) <= reach and 1 / factor < _height(person) / usual < factor
        ]
        return min(near, key=lambda one: one[:2])[2] if near else None

    def _everybody(self, frame: np.ndarray, number: int) -> list[Person]:
        every = max(1, round(CLOSELY_EVERY_S * self._fps))
        return self._estimator.everybody(frame, number, closely=self.memory.frames_lost % every == 0)

    def _seen(self, person: Person | None) -> np.ndarray | None:
        memory = self.memory
        if person is None:
            memory.frames_lost += 1
            return None
        memory.times_lost += memory.last is not None and memory.frames_lost > 0
        memory.last, memory.frames_lost = person, 0
        memory.usual_height = max(SHRINKS * memory.usual_height, _height(person), 1.0)
        return person.keypoints


def is_same(person: Person, last: Person) -> bool:
    """Whether this can be the person who was `last` the frame before."""
    return overlap(person.box, last.box) >= SAME and is_size_of(person, last)


def is_size_of(person: Person, last: Person) -> bool:
    """Whether the two are about as high, or as wide: arms that are raised change the one, limbs out of view both."""
    ratios = _sides(person) / np.maximum(_sides(last), 1e-6)
    return bool(((ratios < SIZE_STEP) & (ratios > 1 / SIZE_STEP)).any())


def _sides(person: Person) -> np.ndarray:
    return person.box[2:] - person.box[:2]


def _height(person: Person) -> float:
    return float(_sides(person)[1])


def _distance(person: Person, other: Person) -> float:
    centres = [(one.box[:2] + one.box[2:]) / 2 for one in (person, other)]
    return float(np.linalg.norm(centres[0] - centres[1]))
