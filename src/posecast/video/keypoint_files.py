"""Keypoints on disk: those that `extract` wrote, and those that other estimators wrote.

In: poses.npz; a folder of OpenPose JSON (BODY_25 or COCO with 18 points); one COCO keypoint JSON (17 points).
Out: keypoints `[J, 3]` of `SKELETON`'s joints. `Imported` is an estimator that looks them up instead of looking at
pictures. Next: `tracker.py`, which follows one of the people in them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON, SURE
from posecast.errors import InputError
from posecast.video.pose_estimation import Person, Region, apart, overlap

OPENPOSE_SURE = 0.1
"""OpenPose's confidences are low: it draws a joint from 0.05 on, and one of 0.1 is mostly right."""

_BODY_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_toe - left_heel right_toe - "
    "right_heel"
).split()
_COCO_18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
).split()
_COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
_ORDERS = {len(order): order for order in (_BODY_25, _COCO_18, _COCO_17)}
"""The order of the joints, by how many there are; "-" is one that we do not draw."""
_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}


class Imported:
    """An estimator whose answers are in a file: everybody in every frame, by the number of the frame in its video."""

    def __init__(self, path: Path) -> None:
        self.name = f"imported from {path.name}"
        self._people = read_openpose(path) if path.is_dir() else read_coco(path)

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """See `Estimator`."""
        return apart([_person(keypoints) for keypoints in self._people.get(number, [])])

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """See `Estimator`: whoever lies most on the last box."""
        people = [_person(keypoints) for keypoints in self._people.get(number, [])]
        return max(people, key=lambda person: overlap(person.box, last.box), default=None)


def _person(keypoints: np.ndarray) -> Person:
    return Person(keypoints, Region(0.0, 0.0, 0.0, 0.0))  # nobody looks there


def read_openpose(folder: Path) -> dict[int, list[np.ndarray]]:
    """OpenPose's files, one a frame, `..._000000000012_keypoints.json` being frame 12: people's keypoints by frame.

    Raises InputError where a file is damaged or there is none.
    """
    files = {
        int(match[1]): path for path in folder.iterdir() if (match := re.search(r"(\d+)_keypoints\.json$", path.name))
    }
    if not files:
        raise InputError(f"{folder} has no files such as clip_000000000000_keypoints.json; expected OpenPose's output.")
    return {number: [_joints(one["pose_keypoints_2d"], path, OPENPOSE_SURE) for one in _people(path)]
            for number, path in sorted(files.items())}  # fmt: skip


def _people(path: Path) -> list[dict[str, Any]]:
    content = _json(path)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(one, dict) and "pose_keypoints_2d" in one for one in people):
        raise InputError(f"{path} has no list of people with pose_keypoints_2d; expected OpenPose's JSON.")
    return [one for one in people if one["pose_keypoints_2d"]]


def read_coco(path: Path) -> dict[int, list[np.ndarray]]:
    """A COCO keypoint file: people's keypoints by frame.

    With a list of `images`, the frames are those images in the order of their ids; a bare list of results has the
    frame's number, from 0, as its image_id. Raises InputError for anything else.
    """
    content = _json(path)
    found = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(found, list) or not all(isinstance(one, dict) and "keypoints" in one for one in found):
        raise InputError(f"{path} is no COCO keypoint file: expected annotations with image_id and keypoints.")
    try:
        images = content.get("images") if isinstance(content, dict) else None
        order = {one: k for k, one in enumerate(sorted(image["id"] for image in images))} if images else None
        people: dict[int, list[np.ndarray]] = {}
        for one in found:
            number = order[one["image_id"]] if order else int(one["image_id"])
            people.setdefault(number, []).append(_joints(one["keypoints"], path, None))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has an annotation without a known image_id ({error!r}); expected COCO's.") from error
    return people


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected a folder of OpenPose JSON or a COCO keypoint file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); expected keypoints.") from error


def _joints(flat: Any, path: Path, sure: float | None) -> np.ndarray:
    """x, y, confidence, x, y, ... as `[J, 3]`; what the format does not have has confidence 0.

    `sure` is the confidence that counts as one half; None: COCO's, scores or 2 for seen and 1 for hidden.
    """
    try:
        points = np.array(flat, float).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} has keypoints that are no triples of numbers ({error}).") from error
    if len(points) not in _ORDERS or not np.isfinite(points).all() or np.abs(points).max(initial=0) > 1e6:
        counts = ", ".join(map(str, _ORDERS))
        raise InputError(f"{path} has {len(points)} keypoints, or no finite ones; expected {counts} of a known order.")
    flags = sure is None and points[:, 2].max() > 1
    trust = points[:, 2] / 2 if flags else points[:, 2] * (SURE / sure if sure else 1.0)
    joints = np.zeros((len(SKELETON), 3), np.float32)
    for (x, y, _), confidence, name in zip(points, np.clip(trust, 0, 1), _ORDERS[len(points)], strict=True):
        if name != "-":
            joints[JOINT_INDEX[name]] = (x, y, confidence)
    for name, pair in _MIDDLES.items():
        ends = joints[[JOINT_INDEX[one] for one in pair]]
        if joints[JOINT_INDEX[name], 2] == 0 and (ends[:, 2] > 0).all():
            joints[JOINT_INDEX[name]] = (*ends[:, :2].mean(0), ends[:, 2].min())
    return joints


# poses.npz --------------------------------------------------------------------------------------------------------


KEYS = ("names", "joints", "keypoints", "windows", "frame_sizes", "size", "fps")


@dataclass(frozen=True)
class Poses:
    """What `extract` wrote beside its pictures, one row a picture, in the order of their numbers."""

    names: list[str]
    """train/frame000001, ..."""
    keypoints: np.ndarray
    """float32 `[N, J, 3]`: x, y in pixels of the pictures, confidence; NaN where nobody was found."""
    windows: np.ndarray
    """What was cut out of the source's frames, `[N, 4]`: left, top, width, height in its pixels."""
    frame_sizes: np.ndarray
    """Height and width of the source's frames, `[N, 2]`."""
    size: tuple[int, int]
    """Height and width of the pictures."""
    fps: float

    @property
    def view(self) -> tuple[float, ...] | None:
        """The one window of all pictures, left, top, width, height in shares of the frame; then the frame's aspect.

        None where windows differ: another camera, or one that follows.
        """
        (height, width), shares = self.frame_sizes[0], self.windows / self.frame_sizes[:, [1, 0, 1, 0]]
        if not (np.ptp(shares, axis=0) < 1e-6).all() or (self.frame_sizes != self.frame_sizes[0]).any():
            return None
        return (*(float(share) for share in shares[0]), float(width / height))

    def in_source(self) -> np.ndarray:
        """The keypoints in pixels of the source, where a window that followed the person does not hide their path."""
        moved = self.keypoints.astype(float)
        scale = self.windows[:, None, 2:] / np.array(self.size[::-1])
        moved[:, :, :2] = moved[:, :, :2] * scale + self.windows[:, None, :2]
        return moved.astype(np.float32)


def read_poses(path: Path) -> Poses:
    """A poses.npz. Raises InputError where it is missing, damaged or of another kind; nothing in it is run."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            # An entry of the archive that is no array comes as bytes.
            found = {key: np.asarray(arrays[key]) for key in KEYS}
            names, joints = found["names"].tolist(), found["joints"].tolist()
            keypoints, windows = found["keypoints"].astype(np.float32), found["windows"].astype(float)
            frame_sizes = found["frame_sizes"].astype(float)
            height, width = (int(side) for side in found["size"])
            fps = float(found["fps"])
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected what 'posecast extract' writes.") from error
    except Exception as error:  # zipfile, zlib and numpy raise nearly anything on damaged bytes
        raise InputError(f"{path} cannot be read ({error}); expected what 'posecast extract' writes.") from error
    num = len(names) if isinstance(names, list) else 0
    fits = joints == [joint.name for joint in SKELETON] and keypoints.shape == (num, len(SKELETON), 3)
    fits = fits and frame_sizes.shape == (num, 2) and (frame_sizes > 0).all()
    if not fits or windows.shape != (num, 4) or num == 0 or not (0 < fps < 1000 and min(height, width) > 0):
        raise InputError(f"{path} holds other joints or shapes than this posecast's; extract the video again.")
    return Poses(names, keypoints, windows, frame_sizes, (height, width), fps)
