"""Tests of following one person while others cross, and while the person is out of sight."""

import json

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.video.pose_estimation import Estimator, Person, Region, overlap
from posecast.video.tracker import Follower, Memory

FRAME = np.zeros((8, 8, 3), np.uint8)


def person_at(x: float, height: float, y: float = 100.0) -> Person:
    """Return a person at x, half as wide as high, whose joints lie on both diagonals."""
    along = np.linspace(-0.5, 0.5, len(SKELETON))
    across = along * np.where(np.arange(len(SKELETON)) % 2, -1, 1)
    keypoints = np.stack([x + height / 2 * across, y + height * along, np.ones(len(SKELETON))], axis=1)
    return Person(keypoints.astype(np.float32), Region(x, y, height, 0.0))


class Script:
    """Estimator with given people in each frame, which prefers the last position."""

    name = "script"

    def __init__(self, frames: list[list[Person]]) -> None:
        self.frames = frames
        self.searches: list[tuple[int, bool]] = []

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        self.searches.append((number, closely))
        return self.frames[number]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return max(self.frames[number], key=lambda person: overlap(person.box, last.box), default=None)


def follow(script: Estimator, num: int, choice: int = 1) -> tuple[list[int | None], Memory]:
    follower = Follower(script, fps=10.0, choice=choice)
    tracked = [follower.see(FRAME, number) for number in range(num)]
    places = [None if keypoints is None else round(float(keypoints[:, 0].mean())) for keypoints in tracked]
    return places, follower.memory


def test_person_is_selected_by_rank_of_height() -> None:
    frames = [[person_at(100, 40), person_at(300, 80), person_at(500, 60)]] * 3
    assert follow(Script(frames), 3)[0] == [300] * 3
    assert follow(Script(frames), 3, choice=2)[0] == [500] * 3
    places, memory = follow(Script(frames), 3, choice=4)
    assert places == [None] * 3
    assert memory.num_people == 3


def test_person_who_crosses_in_front_is_not_followed() -> None:
    frames = [[person_at(200 + 4 * k, 80), person_at(400 - 20 * k, 160)] for k in range(20)]
    frames[0] = frames[0][:1]  # the other comes later
    assert follow(Script(frames), 20)[0] == [200 + 4 * k for k in range(20)]


def test_lost_person_is_not_replaced_by_another() -> None:
    frames = [[person_at(100, 80), person_at(900, 80)]] * 3 + [[person_at(900, 80)]] * 3
    frames[0] = frames[0][:1]
    assert follow(Script(frames), 6)[0] == [100, 100, 100, None, None, None]


def test_returning_person_is_found_again() -> None:
    frames = [[person_at(100, 80)]] * 2 + [[]] * 5 + [[person_at(160, 78)]] * 2
    places, memory = follow(Script(frames), 9)
    assert places == [100, 100, *[None] * 5, 160, 160]
    assert memory.times_lost == 1


def test_person_who_left_by_the_edge_keeps_their_usual_height() -> None:
    """Only an arm is visible at the edge before the person comes back."""
    arm = person_at(140, 40)
    frames = (
        [[person_at(100 + 10 * k, 80)] for k in range(4)]
        + [[arm]]
        + [[]] * 3
        + [[arm]] * 2
        + [[person_at(150, 80)]] * 2
    )
    places, _ = follow(Script(frames), 12)
    assert places[:4] == [100, 110, 120, 130]
    assert places[-2:] == [150, 150]
    assert places[8:10] == [None, None]


def test_close_searches_are_rare_while_nobody_is_found() -> None:
    script = Script([[]] * 20)
    follow(script, 20)
    assert [number for number, closely in script.searches if closely] == [0, 5, 10, 15]


def test_person_is_selected_again_in_a_new_scene() -> None:
    script = Script([[person_at(100, 80)], [person_at(900, 30)]])
    follower = Follower(script, fps=10.0)
    follower.see(FRAME, 0)
    assert follower.see(FRAME, 1) is None
    follower.begin_again()
    assert follower.see(FRAME, 1) is not None


@pytest.mark.parametrize("num_before", [0, 1, 4])
def test_memory_survives_json(num_before: int) -> None:
    frames = [[person_at(100, 80)]] * 2 + [[]] * 5 + [[person_at(160, 78)]] * 2
    follower = Follower(Script(frames), fps=10.0)
    for number in range(num_before):
        follower.see(FRAME, number)
    restored = json.loads(json.dumps(follower.memory.to_json()))
    continued = Follower(Script(frames), fps=10.0, memory=Memory.from_json(restored))
    for number in range(num_before, 9):
        np.testing.assert_equal(continued.see(FRAME, number), follower.see(FRAME, number))
    assert continued.memory.to_json() == follower.memory.to_json()
