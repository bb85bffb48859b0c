"""One person followed: not the one who crosses, not the next best when they leave."""

import json

import numpy as np
import pytest

from posecast.data.pose_maps import SKELETON
from posecast.video.pose_estimation import Estimator, Person, Region, overlap
from posecast.video.tracker import Follower, Memory

FRAME = np.zeros((8, 8, 3), np.uint8)


def somebody(x: float, height: float, y: float = 100.0) -> Person:
    """Somebody who stands at x, half as wide as high; the joints lie along both diagonals."""
    along = np.linspace(-0.5, 0.5, len(SKELETON))
    across = along * np.where(np.arange(len(SKELETON)) % 2, -1, 1)
    keypoints = np.stack([x + height / 2 * across, y + height * along, np.ones(len(SKELETON))], axis=1)
    return Person(keypoints.astype(np.float32), Region(x, y, height, 0.0))


class Script:
    """An estimator that knows who is where; it looks again where the last one was, as a tracker does."""

    name = "script"

    def __init__(self, frames: list[list[Person]]) -> None:
        self.frames, self.closely = frames, []

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        self.closely.append((number, closely))
        return self.frames[number]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return max(self.frames[number], key=lambda one: overlap(one.box, last.box), default=None)


def followed(script: Estimator, num: int, choice: int = 1) -> tuple[list[float | None], Memory]:
    follower = Follower(script, fps=10.0, choice=choice)
    found = [follower.see(FRAME, number) for number in range(num)]
    return [None if one is None else round(float(one[:, 0].mean())) for one in found], follower.memory


def test_the_largest_is_chosen_unless_another_is_asked_for() -> None:
    frames = [[somebody(100, 40), somebody(300, 80), somebody(500, 60)]] * 3
    assert followed(Script(frames), 3)[0] == [300] * 3
    assert followed(Script(frames), 3, choice=2)[0] == [500] * 3
    places, memory = followed(Script(frames), 3, choice=4)
    assert places == [None] * 3
    assert memory.num_people == 3


def test_somebody_who_crosses_in_front_is_not_taken() -> None:
    frames = [[somebody(200 + 4 * k, 80), somebody(400 - 20 * k, 160)] for k in range(20)]
    frames[0] = frames[0][:1]  # the other is not there yet when one is chosen
    assert followed(Script(frames), 20)[0] == [200 + 4 * k for k in range(20)]


def test_nobody_rather_than_another() -> None:
    frames = [[somebody(100, 80), somebody(900, 80)]] * 3 + [[somebody(900, 80)]] * 3
    frames[0] = frames[0][:1]
    assert followed(Script(frames), 6)[0] == [100, 100, 100, None, None, None]


def test_who_comes_back_is_found_again() -> None:
    frames = [[somebody(100, 80)]] * 2 + [[]] * 5 + [[somebody(160, 78)]] * 2
    places, memory = followed(Script(frames), 9)
    assert places == [100, 100, *[None] * 5, 160, 160]
    assert memory.times_lost == 1


def test_who_left_by_the_edge_is_not_taken_for_smaller() -> None:
    """The last that was seen of them is an arm at the picture's edge; they come back whole."""
    arm = somebody(140, 40)
    frames = (
        [[somebody(100 + 10 * k, 80)] for k in range(4)] + [[arm]] + [[]] * 3 + [[arm]] * 2 + [[somebody(150, 80)]] * 2
    )
    places, _ = followed(Script(frames), 12)
    assert places[:4] == [100, 110, 120, 130]
    assert places[-2:] == [150, 150]
    assert places[8:10] == [None, None]


def test_looking_closely_is_rare_while_nobody_is_there() -> None:
    script = Script([[]] * 20)
    followed(script, 20)
    assert [number for number, closely in script.closely if closely] == [0, 5, 10, 15]


def test_a_new_scene_begins_with_a_new_choice() -> None:
    script = Script([[somebody(100, 80)], [somebody(900, 30)]])
    follower = Follower(script, fps=10.0)
    follower.see(FRAME, 0)
    assert follower.see(FRAME, 1) is None
    follower.begin_again()
    assert follower.see(FRAME, 1) is not None


@pytest.mark.parametrize("seen", [0, 1, 4])
def test_a_memory_written_down_is_the_same_memory(seen: int) -> None:
    frames = [[somebody(100, 80)]] * 2 + [[]] * 5 + [[somebody(160, 78)]] * 2
    follower = Follower(Script(frames), fps=10.0)
    for number in range(seen):
        follower.see(FRAME, number)
    written = json.loads(json.dumps(follower.memory.to_json()))
    other = Follower(Script(frames), fps=10.0, memory=Memory.from_json(written))
    for number in range(seen, 9):
        one, two = follower.see(FRAME, number), other.see(FRAME, number)
        assert (one is None) == (two is None)
        assert one is None or (one == two).all()
    assert follower.memory.to_json() == other.memory.to_json()
