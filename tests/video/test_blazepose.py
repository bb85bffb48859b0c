"""Tests of BlazePose on frames of the synthetic dancer and on a photograph from scikit-image."""

import sys

import numpy as np
import pytest

from posecast.data.dancer.dance import dance
from posecast.data.pose_maps import JOINT_INDEX
from posecast.errors import InputError
from posecast.video.blazepose import BlazePose

pytest.importorskip("mediapipe", reason="the extra posecast[video], not available for Python 3.13")


@pytest.fixture(scope="module")
def blazepose() -> BlazePose:
    return BlazePose()


def test_joints_of_the_dancer_are_found(blazepose: BlazePose) -> None:
    danced = dance(30, seed=1, size=(360, 640))
    frames, truth = danced.recording.frames, danced.keypoints
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


def test_result_depends_only_on_the_frame(blazepose: BlazePose) -> None:
    """An estimator with internal state would make an interrupted extraction differ from an uninterrupted one."""
    frames = dance(12, seed=3, size=(240, 480)).recording.frames
    first = blazepose.everybody(frames[0], 0, closely=False)[0]
    blazepose.again(frames[11], 11, first)
    again = blazepose.everybody(frames[0], 0, closely=False)[0]
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert first.region == again.region


def test_joints_outside_the_frame_have_confidence_zero(blazepose: BlazePose) -> None:
    from skimage.data import astronaut

    photo = astronaut()
    (person,) = blazepose.everybody(photo, 0, closely=False)
    left, top, right, bottom = person.box
    assert 0 <= left < right <= 512
    assert 0 <= top < bottom <= 512
    assert person.keypoints[JOINT_INDEX["nose"], 2] > 0.9
    assert 180 < person.keypoints[JOINT_INDEX["nose"], 0] < 260
    assert (person.keypoints[[JOINT_INDEX["left_knee"], JOINT_INDEX["right_ankle"]], 2] == 0).all()


def test_close_search_finds_small_people(blazepose: BlazePose) -> None:
    small = dance(8, seed=1, size=(144, 288)).recording.frames[6]
    wide = np.full((480, 1920, 3), 128, np.uint8)
    wide[300:444, 1500:1788] = small
    assert not blazepose.everybody(wide, 0, closely=False)
    people = blazepose.everybody(wide, 0, closely=True)
    assert len(people) == 1
    assert people[0].box[0] > 1500


def test_noise_shows_nobody(blazepose: BlazePose) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    assert blazepose.everybody(noise, 0, closely=True) == []


def test_missing_library_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match=r"Python 3\.11 or 3\.12, pip install 'posecast\[video\]'.*--keypoints"):
        BlazePose()


def test_library_that_cannot_be_loaded_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers without OpenGL, which OpenCV needs."""

    def missing(name: str) -> object:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(InputError, match=r"installed but cannot be loaded: libGL\.so\.1.*libgl1.*--keypoints"):
        BlazePose()
