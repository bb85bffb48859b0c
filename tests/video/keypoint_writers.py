"""Keypoint files as other tools write them, made from the synthetic dancer's true joints.

Each writer takes a folder and the frames, in each of which people have joints `[J, 3]` in pixels, and returns the path
that a user would give to --keypoints. The docstring names the source of the format.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posecast.data.dancer.dance import dance
from posecast.data.pose_maps import JOINT_INDEX

SIZE = (96, 160)
NUM = 12
Frames = Sequence[Sequence[np.ndarray]]
Writer = Callable[[Path, Frames], Path]

COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
OPENPOSE_18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
).split()
FEET = "left_toe left_small_toe left_heel right_toe right_small_toe right_heel".split()
BODY_25 = [*OPENPOSE_18[:8], "mid_hip", *OPENPOSE_18[8:], *FEET]
BODY_25B = [*COCO, "upper_neck", "head_top", *FEET]
MPI_15 = ["head", *OPENPOSE_18[1:14], "chest"]
MPII_16 = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle mid_hip neck upper_neck head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist"
).split()
HANDS = [f"{side}_{k}" if k != 5 else f"{side}_hand" for side in ("left", "right") for k in range(21)]
HALPE_26 = [*COCO, *"head neck mid_hip left_toe right_toe left_small_toe right_small_toe left_heel right_heel".split()]
HALPE_136 = [*HALPE_26, *(f"face{k}" for k in range(68)), *HANDS]
WHOLEBODY_133 = [*COCO, *FEET, *(f"face{k}" for k in range(68)), *HANDS]
BODY_135 = [*BODY_25B, *(f"hand_or_face{k}" for k in range(110))]
H36M_17 = (
    "mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle spine neck nose head left_shoulder "
    "left_elbow left_wrist right_shoulder right_elbow right_wrist"
).split()


def dancer(num: int = NUM, confidence: float = 0.9) -> list[list[np.ndarray]]:
    """Return frames with one person each, whose joints all have the same confidence."""
    keypoints = dance(num, seed=1, size=SIZE).keypoints[:, :, :2].astype(float)
    return [[np.concatenate([joints, np.full((len(joints), 1), confidence)], axis=1)] for joints in keypoints]


def points(joints: np.ndarray, order: Sequence[str]) -> np.ndarray:
    """Arrange joints `[J, 3]` in an order: `[K, 3]`; points that are no joints lie between the shoulders, unsure."""
    elsewhere = np.array([*joints[JOINT_INDEX["neck"], :2], 0.01])
    return np.stack([joints[JOINT_INDEX[name]] if name in JOINT_INDEX else elsewhere for name in order])


def flat(joints: np.ndarray, order: Sequence[str]) -> list[float]:
    return points(joints, order).ravel().tolist()


def dump(path: Path, content: Any, encoding: str = "utf-8", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content, **options).encode(encoding))
    return path


def per_frame(folder: Path, frames: Frames, content: Callable[[Sequence[np.ndarray]], Any], name: str) -> Path:
    """Write a JSON file for each frame, with a name such as "clip_{:012d}_keypoints.json"."""
    for number, people in enumerate(frames):
        dump(folder / name.format(number), content(people))
    return folder


# OpenPose ---------------------------------------------------------------------------------------------------------


def openpose(
    order: Sequence[str] = BODY_25,
    scale: int = 0,
    first: int = 0,
    name: str = "clip_{:012d}_keypoints.json",
    encoding: str = "utf-8",
    **more: Any,
) -> Writer:
    """`--write_json` with `--keypoint_scale` 0, 3 (0 to 1) or 4 (-1 to 1): doc/02_output.md and flags.hpp of OpenPose.

    Undetected points are 0, 0, 0. Files of video frames are numbered from 0, those of images after the images.
    """

    def person(joints: np.ndarray) -> dict[str, Any]:
        kept = points(joints, order)
        if scale:
            kept[:, :2] /= SIZE[::-1]
        if scale == 4:
            kept[:, :2] = 2 * kept[:, :2] - 1
        kept[kept[:, 2] < 0.05] = 0
        return {"person_id": [-1], "pose_keypoints_2d": kept.ravel().tolist(), "pose_keypoints_3d": [], **more}

    def write(folder: Path, frames: Frames) -> Path:
        for number, people in enumerate(frames, first):
            content = {"version": 1.3, "people": [person(joints) for joints in people]}
            dump(folder / name.format(number), content, encoding, separators=(",", ":"))
        return folder

    return write


# COCO -------------------------------------------------------------------------------------------------------------


def coco_results(
    order: Sequence[str] = COCO, number: Callable[[int], Any] = int, score: Callable[[float], float] = float
) -> Writer:
    """Results of COCO: https://cocodataset.org/#format-results, a list of people with image_id."""

    def write(folder: Path, frames: Frames) -> Path:
        results = []
        for index, people in enumerate(frames):
            for joints in people:
                kept = points(joints, order)
                kept[:, 2] = [score(value) for value in kept[:, 2]]
                entry = {"image_id": number(index), "category_id": 1, "keypoints": kept.ravel().tolist(), "score": 0.9}
                results.append(entry)
        return dump(folder / "results.json", results)

    return write


def coco_annotations(
    order: Sequence[str] = COCO,
    file_name: str | None = "frame_{:06d}.PNG",
    first: int = 0,
    image_id: Callable[[int], int] = lambda index: index + 1,
    enlarged: float = 1.0,
    category: dict[str, Any] | None = None,
    feet: bool = False,
) -> Writer:
    """Annotations of COCO, as CVAT exports them: https://cocodataset.org/#format-data; flags 2 (visible) and 0.

    With `feet`, those of COCO-WholeBody (data_format.md of jin-s13/COCO-WholeBody), which are a list of their own.
    """

    def write(folder: Path, frames: Frames) -> Path:
        height, width = (enlarged * side for side in SIZE)
        images, annotations = [], []
        for index, people in enumerate(frames):
            image = {"id": image_id(index), "width": width, "height": height}
            images.append(image | ({"file_name": file_name.format(index + first)} if file_name else {}))
            for joints in people:
                kept = points(joints, order) * [enlarged, enlarged, 1]
                kept[:, 2] = np.where(kept[:, 2] < 0.5, 0, 2)
                kept[kept[:, 2] == 0] = 0
                entry = {"id": len(annotations) + 1, "image_id": image_id(index), "category_id": 1, "iscrowd": 0}
                entry |= {"keypoints": kept[:17].ravel().tolist() if feet else kept.ravel().tolist()}
                annotations.append(entry | ({"foot_kpts": kept[17:].ravel().tolist()} if feet else {}))
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [category or {"id": 1, "name": "person"}],
        }
        return dump(folder / "person_keypoints.json", content)

    return write


# MMPose -----------------------------------------------------------------------------------------------------------


def instances(people: Sequence[np.ndarray], order: Sequence[str], factor: float = 1.0) -> list[dict[str, Any]]:
    """`split_instances` of mmpose/structures/utils.py; the box is a list in a list."""
    kept = [points(joints, order) for joints in people]
    return [
        {
            "keypoints": person[:, :2].tolist(),
            "keypoint_scores": (factor * person[:, 2]).tolist(),
            "bbox": [[*person[:, :2].min(0).tolist(), *person[:, :2].max(0).tolist()]],
            "bbox_score": 0.93,
        }
        for person in kept
    ]


def mmpose(order: Sequence[str] = COCO, factor: float = 1.0, name: str = "clip.json") -> Writer:
    """`MMPoseInferencer` with pred_out_dir, on a video: mmpose/apis/inferencers/base_mmpose_inferencer.py.

    Scores of RTMPose exceed 1 (MMPose's issues 2755 and 3122).
    """

    def write(folder: Path, frames: Frames) -> Path:
        content = [{"frame_id": k, "instances": instances(people, order, factor)} for k, people in enumerate(frames)]
        return dump(folder / name, content, indent="  ")

    return write


def mmpose_demo(order: Sequence[str] = COCO, dataset: str = "coco") -> Writer:
    """demo/topdown_demo_with_mmdet.py of MMPose with --save-predictions, whose frames count from 1."""

    def write(folder: Path, frames: Frames) -> Path:
        meta = {"dataset_name": dataset, "num_keypoints": len(order), "keypoint_id2name": dict(enumerate(order))}
        infos = [{"frame_id": k, "instances": instances(people, order)} for k, people in enumerate(frames, 1)]
        return dump(folder / "results_clip.json", {"meta_info": meta, "instance_info": infos}, indent="\t")

    return write


def mmpose_images(folder: Path, frames: Frames) -> Path:
    """`MMPoseInferencer` on a folder of images: a list of instances in a file for each image."""
    return per_frame(folder, frames, lambda people: instances(people, COCO), "img_{:05d}.json")


# AlphaPose --------------------------------------------------------------------------------------------------------


def alphapose(order: Sequence[str] = COCO, name: str = "{}.jpg") -> Writer:
    """`write_json` of alphapose/utils/pPose_nms.py; frames of a video are named 0.jpg, 1.jpg, ..."""

    def write(folder: Path, frames: Frames) -> Path:
        results = [
            {
                "image_id": name.format(index),
                "category_id": 1,
                "keypoints": flat(joints, order),
                "score": 2.9,
                "box": [0.0, 0.0, 9.0, 9.0],
                "idx": [0.0],
            }
            for index, people in enumerate(frames)
            for joints in people
        ]
        return dump(folder / "alphapose-results.json", results)

    return write


def alphapose_by_image(list_key: str, point_key: str, separate: bool = False) -> Writer:
    """The same with --format open or cmu: an object for each image, with 18 points in OpenPose's order."""

    def write(folder: Path, frames: Frames) -> Path:
        content = {
            f"{index}.jpg": {
                "version": "AlphaPose v0.3",
                list_key: [{point_key: flat(joints, OPENPOSE_18)} for joints in people],
            }
            for index, people in enumerate(frames)
        }
        if not separate:
            return dump(folder / "alphapose-results.json", content)
        for name, frame in content.items():
            dump(folder / "sep-json" / f"{name.split('.')[0]}.json", frame)
        return folder / "sep-json"

    return write


# YOLO and Ultralytics ---------------------------------------------------------------------------------------------


def yolo(
    name: str = "clip_{}.txt",
    first: int = 1,
    with_visibility: bool = True,
    tail: str = "",
    flag: float | None = None,
    newline: str = "\n",
    encoding: str = "utf-8",
) -> Writer:
    """`Results.save_txt` of ultralytics/engine/results.py: class, box and points as shares of the frame.

    Each number is written with %g. Frames of a video count from 1; a frame without people has no file. Points of
    confidence below 0.5 are 0, 0. Labels of data sets have visibility flags, 2 being visible.
    """

    def write(folder: Path, frames: Frames) -> Path:
        folder.mkdir(exist_ok=True)
        for number, people in enumerate(frames, first):
            lines = []
            for joints in people:
                kept = points(joints, COCO) / [SIZE[1], SIZE[0], 1]
                kept[kept[:, 2] < 0.5, :2] = 0
                kept[:, 2] = kept[:, 2] if flag is None else flag
                values = [0, 0.5, 0.5, 0.2, 0.4, *kept[:, : 2 + with_visibility].ravel().tolist()]
                lines.append(" ".join(f"{value:g}" for value in values) + tail + newline)
            if lines:
                (folder / name.format(number)).write_bytes("".join(lines).encode(encoding))
        return folder

    return write


def detections(people: Sequence[np.ndarray], normalised: bool, visible: bool) -> list[dict[str, Any]]:
    """`Results.summary` of ultralytics/engine/results.py, which rounds to 5 decimals."""
    divisor = [SIZE[1], SIZE[0], 1] if normalised else [1, 1, 1]
    found = []
    for joints in people:
        columns = (points(joints, COCO) / divisor).T.round(5).tolist()
        keypoints = dict(zip(("x", "y", "visible"), columns, strict=True))
        if not visible:
            del keypoints["visible"]
        box = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
        found.append({"name": "person", "class": 0, "confidence": 0.91, "box": box, "keypoints": keypoints})
    return found


def ultralytics(normalised: bool = False, visible: bool = True) -> Writer:
    """The list of `Results.summary()` of all frames of a video, as scripts save it."""

    def write(folder: Path, frames: Frames) -> Path:
        return dump(folder / "poses.json", [detections(people, normalised, visible) for people in frames])

    return write


def ultralytics_per_frame(folder: Path, frames: Frames) -> Path:
    """`Results.tojson()` of each frame in its own file."""
    return per_frame(folder, frames, lambda people: detections(people, False, True), "{:06d}.json")


# DWPose -----------------------------------------------------------------------------------------------------------


def canvas(people: Sequence[np.ndarray], scale: str = "pixels", resized: float = 1.0, pad: int = 0) -> dict[str, Any]:
    """`encode_poses_as_dict` of comfyui_controlnet_aux: 18 points of confidence 1 or, where missing, 0, 0, 0."""
    height, width = (round(resized * side) + pad for side in SIZE)
    content = []
    for joints in people:
        kept = points(joints, OPENPOSE_18)
        kept[:, :2] *= resized
        if scale == "shares":
            kept[:, :2] /= (width, height)
        kept[:, 2] = kept[:, 2] >= 0.3
        kept[kept[:, 2] == 0] = 0
        others = dict.fromkeys(("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"))
        content.append({"pose_keypoints_2d": kept.ravel().tolist(), **others})
    return {"people": content, "canvas_height": height, "canvas_width": width}


def dwpose(scale: str = "pixels", resized: float = 1.0, pad: int = 0) -> Writer:
    """POSE_KEYPOINT of ComfyUI as JSON, a list of all frames; older versions have shares of the canvas."""

    def write(folder: Path, frames: Frames) -> Path:
        return dump(folder / "pose.json", [canvas(people, scale, resized, pad) for people in frames])

    return write


def dwpose_per_frame(folder: Path, frames: Frames) -> Path:
    """Files of ComfyUI's node that saves keypoints: a list of one frame in each."""
    return per_frame(folder, frames, lambda people: [canvas(people)], "pose_{:05d}.json")
