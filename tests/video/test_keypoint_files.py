"""Keypoints that others wrote, in our order; damaged files are named and nothing in them is run."""

import json
from pathlib import Path

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.errors import InputError
from posecast.video.keypoint_files import Imported, read_coco, read_openpose, read_poses

BODY_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_toe left_small_toe left_heel "
    "right_toe right_small_toe right_heel"
).split()
COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()


def flat(names: list[str], confidence: float, offset: float = 0.0) -> list[float]:
    """Each joint at a place of its own: x by its name, y by its length."""
    return [v for name in names for v in (offset + sum(map(ord, name)), float(len(name)), confidence)]


def write_openpose(folder: Path, number: int, *people: list[float]) -> None:
    content = {"version": 1.3, "people": [{"pose_keypoints_2d": one} for one in people]}
    (folder / f"clip_{number:012d}_keypoints.json").write_text(json.dumps(content))


def test_openpose_body_25(tmp_path: Path) -> None:
    write_openpose(tmp_path, 0, flat(BODY_25, 0.4))
    write_openpose(tmp_path, 3)
    found = read_openpose(tmp_path)
    assert {number: len(people) for number, people in found.items()} == {0: 1, 3: 0}
    for joint in set(BODY_25) & set(JOINT_INDEX):
        x, y, confidence = found[0][0][JOINT_INDEX[joint]]
        assert (x, y) == (sum(map(ord, joint)), len(joint)), joint
        assert confidence == 1  # OpenPose's 0.4 is plenty
    assert found[0][0][JOINT_INDEX["left_hand"], 2] == 0  # has none


def test_openpose_of_low_confidence_is_unsure(tmp_path: Path) -> None:
    write_openpose(tmp_path, 0, flat(BODY_25, 0.05))
    assert read_openpose(tmp_path)[0][0][JOINT_INDEX["nose"], 2] == pytest.approx(0.25)


@pytest.mark.parametrize(("flag", "expected"), [(2.0, 1.0), (1.0, 0.5), (0.0, 0.0)])
def test_coco_annotations_have_flags(tmp_path: Path, flag: float, expected: float) -> None:
    keypoints = flat(COCO_17, 2.0)
    keypoints[3 * COCO_17.index("left_knee") + 2] = flag
    content = {
        "images": [{"id": 70, "file_name": "b"}, {"id": 30, "file_name": "a"}],
        "annotations": [{"image_id": 70, "keypoints": keypoints}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    found = read_coco(tmp_path / "c.json")
    assert list(found) == [1]
    (joints,) = found[1]
    assert joints[JOINT_INDEX["left_knee"], 2] == expected
    ends = joints[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]]
    np.testing.assert_allclose(joints[JOINT_INDEX["mid_hip"]], ends.mean(0))


def test_coco_results_have_scores_and_frame_numbers(tmp_path: Path) -> None:
    results = [{"image_id": 5, "keypoints": flat(COCO_17, 0.7), "score": 0.9}]
    (tmp_path / "c.json").write_text(json.dumps(results))
    (joints,) = read_coco(tmp_path / "c.json")[5]
    assert joints[JOINT_INDEX["nose"], 2] == pytest.approx(0.7)


def test_imported_keypoints_are_an_estimator(tmp_path: Path) -> None:
    write_openpose(tmp_path, 0, flat(BODY_25, 0.9), flat(BODY_25, 0.9, offset=5000))
    write_openpose(tmp_path, 1, flat(BODY_25, 0.9, offset=5010), flat(BODY_25, 0.9, offset=10))
    estimator, frame = Imported(tmp_path), np.zeros((4, 4, 3), np.uint8)
    people = estimator.everybody(frame, 0, closely=True)
    assert len(people) == 2
    right = max(people, key=lambda one: one.box[0])
    again = estimator.again(frame, 1, right)
    assert again is not None
    assert again.box[0] > 5000
    assert estimator.again(frame, 7, right) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[" * 100_000,
        "{}",
        "3",
        '{"people": 3}',
        '{"people": [{}]}',
        '{"people": [{"pose_keypoints_2d": [1, 2]}]}',
        '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}',
        '{"people": [{"pose_keypoints_2d": ["a", 2, 3]}]}',
        json.dumps({"people": [{"pose_keypoints_2d": flat(BODY_25, 1e30)}]}),
    ],
)
def test_damaged_openpose_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a_0_keypoints.json").write_text(content)
    with pytest.raises(InputError, match="a_0_keypoints"):
        read_openpose(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[3]",
        '[{"keypoints": []}]',
        '[{"image_id": "x", "keypoints": []}]',
        json.dumps({"images": [{"id": 1}], "annotations": [{"image_id": 2, "keypoints": flat(COCO_17, 2)}]}),
        json.dumps([{"image_id": 1, "keypoints": flat(COCO_17[:5], 2)}]),
    ],
)
def test_damaged_coco_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=r"c\.json"):
        read_coco(tmp_path / "c.json")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files such as"):
        Imported(tmp_path)
    with pytest.raises(InputError, match="There is no"):
        Imported(tmp_path / "none.json")
    with pytest.raises(InputError, match="There is no"):
        read_poses(tmp_path / "poses.npz")


def poses_arrays(num: int = 3) -> dict[str, np.ndarray]:
    return {
        "names": np.array([f"train/frame{k:06d}" for k in range(num)]),
        "keypoints": np.full((num, len(SKELETON), 3), 2.0, np.float32),
        "windows": np.tile([10.0, 20, 100, 50], (num, 1)),
        "frame_sizes": np.tile([80, 200], (num, 1)),
        "joints": np.array([joint.name for joint in SKELETON]),
        "size": np.array([25, 50]),
        "fps": np.array(12.5),
    }


def test_poses_are_read_back_in_pictures_and_in_the_source(tmp_path: Path) -> None:
    np.savez(tmp_path / "poses.npz", **poses_arrays())
    poses = read_poses(tmp_path / "poses.npz")
    assert (poses.size, poses.fps, poses.names[1]) == ((25, 50), 12.5, "train/frame000001")
    np.testing.assert_allclose(poses.in_source()[0, 0], [10 + 4, 20 + 4, 2])
    np.testing.assert_allclose(poses.view or (), [0.05, 0.25, 0.5, 0.625, 2.5])


def test_windows_that_differ_are_no_view(tmp_path: Path) -> None:
    arrays = poses_arrays()
    arrays["windows"][1, 0] += 3
    np.savez(tmp_path / "poses.npz", **arrays)
    assert read_poses(tmp_path / "poses.npz").view is None


@pytest.mark.parametrize("broken", ["joints", "keypoints", "windows", "frame_sizes", "fps", "size"])
def test_other_arrays_are_refused(tmp_path: Path, broken: str) -> None:
    arrays = poses_arrays()
    arrays[broken] = arrays[broken][:1] if arrays[broken].ndim else np.array(0.0)
    np.savez(tmp_path / "poses.npz", **arrays)
    with pytest.raises(InputError, match=r"poses\.npz"):
        read_poses(tmp_path / "poses.npz")


def test_pickles_and_noise_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **(poses_arrays() | {"names": np.array([{}], dtype=object)}))
    (tmp_path / "q.npz").write_bytes(b"PK\x03\x04" + bytes(range(200)))
    for name in ("p.npz", "q.npz"):
        with pytest.raises(InputError, match=name):
            read_poses(tmp_path / name)
