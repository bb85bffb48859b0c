"""People in the content of one frame of a keypoint file, and the keypoints of a clip as its files have them.

In: a JSON value of OpenPose, DWPose, AlphaPose, MMPose, Ultralytics or COCO, or a text file of YOLO.
Out: points `[K, 3]` of each person, collected in `RawKeypoints`. Text in files is data, never a path.
Next: `keypoint_formats.py`, which finds the frames of a clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posecast.errors import InputError

EXPECTED = (
    "keypoints as OpenPose, COCO, MMPose, AlphaPose, Ultralytics YOLO or DWPose write them: a folder with a file per "
    "frame, such as clip_000000000000_keypoints.json or clip_1.txt, or a JSON file of the whole clip"
)
MAX_BYTES = 2**29
"""Larger files are refused, since their content takes ten times as much memory."""
MAX_FRAME = 10**9
NUM_YOLO, NUM_BOX = 17, 5
"""Number of points of YOLO's pose models, and of the numbers before them: class and box."""
POINT_KEYS = ("pose_keypoints_2d", "pose_keypoints", "joints", "keypoints")
_PEOPLE_KEYS = ("people", "bodies", "instances", "instance_info", "predictions")


@dataclass
class RawKeypoints:
    """Keypoints of a clip as in its files."""

    source: Path
    people: list[np.ndarray] = field(default_factory=list)
    """`[K, 3]` of each person: x, y, confidence; NaN where a value is missing. All have the same K."""
    frames: list[int] = field(default_factory=list)
    """Number of the frame of each person."""
    listed: dict[int, Any] = field(default_factory=dict)
    """Numbers of all frames that the files name, with people or without, and their names."""
    is_complete: bool = True
    """Whether frames without people are named too."""
    first: int | None = None
    """Number of the video's first frame, if the format determines it."""
    size: tuple[float, float] | None = None
    """Height and width of the images on which people were found, if the files have them."""
    names: list[Any] = field(default_factory=list)
    """The file's own names of the K points; empty if it has none."""
    is_openpose: bool = False
    """Whether scale and confidences are those of OpenPose."""

    def add(self, number: int, people: Iterable[np.ndarray], path: Path, name: Any) -> None:
        """Add people of the frame with a number.

        Raises:
            InputError: A frame of another name has this number, or other people have more or fewer points.
        """
        if self.listed.setdefault(number, name) != name:
            raise InputError(
                f"{path} has two frames with the number {number}, {str(self.listed[number])[:100]} and "
                f"{str(name)[:100]}; expected one clip, each frame once."
            )
        for points in people:
            if self.people and len(points) != len(self.people[0]):
                raise InputError(
                    f"{path} has a person with {len(points)} points, others have {len(self.people[0])}; expected "
                    "files of one pose model."
                )
            self.people.append(points)
            self.frames.append(number)

    def set_size(self, height: Any, width: Any, path: Path) -> None:
        """Record the size of the images, if there is one; InputError if another image had another size."""
        if not all(isinstance(side, int | float) and 0 < side < MAX_FRAME for side in (height, width)):
            return
        if self.size not in (None, (height, width)):
            raise InputError(f"{path} is of images of different sizes; expected the frames of one video.")
        self.size = (height, width)


def people_of(raw: RawKeypoints, frame: Any, path: Path) -> Iterator[np.ndarray]:
    """Yield the points of each person in the content of a frame, `[K, 3]`; people without points are left out."""
    if isinstance(frame, list) and len(frame) == 1 and isinstance(frame[0], dict) and set(frame[0]) & set(_PEOPLE_KEYS):
        frame = frame[0]  # a list of one frame, as ComfyUI saves it
    if isinstance(frame, dict):
        raw.set_size(frame.get("canvas_height"), frame.get("canvas_width"), path)
        raw.is_openpose = "people" in frame and "canvas_width" not in frame and "Alpha" not in str(frame.get("version"))
        key = next((key for key in _PEOPLE_KEYS if key in frame), None)
        if key is None:
            raise InputError(f"{path} has a frame without a list of people; expected {EXPECTED}.")
        frame = frame[key]
    if not isinstance(frame, list | None):
        raise InputError(f"{path} has a frame without a list of people; expected {EXPECTED}.")
    for person in frame or []:
        if person is None:
            continue
        key = next((key for key in POINT_KEYS if isinstance(person, dict) and key in person), None)
        if key is None:
            raise InputError(f"{path} has a person without keypoints, such as {POINT_KEYS[0]}; expected {EXPECTED}.")
        if person[key]:
            yield _points(person[key], person.get("keypoint_scores"), path)


def _points(values: Any, scores: Any, path: Path) -> np.ndarray:
    """Convert the points of one person to `[K, 3]`: x, y, confidence, x, ..., a list of points, or lists of x and y."""
    try:
        if isinstance(values, dict):  # Ultralytics
            columns = [values["x"], values["y"], *([values["visible"]] if values.get("visible") else [])]
            points = np.array(columns, float).T
        elif isinstance(values[0], list):
            points = np.array(values, float)
        else:
            points = np.array(values, float).reshape(*((-1, 3) if scores is None else (len(scores), -1)))
        if scores is not None:
            points = np.column_stack([points, np.array(scores, float)])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} has keypoints that are no triples of numbers ({str(error)[:100]}).") from error
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"{path} has points of {points.shape[-1]} numbers; expected x, y and a confidence, not 3D.")
    return points if points.shape[1] == 3 else _with_confidence(points)


def _with_confidence(points: np.ndarray) -> np.ndarray:
    """Add confidences to points `[K, 2]`: 1, or 0 at the position (0, 0), which stands for a missing point."""
    return np.column_stack([points, (points != 0).any(1)])


def people_of_yolo(path: Path) -> Iterator[np.ndarray]:
    """Yield the people of a text file of YOLO: class, box, points, and optionally a confidence and a track."""
    content = _read_bytes(path)
    for index, line in enumerate(content.decode(json.detect_encoding(content), "replace").splitlines()):
        values = line.split()
        for width in (3, 2):
            if 0 <= len(values) - NUM_BOX - width * NUM_YOLO <= 2:
                points = np.array(values[NUM_BOX : NUM_BOX + width * NUM_YOLO], float).reshape(NUM_YOLO, width)
                yield points if width == 3 else _with_confidence(points)
                break
        else:
            if values:
                raise InputError(
                    f"Line {index + 1} of {path} has {len(values)} values; expected those of a YOLO pose model with "
                    f"{NUM_YOLO} points: class, box (4), and x, y, confidence of each point."
                )


def read_json(path: Path) -> Any:
    try:
        return json.loads(_read_bytes(path))  # UTF-8, 16 or 32, with or without a byte order mark
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as JSON ({str(error)[:200]}); expected {EXPECTED}.") from error


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"There is no file {path}; expected {EXPECTED}.")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path} has {path.stat().st_size / 2**20:.0f} MiB; expected at most {MAX_BYTES / 2**20:.0f}. Split "
                "the video and its keypoints, or leave out hands and face."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); expected {EXPECTED}.") from error
