"""Joints in pictures: our own drawn dancer, whose joints are known, and a photograph that a dependency ships."""

import sys

import numpy as np
import pytest

from posecast.data.dancer.dance import dance
from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.errors import InputError
from posecast.video.pose_estimation import BlazePose, Person, Region, apart, box_of, overlap, within

pytest.importorskip("mediapipe", reason="the extra posecast[video], not there for Python 3.13")


@pytest.fixture(scope="module")
def blazepose() -> BlazePose:
    return BlazePose()


def person(left: float, top: float, right: float, bottom: float, confidence: float = 1.0) -> Person:
    """Somebody whose joints fill a box evenly."""
    spread = np.linspace(0, 1, len(SKELETON))
    x, y = left + spread * (right - left), top + spread * (bottom - top)
    return Person(np.stack([x, y, np.full_like(x, confidence)], 1).astype(np.float32), Region(0, 0, 0, 0))


def test_joints_of_the_drawn_dancer_are_where_they_were_drawn(blazepose: BlazePose) -> None:
    shown = dance(30, seed=1, size=(360, 640))
    frames, truth = shown.recording.frames, shown.keypoints
    errors = []
    last = None
    for k in range(0, 30, 3):
        people = [blazepose.again(frames[k], k, last)] if last else blazepose.everybody(frames[k], k, closely=True)
        assert len(people) == 1
        last = people[0]
        assert last is not None
        errors.append(np.linalg.norm(last.keypoints[:, :2] - truth[k, :, :2], axis=1))
    height = np.ptp(truth[..., 1], axis=1).mean()
    typical = np.median(errors, axis=0) / height
    for joint in "neck mid_hip left_shoulder right_knee left_ankle nose".split():
        assert typical[JOINT_INDEX[joint]] < 0.06, joint


def test_a_frame_alone_decides(blazepose: BlazePose) -> None:
    """The library's own tracking remembers; ours may not, or an interrupted extraction would go on differently."""
    shown = dance(12, seed=3, size=(240, 480)).recording.frames
    first = blazepose.everybody(shown[0], 0, closely=False)[0]
    blazepose.again(shown[11], 11, first)
    again = blazepose.everybody(shown[0], 0, closely=False)[0]
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert first.region == again.region


def test_what_is_outside_the_picture_is_not_seen(blazepose: BlazePose) -> None:
    from skimage.data import astronaut

    photo = astronaut()
    (found,) = blazepose.everybody(photo, 0, closely=False)
    left, top, right, bottom = found.box
    assert 0 <= left < right <= 512
    assert 0 <= top < bottom <= 512
    assert found.keypoints[JOINT_INDEX["nose"], 2] > 0.9
    assert 180 < found.keypoints[JOINT_INDEX["nose"], 0] < 260
    assert (found.keypoints[[JOINT_INDEX["left_knee"], JOINT_INDEX["right_ankle"]], 2] == 0).all()


def test_small_people_are_found_by_looking_closely(blazepose: BlazePose) -> None:
    small = dance(8, seed=1, size=(144, 288)).recording.frames[6]
    wide = np.full((480, 1920, 3), 128, np.uint8)
    wide[300:444, 1500:1788] = small
    assert not blazepose.everybody(wide, 0, closely=False)
    people = blazepose.everybody(wide, 0, closely=True)
    assert len(people) == 1
    assert people[0].box[0] > 1500


def test_nobody_is_nobody(blazepose: BlazePose) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    assert blazepose.everybody(noise, 0, closely=True) == []


def test_boxes() -> None:
    one, other = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert overlap(one, one) == 1
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one, other + 100) == 0
    assert within(np.array([2.0, 2, 4, 4]), one) == 1
    keypoints = person(0, 0, 10, 20).keypoints
    keypoints[-1, 2] = 0.2
    assert box_of(keypoints)[3] < 20


def test_people_who_lie_on_each_other_are_one() -> None:
    people = [
        person(0, 0, 10, 20, 0.8),
        person(1, 0, 11, 20, 0.9),
        person(50, 0, 60, 20, 0.7),
        person(3, 5, 8, 10, 0.6),
    ]
    kept = apart(people)
    assert [float(one.keypoints[0, 2]) for one in kept] == pytest.approx([0.9, 0.7])


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match=r"pip install 'posecast\[video\]'"):
        BlazePose()
