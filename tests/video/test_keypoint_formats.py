"""Tests of the keypoint files of many tools, valid and damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecast.data.pose_maps import JOINT_INDEX
from posecast.video.keypoint_files import Imported

from . import keypoint_writers as write

FRAME = np.zeros((*write.SIZE, 3), np.uint8)
HIDDEN = {"face_keypoints_2d": [1.0, 1.0, 0.5] * 70, "hand_left_keypoints_2d": [1.0, 1.0, 0.5] * 21}


def shuffled_category() -> tuple[list[str], dict[str, Any]]:
    order = [write.COCO[k] for k in np.random.default_rng(0).permutation(17)]
    return order, {"id": 1, "name": "person", "keypoints": [name.replace("_", " ").title() for name in order]}


SHUFFLED, CATEGORY = shuffled_category()
FORMATS: dict[str, tuple[write.Writer, list[str]]] = {
    "OpenPose": (write.openpose(), write.BODY_25),
    "OpenPose, 0 to 1": (write.openpose(scale=3), write.BODY_25),
    "OpenPose, -1 to 1": (write.openpose(scale=4), write.BODY_25),
    "OpenPose on images from 1": (write.openpose(first=1, name="frame_{:04d}_keypoints.json"), write.BODY_25),
    "OpenPose on images from 631": (write.openpose(first=631, name="frame{:06d}_keypoints.json"), write.BODY_25),
    "OpenPose without padding of numbers": (write.openpose(name="{}_keypoints.json"), write.BODY_25),
    "OpenPose, resolution in the name": (write.openpose(name="a_720p_{:012d}_keypoints.json"), write.BODY_25),
    "OpenPose COCO": (write.openpose(write.OPENPOSE_18), write.OPENPOSE_18),
    "OpenPose COCO, -1 to 1": (write.openpose(write.OPENPOSE_18, scale=4), write.OPENPOSE_18),
    "OpenPose MPI": (write.openpose(write.MPI_15), write.MPI_15),
    "OpenPose BODY_25B": (write.openpose(write.BODY_25B), write.BODY_25B),
    "OpenPose BODY_25B, 0 to 1": (write.openpose(write.BODY_25B, scale=3), write.BODY_25B),
    "OpenPose BODY_135": (write.openpose(write.BODY_135), write.BODY_135),
    "OpenPose with hands and face": (write.openpose(**HIDDEN), write.BODY_25),
    "OpenPose with a byte order mark": (write.openpose(encoding="utf-8-sig"), write.BODY_25),
    "OpenPose in UTF-16": (write.openpose(encoding="utf-16"), write.BODY_25),
    "OpenPose in UTF-16 without a mark": (write.openpose(encoding="utf-16-le"), write.BODY_25),
    "OpenPose, capital ending": (write.openpose(name="clip_{:012d}_keypoints.JSON"), write.BODY_25),
    "COCO annotations": (write.coco_annotations(), write.COCO),
    "COCO annotations without names": (write.coco_annotations(file_name=None), write.COCO),
    "COCO annotations from 1": (write.coco_annotations(first=1), write.COCO),
    "COCO annotations from 631": (write.coco_annotations(first=631), write.COCO),
    "COCO annotations in folders": (write.coco_annotations(file_name="val/a_3/{:06d}.jpg"), write.COCO),
    "COCO annotations with ids in another order": (
        write.coco_annotations(image_id=lambda index: (7 * index) % 13),
        write.COCO,
    ),
    "COCO annotations of larger images": (write.coco_annotations(enlarged=2.0), write.COCO),
    "COCO annotations of smaller images": (write.coco_annotations(enlarged=0.5), write.COCO),
    "COCO annotations of Roboflow": (
        write.coco_annotations(file_name="clip_mp4-{:04d}_jpg.rf.0a1b2c3d4e5f67.jpg"),
        write.COCO,
    ),
    "COCO annotations with their own order": (write.coco_annotations(SHUFFLED, category=CATEGORY), SHUFFLED),
    "COCO-WholeBody annotations": (
        write.coco_annotations([*write.COCO, *write.FEET], feet=True),
        write.WHOLEBODY_133[:23],
    ),
    "COCO results": (write.coco_results(), write.COCO),
    "COCO results, ids as text": (write.coco_results(number=str), write.COCO),
    "COCO results, ids as float": (write.coco_results(number=float), write.COCO),
    "COCO results from 1": (write.coco_results(number=lambda index: index + 1), write.COCO),
    "COCO results in per cent": (write.coco_results(score=lambda value: 100 * value), write.COCO),
    "COCO results, flags 0 and 1": (write.coco_results(score=lambda value: float(value > 0.5)), write.COCO),
    "COCO results of MPII": (write.coco_results(write.MPII_16), write.MPII_16),
    "COCO-WholeBody results": (write.coco_results(write.WHOLEBODY_133), write.WHOLEBODY_133),
    "MMPose": (write.mmpose(), write.COCO),
    "MMPose, scores above 1": (write.mmpose(factor=8.0), write.COCO),
    "MMPose, whole body": (write.mmpose(write.WHOLEBODY_133), write.WHOLEBODY_133),
    "MMPose, Halpe": (write.mmpose(write.HALPE_26), write.HALPE_26),
    "MMPose, its folder": (lambda folder, frames: write.mmpose(name="clip1.json")(folder, frames).parent, write.COCO),
    "MMPose's demonstration": (write.mmpose_demo(), write.COCO),
    "MMPose's demonstration, Halpe": (write.mmpose_demo(write.HALPE_26, "halpe26"), write.HALPE_26),
    "MMPose's demonstration, another order": (write.mmpose_demo(SHUFFLED, "own"), SHUFFLED),
    "MMPose on images": (write.mmpose_images, write.COCO),
    "AlphaPose": (write.alphapose(), write.COCO),
    "AlphaPose on images": (write.alphapose(name="frame_{:05d}.png"), write.COCO),
    "AlphaPose, Halpe": (write.alphapose(write.HALPE_26), write.HALPE_26),
    "AlphaPose, Halpe with hands and face": (write.alphapose(write.HALPE_136), write.HALPE_136),
    "AlphaPose, --format open": (write.alphapose_by_image("people", "pose_keypoints_2d"), write.OPENPOSE_18),
    "AlphaPose, --format cmu": (write.alphapose_by_image("bodies", "joints"), write.OPENPOSE_18),
    "AlphaPose, sep-json": (write.alphapose_by_image("people", "pose_keypoints_2d", True), write.OPENPOSE_18),
    "AlphaPose, its folder": (lambda folder, frames: write.alphapose()(folder, frames).parent, write.COCO),
    "YOLO": (write.yolo(), write.COCO),
    "YOLO with a confidence": (write.yolo(tail=" 0.913"), write.COCO),
    "YOLO with a confidence and a track": (write.yolo(tail=" 0.913 1"), write.COCO),
    "YOLO without visibility": (write.yolo(with_visibility=False), write.COCO),
    "YOLO without visibility, with a confidence": (write.yolo(with_visibility=False, tail=" 0.91"), write.COCO),
    "YOLO labels with flags": (write.yolo(flag=2.0), write.COCO),
    "YOLO on images from 0": (write.yolo("frame_{:06d}.txt", first=0), write.COCO),
    "YOLO on images from 1": (write.yolo("frame_{:06d}.txt", first=1), write.COCO),
    "YOLO with Windows' line ends": (write.yolo(newline="\r\n"), write.COCO),
    "YOLO with a byte order mark": (write.yolo(encoding="utf-8-sig"), write.COCO),
    "YOLO in UTF-16": (write.yolo(encoding="utf-16"), write.COCO),
    "Ultralytics": (write.ultralytics(), write.COCO),
    "Ultralytics, 0 to 1": (write.ultralytics(normalised=True), write.COCO),
    "Ultralytics without visibility": (write.ultralytics(visible=False), write.COCO),
    "Ultralytics, a file per frame": (write.ultralytics_per_frame, write.COCO),
    "DWPose": (write.dwpose(), write.OPENPOSE_18),
    "DWPose, 0 to 1": (write.dwpose("shares"), write.OPENPOSE_18),
    "DWPose on a smaller canvas": (write.dwpose(resized=0.5), write.OPENPOSE_18),
    "DWPose on a larger canvas, 0 to 1": (write.dwpose("shares", resized=2.0), write.OPENPOSE_18),
    "DWPose on a padded canvas": (write.dwpose(pad=32), write.OPENPOSE_18),
    "DWPose on a padded canvas, 0 to 1": (write.dwpose("shares", pad=32), write.OPENPOSE_18),
    "DWPose, a file per frame": (write.dwpose_per_frame, write.OPENPOSE_18),
}


def check_joints(estimator: Imported, frames: write.Frames, order: list[str], tolerance: float = 0.02) -> None:
    """Check that each frame has its first person's joints, all of them sure."""
    rows = [JOINT_INDEX[name] for name in order if name in JOINT_INDEX]
    assert len(rows) > 10
    for number, people in enumerate(frames):
        (person,) = estimator.everybody(FRAME, number, closely=False)
        np.testing.assert_allclose(person.keypoints[rows, :2], people[0][rows, :2], atol=tolerance)
        assert (person.keypoints[rows, 2] >= 0.5).all()
    assert not estimator.everybody(FRAME, len(frames), closely=False)


@pytest.mark.parametrize("kind", FORMATS)
def test_all_frames_have_their_joints(kind: str, dancer_clip: Path, tmp_path: Path) -> None:
    writer, order = FORMATS[kind]
    frames = write.dancer()
    check_joints(Imported(writer(tmp_path / "keypoints", frames), dancer_clip), frames, order)


@pytest.mark.parametrize(
    "writer",
    [
        write.openpose(),
        write.coco_annotations(),
        write.coco_results(),
        write.mmpose(),
        write.mmpose_demo(),
        write.alphapose(),
        write.alphapose_by_image("people", "pose_keypoints_2d"),
        write.yolo(),
        write.ultralytics(),
        write.dwpose(),
        write.dwpose_per_frame,
    ],
)
def test_frames_may_have_nobody_or_several_people(writer: write.Writer, dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    frames[2], frames[5] = [], []
    frames[7].append(frames[7][0] * [0.4, 0.4, 1])
    estimator = Imported(writer(tmp_path / "keypoints", frames), dancer_clip)
    numbers = [len(estimator.everybody(FRAME, number, closely=False)) for number in range(write.NUM + 1)]
    assert numbers == [1, 1, 0, 1, 1, 0, 1, 2, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("null people", lambda frames: frames[1].update(people=None)),
        ("a null person", lambda frames: frames[1]["people"].append(None)),
        ("a person without points", lambda frames: frames[1]["people"].append({"pose_keypoints_2d": []})),
        ("a person with null points", lambda frames: frames[1]["people"].append({"pose_keypoints_2d": None})),
        ("a person with zeros", lambda frames: frames[1]["people"].append({"pose_keypoints_2d": [0] * 54})),
        ("a null frame", lambda frames: frames.append(None)),
        ("more keys", lambda frames: frames[1].update(part_candidates=[{"0": [1, 2, 3]}], path="/etc/passwd")),
        ("floats as text", lambda frames: frames[1]["people"].append({"pose_keypoints_2d": ["0.0"] * 54})),
    ],
)
def test_empty_people_are_left_out(
    kind: str, change: Callable[[list[Any]], None], dancer_clip: Path, tmp_path: Path
) -> None:
    path = write.dwpose()(tmp_path, write.dancer())
    content = json.loads(path.read_text())
    change(content)
    write.dump(path, content)
    estimator = Imported(path, dancer_clip)
    numbers = [len(estimator.everybody(FRAME, number, closely=False)) for number in range(write.NUM)]
    assert numbers == [1, 0 if kind == "null people" else 1] + [1] * 10


@pytest.mark.parametrize("extra", [".DS_Store", "._clip_000000000000_keypoints.json", "notes.txt", "b1.json", "a.png"])
def test_other_files_in_a_folder_are_no_matter(extra: str, dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    folder = write.openpose()(tmp_path / "keypoints", frames)
    (folder / extra).write_bytes(b"\x00\x05\x16\x07")
    (folder / "clip_000000000007_keypoints.json.d").mkdir()
    check_joints(Imported(folder, dancer_clip), frames, write.BODY_25)


def test_class_list_and_empty_files_of_yolo(dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    frames[3] = []
    folder = write.yolo()(tmp_path / "labels", frames)
    (folder / "classes.txt").write_text("person\n")
    (folder / "clip_4.txt").write_text("")
    estimator = Imported(folder, dancer_clip)
    assert [len(estimator.everybody(FRAME, k, closely=False)) for k in range(5)] == [1, 1, 1, 0, 1]
