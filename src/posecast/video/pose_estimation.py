"""Where people's joints are in a frame: pose estimators behind one small interface.

In: uint8 frames `[H, W, 3]`, RGB, one at a time. Out: `Person`s: keypoints in pixels, and where to look next.
Ours is BlazePose, by MediaPipe: the extra `posecast[video]`. An estimator remembers nothing from frame to frame.
Knows no files and no time. Next: `tracker.py`, which follows one person through a video.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON, SURE
from posecast.errors import InputError


class Region(NamedTuple):
    """A turned square of a frame that holds one person, in pixels and radians."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True)
class Person:
    """One person in one frame."""

    keypoints: np.ndarray
    """float32 `[J, 3]`: x, y in pixels, confidence in [0, 1], for each joint of `SKELETON`."""
    region: Region
    """Where to look for this person in the next frame."""

    @property
    def box(self) -> np.ndarray:
        """Left, top, right, bottom of the joints that are sure, or of all if fewer than three are: float `[4]`."""
        return box_of(self.keypoints)

    @property
    def confidence(self) -> float:
        """The mean confidence of the joints that are in the picture."""
        inside = self.keypoints[:, 2] > 0
        return float(self.keypoints[inside, 2].mean()) if inside.any() else 0.0


class Estimator(Protocol):
    """Finds people's joints in a frame; `number` says which frame of the file it is."""

    name: str
    """What `extract.json` says about it: the library, its version, the model."""

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """Everybody in the frame, however small if asked to look `closely` (slow)."""
        ...

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """The person who was `last` a moment ago, if somebody is there (fast)."""
        ...


def box_of(keypoints: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the sure joints of `[J, 3]`, or of all if fewer than three are: float `[4]`."""
    seen = keypoints[keypoints[:, 2] >= SURE]
    points = (seen if len(seen) >= 3 else keypoints[np.isfinite(keypoints[:, 0])])[:, :2]
    return np.concatenate([points.min(0), points.max(0)])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    common = _common(one, other)
    union = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common
    return float(common / union) if union > 0 else 0.0


def _common(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes share."""
    return float(np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).prod())


def apart(people: list[Person]) -> list[Person]:
    """Everybody once: of those who lie on each other only the surest."""
    kept: list[Person] = []
    for person in sorted(people, key=lambda one: -one.confidence):
        if all(overlap(person.box, other.box) < 0.4 and within(person.box, other.box) < 0.8 for other in kept):
            kept.append(person)
    return kept


def within(one: np.ndarray, other: np.ndarray) -> float:
    """How much of the smaller of two boxes lies in the other, in [0, 1]."""
    smaller = min((box[2:] - box[:2]).prod() for box in (one, other))
    return float(_common(one, other) / smaller) if smaller > 0 else 1.0


# BlazePose --------------------------------------------------------------------------------------------------------

_FACE_AND_LIMBS = {
    "nose": 0,
    **{f"{side}_{part}": index + (side == "right") * step
       for part, index, step in (
           ("eye", 2, 3), ("ear", 7, 1), ("shoulder", 11, 1), ("elbow", 13, 1), ("wrist", 15, 1), ("hand", 19, 1),
           ("hip", 23, 1), ("knee", 25, 1), ("ankle", 27, 1), ("heel", 29, 1), ("toe", 31, 1))
       for side in ("left", "right")},
}  # fmt: skip
"""BlazePose's landmark for each joint; our hand is its index finger's first joint."""
_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}

_DETECTION = """
input_stream: "image"
output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
_LANDMARKS = """
input_stream: "image"
input_stream: "region"
output_stream: "landmarks"
output_stream: "frame_of_body"
node {
  calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:complexity"
  options: { [mediapipe.ConstantSidePacketCalculatorOptions.ext]: { packet { int_value: 1 } } }
}
node {
  calculator: "PoseLandmarkByRoiCpu" input_side_packet: "MODEL_COMPLEXITY:complexity"
  input_stream: "IMAGE:image" input_stream: "ROI:region"
  output_stream: "LANDMARKS:landmarks" output_stream: "AUXILIARY_LANDMARKS:frame_of_body"
}
"""
_REGION_PER_RADIUS = 2.5
"""A region's side, in distances from mid-hip to the circle round the whole body: MediaPipe's own proportion."""


class BlazePose:
    """MediaPipe's BlazePose (Bazarevsky et al. 2020, https://arxiv.org/abs/2006.10204), its model `full`.

    The library's own `Pose` follows one person of its own choice and remembers them. Here its two networks are
    called one by one: the detector, which finds several people, and the landmarks of one region. So who is followed
    is ours to say, and the result for a frame depends on nothing but the frame and the region.
    Raises InputError where the library is missing.
    """

    def __init__(self) -> None:
        library = _mediapipe()
        self.name = f"mediapipe {library.__version__} BlazePose full"
        self._getter, self._creator, self._formats = library.packet_getter, library.packet_creator, library.ImageFormat
        self._region_type = importlib.import_module("mediapipe.framework.formats.rect_pb2").NormalizedRect
        with _without_chatter():
            self._detection = _Graph(library, _DETECTION, "detections")
            self._landmarks = _Graph(library, _LANDMARKS, "landmarks", "frame_of_body")
            nothing = np.zeros((8, 8, 3), np.uint8)  # the networks load, and speak, with the first frame
            self._detect(nothing)
            self._pose(nothing, Region(4, 4, 8, 0))

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """See `Estimator`. The detector sees 224 pixels: people who are small in the frame are found in parts of it."""
        people = []
        for left, top, width, height in _windows(frame.shape[0], frame.shape[1], closely):
            window = frame[top : top + height, left : left + width]
            for region in self._detect(window):
                person = self._pose(frame, region._replace(x=region.x + left, y=region.y + top))
                if person is not None:
                    people.append(person)
        return apart(people)

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """See `Estimator`."""
        return self._pose(frame, last.region)

    def _detect(self, window: np.ndarray) -> list[Region]:
        (found,) = self._detection(image=self._image(window))
        height, width = window.shape[:2]
        regions = []
        for detection in [] if found.is_empty() else self._getter.get_proto_list(found):
            points = detection.location_data.relative_keypoints
            regions.append(_region(points[0], points[1], width, height))
        return regions

    def _pose(self, frame: np.ndarray, region: Region) -> Person | None:
        height, width = frame.shape[:2]
        rectangle = self._region_type(
            x_center=region.x / width,
            y_center=region.y / height,
            width=region.side / width,
            height=region.side / height,
            rotation=region.angle,
        )
        found, frame_of_body = self._landmarks(image=self._image(frame), region=self._creator.create_proto(rectangle))
        if found.is_empty():
            return None
        marks = self._getter.get_proto(found).landmark
        points = np.array([(m.x * width, m.y * height, m.visibility) for m in marks], np.float32)
        outside = (points[:, :2] < 0).any(1) | (points[:, :2] > (width, height)).any(1)
        points[outside, 2] = 0.0  # a guess, however sure it says it is
        ends = self._getter.get_proto(frame_of_body).landmark
        return Person(_keypoints(points), _region(ends[0], ends[1], width, height))

    def _image(self, frame: np.ndarray) -> Any:
        return self._creator.create_image_frame(image_format=self._formats.SRGB, data=np.ascontiguousarray(frame))


class _Graph:
    """A MediaPipe graph that is given one frame's packets and asked for what comes out."""

    def __init__(self, library: Any, text: str, *outputs: str) -> None:
        self._graph = library.CalculatorGraph(graph_config=text)
        self._found: dict[str, Any] = {}
        for name in outputs:
            self._graph.observe_output_stream(name, self._found.__setitem__, True)
        self._outputs, self._time = outputs, 0
        self._graph.start_run()

    def __call__(self, **packets: Any) -> list[Any]:
        self._time += 1
        for name, packet in packets.items():
            self._graph.add_packet_to_input_stream(name, packet.at(self._time))
        self._graph.wait_until_idle()
        return [self._found[name] for name in self._outputs]


def _mediapipe() -> Any:
    try:
        with warnings.catch_warnings(), _without_chatter():
            warnings.simplefilter("ignore")  # its protobuf code is older than protobuf
            library = importlib.import_module("mediapipe")
            bindings = importlib.import_module("mediapipe.python._framework_bindings")
    except ImportError as error:
        raise InputError(
            "Finding poses in pictures needs MediaPipe: pip install 'posecast[video]' (Python 3.11 or 3.12), "
            "or give keypoints made elsewhere with --keypoints."
        ) from error
    bindings.resource_util.set_resource_dir(str(Path(str(library.__file__)).parents[1]))
    return library


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """MediaPipe's C++ writes remarks for its developers past Python to stderr: not while this lasts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _region(middle: Any, edge: Any, width: int, height: int) -> Region:
    """From mid-hip and a point above the head on the circle round the body, both relative to the picture."""
    x, y = middle.x * width, middle.y * height
    right, up = edge.x * width - x, y - edge.y * height
    return Region(x, y, _REGION_PER_RADIUS * math.hypot(right, up), math.atan2(right, up))


def _keypoints(points: np.ndarray) -> np.ndarray:
    """BlazePose's landmarks `[33, 3]` as our joints `[J, 3]`."""
    keypoints = np.empty((len(SKELETON), 3), np.float32)
    for joint, landmark in _FACE_AND_LIMBS.items():
        keypoints[JOINT_INDEX[joint]] = points[landmark]
    for joint, (one, other) in _MIDDLES.items():
        pair = keypoints[[JOINT_INDEX[one], JOINT_INDEX[other]]]
        keypoints[JOINT_INDEX[joint]] = (*pair[:, :2].mean(0), pair[:, 2].min())
    return keypoints


def _windows(height: int, width: int, closely: bool) -> list[tuple[int, int, int, int]]:
    """Left, top, width, height of the parts of a frame to look at: the whole; closely, also squares in two sizes."""
    windows = [(0, 0, width, height)]
    short = min(height, width)
    for side in (short, short // 2) if closely else ():
        lefts, tops = (_places(length, side) for length in (width, height))
        windows += [(left, top, side, side) for top in tops for left in lefts]
    return windows


def _places(length: int, side: int) -> list[int]:
    """Where windows of a side begin so that they cover a length and overlap by half or more."""
    count = 1 + math.ceil(max(0, length - side) / (side / 2))
    return np.linspace(0, length - side, count).round().astype(int).tolist()
